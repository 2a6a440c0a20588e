"""Plain data come back whole from a pickle; everything else is refused and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph import pickled_arrays
from kinegraph.errors import ScoreError, SourceError
from kinegraph.pickles import parse_pickle, read_pickle

PLAIN = {
    "text": "Grüße\n'quoted'",
    "bytes": b"\x00\xff",
    "nothing": b"",
    "numbers": [0, 1, -5, 255, 70_000, 10**30, 1.5, float("inf")],
    "constants": (None, True, False),
    "nested": {"a": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], b"b": {}, 3: [], 2.5: 0},
}
ARRAYS = {
    "c": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="f4").reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "text": np.array(["ab", "ç"]),
    "empty": np.zeros((0, 3), dtype=np.float16),
    "no axis": np.array(2.0),
    "scalar": np.float32(1.25),
    "integer": np.int64(-3),
}
protocols = pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))


class Runs:
    """Its pickle calls a function when it is loaded by Python."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def parse(data: bytes) -> Any:
    return parse_pickle(data, where="scores.pkl")


def refused(data: bytes, match: str) -> None:
    with pytest.raises(ScoreError, match=match) as error:
        parse(data)
    assert "scores.pkl" in str(error.value)
    assert "\n" not in str(error.value)


@protocols
def test_plain_data_come_back(protocol: int) -> None:
    assert parse(pickle.dumps(PLAIN, protocol)) == PLAIN


@protocols
def test_arrays_come_back(protocol: int) -> None:
    found = parse(pickle.dumps(ARRAYS, protocol))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype, name
        assert np.shape(found[name]) == np.shape(array), name


@protocols
def test_integer_keys_and_ordered_dicts(protocol: int) -> None:
    scores = OrderedDict((np.int64(i), np.full(3, i, np.float32)) for i in range(4))
    found = parse(pickle.dumps(scores, protocol))
    assert list(found) == [0, 1, 2, 3]
    np.testing.assert_array_equal(found[2], [2, 2, 2])


def test_values_that_occur_twice_are_shared() -> None:
    row = [1, 2]
    found = parse(pickle.dumps([row, row]))
    assert found[0] is found[1]


@protocols
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int64", "strided"])
def test_torch_tensors_become_arrays(protocol: int, kind: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(6).reshape(2, 3)
    tensor = tensor.T[1:] if kind == "strided" else tensor.to(getattr(torch, kind))
    found = parse(pickle.dumps({"pred_score": tensor}, protocol))["pred_score"]
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, tensor.to(torch.float32).numpy())


def test_what_numpy_1_and_python_2_wrote() -> None:
    python2 = (  # pickle.dumps({'clip': numpy.arange(2, dtype='<i2') + 254}, 0) of Python 2
        b"(dp0\nS'clip'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\n"
        b"tp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'i2'\np10\nI0\nI1\ntp11\n"
        b"Rp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\nS'\\xfe\\x00\\xff\\x00'\np15\ntp16\nbs."
    )
    np.testing.assert_array_equal(parse(python2)["clip"], [254, 255])


@protocols
@pytest.mark.parametrize(
    ("bomb", "name"),
    [
        (Runs(os.system, "touch PWNED"), "system"),
        (Runs(eval, "open('PWNED', 'w')"), "eval"),
        (Runs(exec, "open('PWNED', 'w')"), "exec"),
        (Runs(getattr, "text", "upper"), "getattr"),
        (Runs(bytes, 10**12), "bytes"),
        (Runs(bytearray, 10**12), "bytearray"),
        (Runs(np.zeros, 10**12), "zeros"),
        (Path("x"), "athlib"),
        ({1, 2}, "set|EMPTY_SET"),
        (1j, "complex"),
        (range(3), "range"),
        (Runs(OrderedDict, [(1, 2)]), "ordered dict"),
    ],
)
def test_calls_are_refused_by_name(
    bomb: Any, name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(pickle.dumps({"clip": bomb}, protocol), f"refused: it contains .*({name})")
    assert not (tmp_path / "PWNED").exists()


def test_nothing_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kinegraph_trap.py").write_text("open('PWNED', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    refused(b"ckinegraph_trap\nthing\n.", "kinegraph_trap.thing")
    refused(b"(ikinegraph_trap\nthing\n.", "kinegraph_trap.thing")
    refused(b"\x8c\x0fkinegraph_trap.\x8c\x05thing\x93.", "kinegraph_trap")
    assert "kinegraph_trap" not in sys.modules


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"Pid\n.", "PERSID"),
        (b"\x82\x01.", "EXT1"),
        (b")\x81.", "NEWOBJ"),
        (b"}}b.", "a state for a value of type dict"),
        (b"})R.", "a call of a value of type dict"),
        (b"}(I1\ntI1\ns.", "a dict key of type tuple"),
    ],
)
def test_instructions_beyond_plain_data_are_refused(data: bytes, what: str) -> None:
    refused(data, what)


