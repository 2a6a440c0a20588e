"""Reading and writing ``.npy`` and ``.npz`` files without trusting them.

NumPy would unpickle object arrays and allocate whatever a header declares; here a file must hold
plain numbers or text and must be as long as its header says. Knows nothing of clips or stores.
"""

from __future__ import annotations

import math
import sys
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kinegraph.data.archives import ARCHIVE_ERRORS as ARCHIVE_ERRORS
from kinegraph.data.archives import check_packing, check_ratio
from kinegraph.errors import KinegraphError, StoreError

HEADER_LENGTH = 128
_VERSIONS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# A damaged header is a piece of Python source and fails like one.
_HEADER_ERRORS = (
    ValueError, TypeError, SyntaxError, EOFError, OSError, RecursionError, MemoryError,
    OverflowError, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a ``.npy`` file says about itself: shape, type, Fortran order, where the data begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Bytes of data that the header declares."""
        return math.prod(self.shape) * self.dtype.itemsize


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return a version-1 header of exactly 128 bytes, so that it can be rewritten in place."""
    fields = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    length = HEADER_LENGTH - len(npy.magic(1, 0)) - 2
    text = fields.ljust(length - 1) + "\n"
    if len(text) != length:
        raise ValueError(f"an array header of {len(text)} bytes does not fit {HEADER_LENGTH}")
    return npy.magic(1, 0) + length.to_bytes(2, "little") + text.encode("latin1")


def read_header(
    file: BinaryIO | IO[bytes],
    size: int,
    where: str,
    *,
    error: type[KinegraphError] = StoreError,
) -> Header:
    """Read the header of a ``.npy`` file and hold it against the file's size.

    Args:
        file: The opened file, at its beginning; afterwards at the first byte of the data.
        size: Bytes of the whole file.
        where: Names the file in errors.
        error: Type of the errors.

    Raises:
        KinegraphError: It is no such file, holds objects, or is not as long as its header says.
    """
    try:
        version = npy.read_magic(file)
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        shape, fortran, dtype = _VERSIONS[version](file)
        offset = file.tell()
    except _HEADER_ERRORS as cause:
        reason = (str(cause) or type(cause).__name__).splitlines()[0]
        raise error(f"{where} is not a readable .npy file: {reason}") from cause
    if dtype.hasobject:
        raise error(f"{where} holds Python objects; only plain numbers and text are read")
    if dtype.subdtype is not None:
        raise error(f"{where} holds values of type {dtype}; expected numbers or text")
    header = Header(shape, dtype, fortran, offset)
    whole = set(map(type, shape)) <= {int}  # NumPy takes True for a length, and then stumbles
    sound = whole and min(shape, default=0) >= 0 and dtype.itemsize > 0
    if not sound or header.size != size - offset:
        raise error(
            f"{where} is cut short or damaged: its header declares {header.size:,} bytes of data,"
            f" {size - offset:,} are there"
        )
    return header


def open_npy(path: Path, *, memory_map: bool) -> NDArray[Any]:
    """Open a ``.npy`` file of plain numbers; a memory map is read-only.

    Raises:
        StoreError: It does not exist, or as `read_header`.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file, path.stat().st_size, f"'{path}'")
            order: Any = "F" if header.fortran else "C"
            if memory_map and header.size > 0:
                mapped = np.memmap(
                    path, header.dtype, mode="r", offset=header.offset, shape=header.shape,
                    order=order,
                )  # fmt: skip
                _check_texts(mapped, f"'{path}'", StoreError)
                return mapped
            data = np.frombuffer(file.read(), dtype=header.dtype)
            return _shaped(data, header, f"'{path}'", StoreError)
    except FileNotFoundError as cause:
        raise StoreError(f"'{path}' does not exist") from cause
    except OSError as cause:
        raise StoreError(f"'{path}' cannot be read: {cause.strerror or cause}") from cause


def read_npz(path: Path | BinaryIO) -> dict[str, NDArray[Any]]:
    """Read all arrays of a small ``.npz`` file.

    Raises:
        StoreError: It cannot be read, or as `read_header`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): read_member(archive, info, f"'{path}'")
                for info in archive.infolist()
            }
    except ARCHIVE_ERRORS as cause:
        raise StoreError(f"'{path}' cannot be read: {cause}") from cause


def read_member(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    where: str,
    *,
    error: type[KinegraphError] = StoreError,
) -> NDArray[Any]:
    """Read one array of a ``.npz`` file.

    Raises:
        KinegraphError: As `read_header`, or it is packed so that it could fill the memory.
    """
    member = f"{where}: '{info.filename}'"
    check_packing(info, where, error)
    check_ratio(info, where, error)
    with archive.open(info) as file:
        header = read_header(file, info.file_size, member, error=error)
        data = np.frombuffer(file.read(header.size), dtype=header.dtype)
    return _shaped(data, header, member, error)


def _shaped(
    data: NDArray[Any], header: Header, where: str, error: type[KinegraphError]
) -> NDArray[Any]:
    """Give data their shape, after a look at texts."""
    _check_texts(data, where, error)
    order: Any = "F" if header.fortran else "C"
    return data.reshape(header.shape, order=order)


def _check_texts(data: NDArray[Any], where: str, error: type[KinegraphError]) -> None:
    """Check that texts hold characters that exist: Python has none beyond U+10FFFF.

    NumPy finds out only when such a text is used, and then fails like a broken program.
    """
    fields = data.dtype.fields or {"": (data.dtype, 0)}
    for dtype, place, *_ in fields.values():
        if dtype.kind != "U" or data.size == 0:
            continue
        code = np.dtype(np.uint32).newbyteorder(dtype.byteorder)
        codes = np.dtype(
            {
                "names": ["codes"],
                "formats": [(code, (dtype.itemsize // code.itemsize,))],
                "offsets": [place],
                "itemsize": data.dtype.itemsize,
            }
        )
        if data.view(codes)["codes"].max(initial=0) > sys.maxunicode:
            raise error(f"{where} is damaged: it holds what is no text")
