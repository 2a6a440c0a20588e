"""Anything at all in the files of every format: a clip, or a typed error in one line.

``benchmarks/fuzz_readers.py`` damages whole files; here are values of every kind, what once went
wrong, and files made to take memory or time.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from kinegraph.data.clip import check_clip
from kinegraph.data.formats import FORMATS, Options, open_recordings
from kinegraph.errors import KinegraphError, shown

MEGABYTE = 1 << 20
EXAMPLES = 40

BEGINNINGS = (
    b"", b"\x93NUMPY\x01\x00v\x00{'descr': ", b"PK\x03\x04", b"\x80\x04\x95", b'{"data":[',
    b"MATLAB 5.0 MAT-file", b"1\n1\n", b"0 1,",
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["skeletons", "data", "pose", "label", 10**400, "x" * 3000])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.sampled_from(["frame_index", "skeleton", "pose", "score", ""]), inner)
    ),
    max_leaves=30,
)
ARRAYS = arrays_of.arrays(
    st.one_of(
        arrays_of.boolean_dtypes(), arrays_of.integer_dtypes(), arrays_of.floating_dtypes(),
        arrays_of.unicode_string_dtypes(max_len=5), arrays_of.byte_string_dtypes(max_len=5),
        arrays_of.complex_number_dtypes(), arrays_of.datetime64_dtypes(),
    ),
    arrays_of.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3),
)  # fmt: skip


def with_first(fuzzing: Any, name: str, content: bytes, form: str = "") -> Any:
    """Return a whole source of a format with other contents in its first file."""
    seeds = fuzzing.seeds.seeds_of(name)
    source = next(each for each in seeds if form in ("", each.form))
    (path, _), *others = source.files
    return replace(source, files=((path, content), *others))


def problem(fuzzing: Any, source: Any, place: Path) -> str:
    """Read a source, and return what should not have happened."""
    with fuzzing.reading.serving(source.format):
        return str(fuzzing.reading.read_source(source, place, detect=True).problem)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"utd-mhad"}))
def test_any_bytes(name: str, fuzzing: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("any")

    @settings(max_examples=EXAMPLES)
    @given(st.sampled_from(BEGINNINGS), st.binary(max_size=300))
    def read(beginning: bytes, rest: bytes) -> None:
        source = with_first(fuzzing, name, beginning + rest)
        assert problem(fuzzing, source, place) == ""

    read()


def test_any_bytes_as_a_matlab_file(fuzzing: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("any")
    whole = fuzzing.seeds.utd(0)[0][1]

    with fuzzing.reading.serving("utd-mhad"):

        @settings(max_examples=EXAMPLES)
        @given(st.integers(0, 300), st.binary(max_size=40))
        def read(at: int, junk: bytes) -> None:
            content = whole[:at] + junk + whole[at + len(junk) :]
            source = with_first(fuzzing, "utd-mhad", content)
            assert fuzzing.reading.read_source(source, place).problem == ""

        read()


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("nw-ucla", lambda value: value),
        ("nw-ucla", lambda value: {"skeletons": value}),
        ("nw-ucla", lambda value: {"skeletons": [[[0, 1, 2]] * 20], "label": value}),
        ("kinetics", lambda value: value),
        ("kinetics", lambda value: {"data": value}),
        ("kinetics", lambda value: {"data": [{"frame_index": 1, "skeleton": value}]}),
        ("kinetics", lambda value: {"data": [{"frame_index": value, "skeleton": []}]}),
    ],
)
def test_any_json(
    name: str, wrap: Callable[[Any], Any], fuzzing: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    place = tmp_path_factory.mktemp("any")

    @settings(max_examples=EXAMPLES)
    @given(VALUES)
    def read(value: Any) -> None:
        content = json.dumps(wrap(value)).encode("utf-8", "replace")
        assert problem(fuzzing, with_first(fuzzing, name, content), place) == ""

    read()


def test_any_json_as_a_label_file(fuzzing: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("any")
    whole = next(each for each in fuzzing.seeds.seeds_of("kinetics") if each.form == "folder")
    entry = st.dictionaries(st.sampled_from(["label_index", "label", "has_skeleton"]), VALUES)

    @settings(max_examples=EXAMPLES)
    @given(st.dictionaries(st.sampled_from(["kkwHdOvpCoc", "a"]), entry) | VALUES)
    def read(value: Any) -> None:
        labels = json.dumps(value).encode("utf-8", "replace")
        source = replace(whole, files=(*whole.files[:-1], (whole.files[-1][0], labels)))
        assert problem(fuzzing, source, place) == ""

    read()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("arrays", ("x", "label", "class_names", "frames", "name", "subject", "split", "layout")),
        ("ctrgcn-npz", ("x_train", "y_train", "x_test", "y_test", "name_train", "class_names")),
    ],
)
def test_any_arrays(
    name: str, keys: tuple[str, ...], fuzzing: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("any")
    whole = fuzzing.seeds.seeds_of(name)[-1]
    with np.load(io.BytesIO(whole.files[0][1])) as archive:
        sound = dict(archive)

    @settings(max_examples=2 * EXAMPLES)
    @given(st.dictionaries(st.sampled_from(keys), ARRAYS, min_size=1, max_size=2))
    def read(other: dict[str, Any]) -> None:
        file = io.BytesIO()
        np.savez(file, **{**sound, **other})
        assert problem(fuzzing, with_first(fuzzing, name, file.getvalue()), place) == ""

    read()


@pytest.mark.parametrize("name", ["stgcn-npy", "aimclr-npy"])
@pytest.mark.parametrize("row", [0, 1])
def test_any_array_and_any_labels(
    name: str, row: int, fuzzing: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("any")
    (whole, *_) = fuzzing.seeds.seeds_of(name)
    path = whole.files[row][0]

    @settings(max_examples=EXAMPLES)
    @given(ARRAYS, VALUES)
    def read(array: Any, value: Any) -> None:
        pickled = path.endswith(".pkl")
        content = pickle.dumps(value) if pickled else fuzzing.seeds.array_file(array)
        files = tuple((p, content if p == path else c) for p, c in whole.files)
        assert problem(fuzzing, replace(whole, files=files), place) == ""

    read()


@pytest.mark.parametrize("key", ["frame_dir", "label", "keypoint", "total_frames", "img_shape", ""])
def test_any_annotation(key: str, fuzzing: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("any")
    whole = fuzzing.seeds.seeds_of("pyskl")[-1]
    content = pickle.loads(whole.files[0][1])

    @settings(max_examples=EXAMPLES)
    @given(VALUES | ARRAYS)
    def read(value: Any) -> None:
        first, *others = content["annotations"]
        changed = {**content, "annotations": [{**first, key: value}, *others]}
        source = with_first(fuzzing, "pyskl", pickle.dumps(changed if key else value))
        assert problem(fuzzing, source, place) == ""

    read()


# --- what went wrong once ------------------------------------------------------------------------


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def laughing(levels: int = 60) -> bytes:
    """Return a pickle of a list that holds a list twice, which holds a list twice, ..."""
    value: list[Any] = ["ha"]
    for _ in range(levels):
        value = [value, value]
    return pickle.dumps(value, protocol=2)


def annotated(**fields: Any) -> bytes:
    """Return a pickle of one annotation; bytes are pickles of their own, None is left out."""
    sound = {"frame_dir": "a", "label": 0, "keypoint": np.ones((1, 2, 17, 2))}
    parts = [b"("]
    for key, value in {**sound, **fields}.items():
        if value is None:
            continue
        body = value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)
        parts += [pickle.dumps(key, protocol=2)[2:-1], body[2:-1]]
    return b"\x80\x02](" + b"".join(parts) + b"de."


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def npz(fuzzing: Any, **members: bytes) -> bytes:
    return bytes(fuzzing.seeds.pack([(f"{key}.npy", data) for key, data in members.items()]))


JOINTS = json.dumps(np.ones((2, 20, 3)).tolist())
POSE = json.dumps([0.5] * 36)
ONCE: dict[str, tuple[str, Callable[[Any], bytes]]] = {
    "a deeply nested label": (
        "nw-ucla", lambda _: f'{{"skeletons": {JOINTS}, "label": {nested(1000)}}}'.encode()
    ),
    "one long text among the numbers": (
        "nw-ucla", lambda _: f'{{"skeletons": {JOINTS[:-4]}"{"x" * 50_000}"]]]}}'.encode()
    ),
    "deeper than JSON is read": ("nw-ucla", lambda _: nested(200_000).encode()),
    "an infinite number": (
        "nw-ucla", lambda _: f'{{"skeletons": {JOINTS.replace("1.0", "1e999", 1)}}}'.encode()
    ),
    "a number of 100,000 digits": (
        "nw-ucla", lambda _: f'{{"skeletons": {JOINTS}, "label": {"9" * 100_000}}}'.encode()
    ),
    "a deeply nested frame_index": (
        "kinetics",
        lambda _: b'{"data": [{"skeleton": [], "frame_index": %s}]}' % nested(999).encode()
    ),
    "a deeply nested label of Kinetics": (
        "kinetics",
        lambda fuzzing: fuzzing.seeds.kinetics()[0][1].replace(
            b'"label_index": 1', b'"label_index": ' + nested(999).encode()
        ),
    ),
    "a huge frame_index": (
        "kinetics",
        lambda _: b'{"data": [{"frame_index": 999999999999, "skeleton": [{"pose": %s}]}]}'
        % POSE.encode(),
    ),
    "a huge number of frames": ("ntu60", lambda _: b"999999999999\n1\n"),
    "a huge number of bodies": ("ntu60", lambda _: b"1\n99999999999999\n"),
    "two thousand million digits are announced": ("ntu60", lambda _: b"9" * 100_000),
    "rows of overflowing numbers": (
        "sbu", lambda _: b"\n".join(b"%d" % row + b",1e308" * 90 for row in range(3))
    ),
    "labels without an axis": (
        "ctrgcn-npz",
        lambda fuzzing: npz(
            fuzzing,
            x_train=fuzzing.seeds.array_file(np.ones((1, 2, 150))),
            y_train=fuzzing.seeds.array_file(np.array(3)),
        ),
    ),
    "a signalling NaN": (
        "ctrgcn-npz",
        lambda fuzzing: npz(
            fuzzing,
            x_train=npy(
                "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 150), }",
                struct.pack("<I", 0x7FA00000) * 150,
            ),
            y_train=fuzzing.seeds.array_file(np.array([0])),
        ),
    ),
    "characters that do not exist": (
        "arrays",
        lambda fuzzing: npz(
            fuzzing,
            x=fuzzing.seeds.array_file(np.ones((1, 2, 17, 3))),
            layout=npy("{'descr': '<U1', 'fortran_order': False, 'shape': (), }", b"\xff" * 4),
        ),
    ),
    "a length that is True": (
        "arrays",
        lambda fuzzing: npz(
            fuzzing,
            x=fuzzing.seeds.array_file(np.ones((1, 2, 17, 3))),
            layout=npy("{'descr': '<U1', 'fortran_order': False, 'shape': (True,), }", b"a\0\0\0"),
        ),
    ),
    "other sides than training and test": (
        "arrays",
        lambda fuzzing: npz(
            fuzzing,
            x=fuzzing.seeds.array_file(np.ones((1, 2, 17, 3))),
            layout=fuzzing.seeds.array_file(np.array("coco17")),
            split=fuzzing.seeds.array_file(np.array([7])),
        ),
    ),
    "values that are arrays": (
        "arrays",
        lambda fuzzing: npz(
            fuzzing,
            x=npy(
                "{'descr': ('<f4', (2, 17, 3)), 'fortran_order': False, 'shape': (1,), }",
                bytes(408),
            ),
        ),
    ),
    "a name that holds itself a million million times": (
        "pyskl", lambda _: annotated(frame_dir=laughing())
    ),
    "a label of 10,000 digits": ("pyskl", lambda _: annotated(label=10**10_000)),
    "joints that hold themselves": ("pyskl", lambda _: annotated(keypoint=laughing())),
    "a picture that holds itself": ("pyskl", lambda _: annotated(img_shape=laughing())),
    "lengths that are an array": ("pyskl", lambda _: annotated(total_frames=np.arange(3))),
    "a length that holds itself": ("pyskl", lambda _: annotated(total_frames=laughing())),
    "somewhere else that holds itself": (
        "pyskl",
        lambda _: annotated(raw_file=laughing(), keypoint=None),
    ),
    "escapes that Python does not know": (
        "pyskl", lambda _: b"(lp0\n(dS'frame_dir'\nS'a\\q\\x'\nsS'b\\d'\nI1\nsa."
    ),
    "a pickle of pickles of lists": ("pyskl", lambda _: b"]" * 100_000 + b"a" * 99_999 + b"."),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONCE)
def test_what_went_wrong_once(kind: str, fuzzing: Any, tmp_path: Path) -> None:
    name, make = ONCE[kind]
    source = with_first(fuzzing, name, make(fuzzing))
    path, options = source.write(tmp_path)
    tracemalloc.start()
    with pytest.raises(KinegraphError) as caught:
        read_all(path, name, options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) <= 2000
    assert peak < 16 * MEGABYTE
    assert problem(fuzzing, source, tmp_path) == ""


@pytest.mark.parametrize("name", ["ntu60", "ntu120"])
def test_coordinates_whose_squares_overflow_are_read_in_silence(
    name: str, fuzzing: Any, tmp_path: Path
) -> None:
    content = fuzzing.seeds._skeleton_text([(0, 1)] * 12, "%.1fe30", "\n")
    for each in fuzzing.seeds.seeds_of(name):
        if each.form == "folder" and len(each.files) == 2:
            files = tuple((path, content) for path, _ in each.files)
            assert problem(fuzzing, replace(each, files=files), tmp_path) == ""


def read_all(path: Path, name: str, options: Options) -> None:
    with open_recordings(path, format_name=name, options=options) as recordings:
        for item in recordings.items:
            check_clip(item.read(), recordings.skeleton)


def test_the_bombs_are_real() -> None:
    assert len(laughing()) < 1000
    (made,) = pickle.loads(annotated(frame_dir=laughing(3)))
    assert str(made["frame_dir"]).count("ha") == 8


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", "'a'"), ("a" * 41, f"'{'a' * 40}'..."), (b"\xff", r"b'\xff'"), (None, "None"),
        (True, "True"), (-3, "-3"), (1.5, "1.5"), (float("nan"), "nan"), (10**29, str(10**29)),
        (10**5000, "a value of type int"), (-(10**31), "a value of type int"),
        ([1], "a value of type list"), ({}, "a value of type dict"),
        (np.zeros(3), "a value of type ndarray"),
    ],
    ids=map(str, range(14)),
)  # fmt: skip
def test_values_are_shown_in_a_few_characters(value: Any, expected: str) -> None:
    assert shown(value) == expected


def test_long_messages_lose_their_middle() -> None:
    message = str(KinegraphError("begin " + "x" * 100_000 + " end"))
    assert len(message) == 2000
    assert message.startswith("begin xxx")
    assert message.endswith("xxx end")
    assert "xxx ... xxx" in message
    assert str(KinegraphError("y" * 2000)) == "y" * 2000
