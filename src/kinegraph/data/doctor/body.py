"""One person in one clip, measured once for all checks: joints, which of them were seen, bones.

Everything is computed when it is first asked for, over all frames at once.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Track
from kinegraph.data.doctor.anatomy import Anatomy, Floats

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Body:
    """One track, measured.

    Attributes:
        anatomy: What is known of the layout.
        person: Slot of the person in the clip.
        first: The clip's frame in which the track begins.
        positions: (T, V, 2 or 3) places of the joints, without a score.
        seen: (T, V) whether a joint was seen: it is not at the origin, and has a score if the
            layout has scores.
    """

    anatomy: Anatomy
    person: int
    first: int
    positions: Floats
    seen: Mask

    @classmethod
    def of(cls, track: Track, anatomy: Anatomy) -> Body:
        """Measure a track of (T, V, C) joints."""
        coordinates = anatomy.skeleton.coordinates
        joints: NDArray[Any] = np.asarray(track.joints)
        positions = joints[..., : coordinates.positions].astype(np.float64)
        seen = np.asarray(positions.any(axis=-1))
        if "score" in coordinates.axes:
            seen &= joints[..., coordinates.axes.index("score")] > 0
        return cls(anatomy, track.person, track.first, positions, seen)

    @cached_property
    def complete(self) -> bool:
        """Whether every joint is seen in every frame."""
        return bool(self.seen.all())

    @cached_property
    def peopled(self) -> Mask:
        """(T,) whether any joint is seen."""
        return np.asarray(self.seen.any(axis=1))

    @cached_property
    def shown(self) -> Floats:
        """(T, V, C) positions, NaN where a joint was not seen."""
        if self.complete:
            return self.positions
        return np.where(self.seen[..., None], self.positions, np.nan)

    @cached_property
    def bones(self) -> tuple[Floats, Floats, Floats]:
        """(E,) lengths of the bones: the lower tenth, the middle and the upper tenth over time."""
        anatomy = self.anatomy
        ends = self.shown
        lengths = np.sort(  # (T, E); those that were not seen are NaN and go to the end
            np.sqrt(((ends[:, anatomy.children] - ends[:, anatomy.parents]) ** 2).sum(axis=-1)),
            axis=0,
        )
        count = np.isfinite(lengths).sum(axis=0)  # (E,)
        low, middle, high = (
            np.take_along_axis(lengths, (share * np.maximum(count - 1, 0))[None].astype(int), 0)[0]
            for share in (0.1, 0.5, 0.9)
        )
        return low, middle, high

    @cached_property
    def size(self) -> float:
        """Height of the body in the unit of the clip; 0 if it cannot be told.

        From the long bones where the layout names them and has depth; else the largest extent along
        an axis, in the middle one of all frames.
        """
        anatomy = self.anatomy
        if anatomy.solid and anatomy.known:
            # A layout may also be wrong: the middle of all bones' opinions bears a few wrong ones.
            opinions = self.bones[1][anatomy.major] / anatomy.expected[anatomy.major]
            opinions = opinions[np.isfinite(opinions)]
            return float(np.median(opinions)) if len(opinions) else 0.0
        extent = self.extent
        return float(np.median(extent)) if len(extent) else 0.0

    @cached_property
    def extent(self) -> Floats:
        """(T',) largest extent along an axis in the frames in which somebody is seen."""
        shown = self.shown[self.peopled]
        if not len(shown):
            return np.zeros(0)
        return np.asarray((np.nanmax(shown, axis=1) - np.nanmin(shown, axis=1)).max(axis=-1))

    @cached_property
    def travelled(self) -> Floats:
        """(T-1, V) way of each joint between two frames, NaN where it was not seen in both."""
        return np.asarray(np.sqrt((np.diff(self.shown, axis=0) ** 2).sum(axis=-1)))

    @cached_property
    def upward(self) -> Floats:
        """(C,) direction from hips to head, the middle over time; zeros if it cannot be told."""
        anatomy = self.anatomy
        if not len(anatomy.head) or not len(anatomy.base):
            return np.zeros(self.positions.shape[-1])
        trunk = quiet_mean(self.shown[:, anatomy.head]) - quiet_mean(self.shown[:, anatomy.base])
        return normalised(quiet_median(trunk))

    @cached_property
    def facing(self) -> float:
        """Whether feet point where left and right say the front is: 1 yes, -1 the other way.

        NaN where it cannot be told: without depth, feet or hips. Axes are taken as right-handed, as
        all sensors give them; seen from a body, left x up is then forward.
        """
        anatomy = self.anatomy
        feet, ankles = anatomy.toes
        if not anatomy.solid or not len(feet) or not anatomy.across or not self.upward.any():
            return float("nan")
        left = quiet_mean(np.stack([self._across(pair) for pair in anatomy.across.values()], 1))
        front = np.cross(left, self.upward)  # (T, 3)
        front /= np.maximum(np.linalg.norm(front, axis=-1, keepdims=True), 1e-12)
        toes = quiet_mean(self.shown[:, feet] - self.shown[:, ankles])  # (T, 3)
        whole = np.nansum(np.linalg.norm(toes, axis=-1))
        along = np.nansum((toes * front).sum(axis=-1))
        return float(along / whole) if whole > 0 else float("nan")

    @cached_property
    def crossed(self) -> float:
        """Cosine of the angle between shoulders and hips, left to right: 1 parallel, -1 crossed.

        NaN without depth: seen from the side, both are too short in a picture.
        """
        if not self.anatomy.solid or len(self.anatomy.across) < 2:
            return float("nan")
        lines = [normalised(quiet_median(self._across(p))) for p in self.anatomy.across.values()]
        if not all(line.any() for line in lines):
            return float("nan")
        return float(lines[0] @ lines[1])

    def _across(self, pair: tuple[int, int]) -> Floats:
        return self.shown[:, pair[0]] - self.shown[:, pair[1]]


def quiet_mean(values: Floats) -> Floats:
    """Return the mean over axis 1 of (T, n, C), of what is not NaN."""
    if np.isfinite(values).all():
        return np.asarray(values.mean(axis=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of frames in which nothing was seen
        return np.asarray(np.nanmean(values, axis=1))


def quiet_median(values: Floats) -> Floats:
    """Return the median over axis 0 of (T, C), of rows without NaN; zeros if there are none."""
    values = values[np.isfinite(values).all(axis=-1)]
    return np.median(values, axis=0) if len(values) else np.zeros(values.shape[-1])


def normalised(vector: Floats) -> Floats:
    """Return a vector of length 1, or zeros."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else np.zeros_like(vector)
