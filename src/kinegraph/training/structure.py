"""What a group of batches is made of: its tensors, and everything else, which is its shape.

Two groups of one shape differ in nothing but the numbers in their tensors. That is what a compiled
or recorded step needs to know. Dataclasses, tuples and lists are looked into, whatever they hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from torch import Tensor

Value = TypeVar("Value")


def tensors_of(value: object) -> Iterator[Tensor]:
    """Yield the tensors in a value, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_of(part)
    elif is_dataclass(value):
        for name in _names(value):
            yield from tensors_of(getattr(value, name))


def shape_of(value: object) -> Hashable:
    """Return everything about a value but the numbers in its tensors.

    Raises:
        TypeError: It holds something that can neither be looked into nor compared.
    """
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    if isinstance(value, tuple | list):
        return type(value), *(shape_of(part) for part in value)
    if is_dataclass(value):
        return type(value), *(shape_of(getattr(value, name)) for name in _names(value))
    if not isinstance(value, Hashable):
        raise TypeError(f"a {type(value).__name__} in a batch has no shape that can be compared")
    return value


def with_tensors(value: Value, tensors: Iterator[Tensor]) -> Value:
    """Return a value like this one with other tensors, taken in the order of `tensors_of`."""
    if isinstance(value, Tensor):
        return cast(Value, next(tensors))
    if isinstance(value, tuple | list):
        return cast(Value, type(value)(with_tensors(part, tensors) for part in value))
    if is_dataclass(value) and not isinstance(value, type):
        parts = {name: with_tensors(getattr(value, name), tensors) for name in _names(value)}
        return replace(value, **parts)
    return value


def _names(value: Any) -> list[str]:
    return [field.name for field in fields(value)]
