"""Rebuilds the NumPy and torch values of a pickle from their parts.

Place in the flow: ``pickles`` meets a name such as ``numpy.core.multiarray._reconstruct``, looks it
up here, and calls the function of the same purpose below. Every size that a file declares is
compared with the bytes that are there before memory is taken. It must not know the pickle language.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Plain bytes only: bool, integers, floats, byte and text strings. Object arrays hold pointers.
_NUMBER_TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|f16|[SU][1-9]\d{0,5})")
# torch.save begins a bare storage with this pickled number; `_load_from_bytes` reads such bytes.
_STORAGE_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class RefusedError(Exception):
    """Something in a pickle is outside the plain-data language; the message names it."""


class Symbol(Enum):
    """What a name in a pickle stands for. It is dispatched on, never imported."""

    ARRAY_TYPE = auto()
    BEGIN_ARRAY = auto()
    ARRAY_FROM_BUFFER = auto()
    NUMBER_TYPE = auto()
    NUMBER = auto()
    ENCODE = auto()
    EMPTY_BYTES = auto()
    DICT = auto()
    STORAGE = auto()
    TENSOR = auto()


def _numpy_names(module: str, name: str) -> tuple[str, str]:
    """Return the name of a NumPy internal as NumPy 1 and as NumPy 2 write it."""
    return f"numpy.core.{module}.{name}", f"numpy._core.{module}.{name}"


SYMBOLS: dict[str, Symbol] = {
    "numpy.ndarray": Symbol.ARRAY_TYPE,
    "numpy.dtype": Symbol.NUMBER_TYPE,
    **dict.fromkeys(_numpy_names("multiarray", "_reconstruct"), Symbol.BEGIN_ARRAY),
    **dict.fromkeys(_numpy_names("numeric", "_frombuffer"), Symbol.ARRAY_FROM_BUFFER),
    **dict.fromkeys(_numpy_names("multiarray", "scalar"), Symbol.NUMBER),
    "_codecs.encode": Symbol.ENCODE,
    "__builtin__.bytes": Symbol.EMPTY_BYTES,
    "builtins.bytes": Symbol.EMPTY_BYTES,
    "collections.OrderedDict": Symbol.DICT,
    "torch.storage._load_from_bytes": Symbol.STORAGE,
    "torch._utils._rebuild_tensor": Symbol.TENSOR,
    "torch._utils._rebuild_tensor_v2": Symbol.TENSOR,
}


@dataclass
class Budget:
    """What the calls of one file may copy. A short file can ask for one copy many times."""

    left: int

    @classmethod
    def for_file(cls, size: int) -> Budget:
        """Return what suits a file of ``size`` bytes; honest ones copy each byte once or twice."""
        return cls(4 * size + (1 << 16))

    def spend(self, count: int) -> None:
        """Take ``count`` bytes.

        Raises:
            RefusedError: The budget is spent.
        """
        self.left -= count
        if self.left < 0:
            raise RefusedError("more copies of its own contents than a score file needs")


class Pending:
    """An array or number type between its creation and the state that completes it."""

    def __init__(self, complete: Callable[[Any], Any]) -> None:
        self._complete = complete
        self._value: Any = None

    def build(self, state: Any) -> None:
        """Complete it with ``state``."""
        self._value = self._complete(state)

    def finished(self) -> Any:
        """Return the completed value.

        Raises:
            ValueError: The state has not come.
        """
        if self._value is None:
            raise ValueError("an array has no contents")
        return self._value


def array_from_bytes(raw: Any, dtype: Any, shape: Any, order: str) -> NDArray[Any]:
    """View ``raw`` as an array; nothing is allocated.

    Raises:
        RefusedError: ``dtype`` is not a plain number type.
        ValueError: ``shape`` does not need exactly the bytes that are there.
    """
    if not isinstance(dtype, np.dtype):
        raise ValueError("an array has no number type")
    if isinstance(raw, str):  # Python 2 wrote bytes as text
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise RefusedError(f"an array made of a {type(raw).__name__}")
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array has no proper shape")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"an array of {len(raw):,} bytes declares another size")
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _begin_number_type(arguments: tuple[Any, ...], _: Budget) -> Pending:
    code = arguments[0]
    if not isinstance(code, str) or not _NUMBER_TYPE.fullmatch(code):
        raise RefusedError(f"an array of type '{str(code)[:20]}'")

    def complete(state: Any) -> np.dtype[Any]:
        # (version, byte order, subarray, field names, fields, item size, alignment, flags, ...)
        if type(state) is not tuple or len(state) < 5 or any(state[2:5]):
            raise RefusedError("an array with named fields")
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError("a number type has no byte order")
        return np.dtype(code).newbyteorder(state[1])

    return Pending(complete)


def _begin_array(arguments: tuple[Any, ...], _: Budget) -> Pending:
    if not arguments or arguments[0] is not Symbol.ARRAY_TYPE:
        raise RefusedError("an array of a type other than numpy.ndarray")

    def complete(state: Any) -> NDArray[Any]:
        shape, dtype, fortran, raw = state[-4:]  # an optional version number comes first
        return array_from_bytes(raw, dtype, shape, "F" if fortran else "C")

    return Pending(complete)


def _array_from_buffer(arguments: tuple[Any, ...], _: Budget) -> NDArray[Any]:
    raw, dtype, shape, order = arguments
    return array_from_bytes(raw, dtype, shape, order)


def _number(arguments: tuple[Any, ...], _: Budget) -> Any:
    dtype, raw = arguments
    return array_from_bytes(raw, dtype, (1,), "C")[0]


def _encode(arguments: tuple[Any, ...], budget: Budget) -> bytes:
    """Bytes that Python 3 wrote in protocols 0 to 2."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("bytes are not written as Latin-1 text")
    budget.spend(len(text))
    return text.encode("latin1")


