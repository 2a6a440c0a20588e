"""The reader of ``.skeleton`` text: the numbers of a plain reader, and errors with the line."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinegraph.data.formats import ntu_text
from kinegraph.data.formats.ntu_numbers import Words, parse_decimals
from kinegraph.data.formats.ntu_text import read_skeleton
from kinegraph.errors import ClipError

REST = "256.3335 212.1462 960.9676 540.4242 0.1 -0.2 0.3 0.9 2"
FIRST_ID = 72057594037930937


def body_text(
    coordinates: list[str], number: int = FIRST_ID, end: str = "\n", count: int = 25
) -> str:
    rows = [" ".join(coordinates[3 * joint : 3 * joint + 3]) for joint in range(count)]
    lines = [f"{number} 0 1 1 1 1 0 0.0276 -0.05 2", str(count), *(f"{r} {REST}" for r in rows)]
    return "".join(line + end for line in lines)


def text_of(counts: list[int], end: str = "\n", seed: int = 0) -> str:
    """Make a file of bodies that stand around, ``counts`` of them in each frame."""
    random = np.random.default_rng(seed)
    text = f"{len(counts)}{end}"
    for count in counts:
        text += f"{count}{end}"
        for body in range(count):
            numbers = [f"{number:.7g}" for number in random.normal(1, 1.5, 75)]
            text += body_text(numbers, FIRST_ID + body, end)
    return text


def plainly(text: str) -> tuple[list[int], list[int], NDArray[np.float32]]:
    """Read a right file line by line, as anyone would write it down first."""
    lines = iter(text.split("\n"))
    counts, ids, joints = [], [], []
    for _ in range(int(next(lines))):
        counts.append(int(next(lines)))
        for _ in range(counts[-1]):
            ids.append(int(next(lines).split()[0]))
            joints.append(
                [[float(word) for word in next(lines).split()] for _ in range(int(next(lines)))]
            )
    points = np.array(joints, dtype=np.float64).reshape(-1, 25, 12)[..., :3]
    return counts, ids, points.astype(np.float32)


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return np.array_equal(left.view(np.int32), right.view(np.int32))


def agrees(text: str, *, at_once: bool = True) -> None:
    counts, ids, joints = plainly(text)
    data = text.encode()
    assert (ntu_text._read_at_once(data) is not None) == at_once
    for found in (read_skeleton(data, "'a'"), ntu_text._read_by_line(data, "'a'")):
        assert found.counts.tolist() == counts
        assert found.ids.tolist() == ids
        assert same_bits(found.joints, joints)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "counts", [[1], [1, 2, 1], [0, 3, 0, 1], [0, 0]], ids=["one", "two", "gaps", "nobody"]
)
def test_files_as_the_sensor_writes_them(counts: list[int], end: str) -> None:
    agrees(text_of(counts, end))


def test_files_that_are_odd_but_right() -> None:
    text = text_of([1, 2])
    agrees(text.rstrip("\n"))  # no line end at the end
    agrees(text.replace(" 256", "   256"))  # more blanks between fields
    agrees(text.replace(" 256", "\t256"))
    agrees(text.replace(" 2\n", " 2 \n"), at_once=False)  # blanks behind the last field
    lines = text_of([1, 2]).replace("25\n", "25\n\n").encode()
    expected = plainly(text)
    found = read_skeleton(lines, "'a'")  # an empty line between
    assert found.ids.tolist() == expected[1]
    assert same_bits(found.joints, expected[2])


# Forms that numbers have in real files, or could have, and the edges of what is read at once.
DECIMAL = st.from_regex(r"-?[0-9]{1,4}\.[0-9]{1,17}", fullmatch=True)
FLOAT = st.floats(-1e30, 1e30, width=64).map(repr)
SHORT = st.floats(-9, 9, width=32).map(lambda number: f"{number:.7g}")
OTHER = st.sampled_from(["0", "-0", "-0.0", "3", "+1.5", ".5", "5.", "1e2", "-1.5E-05", "00.5"])


@settings(max_examples=60)
@given(st.lists(DECIMAL | FLOAT | SHORT | OTHER, min_size=75, max_size=75))
def test_numbers_are_those_of_python_rounded_once(words: list[str]) -> None:
    agrees("1\n1\n" + body_text(words))


@settings(max_examples=150)
@given(st.lists(st.from_regex(r"-?[0-9]\.[0-9]{1,14}", fullmatch=True), min_size=1, max_size=40))
def test_plain_numbers_need_no_help_of_python(texts: list[str]) -> None:
    data = (" " * 16 + " ".join(texts) + "\n").encode()
    words = Words.of(data)
    assert words is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kinegraph.data.formats.ntu_numbers._parse_others", None)
        found = parse_decimals(words, np.arange(len(texts)))
    assert found is not None
    assert same_bits(found, np.array([float(text) for text in texts]).astype(np.float32))


def test_ids_of_17_digits_stay_whole() -> None:
    text = "1\n2\n" + body_text(["1.5"] * 75, FIRST_ID) + body_text(["1.5"] * 75, FIRST_ID + 1)
    assert read_skeleton(text.encode(), "'a'").ids.tolist() == [FIRST_ID, FIRST_ID + 1]
    assert float(FIRST_ID) == float(FIRST_ID + 1)  # what a float would make of them


def line(number: int, replacement: str) -> Callable[[str], str]:
    """Return a change of one line (from 1) of a text."""

    def change(text: str) -> str:
        lines = text.split("\n")
        lines[number - 1] = replacement
        return "\n".join(lines)

    return change


JOINT = f"1.5 1.5 1.5 {REST}"
BROKEN = {
    "empty": (lambda _: "", "is empty"),
    "blank": (lambda _: " \r\n\n", "is empty"),
    "no number of frames": (line(1, "many"), "line 1 says 'many', expected a number of frames"),
    "a negative number of frames": (line(1, "-2"), "line 1 says '-2', expected a number of"),
    "fewer frames than it has": (line(1, "1"), "line 30 goes on after the last frame"),
    "more frames than it has": (line(1, "3"), "cut short: it ends after line 57, where a number"),
    "a huge number of frames": (line(1, "9" * 18), "cut short: it ends after line 57"),
    "an impossible number": (line(1, "9" * 30), "line 1 says '9999"),
    "no number of bodies": (line(2, "x"), "line 2 says 'x', expected a number of bodies"),
    "too many bodies": (line(2, "2"), "line 30 has 1 fields, expected 10 (a body)"),
    "a huge number of bodies": (line(2, "9" * 18), "line 30 has 1 fields, expected 10"),
    "too few bodies": (line(2, "0"), "line 3 has 10 fields, expected 1 (a number of bodies)"),
    "a short header": (line(3, "7205 0 1"), "line 3 has 3 fields, expected 10 (a body)"),
    "an id that is a name": (line(3, "you 0 1 1 1 1 0 0 0 2"), "line 3 says 'you', expected"),
    "an id out of range": (line(3, "9" * 19 + " 0 1 1 1 1 0 0 0 2"), "line 3 says '9999"),
    "20 joints": (line(4, "20"), "line 4 announces 20 joints, expected 25"),
    "11 fields": (line(7, JOINT[:-2]), "line 7 has 11 fields, expected 12 (a joint)"),
    "13 fields": (line(7, JOINT + " 5"), "line 7 has 13 fields, expected 12 (a joint)"),
    "a word": (line(7, JOINT.replace("1.5", "1.5m", 1)), "line 7 says '1.5m', expected a coord"),
    "two points": (line(7, JOINT.replace("1.5", "1.5.2", 1)), "line 7 says '1.5.2'"),
    "an underscore": (line(7, JOINT.replace("1.5", "1_5.0", 1)), "line 7 says '1_5.0'"),
    "nan": (line(7, JOINT.replace("1.5", "nan", 1)), "line 7 says 'nan', expected a coordinate"),
    "infinity": (line(7, JOINT.replace("1.5", "-inf", 1)), "line 7 says '-inf'"),
    "beyond float32": (line(7, JOINT.replace("1.5", "4e38", 1)), "line 7 says '4e38'"),
    "zero bytes": (line(7, "\0" * 40), "line 7 has 1 fields, expected 12"),
    "cut in a line": (lambda text: text[:-60], "line 57 has 2 fields, expected 12"),
    "cut between lines": (lambda text: text[: text.rindex("\n", 0, -1)], "ends after line 56"),
    "text behind it": (lambda text: text + "bye\n", "line 58 goes on after the last frame"),
}


@pytest.mark.parametrize(("change", "expected"), BROKEN.values(), ids=BROKEN)
def test_bad_files_name_the_line(change: Callable[[str], str], expected: str) -> None:
    text = "2\n" + ("1\n" + body_text(["1.5"] * 75)) * 2
    agrees(text)
    with pytest.raises(ClipError, match=f"^'a'.*{re.escape(expected)}"):
        read_skeleton(change(text).encode(), "'a'")


def test_two_lines_in_one_and_one_in_two_are_noticed() -> None:
    """The words are all there and in order, only the lines are not."""
    text = "1\n1\n" + body_text(["1.5"] * 75)
    joined = text.replace(f"{JOINT}\n{JOINT}", f"{JOINT} {JOINT}", 1)
    with pytest.raises(ClipError, match="line 5 has 24 fields, expected 12"):
        read_skeleton(joined.encode(), "'a'")
    with pytest.raises(ClipError, match="line 5 has 3 fields, expected 12"):
        read_skeleton(text.replace("1.5 256", "1.5\n256", 1).encode(), "'a'")


def test_nothing_is_allocated_because_a_file_says_so() -> None:
    data = f"{10**17}\n{10**17}\n".encode()
    tracemalloc.start()
    try:
        with pytest.raises(ClipError, match="cut short"):
            read_skeleton(data, "'a'")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_far_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ntu_text, "MAX_TEXT_BYTES", 1000)
    with pytest.raises(ClipError, match="more than the 1,000 that one recording may have"):
        read_skeleton(text_of([1]).encode(), "'a'")


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 5000), st.integers(0, 60))
def test_garbled_text_gives_numbers_or_an_error(noise: bytes, place: int, gap: int) -> None:
    data = text_of([1, 2]).encode()
    place %= len(data)
    garbled = data[:place] + noise + data[place + gap :]
    try:
        found = read_skeleton(garbled, "'a'")
    except ClipError:
        return
    assert np.isfinite(found.joints).all()
    assert len(found.ids) == len(found.joints) == found.counts.sum()
