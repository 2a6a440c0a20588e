"""AimCLR's augmentation clip by clip in NumPy: the baseline of our batched code.

Written from the description of its published program, of which it keeps the habits: joints of
absent people get noise, and the weights of the blur do not add up to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from per_clip import NTU_BONES, make_stream, ntu_rotation

Array = NDArray[Any]

EXCHANGED = [
    0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22,
]  # fmt: skip
TAPS = np.arange(-7, 8)


@dataclass(frozen=True)
class NormalDraws:
    """What is random about a normal view: where it is cut, and six shares."""

    begin: int
    shares: Array


@dataclass(frozen=True)
class ExtremeDraws:
    """What else is random about an extreme view; None or no: that step is left out."""

    exchange: bool
    angles: Array  # radians
    noise: Array | None  # (C, T, V, M)
    sigma: float | None  # frames
    axis: int | None


Draws = tuple[NormalDraws, ExtremeDraws | None]


def draws_of(clip: Array, random: np.random.Generator, *, extreme: bool) -> Draws:
    """Draw for one clip (C, T, V, M)."""
    added = clip.shape[1] // 6
    normal = NormalDraws(int(random.integers(0, 2 * added + 1)), random.uniform(-0.5, 0.5, 6))
    if not extreme:
        return normal, None
    exchange = random.random() < 0.5
    limit = np.where(np.arange(3) == random.integers(0, 3), 30, 1)
    angles = np.radians(random.uniform(0, limit))
    noise = random.normal(0, 0.01, clip.shape) if random.random() < 0.5 else None
    sigma = float(random.uniform(0.1, 2))
    blurred = random.random() < 0.5
    axis = int(random.integers(0, 3)) if random.random() < 0.5 else None
    return normal, ExtremeDraws(exchange, angles, noise, sigma if blurred else None, axis)


def view_clip(
    clip: Array, stream: str, length: int, draws: Draws | np.random.Generator, *, extreme: bool
) -> Array:
    """Turn one clip (C, length, V, M) into a view of a stream."""
    if isinstance(draws, np.random.Generator):
        draws = draws_of(clip, draws, extreme=extreme)
    normal, more = draws
    added = length // 6
    longer = np.concatenate((clip[:, :added][:, ::-1], clip, clip[:, -added:][:, ::-1]), axis=1)
    x = longer[:, normal.begin : normal.begin + length]
    x = turned(np.array(shear_rows(normal.shares)), x)
    if more is not None:
        x = changed(x, more)
    return make_stream(x.astype(np.float32), stream, NTU_BONES)


def shear_rows(shares: Array) -> list[list[float]]:
    """Return the rows of the matrix of six shares."""
    a, b, c, d, e, f = map(float, shares)
    return [[1.0, a, d], [b, 1.0, e], [c, f, 1.0]]


def turned(matrix: Array, x: Array) -> Array:
    """Multiply all points of (C, T, V, M) by a matrix."""
    return np.dot(x.transpose(1, 2, 3, 0), matrix.T).transpose(3, 0, 1, 2)


def changed(x: Array, draws: ExtremeDraws) -> Array:
    """Apply what only extreme views have."""
    if draws.exchange:
        x = x[:, :, EXCHANGED]
    x = turned(ntu_rotation(draws.angles), x)
    if draws.noise is not None:
        x = x + draws.noise
    if draws.sigma is not None:
        weights = np.exp(-0.5 * (TAPS / draws.sigma) ** 2)
        padded = np.pad(x, ((0, 0), (7, 7), (0, 0), (0, 0)))
        frames = x.shape[1]
        x = np.sum([w * padded[:, i : i + frames] for i, w in enumerate(weights)], axis=0)
    if draws.axis is not None:
        x = x.copy()
        x[draws.axis] = 0
    return x
