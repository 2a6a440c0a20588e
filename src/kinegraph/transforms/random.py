"""Random draws that depend on (seed, epoch, clip, view) alone.

A counter-based generator: every number is a hash of what it is for, so it does not matter which
clips share a batch, on which device, in which order, or how many workers there are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea, Flood 2014), as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_MULTIPLY_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MULTIPLY_2 = 0x94D049BB133111EB - (1 << 64)


def mix(x: Tensor) -> Tensor:
    """Hash int64 values to int64 values (the finaliser of splitmix64; overflow wraps)."""
    x = (x ^ _shift(x, 30)) * _MULTIPLY_1
    x = (x ^ _shift(x, 27)) * _MULTIPLY_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class ClipRandom:
    """Draws for a batch of clips; one row of every result belongs to one clip.

    Args:
        seed: Seed of the run.
        epoch: A number, or (N,) one for each clip, so that augmentation differs each time.
        index: (N,) rows of the clips in the store.
        view: Number of the view, for objectives that want several of each clip.
        purpose: Number of the transform that draws, so that transforms do not share draws.
    """

    def __init__(
        self, seed: int, epoch: int | Tensor, index: Tensor, view: int = 0, purpose: int = 0
    ) -> None:
        key = torch.zeros_like(index, dtype=torch.int64)
        for word in (seed, epoch, view, purpose, index.to(torch.int64)):
            key = mix((key + _GOLDEN) ^ mix(torch.as_tensor(word, device=key.device) + _GOLDEN))
        self._key = key
        self._counter = 0

    def uniform(self, count: int = 1) -> Tensor:
        """Return (N, count) float32 in [0, 1)."""
        steps = torch.arange(self._counter, self._counter + count, device=self._key.device)
        self._counter += count
        bits = mix(self._key[:, None] + (steps[None, :] + 1) * _GOLDEN)
        return _shift(bits, 40).to(torch.float32) * 2.0**-24

    def between(self, low: float, high: float, count: int = 1) -> Tensor:
        """Return (N, count) float32, uniform in [low, high)."""
        return low + (high - low) * self.uniform(count)

    def below(self, limit: Tensor | int, count: int = 1) -> Tensor:
        """Return (N, count) int64, uniform in 0..limit-1; ``limit`` is a number or (N,)."""
        bound = torch.as_tensor(limit, device=self._key.device)
        bound = bound[:, None] if bound.ndim else bound
        drawn = (self.uniform(count) * bound).to(torch.int64)
        return torch.minimum(drawn, bound - 1)  # float32 may round up to the limit itself

    def normal(self, count: int = 1) -> Tensor:
        """Return (N, count) float32, standard normal (Box and Muller)."""
        radius = torch.sqrt(-2 * torch.log1p(-self.uniform(count)))
        return radius * torch.cos(2 * math.pi * self.uniform(count))