def _empty_bytes(arguments: tuple[Any, ...], _: Budget) -> bytes:
    if arguments:
        raise RefusedError("a call of bytes")
    return b""


def _dict(arguments: tuple[Any, ...], _: Budget) -> dict[Any, Any]:
    if arguments:
        raise RefusedError("an ordered dict made from a list")
    return {}


def _storage(arguments: tuple[Any, ...], budget: Budget) -> Any:
    """Read the bytes of a torch storage, as a flat tensor, with torch's reader of plain data."""
    (payload,) = arguments
    if not isinstance(payload, bytes) or not payload.startswith(_STORAGE_MAGIC):
        raise RefusedError("torch data in a form other than that of torch.save of a storage")
    budget.spend(len(payload))
    _check_declared_size(payload)

    import torch

    try:
        storage = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise RefusedError("torch data that torch itself will not read safely") from None
    except (RuntimeError, AssertionError, EOFError, OSError) as error:
        raise ValueError(f"torch cannot read a tensor ({type(error).__name__})") from error
    if not isinstance(storage, torch.storage.TypedStorage):
        raise RefusedError(f"torch data of type {type(storage).__name__}")
    return torch.empty(0, dtype=storage.dtype).set_(storage)


def _check_declared_size(payload: bytes) -> None:
    """Refuse a storage that declares more elements than it brings bytes; torch would allocate them.

    The payload is a row of pickles: magic number, version, system, storage, keys; then the bytes.
    """
    stream = io.BytesIO(payload)
    for _ in range(3):
        for _instruction in pickletools.genops(stream):
            pass
    for _opcode, argument, _position in pickletools.genops(stream):
        if isinstance(argument, int) and not 0 <= argument <= len(payload):
            raise RefusedError("a tensor that declares more elements than the file holds")


def _tensor(arguments: tuple[Any, ...], _: Budget) -> NDArray[Any]:
    """Read a tensor as a NumPy array; bfloat16 becomes float32."""
    import torch

    storage, offset, size, stride = arguments[:4]
    if not isinstance(storage, torch.Tensor):
        raise ValueError("a tensor has no storage")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise ValueError("a tensor has no proper shape")
    elements = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if elements > storage.numel() or (elements and last >= storage.numel()):
        raise ValueError("a tensor reaches beyond its storage")
    values = storage.as_strided(size, stride, offset)
    return np.asarray(values.float().numpy() if values.dtype is torch.bfloat16 else values.numpy())


REBUILDERS: dict[Symbol, Callable[[tuple[Any, ...], Budget], Any]] = {
    Symbol.BEGIN_ARRAY: _begin_array,
    Symbol.ARRAY_FROM_BUFFER: _array_from_buffer,
    Symbol.NUMBER_TYPE: _begin_number_type,
    Symbol.NUMBER: _number,
    Symbol.ENCODE: _encode,
    Symbol.EMPTY_BYTES: _empty_bytes,
    Symbol.DICT: _dict,
    Symbol.STORAGE: _storage,
    Symbol.TENSOR: _tensor,
}
