"""Reading and writing ``.npy`` files without trusting them.

NumPy would unpickle object arrays and allocate whatever a header declares; here a file must hold
plain numbers and must be as long as its header says.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kinegraph.errors import StoreError

HEADER_LENGTH = 128


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return a version-1 header of exactly 128 bytes, so that it can be rewritten in place."""
    fields = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    length = HEADER_LENGTH - len(npy.magic(1, 0)) - 2
    text = fields.ljust(length - 1) + "\n"
    assert len(text) == length, "an array header must fit 128 bytes"
    return npy.magic(1, 0) + length.to_bytes(2, "little") + text.encode("latin1")


def read_npy_header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order, type and offset of the data of a ``.npy`` file.

    Raises:
        StoreError: It is no such file, holds objects, or is not as long as its header says.
    """
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except FileNotFoundError as error:
        raise StoreError(f"'{path}' does not exist") from error
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"'{path}' is not a readable .npy file: {reason}") from error
    if dtype.hasobject:
        raise StoreError(f"'{path}' holds Python objects; only plain numbers are read")
    declared = math.prod(shape) * dtype.itemsize
    found = path.stat().st_size - offset
    if found != declared:
        raise StoreError(
            f"'{path}' is cut short or damaged: its header declares {declared:,} bytes of data,"
            f" {found:,} are there"
        )
    return shape, fortran, dtype, offset


def open_npy(path: Path, *, memory_map: bool) -> NDArray[Any]:
    """Open a ``.npy`` file of plain numbers, read-only.

    Raises:
        StoreError: As `read_npy_header`.
    """
    shape, fortran, dtype, offset = read_npy_header(path)
    if not memory_map or math.prod(shape) == 0:
        return np.asarray(np.load(path, allow_pickle=False))
    order = "F" if fortran else "C"
    return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=shape, order=order)
