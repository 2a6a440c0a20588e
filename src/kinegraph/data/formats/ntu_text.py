"""The text of a ``.skeleton`` file: what a Kinect saw, frame by frame.

Files as the sensor's program writes them are read as one array of bytes (`ntu_numbers`), others
(exponents in odd places, blank lines, words) line by line; both give the same numbers, which are
those of Python's ``float``, rounded to float32.

A file is the number of frames; for each frame the number of bodies; for each body a line of 10
fields, the first of which is its number, a line with the number of joints, and a line for each
joint: x y z depthX depthY colorX colorY orientationW orientationX orientationY orientationZ state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.cleaning.bodies import Sightings
from kinegraph.data.formats.ntu_numbers import Words, parse_decimals
from kinegraph.data.limits import MAX_TEXT_BYTES
from kinegraph.errors import ClipError

JOINTS = 25
BODY_FIELDS = 10
JOINT_FIELDS = 12
BODY_WORDS = BODY_FIELDS + 1 + JOINTS * JOINT_FIELDS  # all words of one body in one frame
LARGEST_ID = np.iinfo(np.int64).max
LARGEST_NUMBER = float(np.finfo(np.float32).max)
SHOWN = 40  # characters of a bad line that a message quotes

# Where, among the words of a body, x, y and z of every joint stand: (75,).
_COORDINATES = (BODY_FIELDS + 1 + JOINT_FIELDS * np.arange(JOINTS)[:, None] + np.arange(3)).reshape(
    -1
)
# Which words of a body end a line: (27,).
_LINE_ENDS = np.concatenate(
    ([BODY_FIELDS - 1, BODY_FIELDS], BODY_FIELDS + JOINT_FIELDS * np.arange(1, JOINTS + 1))
)


def read_skeleton(data: bytes, where: str) -> Sightings:
    """Read a ``.skeleton`` file.

    Nothing is allocated because the file says so: only what it holds.

    Args:
        data: Its bytes.
        where: Names it in errors.

    Raises:
        ClipError: It is empty, cut short, longer than it says, or no such text; the message names
            the line.
    """
    if not data[:SHOWN].strip() and not data.strip():  # a strip of all would copy it
        raise ClipError(f"{where} is empty")
    if len(data) > MAX_TEXT_BYTES:
        raise ClipError(
            f"{where} has {len(data):,} bytes, more than the {MAX_TEXT_BYTES:,} that one recording"
            " may have"
        )
    found = _read_at_once(data)
    return _read_by_line(data, where) if found is None else found


@dataclass(frozen=True)
class _Bodies:
    """Where bodies stand among the words of a file.

    Attributes:
        counts: (F,) bodies of each frame.
        words: (R,) first word of each body.
    """

    counts: NDArray[np.int64]
    words: NDArray[np.int64]


def _read_at_once(data: bytes) -> Sightings | None:
    """Read a file as one array, or return None where anything is unusual."""
    words = Words.of(data)
    if words is None:
        return None
    bodies = _find_bodies(words)
    if bodies is None or not _has_right_lines(words, bodies):
        return None
    ids = words.whole_numbers(bodies.words)
    if ids is None:
        return None
    index = (bodies.words[:, None] + _COORDINATES).reshape(-1)  # (R, 75) -> (75 R,)
    numbers = parse_decimals(words, index)
    if numbers is None:
        return None
    return Sightings(
        counts=bodies.counts,
        ids=np.array(ids, dtype=np.int64),
        joints=numbers.reshape(-1, JOINTS, 3),  # (75 R,) -> (R, V, 3)
    )


def _find_bodies(words: Words) -> _Bodies | None:
    """Walk from frame to frame by the numbers of bodies, which say where the next frame begins."""
    total = len(words)
    frames = words.whole_number(0)
    if frames is None or frames > total:
        return None
    counts: list[int] = []
    firsts: list[int] = []
    word = 1
    for _ in range(frames):
        count = words.whole_number(word) if word < total else None
        if count is None or word + 1 + count * BODY_WORDS > total:
            return None
        counts.append(count)
        firsts += range(word + 1, word + 1 + count * BODY_WORDS, BODY_WORDS)
        word += 1 + count * BODY_WORDS
    if word != total:
        return None
    found = _Bodies(np.array(counts, dtype=np.int64), np.array(firsts, dtype=np.int64))
    return found if words.all_are(found.words + BODY_FIELDS, b"%d" % JOINTS) else None


def _has_right_lines(words: Words, bodies: _Bodies) -> bool:
    """Whether lines end where they should, each after the right number of fields."""
    before = np.cumsum(bodies.counts) - bodies.counts  # (F,) bodies of earlier frames
    headers = 1 + np.arange(len(bodies.counts)) + before * BODY_WORDS  # the numbers of bodies
    ends = np.zeros(len(words), dtype=np.bool_)
    ends[0] = True
    ends[headers] = True
    ends[(bodies.words[:, None] + _LINE_ENDS).reshape(-1)] = True  # (R, 27)
    return bool(np.array_equal(words.ends_line(), ends))


class _Lines:
    """The lines of a file that hold something, with their numbers."""

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        self.number = 0
        self._lines = self._filled(data)

    def _filled(self, data: bytes) -> Iterator[list[bytes]]:
        for number, line in enumerate(data.splitlines(), start=1):
            fields = line.split()
            if fields:
                self.number = number
                yield fields

    def take(self, what: str, count: int) -> list[bytes]:
        """Return the fields of the next line, which must be ``count``."""
        fields = next(self._lines, None)
        if fields is None:
            raise ClipError(
                f"{self.where} is cut short: it ends after line {self.number}, where {what} should"
                " follow"
            )
        if len(fields) != count:
            raise self.bad(f"has {len(fields)} fields, expected {count} ({what})")
        return fields

    def end(self) -> None:
        """Check that nothing is left."""
        if next(self._lines, None) is not None:
            raise self.bad("goes on after the last frame that line 1 announces")

    def bad(self, complaint: str) -> ClipError:
        return ClipError(f"{self.where}: line {self.number} {complaint}")

    def whole_number(self, text: bytes, what: str) -> int:
        if not text.isdigit() or len(text) > 19 or int(text) > LARGEST_ID:
            raise self.bad(f"says '{_shown(text)}', expected {what}")
        return int(text)

    def coordinates(self, fields: list[bytes]) -> list[float]:
        values = []
        for text in fields:
            try:
                value = math.nan if b"_" in text else float(text)  # Python alone reads 1_0 as 10
            except ValueError:
                value = math.nan
            if not abs(value) <= LARGEST_NUMBER:
                raise self.bad(f"says '{_shown(text)}', expected a coordinate in metres")
            values.append(value)
        return values


def _read_by_line(data: bytes, where: str) -> Sightings:
    """Read a file line by line; slow, but it says which line is wrong."""
    lines = _Lines(data, where)
    frames = lines.whole_number(lines.take("the number of frames", 1)[0], "a number of frames")
    counts, ids, joints = [], [], []
    for _ in range(frames):
        count = lines.whole_number(lines.take("a number of bodies", 1)[0], "a number of bodies")
        counts.append(count)
        for _ in range(count):
            header = lines.take("a body", BODY_FIELDS)
            ids.append(lines.whole_number(header[0], "the number of a body"))
            found = lines.take("a number of joints", 1)[0]
            if lines.whole_number(found, "a number of joints") != JOINTS:
                raise lines.bad(f"announces {_shown(found)} joints, expected {JOINTS}")
            for _ in range(JOINTS):
                joints.append(lines.coordinates(lines.take("a joint", JOINT_FIELDS)[:3]))
    lines.end()
    return Sightings(
        counts=np.array(counts, dtype=np.int64),
        ids=np.array(ids, dtype=np.int64),
        joints=np.array(joints, dtype=np.float64).astype(np.float32).reshape(-1, JOINTS, 3),
    )


def _shown(text: bytes) -> str:
    return text[:SHOWN].decode("latin-1")
