"""Tables of numbers in text files, read as a whole and checked to have the columns they should.

Formats whose files are plain rows of numbers share this. Knows no data set.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.limits import MAX_TEXT_BYTES
from kinegraph.errors import ClipError

MAX_NUMBER_BYTES = 64  # of one number with the space around it; a float64 in full needs 24
SHOWN = 40  # characters of a bad line that a message quotes


def read_table(
    data: bytes, columns: int, where: str, *, delimiter: str | None = None
) -> NDArray[np.float64]:
    """Read rows of numbers; empty lines are passed over.

    Args:
        data: The bytes of the file.
        columns: How many numbers each row must have.
        where: Names the file in errors.
        delimiter: What stands between two numbers; by default any blank space.

    Returns:
        (rows, columns), at least one row. NaN and infinite numbers are kept for others to judge.

    Raises:
        ClipError: The file is empty, far too long, or a line is no such row.
    """
    if not data.strip():
        raise ClipError(f"{where} is empty")
    if len(data) > MAX_TEXT_BYTES:
        raise ClipError(
            f"{where} has {len(data):,} bytes, more than the {MAX_TEXT_BYTES:,} that one recording"
            " may have"
        )
    longest = max(map(len, data.split(b"\n")))
    if longest > columns * MAX_NUMBER_BYTES:
        raise ClipError(
            f"{where} has a line of {longest:,} characters, that cannot be {columns} numbers"
        )
    try:
        table: NDArray[Any] = np.loadtxt(
            io.BytesIO(data), dtype=np.float64, delimiter=delimiter, comments=None, ndmin=2
        )
    except ValueError as error:
        raise ClipError(f"{where}: {_bad_line(data, columns, delimiter)}") from error
    if table.shape[1] != columns:
        raise ClipError(f"{where}: {_bad_line(data, columns, delimiter)}")
    return table


def _bad_line(data: bytes, columns: int, delimiter: str | None) -> str:
    """Say which line is the first that is no row of ``columns`` numbers."""
    for number, line in enumerate(io.BytesIO(data), start=1):
        if not line.strip():
            continue
        fields = line.decode("latin-1").split(delimiter)
        if len(fields) != columns:
            hint = "; the file may be cut short" if len(fields) < columns else ""
            return f"line {number} has {len(fields)} numbers, expected {columns}{hint}"
        for text in fields:
            if not _is_number(text):
                return f"line {number}: '{text.strip()[:SHOWN]}' is no number"
    return f"it is no table of {columns} numbers a line"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
