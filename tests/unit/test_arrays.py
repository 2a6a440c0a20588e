"""Array files are not trusted: no objects, no sizes that are not there, no crash on any bytes."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.data.arrays import HEADER_LENGTH, npy_header, open_npy, read_header, read_npz
from kinegraph.errors import StoreError


def npy_bytes(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_shape(shape: str, data: bytes = b"\0" * 8) -> bytes:
    """Return a file whose header declares a shape, whatever its data are."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.array(["a", "bc"]),
        np.array([(1, "x")], dtype=[("n", "i4"), ("s", "U3")]),
        np.zeros((0, 5), np.float32),
        np.array(3),
    ],
)
@pytest.mark.parametrize("memory_map", [False, True])
def test_plain_arrays_come_back(array: np.ndarray, memory_map: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, array)
    found = open_npy(file, memory_map=memory_map)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
    assert not found.flags.writeable


def test_our_header_is_numpys(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    header = npy_header(array.shape, array.dtype)
    assert len(header) == HEADER_LENGTH
    (tmp_path / "a.npy").write_bytes(header + array.tobytes())
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    with pytest.raises(ValueError, match="does not fit"):
        npy_header((10**9,) * 20, array.dtype)


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    data = npy_bytes(np.array([Marker(trap)], dtype=object), allow_pickle=True)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    for read in (lambda: open_npy(tmp_path / "a.npy", memory_map=False),
                 lambda: open_npy(tmp_path / "a.npy", memory_map=True),
                 lambda: read_npz(tmp_path / "a.npz")):  # fmt: skip
        with pytest.raises(StoreError, match="Python objects"):
            read()
    assert not trap.exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert trap.exists()  # the trap works: it was not sprung above


@pytest.mark.parametrize(
    "data",
    [
        with_shape("(10**18,)"),
        with_shape("(1000000000000,)"),
        with_shape("(-1, -2)"),
        with_shape("(2, -1)"),
        with_shape("'x'"),
        with_shape("(2, 3.5)"),
        with_shape("__import__('os')"),
        with_shape("((((((((((((1,),),),),),),),),),),),)"),
        with_shape("(3,)"),
        with_shape("(1,)"),
        with_shape("(2"),
        with_shape("(1,)}\nif 1:\n    a\n  b\n"),
        npy_bytes(np.arange(5.0))[:-1],
        npy_bytes(np.arange(5.0)) + b"\0",
        npy_bytes(np.arange(5.0))[:40],
        npy_bytes(np.arange(5.0))[:7],
        b"",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"no array at all",
    ],
)
@pytest.mark.parametrize("memory_map", [False, True])
def test_damaged_files_are_refused(data: bytes, memory_map: bool, tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    file.write_bytes(data)
    with pytest.raises(StoreError, match=r"a\.npy") as caught:
        open_npy(file, memory_map=memory_map)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("memory_map", [False, True])
def test_characters_that_do_not_exist_are_refused(
    order: str, memory_map: bool, tmp_path: Path
) -> None:
    rows = np.zeros(3, [("number", "i4"), ("name", f"{order}U3"), ("empty", "U0")])
    rows["name"] = ["abc", "\U0010ffff", ""]
    plain = np.array([["a", "bc"], ["\ud800", "\u00e7"]], f"{order}U2")
    for array in (rows, plain, plain[:0]):
        np.save(tmp_path / "a.npy", array)
        found = open_npy(tmp_path / "a.npy", memory_map=memory_map)
        np.testing.assert_array_equal(found, array)
        data = bytearray((tmp_path / "a.npy").read_bytes())
        if array.size == 0:
            continue
        place = data.rindex(np.array("c", f"{order}U1").tobytes() if array is rows else
                            np.array("\u00e7", f"{order}U1").tobytes())  # fmt: skip
        data[place : place + 4] = (0x110000).to_bytes(4, "little" if order == "<" else "big")
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(StoreError, match="is damaged: it holds what is no text"):
            open_npy(tmp_path / "a.npy", memory_map=memory_map)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"'.*a\.npy' does not exist"):
        open_npy(tmp_path / "a.npy", memory_map=True)


@given(st.integers(0, 127), st.binary(min_size=1, max_size=4))
def test_no_damage_to_a_header_crashes(place: int, junk: bytes) -> None:
    data = bytearray(npy_bytes(np.arange(6.0).reshape(2, 3)))
    data[place : place + len(junk)] = junk
    with contextlib.suppress(StoreError):
        read_header(io.BytesIO(data), len(data), "it")


def test_archives_come_back(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.array(["a"]))
    found = read_npz(tmp_path / "a.npz")
    assert sorted(found) == ["x", "y"]
    np.testing.assert_array_equal(found["x"], np.arange(3))


def test_an_archive_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", with_shape("(1000000000000,)"))
    with pytest.raises(StoreError, match="declares 4,000,000,000,000 bytes of data, 8 are there"):
        read_npz(tmp_path / "a.npz")


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=np.arange(300), y=np.arange(30))
    whole = (tmp_path / "whole.npz").read_bytes()
    file = tmp_path / "a.npz"
    for data in (b"", b"PK", whole[:-20], whole[: len(whole) // 2], whole[300:]):
        file.write_bytes(data)
        with pytest.raises(StoreError, match=r"a\.npz"):
            read_npz(file)
    flipped = bytearray(whole)
    flipped[1000] ^= 0xFF  # inside the data of x: only the checksum can tell
    file.write_bytes(flipped)
    with pytest.raises(StoreError, match="CRC"):
        read_npz(file)


@given(st.integers(0, 700), st.binary(min_size=1, max_size=4))
def test_no_damage_to_an_archive_crashes(place: int, junk: bytes) -> None:
    file = io.BytesIO()
    np.savez(file, x=np.arange(3), y=np.arange(4))
    data = bytearray(file.getvalue())
    data[place : place + len(junk)] = junk
    with contextlib.suppress(StoreError):
        read_npz(io.BytesIO(data))
