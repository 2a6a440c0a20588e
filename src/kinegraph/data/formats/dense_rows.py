"""Large dense arrays of other programs, clip by clip, without ever holding more than one clip.

A dense array has one row for each clip, padded to the same length. It may be a ``.npy`` file or a
member of an ``.npz`` archive, tens of gigabytes long, stored or deflated. Nothing here knows what
the numbers of a row mean.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.archives import ARCHIVE_ERRORS, check_packing, check_ratio
from kinegraph.data.arrays import Header, read_header, read_member
from kinegraph.data.limits import ALWAYS_BYTES, MAX_CLIP_BYTES, MAX_CLIPS, MAX_COLUMN_BYTES
from kinegraph.errors import SourceError

LOCAL_HEADER = struct.Struct("<4s22xHH")  # what stands before each member of a zip archive


class DenseRows:
    """The rows of one array, each read when it is asked for.

    Attributes:
        shape: (N, ...), N clips.
        dtype: Type of the numbers.
        ordered: Whether rows can only be read quickly in their order.
    """

    def __init__(self, file: IO[bytes], header: Header, where: str, *, ordered: bool) -> None:
        self.shape, self.dtype, self.ordered = header.shape, header.dtype, ordered
        self._file, self._where, self._begin = file, where, file.tell()
        self._size = header.size // max(header.shape[0], 1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> NDArray[Any]:
        begin = self._begin + row * self._size
        try:
            if self._file.tell() != begin:
                self._file.seek(begin)
            data = self._file.read(self._size)
            return np.frombuffer(data, dtype=self.dtype).reshape(self.shape[1:])
        except (*ARCHIVE_ERRORS, ValueError) as error:
            raise SourceError(f"{self._where} is damaged or cut short: {error}") from error


def _checked(file: IO[bytes], size: int, where: str) -> Header:
    header = read_header(file, size, where, error=SourceError)
    if header.dtype.kind not in "fiu" or len(header.shape) < 2 or 0 in header.shape:
        raise SourceError(
            f"{where} is {header.dtype} of shape {header.shape}; expected numbers, one row a clip"
        )
    if header.fortran:
        raise SourceError(
            f"{where} is stored column by column, its clips cannot be read one by one; save it"
            " again with np.save(file, np.ascontiguousarray(array))"
        )
    largest = header.size // header.shape[0]
    if largest > MAX_CLIP_BYTES or header.shape[0] > MAX_CLIPS:
        raise SourceError(
            f"{where} has shape {header.shape}; expected at most {MAX_CLIPS:,} clips of"
            f" {MAX_CLIP_BYTES:,} bytes"
        )
    return header


@contextmanager
def open_npy_rows(path: Path) -> Iterator[DenseRows]:
    """Open a ``.npy`` file of dense clips.

    Raises:
        SourceError: It cannot be read, is cut short, holds no numbers, or is stored by columns.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    with file:
        size = os.fstat(file.fileno()).st_size
        header = _checked(file, size, f"'{path}'")
        yield DenseRows(file, header, f"'{path}'", ordered=False)


class Archive:
    """An ``.npz`` archive of dense arrays; made by `open_npz`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.where = f"'{path}'"
        self._path, self._archive = path, archive
        self._open: list[IO[bytes]] = []
        self._infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for info in archive.infolist():
            check_packing(info, self.where, SourceError)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._infos)

    def whole(self, name: str) -> NDArray[Any]:
        """Read a small array at once, such as labels."""
        info = self._infos[name]
        if info.file_size > MAX_COLUMN_BYTES:
            raise SourceError(
                f"{self.where}: '{name}' has {info.file_size:,} bytes, that cannot be"
            )
        try:
            return read_member(self._archive, info, self.where, error=SourceError)
        except ARCHIVE_ERRORS as error:
            raise SourceError(f"{self.where}: '{name}' cannot be read: {error}") from error

    def rows(self, name: str) -> DenseRows:
        """Open a dense array; a stored one is read at any row, a deflated one in order."""
        info, where = self._infos[name], f"{self.where}: '{name}'"
        stored = info.compress_type == zipfile.ZIP_STORED
        try:
            with self._archive.open(info) as member:
                # From the front only: a whole check of its checksum would read it once more.
                header = _checked(member, info.file_size, where)
                if header.size // header.shape[0] > ALWAYS_BYTES:
                    check_ratio(info, where, SourceError)
            if stored:
                file: IO[bytes] = self._path.open("rb")
                file.seek(_data_offset(file, info) + header.offset)
            else:
                file = self._archive.open(info)
                file.read(header.offset)
        except ARCHIVE_ERRORS as error:
            raise SourceError(f"{where} cannot be read: {error}") from error
        self._open.append(file)
        return DenseRows(file, header, where, ordered=not stored)

    def close(self) -> None:
        """Close what `rows` opened."""
        for file in self._open:
            file.close()


def _data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where the data of a stored member begin: behind its own header, names and extras."""
    file.seek(info.header_offset)
    signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    begin = info.header_offset + LOCAL_HEADER.size + name + extra
    end = file.seek(0, os.SEEK_END)
    if signature != b"PK\x03\x04" or info.compress_size != info.file_size:
        raise ValueError("its place in the archive is damaged")
    if begin + info.file_size > end:
        raise ValueError("the archive is cut short")
    return int(begin)


@contextmanager
def open_npz(path: Path) -> Iterator[Archive]:
    """Open an ``.npz`` archive of dense arrays.

    Raises:
        SourceError: It cannot be read, is encrypted, or packed in an unknown way.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"'{path}' {found}; expected an .npz file")
    try:
        zipped = zipfile.ZipFile(path)
    except ARCHIVE_ERRORS as error:
        raise SourceError(f"'{path}' is not a readable .npz file: {error}") from error
    with zipped:
        archive = Archive(path, zipped)
        try:
            yield archive
        finally:
            archive.close()
