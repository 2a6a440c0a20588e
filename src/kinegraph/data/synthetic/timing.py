"""Curves over time from which motions are made: eased steps, key frames, slow wandering.

All of them are vectorised over the T frames of a clip. They know nothing of bodies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kinegraph.data.synthetic.body import Floats

FRAMES_PER_SECOND = 30.0


@dataclass(frozen=True)
class Take:
    """How one clip is performed.

    Attributes:
        rng: Draws the details of this clip.
        progress: (T,) 0 before the action, 1 after it, rising evenly in between.
        seconds: (T,) time since the first frame.
        side: The hand or foot that acts.
        other: The other side.
        vigour: Size of the movement; 1 is middling.
    """

    rng: np.random.Generator
    progress: Floats
    seconds: Floats
    side: str
    other: str
    vigour: float

    @property
    def frames(self) -> int:
        """T, the length of the clip in frames."""
        return len(self.progress)

    def rise(self, begin: float, end: float) -> Floats:
        """Return (T,) an eased step from 0 to 1 between two moments of the progress."""
        return ease((self.progress - begin) / (end - begin))

    def hold(self, begin: float, full: float, fade: float, end: float) -> Floats:
        """Return (T,) a weight that rises from ``begin`` to ``full``, falls ``fade`` to ``end``."""
        return self.rise(begin, full) - self.rise(fade, end)

    def keys(self, *keys: tuple[float, Sequence[float] | Floats]) -> Floats:
        """Return (T, 3) goals that go from key to key, each a moment of the progress and a goal."""
        path = np.broadcast_to(np.asarray(keys[0][1], dtype=np.float64), (self.frames, 3)).copy()
        for (begin, start), (end, stop) in pairwise(keys):
            path += self.rise(begin, end)[:, None] * (np.asarray(stop) - np.asarray(start))
        return path

    def wobble(self, begin: float, end: float, cycles: float) -> Floats:
        """Return (T,) a sine of so many cycles between two moments, held outside of them."""
        phase = np.clip((self.progress - begin) / (end - begin), 0.0, 1.0)
        return np.sin(2 * np.pi * cycles * phase)

    def vary(self, amount: float, size: int = 3) -> Floats:
        """Return (size,) a constant offset, so that no two clips aim at the same point."""
        return self.rng.normal(0.0, amount, size)

    def between(self, low: float, high: float) -> float:
        """Return one number between two limits."""
        return float(self.rng.uniform(low, high))


def ease(phase: Floats) -> Floats:
    """Return the minimum-jerk step: 0 up to phase 0, 1 from phase 1 on.

    Source: Flash and Hogan, The coordination of arm movements (1985), for reaching movements.
    """
    phase = np.clip(phase, 0.0, 1.0)
    return phase**3 * (10 - 15 * phase + 6 * phase**2)


def wander(rng: np.random.Generator, seconds: Floats, size: float) -> Floats:
    """Return (T,) slow irregular swaying about 0 with the given standard deviation."""
    rates = rng.uniform(0.15, 1.1, size=3)
    phases = rng.uniform(0.0, 2 * np.pi, size=3)
    waves = np.sin(2 * np.pi * rates[:, None] * seconds + phases[:, None])
    total: Floats = waves[0] + waves[1] + waves[2]
    return size * math.sqrt(2 / 3) * total