@protocols
@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}, None], dtype=object),
        np.array([Runs(os.system, "touch PWNED")], dtype=object),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.zeros(2, dtype=complex),
    ],
    ids=["objects", "bomb", "fields", "dates", "complex"],
)
def test_arrays_that_are_not_plain_numbers_are_refused(array: np.ndarray, protocol: int) -> None:
    refused(pickle.dumps(array, protocol), "refused: it contains .*(array|Runs|system)")


def test_number_types_with_hidden_fields_are_refused() -> None:
    data = _array_with(b"(I1\nt")
    refused(data.replace(b"NNNI-1", b"N(Va\ntNI-1"), "an array with named fields")


def test_subclasses_of_arrays_are_refused() -> None:
    refused(pickle.dumps(np.ma.masked_array([1.0])), "the name 'numpy.ma")


@protocols
def test_a_truncated_file_is_an_error_wherever_it_ends(protocol: int) -> None:
    data = pickle.dumps({"a": np.arange(3.0), "b": [1, (2.0, "x"), None]}, protocol)
    for end in range(len(data)):
        with pytest.raises(ScoreError, match=r"scores\.pkl"):
            parse(data[:end])


def test_random_bytes_never_raise_anything_else(rng: np.random.Generator) -> None:
    whole = bytearray(pickle.dumps({"a": np.arange(3.0), "b": [1, (2.0, "x")]}, 4))
    for _ in range(2000):
        data = whole.copy()
        for position in rng.integers(0, len(data), 3):
            data[position] = rng.integers(0, 256)
        try:
            parse(bytes(data))
        except ScoreError:
            continue


def _array_with(shape: bytes, dtype: bytes = b"f8") -> bytes:
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
        b"(I1\n" + shape + b"cnumpy\ndtype\n(V" + dtype + b"\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI0\n"
        b"tbI00\nC\x08\x00\x00\x00\x00\x00\x00\x00\x00tb."
    )


def test_small_files_cannot_take_much_memory() -> None:
    assert parse(_array_with(b"(I1\nt")).tolist() == [0.0]
    repeated = b"V" + b"a" * 100_000 + b"\nq\x00(" + b"c_codecs\nencode\n(h\x00Vlatin1\ntR" * 5000
    hostile = {
        "a huge array": _array_with(b"(I1000000000000\nt"),
        "empty items": _array_with(b"(I1000000000000\nt", b"S0"),
        "a negative shape": _array_with(b"(I-1\nI-1\nt"),
        "a huge text": b"\x8d" + (2**40).to_bytes(8, "little") + b"x.",
        "a huge buffer": b"\x96" + (2**40).to_bytes(8, "little") + b"x.",
        "a huge number": b"\x8b" + (2**31 - 1).to_bytes(4, "little") + b"x.",
        "copies of one text": repeated + b"t.",
        "a far memo entry": b"Nr\xff\xff\xff\xffj\x00\x00\x00\x00.",
    }
    tracemalloc.start()
    for data in hostile.values():
        with pytest.raises(ScoreError):
            parse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_deep_nesting_is_no_trouble() -> None:
    found = parse(b"]" + b"\x85" * 100_000 + b".")
    assert isinstance(found, tuple)
    shared = b")" + b"q\x00h\x00\x86" * 100 + b"q\x01}h\x01Ns."  # 2**100 nodes if it were walked
    refused(shared, "a dict key of type tuple")


