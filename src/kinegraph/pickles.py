"""Reads the pickles of other programs without ever running what they contain.

Place in the flow: ``evaluation.scores`` calls this for score files, the formats of processed data
sets for labels and annotations. A pickle is a program for a small stack machine; this module
interprets the harmless part of that language itself, without Python's ``pickle``, so that no name
in a file is ever imported. ``pickled_arrays`` rebuilds the NumPy and torch values. Neither must
know what a score or a clip is.
"""

from __future__ import annotations

import codecs
import io
import mmap
import pickletools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kinegraph.errors import KinegraphError, ScoreError
from kinegraph.pickled_arrays import (
    REBUILDERS,
    SYMBOLS,
    Budget,
    Pending,
    RefusedError,
    Symbol,
)

MAX_FILE_BYTES = 1 << 28
"""Largest pickle that is read where nobody asks for more: 60,000 clips of 400 classes take about
100 million bytes."""
MAX_STEPS = 1 << 25
"""Most instructions that a pickle may have; every number in a list of numbers is one. Each can make
an object of some 70 bytes, so a small file of nothing else would fill the memory."""


def read_pickle(
    path: str | Path,
    *,
    error: type[KinegraphError] = ScoreError,
    largest: int | None = None,
) -> Any:
    """Read a pickle of plain data; NumPy arrays stay arrays, torch tensors become arrays.

    Args:
        path: A file of pickle protocol 0 to 5, written by Python 2 or 3.
        error: Type of the errors.
        largest: Largest size in bytes that is read; by default ``MAX_FILE_BYTES``.

    Returns:
        Nested dict, list, tuple, str, bytes, int, float, bool, None, NumPy arrays and scalars.
        Text that Python 2 wrote comes back as str.

    Raises:
        KinegraphError: The file cannot be read, is truncated or malformed, is larger than
            ``largest``, or names anything that is not plain data.
    """
    path = Path(path)
    largest = MAX_FILE_BYTES if largest is None else largest
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if size > largest:
                raise error(f"'{path}' has {size:,} bytes; such a pickle may have {largest:,}")
            if size == 0:
                return parse_pickle(b"", where=str(path), error=error)
            # Arrays are copied out of the map one by one: a large file is never held twice.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_pickle(data, where=str(path), error=error)
    except OSError as cause:
        raise error(f"'{path}' cannot be read: {cause.strerror or cause}") from cause


