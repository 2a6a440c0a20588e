"""``.npy`` files that grow row by row, so that whoever writes them holds none of the rows.

The header is written first for no rows and once more when their number is known; NumPy leaves room
in it for that. Knows nothing of clips or stores.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import NUMBERS

BUFFER_BYTES = 1 << 18
ROWS_AT_ONCE = 8192


class RowFile:
    """A ``.npy`` file being written.

    Args:
        path: The file.
        dtype: Type of a row's elements.
        shape: Shape of one row, () for plain ones.

    Attributes:
        rows: How many rows have been written.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> None:
        self.rows = 0
        self._dtype, self._shape = dtype, shape
        # A file of Python's own, not np.save: on a full disk it says why it failed.
        self._file: IO[bytes] = path.open("wb", buffering=BUFFER_BYTES)
        self._header_bytes = self._file.write(self._header())
        self._hash = hashlib.sha256()

    def append(self, rows: NDArray[Any]) -> None:
        """Append rows, (n, *shape)."""
        data = np.ascontiguousarray(rows, dtype=self._dtype).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self._hash.update(data)
        self.rows += len(rows)

    def finish(self) -> None:
        """Write the header anew, now that the number of rows is known, and close the file."""
        header = self._header()
        assert len(header) == self._header_bytes
        self._file.seek(0)
        self._file.write(header)
        self._file.close()

    @property
    def checksum(self) -> str:
        """SHA-256 of the rows, without the header."""
        return self._hash.hexdigest()

    @property
    def header_checksum(self) -> str:
        """SHA-256 of everything before the rows."""
        return hashlib.sha256(self._header()).hexdigest()

    def close(self) -> None:
        """Close the file as it is: not finished."""
        self._file.close()

    def _header(self) -> bytes:
        fields = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.rows, *self._shape),
        }
        text = io.BytesIO()
        np.lib.format.write_array_header_1_0(text, fields)
        return text.getvalue()


class ClipFile:
    """``clips.npy`` being written: names of any length, whose longest one is known at the end.

    Names go to a file of lines and numbers to another one beside it; both are gone afterwards.

    Args:
        path: The file that is to be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names_path = path.with_name("names.txt")
        self._numbers_path = path.with_name("numbers.npy")
        self._names: IO[str] = self._names_path.open("w", encoding="utf-8", newline="\n")
        try:
            self._numbers = RowFile(self._numbers_path, np.dtype(np.int32), (len(NUMBERS),))
        except OSError:
            self._names.close()
            raise
        self._longest = 1

    @property
    def rows(self) -> int:
        """How many clips have been written."""
        return self._numbers.rows

    def append(self, names: list[str], numbers: NDArray[Any]) -> None:
        """Append clips.

        Args:
            names: Their names, without line ends.
            numbers: (n, 6), as `NUMBERS`.
        """
        self._names.writelines(f"{name}\n" for name in names)
        self._longest = max(self._longest, *map(len, names)) if names else self._longest
        self._numbers.append(numbers)

    def finish(self) -> RowFile:
        """Write ``clips.npy``, remove what stood in for it, and return the file written."""
        self._names.close()
        self._numbers.finish()
        numbers: NDArray[Any] = np.load(self._numbers_path, mmap_mode="r") if self.rows else (
            np.empty((0, len(NUMBERS)), np.int32)
        )  # fmt: skip
        dtype = clip_fields(self._longest)
        clips = RowFile(self._path, dtype)
        try:
            with self._names_path.open(encoding="utf-8", newline="\n") as lines:
                for begin, end in blocks(self.rows):
                    block = np.empty(end - begin, dtype)
                    block["name"] = [lines.readline()[:-1] for _ in range(begin, end)]
                    for column, number in enumerate(NUMBERS):
                        block[number] = numbers[begin:end, column]
                    clips.append(block)
            clips.finish()
        finally:
            clips.close()
        del numbers
        self._names_path.unlink()
        self._numbers_path.unlink()
        return clips

    def close(self) -> None:
        """Close the files as they are: not finished."""
        try:
            self._names.close()
        finally:
            self._numbers.close()


def clip_fields(name_length: int) -> np.dtype[Any]:
    """Return the row type of ``clips.npy`` for names of up to ``name_length`` characters."""
    return np.dtype([("name", f"U{max(name_length, 1)}"), *((i, np.int32) for i in NUMBERS)])


def blocks(rows: int, size: int = ROWS_AT_ONCE) -> Iterator[tuple[int, int]]:
    """Yield first rows and ends of blocks that cover ``rows`` rows."""
    for begin in range(0, rows, size):
        yield begin, min(begin + size, rows)