def storage(payload: bytes) -> bytes:
    size = len(payload).to_bytes(4, "little")
    return b"ctorch.storage\n_load_from_bytes\n(B" + size + payload + b"tR."


def legacy(tensor: Any) -> bytes:
    """The bytes inside a pickled tensor."""
    pickled = pickle.dumps(tensor, 4)
    return max(
        (arg for _, arg, _ in pickletools.genops(pickled) if isinstance(arg, bytes)), key=len
    )


def test_bombs_inside_torch_payloads_do_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    bomb = Runs(os.system, "touch PWNED")
    zipped, old = io.BytesIO(), io.BytesIO()
    torch.save(bomb, zipped)
    torch.save(bomb, old, _use_new_zipfile_serialization=False)
    refused(storage(pickle.dumps(bomb)), "torch data in a form other")
    refused(storage(zipped.getvalue()), "torch data in a form other")
    refused(storage(old.getvalue()), "torch data that torch itself will not read safely")
    assert not (tmp_path / "PWNED").exists()


def test_torch_payloads_that_lie_about_their_size() -> None:
    torch = pytest.importorskip("torch")
    payload = legacy(torch.arange(100, dtype=torch.uint8))
    assert len(parse(storage(payload))) == 100
    number = payload.index(b"Kd")  # 100 elements
    huge = payload[:number] + b"J\x00\x00\x00\x70" + payload[number + 2 :]
    refused(storage(huge), "more elements than the file holds")
    refused(storage(payload[:-50]), "torch cannot read|not a whole")


def test_tensors_that_reach_beyond_their_storage() -> None:
    torch = pytest.importorskip("torch")
    head = storage(legacy(torch.arange(100, dtype=torch.uint8)))[:-1]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    assert parse(call + head + b"I0\n(I100\nt(I1\nttR.").shape == (100,)
    for view in (
        b"I1\n(I100\nt(I1\nt",
        b"I0\n(I51\nt(I2\nt",
        b"I-1\n(I1\nt(I1\nt",
        b"I0\n(I1000000000000\nt(I0\nt",
        b"I0\n(I0\nI99999999999999999999\nt(I1\nI1\nt",
    ):
        refused(call + head + view + b"tR.", "not a whole pickle")


def test_files_that_are_not_there_or_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScoreError, match="cannot be read"):
        read_pickle(tmp_path / "missing.pkl")
    file = tmp_path / "scores.pkl"
    file.write_bytes(pickle.dumps({"a": 1}))
    assert read_pickle(file) == {"a": 1}
    monkeypatch.setattr("kinegraph.pickles.MAX_FILE_BYTES", 4)
    with pytest.raises(ScoreError, match="may have 4"):
        read_pickle(file)


def test_limits_and_errors_that_a_caller_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "annotations.pkl"
    file.write_bytes(pickle.dumps([1] * 100))
    with pytest.raises(SourceError, match="may have 9"):
        read_pickle(file, error=SourceError, largest=9)
    file.write_bytes(b"")
    with pytest.raises(SourceError, match="before its end"):
        read_pickle(file, error=SourceError)
    file.write_bytes(pickle.dumps([1] * 100))
    assert read_pickle(file, largest=1 << 40) == [1] * 100
    monkeypatch.setattr("kinegraph.pickles.MAX_STEPS", 50)
    with pytest.raises(SourceError, match="more than 50 instructions"):
        read_pickle(file, error=SourceError)


def test_every_name_has_a_meaning() -> None:
    callable_symbols = set(pickled_arrays.SYMBOLS.values()) - {pickled_arrays.Symbol.ARRAY_TYPE}
    assert callable_symbols == set(pickled_arrays.REBUILDERS)