def parse_pickle(
    data: bytes | mmap.mmap, *, where: str, error: type[KinegraphError] = ScoreError
) -> Any:
    """Do what `read_pickle` does with bytes in memory; ``where`` names them in errors.

    Raises:
        KinegraphError: As `read_pickle`.
    """
    try:
        return _Machine(data).run()
    except RefusedError as refusal:
        raise error(
            f"'{where}' is refused: it contains {refusal}; only plain data is read (dict, list,"
            " tuple, str, bytes, numbers, NumPy arrays of numbers, CPU torch tensors)"
        ) from None
    except (
        ArithmeticError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as cause:
        # The file is cut short or hostile: whatever the interpreter trips over, the file is bad.
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise error(f"'{where}' is not a whole pickle of plain data: {reason}") from cause


# The file is cut short or hostile: whatever the interpreter trips over, the file is bad.
_TRIPS = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


class _Machine:
    """Interpreter of the plain-data part of the pickle language."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        # Both give no more than there is, whatever length an instruction declares.
        self.stream: Any = io.BytesIO(data) if isinstance(data, bytes) else data
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        # A dict, not a list: a file may number its memo entries as it likes at no cost.
        self.memo: dict[int | None, Any] = {}
        self.budget = Budget.for_file(len(data))

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
            code = self.stream.read(1)
            if not code:
                raise ValueError("it ends before its end mark")
            opcode = _OPCODES.get(code)
            if opcode is None:
                raise ValueError(f"unknown instruction {code!r} at byte {self.stream.tell() - 1}")
            if opcode.name == "STOP":
                return self.take(1)[0]
            if opcode.name == "STRING":
                argument: Any = _read_python2_string(self.stream)
            else:
                argument = opcode.arg.reader(self.stream) if opcode.arg else None
            self.step(opcode.name, argument)
        raise RefusedError(f"more than {MAX_STEPS:,} instructions")

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _WITH_ARGUMENT:
            _WITH_ARGUMENT[name](self, argument)
        elif name in _FROM_STACK:
            count, method = _FROM_STACK[name]
            method(self, self.take(count))
        elif name in _FROM_MARK:
            _FROM_MARK[name](self, self.since_mark())
        else:
            raise RefusedError(f"the instruction {name}")

    def take(self, count: int) -> list[Any]:
        """Pop the last ``count`` values."""
        if len(self.stack) < count:
            raise ValueError("an instruction finds too few values")
        start = len(self.stack) - count
        items = [_finished(item) for item in self.stack[start:]]
        del self.stack[start:]
        return items

    def mark(self, _: Any) -> None:
        """Begin a container: everything pushed from here on belongs to it."""
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        """Pop everything pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return [_finished(item) for item in items]

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def push_list(self, items: list[Any]) -> None:
        self.stack.append(items)

    def push_dict(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError(f"a list was expected, found {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("pairs of key and value for a dict were expected")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Tuples are left out: hashing a deeply shared one takes exponential time.
            if not isinstance(key, str | bytes | int | float | np.generic | None):
                raise RefusedError(f"a dict key of type {type(key).__name__}")
            target[key] = value

    def remember(self, index: int | None) -> None:
        """Note the top value for later use; without a number it gets the next free one."""
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def push_symbol(self, name: str) -> None:
        dotted = name.replace(" ", ".")
        if dotted not in SYMBOLS:
            raise RefusedError(f"the name '{dotted[:80]}'")
        self.stack.append(SYMBOLS[dotted])

    def push_symbol_from_stack(self, items: list[Any]) -> None:
        self.push_symbol(f"{items[0]}.{items[1]}")

    def reduce(self, items: list[Any]) -> None:
        """Call one of the few functions that rebuild arrays."""
        symbol, arguments = items
        if not isinstance(symbol, Symbol) or type(arguments) is not tuple:
            raise RefusedError(f"a call of a value of type {type(symbol).__name__}")
        self.stack.append(REBUILDERS[symbol](arguments, self.budget))

    def build(self, items: list[Any]) -> None:
        """Give an array or a number type that was begun before its contents."""
        target = self.stack[-1]
        if not isinstance(target, Pending):
            raise RefusedError(f"a state for a value of type {type(target).__name__}")
        target.build(items[0])


def _finished(item: Any) -> Any:
    return item.finished() if isinstance(item, Pending) else item


def _nothing(_machine: _Machine, _argument: Any) -> None:
    """Skip protocol numbers and frames: the data do not depend on them."""


def _read_python2_string(stream: BinaryIO) -> str:
    """Read the quoted text of protocol 0, in which Python 2 wrote the bytes of arrays too.

    ``pickletools`` has a reader for it, which fails on bytes beyond ASCII.
    """
    line = stream.readline()
    body = line.rstrip(b"\n")
    if not line.endswith(b"\n") or len(body) < 2 or body[:1] not in b"'\"" or body[0] != body[-1]:
        raise ValueError("a text is not quoted")
    with warnings.catch_warnings():  # of escapes that Python does not know and keeps as they are
        warnings.simplefilter("ignore")
        return codecs.escape_decode(body[1:-1])[0].decode("latin1")


_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_LITERALS = {
    "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_WITH_ARGUMENT: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.recall),
    **dict.fromkeys(("GLOBAL", "INST"), _Machine.push_symbol),
    "MARK": _Machine.mark,
}
_FROM_STACK: dict[str, tuple[int, Callable[[_Machine, list[Any]], None]]] = {
    "EMPTY_LIST": (0, _Machine.push_list),
    "EMPTY_DICT": (0, _Machine.push_dict),
    "EMPTY_TUPLE": (0, _Machine.push_tuple),
    "TUPLE1": (1, _Machine.push_tuple),
    "TUPLE2": (2, _Machine.push_tuple),
    "TUPLE3": (3, _Machine.push_tuple),
    "APPEND": (1, _Machine.append),
    "SETITEM": (2, _Machine.set_items),
    "STACK_GLOBAL": (2, _Machine.push_symbol_from_stack),
    "REDUCE": (2, _Machine.reduce),
    "BUILD": (1, _Machine.build),
}
_FROM_MARK: dict[str, Callable[[_Machine, list[Any]], None]] = {
    "LIST": _Machine.push_list,
    "TUPLE": _Machine.push_tuple,
    "DICT": _Machine.push_dict,
    "APPENDS": _Machine.append,
    "SETITEMS": _Machine.set_items,
}
