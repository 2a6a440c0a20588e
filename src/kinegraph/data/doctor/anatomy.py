"""What is known of a body before any recording: how long its bones are, where left and front are.

A small standing figure gives each joint name a place; distances on it say how long a bone of any
layout may be. Only the doctor asks; nothing here sees a recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.doctor.medians import middle
from kinegraph.skeleton import Skeleton

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

# A standing adult in body heights: outwards from the middle, up, forward. Segment lengths after
# Drillis and Contini, Body Segment Parameters (1966), shifted to where depth sensors see the joint:
# their hips and shoulders lie closer together than the bones, their hand is the palm.
FIGURE: dict[str, tuple[float, float, float]] = {
    "head": (0.0, 0.93, 0.0),
    "nose": (0.0, 0.92, 0.05),
    "eye": (0.02, 0.94, 0.04),
    "ear": (0.045, 0.93, 0.0),
    "neck": (0.0, 0.84, 0.0),
    "shoulder centre": (0.0, 0.80, 0.0),
    "spine at shoulders": (0.0, 0.80, 0.0),
    "torso": (0.0, 0.69, 0.0),
    "middle of spine": (0.0, 0.67, 0.0),
    "spine": (0.0, 0.57, 0.0),
    "hip centre": (0.0, 0.52, 0.0),
    "base of spine": (0.0, 0.51, 0.0),
    "shoulder": (0.11, 0.79, 0.0),
    "elbow": (0.13, 0.62, 0.0),
    "wrist": (0.13, 0.475, 0.0),
    "hand": (0.13, 0.43, 0.0),
    "thumb": (0.11, 0.42, 0.03),
    "hand tip": (0.13, 0.385, 0.0),
    "hip": (0.06, 0.50, 0.0),
    "knee": (0.06, 0.27, 0.0),
    "ankle": (0.06, 0.04, 0.0),
    "foot": (0.06, 0.02, 0.07),
}
MAJOR = 0.1  # body heights from which on a bone is long enough to measure a body by
LATERAL = ("shoulder", "hip")


@dataclass(frozen=True)
class Anatomy:
    """What the doctor knows of a layout.

    Attributes:
        skeleton: The layout.
        figure: (V, 3) places of the joints on the standing figure, NaN for unknown names.
    """

    skeleton: Skeleton
    figure: Floats

    @classmethod
    def of(cls, skeleton: Skeleton) -> Anatomy:
        """Look the joints of a layout up by name."""
        rows = [_place(name) for name in skeleton.joints]
        return cls(skeleton, np.array(rows, dtype=np.float64))

    @property
    def solid(self) -> bool:
        """Whether positions have depth, so that bones keep their length."""
        return self.skeleton.coordinates.positions == 3

    @cached_property
    def children(self) -> Rows:
        """(E,) the outer joint of each bone."""
        return np.array([child for child, _ in self.skeleton.edges], dtype=np.int64)

    @cached_property
    def parents(self) -> Rows:
        """(E,) the inner joint of each bone."""
        return np.array([parent for _, parent in self.skeleton.edges], dtype=np.int64)

    @cached_property
    def expected(self) -> Floats:
        """(E,) lengths of the bones in body heights; NaN where a name is unknown."""
        return np.asarray(
            np.linalg.norm(self.figure[self.children] - self.figure[self.parents], axis=-1)
        )

    @cached_property
    def major(self) -> NDArray[np.bool_]:
        """(E,) whether a bone is long enough to measure a body by."""
        return self.expected >= MAJOR

    @cached_property
    def known(self) -> bool:
        """Whether enough bones have known names to judge lengths by."""
        return int(self.major.sum()) >= 4

    @cached_property
    def head(self) -> Rows:
        """Joints of the head."""
        return np.array(self.skeleton.parts["head"], dtype=np.int64)

    @cached_property
    def base(self) -> Rows:
        """Joints that stand below the head in any posture but handstands: hips, else feet."""
        parts = self.skeleton.parts
        return np.array(parts["hips"] or parts["feet"], dtype=np.int64)

    @cached_property
    def sides(self) -> tuple[Rows, Rows]:
        """Left joints, and beside each the right one."""
        left = [
            joint
            for joint, side in enumerate(self.skeleton.sides)
            if side == "left" and self.skeleton.mirror[joint] != joint
        ]
        right = [self.skeleton.mirror[joint] for joint in left]
        return np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)

    @cached_property
    def across(self) -> dict[str, tuple[int, int]]:
        """``shoulder`` and ``hip``, as far as there are such pairs: the left and right joint."""
        joints = self.skeleton.joints
        return {
            name: (joints.index(f"left {name}"), joints.index(f"right {name}"))
            for name in LATERAL
            if f"left {name}" in joints and f"right {name}" in joints
        }

    @cached_property
    def toes(self) -> tuple[Rows, Rows]:
        """Feet and ankles: a foot points where the body faces."""
        joints = self.skeleton.joints
        pairs = [
            (joints.index(f"{side} foot"), joints.index(f"{side} ankle"))
            for side in ("left", "right")
            if f"{side} foot" in joints and f"{side} ankle" in joints
        ]
        feet, ankles = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return feet, ankles


def _place(name: str) -> tuple[float, float, float]:
    first, _, rest = name.partition(" ")
    side = {"left": 1.0, "right": -1.0}.get(first)
    out, up, front = FIGURE.get(name if side is None else rest, (np.nan,) * 3)
    return (out if side is None else side * out), up, front


def misfit(lengths: Floats, expected: Floats) -> Floats:
    """Return (...,) how far bones are from a body's: 0 fits, 1 and more is no body at all.

    The size of the body is taken from the bones themselves, by the median, so that a few wrong ones
    do not shift it.

    Args:
        lengths: (..., E) lengths; NaN counts as fitting.
        expected: (E,) lengths in body heights, NaN where unknown.
    """
    ratio = middle(lengths / expected, axis=-1)
    error = np.nansum(np.abs(lengths - ratio[..., None] * expected), axis=-1)
    whole = ratio * np.nansum(expected)
    return np.where(whole > 0, error / np.where(whole > 0, whole, 1), np.inf)
