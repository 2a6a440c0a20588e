"""Random draws that depend on (seed, epoch, clip, view) alone.

A counter-based generator: every number is a hash of what it is for, so it does not matter which
clips share a batch, on which device, in which order, or how many workers there are. Where an
original's draws are to repeat, the loader gives a clip's place in the epoch instead of clip and
epoch; then the order matters, as it does there.
"""

from __future__ import annotations

import math
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea, Flood 2014), as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MULTIPLY_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MULTIPLY_2 = 0x94D049BB133111EB - (1 << 64)
_WORD = (1 << 64) - 1


def mix(x: Tensor) -> Tensor:
    """Hash int64 values to int64 values (the finaliser of splitmix64; overflow wraps)."""
    # Each step works in the memory of its shift: new memory is what takes time here.
    x = _shift(x, 30).bitwise_xor_(x).mul_(_MULTIPLY_1)
    x = _shift(x, 27).bitwise_xor_(x).mul_(_MULTIPLY_2)
    return _shift(x, 31).bitwise_xor_(x)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix_number(x: int) -> int:
    """Hash one number as `mix` does; numbers cost less than tensors of one element."""
    x &= _WORD
    x = (x ^ x >> 30) * _MULTIPLY_1 & _WORD
    x = (x ^ x >> 27) * _MULTIPLY_2 & _WORD
    return _signed(x ^ x >> 31)


def _signed(x: int) -> int:
    x &= _WORD
    return x - (1 << 64) if x >> 63 else x


def _hash(word: int | Tensor) -> int | Tensor:
    if isinstance(word, Tensor):
        return mix(word.to(torch.int64) + _GOLDEN)
    return _mix_number(word + _GOLDEN)


def _join(key: int | Tensor, hashed: int | Tensor) -> int | Tensor:
    """Hash a key and the hash of one more word to a longer key."""
    turned = _signed(key + _GOLDEN) if isinstance(key, int) else key + _GOLDEN
    joined = turned ^ hashed
    return _mix_number(joined) if isinstance(joined, int) else mix(joined)


class ClipRandom:
    """Draws for a batch of clips; one row of every result belongs to one clip.

    Args:
        seed: Seed of the run.
        epoch: A number, or (N,) one for each clip, so that augmentation differs each time.
        index: (N,) rows of the clips in the store, or whatever else tells draws apart.
        view: Number of the view, for objectives that want several of each clip.
        purpose: Number of the transform that draws, so that transforms do not share draws.
    """

    def __init__(
        self, seed: int, epoch: int | Tensor, index: Tensor, view: int = 0, purpose: int = 0
    ) -> None:
        stem: int | Tensor = 0
        for word in (seed, epoch, view):
            stem = _join(stem, _hash(word))
        self._stem = stem
        self._index = _hash(index)
        self._device = index.device
        self._purpose = purpose
        self._counter = 0

    def for_purpose(self, purpose: int) -> ClipRandom:
        """Return draws of their own for another purpose, for the same clips and view."""
        other = copy(self)
        other._purpose, other._counter = purpose, 0
        other.__dict__.pop("_key", None)
        return other

    @cached_property
    def _key(self) -> Tensor:
        """(N,) keys, made when something is drawn."""
        key = _join(_join(self._stem, _hash(self._purpose)), self._index)
        return torch.as_tensor(key, device=self._device)

    def _bits(self, count: int) -> Tensor:
        """Return (N, count) int64 of 64 random bits each."""
        steps = torch.arange(self._counter + 1, self._counter + 1 + count, device=self._device)
        self._counter += count
        return mix(self._key[:, None] + steps * _GOLDEN)

    def uniform(self, count: int = 1) -> Tensor:
        """Return (N, count) float32 in [0, 1)."""
        return _shift(self._bits(count), 40).to(torch.float32) * 2.0**-24

    def between(self, low: float, high: float, count: int = 1) -> Tensor:
        """Return (N, count) float32, uniform in [low, high)."""
        return low + (high - low) * self.uniform(count)

    def below(self, limit: Tensor | int, count: int = 1) -> Tensor:
        """Return (N, count) int64, uniform in 0..limit-1; ``limit`` is a number or (N,)."""
        # float32 may round up to the limit itself
        if isinstance(limit, int):
            return (self.uniform(count) * limit).to(torch.int64).clamp(max=limit - 1)
        bound = limit[:, None]
        drawn = (self.uniform(count) * bound).to(torch.int64)
        return torch.minimum(drawn, bound - 1)

    def normal(self, count: int = 1) -> Tensor:
        """Return (N, count) float32, standard normal (Box and Muller), two of each 64 bits."""
        bits = self._bits((count + 1) // 2)
        radius = torch.log1p(_shift(bits, 40).to(torch.float32) * -(2.0**-24)).mul_(-2).sqrt_()
        angle = (bits & ((1 << 24) - 1)).to(torch.float32) * (2 * math.pi * 2.0**-24)
        return torch.cat((angle.cos().mul_(radius), angle.sin_().mul_(radius)), 1)[:, :count]
