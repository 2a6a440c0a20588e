"""Writes one large pickle piece by piece, so that it never lies in memory whole.

Every piece is pickled by itself and stripped of its beginning and end; what is left are the
instructions that leave its value on the stack. Old programs must read the file, so that arrays are
named as NumPy before version 2 names them; NumPy 2 knows that name as well.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import IO, Any

PROTOCOL = 3  # the last one without frames, which would count the bytes that are stripped
BEGIN = b"\x80\x03"
NEW_NAME, OLD_NAME = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
AT_ONCE = 64  # items that are appended to a list by one instruction


def instructions(value: Any) -> bytes:
    """Return the instructions that make one value, which must be plain data or a NumPy array."""
    made = pickle.dumps(value, protocol=PROTOCOL)[len(BEGIN) : -len(pickle.STOP)]
    return OLD_NAME + made[len(NEW_NAME) :] if made.startswith(NEW_NAME) else made


def dict_of(fields: Mapping[str, Any]) -> bytes:
    """Return the instructions that make a dict, with arrays as its values at most."""
    pairs = b"".join(instructions(key) + instructions(value) for key, value in fields.items())
    return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS


def write_dict_with_list(
    file: IO[bytes], fields: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]
) -> int:
    """Write ``{**fields, name: [...]}``, the list item by item.

    Args:
        file: Where to.
        fields: Values of moderate size.
        name: Key of the list, which comes last.
        items: Dicts of plain values and arrays.

    Returns:
        How many items there were.
    """
    file.write(BEGIN + pickle.EMPTY_DICT + pickle.MARK)
    for key, value in fields.items():
        file.write(instructions(key) + instructions(value))
    file.write(instructions(name) + pickle.EMPTY_LIST)
    count = 0
    for count, item in enumerate(items, start=1):
        if count % AT_ONCE == 1:
            file.write((pickle.APPENDS if count > 1 else b"") + pickle.MARK)
        file.write(dict_of(item))
    file.write(pickle.APPENDS if count else b"")
    file.write(pickle.SETITEMS + pickle.STOP)
    return count
