"""Words of a text and the decimal numbers among them, all at once.

The bytes of a file are one array: where blank space stands says where words begin and end, and
eight digits at a time become a number by three multiplications. Knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]

SPACE, TAB, NEW_LINE, RETURN = b" \t\n\r"
POINT, MINUS, ZERO = b".-0"
LONGEST_WHOLE = 18  # digits that surely fit an int64

# A float64 holds whole numbers below 2 ** 53 and powers of ten up to 10 ** 22 exactly, so that one
# division of the digits by a power of ten rounds once: to the number that Python's float gives.
DIGITS = 14  # after the point; with one digit before it the digits stay below 10 ** 15
_POWERS = np.array([10**places for places in range(DIGITS + 1)], dtype=np.uint64)

# Eight digits in the bytes of a uint64, the last one in the highest byte.
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)  # added to a byte of 10 or more, sets its highest bit
_HIGHEST_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x000000FF000000FF)
_FIRST_PAIRS = np.uint64(100 + (1_000_000 << 32))
_LAST_PAIRS = np.uint64(1 + (10_000 << 32))


@dataclass(frozen=True)
class Words:
    """The words of a text.

    Attributes:
        data: The text.
        letters: (B,) the same as an array.
        begins: (W,) where each word begins.
        ends: (W,) where the blank after it stands.
    """

    data: bytes
    letters: NDArray[np.uint8]
    begins: Places
    ends: Places

    @classmethod
    def of(cls, data: bytes) -> Words | None:
        """Find the words; None where the text holds control characters or no word."""
        if data[-1:] not in (b"\n", b" "):
            data += b"\n"
        array = np.frombuffer(data, dtype=np.uint8)
        blanks = np.flatnonzero(array <= SPACE)
        kinds = array[blanks]
        known = (kinds == SPACE) | (kinds == NEW_LINE) | (kinds == RETURN) | (kinds == TAB)
        if not known.all():
            return None
        begins = np.empty_like(blanks)
        begins[0] = 0
        np.add(blanks[:-1], 1, out=begins[1:])
        filled = begins < blanks
        if not filled.all():
            begins, blanks = begins[filled], blanks[filled]
        return cls(data, array, begins, blanks) if len(begins) else None

    def __len__(self) -> int:
        return len(self.begins)

    def whole_number(self, word: int) -> int | None:
        """Return a word as a whole number of up to 18 digits, or None."""
        # `item` gives a number of Python's, in half the time of an index.
        text = self.data[self.begins.item(word) : self.ends.item(word)]
        return int(text) if text.isdigit() and len(text) <= LONGEST_WHOLE else None

    def whole_numbers(self, words: Places) -> list[int] | None:
        """Return words as whole numbers, or None where one is none; few of them differ."""
        begins, ends = self.begins[words].tolist(), self.ends[words].tolist()
        texts = [self.data[begin:end] for begin, end in zip(begins, ends, strict=True)]
        different = set(texts)
        if not all(text.isdigit() and len(text) <= LONGEST_WHOLE for text in different):
            return None
        value = {text: int(text) for text in different}
        return [value[text] for text in texts]

    def all_are(self, words: Places, text: bytes) -> bool:
        """Whether all of some words are a given one."""
        begins = self.begins[words]
        same = self.ends[words] - begins == len(text)
        return bool(same.all()) and all(
            bool((self.letters[begins + place] == letter).all())
            for place, letter in enumerate(text)
        )

    def ends_line(self) -> NDArray[np.bool_]:
        """Return (W,) whether a line end follows each word at once."""
        after = self.letters[self.ends]
        return np.asarray((after == NEW_LINE) | (after == RETURN))


def parse_decimals(words: Words, index: Places) -> NDArray[np.float32] | None:
    """Return some words as numbers, those of Python's ``float`` rounded to float32.

    Numbers with one digit before the point and up to 14 after it are computed together, any other
    form by Python.

    Args:
        words: The words.
        index: (N,) which of them; each must begin at least 16 bytes into the text.

    Returns:
        (N,), or None where a word is no finite number.
    """
    begins, ends = words.begins[index], words.ends[index]
    if len(index) == 0:
        return np.zeros(0, dtype=np.float32)
    negative = words.letters[begins] == MINUS
    begins = begins + negative
    places = ends - begins - 2  # digits after the point
    plain = (words.letters[begins + 1] == POINT) & (places >= 1) & (places <= DIGITS)
    places = np.where(plain, places, 1)
    whole = words.letters[begins] - np.uint8(ZERO)  # what is below "0" wraps round to above 9
    plain &= whole <= 9
    # Every position in the text, seen as the eight bytes that begin there.
    eights = np.ndarray((len(words.data) - 7,), np.dtype("<u8"), words.data, strides=(1,))
    digits, good = _last_digits(eights[ends - 8], np.minimum(places, 8))
    plain &= good
    longer = np.flatnonzero(places > 8)
    if len(longer):
        more, good = _last_digits(eights[ends[longer] - 16], places[longer] - 8)
        digits[longer] += more * _POWERS[8]
        plain[longer] &= good
    powers = _POWERS[places]
    numbers = (whole * powers + digits) / powers.astype(np.float64)
    np.negative(numbers, out=numbers, where=negative)
    if not plain.all() and not _parse_others(words, index, np.flatnonzero(~plain), numbers):
        return None
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused
        rounded = numbers.astype(np.float32)
    return rounded if np.isfinite(rounded).all() else None


def _last_digits(
    eights: NDArray[np.uint64], count: Places
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Read the last ``count`` (1 to 8) of eight characters as a whole number.

    Returns:
        (N,) the numbers, and whether all of these characters are digits.
    """
    shift = ((8 - count) * 8).astype(np.uint64)
    digits = ((eights ^ _ZEROS) >> shift) << shift  # the characters before them become 0
    good = (((digits + _ABOVE_NINE) | digits) & _HIGHEST_BITS) == 0
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))  # each even byte: two digits
    first = (pairs & _PAIRS) * _FIRST_PAIRS
    last = ((pairs >> np.uint64(16)) & _PAIRS) * _LAST_PAIRS
    return (first + last) >> np.uint64(32), good


def _parse_others(words: Words, index: Places, which: Places, numbers: NDArray[np.float64]) -> bool:
    """Let Python read the words of other forms; return whether all of them are numbers."""
    for row in which.tolist():
        text = words.data[words.begins[index[row]] : words.ends[index[row]]]
        if b"_" in text:  # Python alone reads 1_0 as 10
            return False
        try:
            numbers[row] = float(text)
        except ValueError:
            return False
    return True
