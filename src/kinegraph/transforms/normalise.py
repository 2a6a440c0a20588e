"""What is done to whole ragged clips before frames are sampled: centring, viewing, scaling.

Transforms as in ``augment``, but their ``stage`` is ``clip``. They get compacted tracks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from kinegraph.errors import LayoutError
from kinegraph.transforms.augment import (
    missing_points,
    rotation_matrices,
    transform_points,
    with_channels,
)
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import RaggedTracks, constant, waits_for_nothing


@dataclass(frozen=True)
class Centre:
    """Subtract, from every frame and person, one joint of the first person in its first frame.

    Differs from the original: missing (all-zero) joints stay zero, and where the joint is missing
    in the first frame it is taken from the first in which it was seen, unless ``move_missing``
    (``quirks: original``) is set.
    """

    stage = "clip"
    joint: int
    move_missing: bool = False

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Nothing is drawn."""
        return {}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> RaggedTracks:
        """Shift each clip."""
        size = tracks.skeleton.coordinates.positions
        first = tracks.offset[tracks.leading()]
        origin = tracks.joints[first if self.move_missing else self._seen(tracks, first)]
        origin = origin[:, self.joint, :size]  # (N, D)
        joints = tracks.joints[..., :size] - tracks.spread(origin)
        if not self.move_missing:
            # Axis by axis, which is faster than a reduction over so few numbers.
            missing = reduce(torch.logical_and, (axis == 0 for axis in tracks.joints.unbind(-1)))
            joints.masked_fill_(missing[..., None], 0.0)
        return replace(tracks, joints=with_channels(joints, tracks.joints))

    def _seen(self, tracks: RaggedTracks, first: Tensor) -> Tensor:
        """Return (N,) the row of the first frame in which the leading person's joint was seen."""
        point = tracks.joints[:, self.joint]  # (F, C)
        scored = tracks.skeleton.coordinates.positions < point.shape[-1]
        seen = point[:, -1] != 0 if scored else (point != 0).any(-1)
        if waits_for_nothing(seen) and bool(seen[first].all()):
            return first
        # The frames of the leading person are the first ones of each clip.
        nowhere, clip = len(seen), tracks.clip_of_frame()
        row = torch.arange(nowhere, device=seen.device)
        ends = first + tracks.length[tracks.leading()]
        row = torch.where(seen & (row < ends[clip]), row, nowhere)
        found = torch.full_like(first, nowhere).scatter_reduce(0, clip, row, "amin")
        return torch.where(found < nowhere, found, first)  # nowhere: there is nothing to centre


@dataclass(frozen=True)
class TurnView:
    """Turn each clip about x and y by whole degrees and scale it, as if seen by another camera.

    Source: the view augmentation of the NW-UCLA pipeline of CTR-GCN: row vectors times
    Ry·(Rx·S), angles in whole degrees within ±60 (both ends), scale in 0.5 .. 1.5.
    """

    stage = "clip"
    degrees: int
    low: float
    high: float

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Return (N, 2) ``degrees`` about x and y and (N,) ``scale``."""
        degrees = random.below(2 * self.degrees + 1, 2) - self.degrees
        return {"degrees": degrees, "scale": random.between(self.low, self.high)[:, 0]}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> RaggedTracks:
        """Multiply every point by its clip's matrix."""
        if tracks.skeleton.coordinates.positions != 3:
            raise LayoutError(
                f"turn_view needs 3D joints, layout '{tracks.skeleton.name}' is 2D: use rotate"
            )
        angles = torch.zeros(len(tracks.frames), 3, device=tracks.joints.device)
        angles[:, :2] = draws["degrees"] * (math.pi / 180)
        # Row vectors times Ry·Rx are column vectors times its transpose.
        turn = rotation_matrices(angles).transpose(1, 2) * draws["scale"][:, None, None]
        frames = tracks.clip_of_frame()
        return replace(tracks, joints=transform_points(tracks.joints, turn[frames].float()))


@dataclass(frozen=True)
class FitImage:
    """Bring the pixels of 2D joints to -1 .. 1: the picture's centre to 0, its edges to 1.

    Joints with a score up to ``least_score`` become missing. A clip that does not tell the size of
    its picture has the one that is given.

    Source: ``PreNormalize2D`` of PYSKL, mode 'fix'.
    Differs from the original: the score of a joint that becomes missing is zero too, unless
    ``keep_score`` (``quirks: original``) is set.
    """

    stage = "clip"
    width: float
    height: float
    least_score: float
    keep_score: bool = False

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Nothing is drawn."""
        return {}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> RaggedTracks:
        """Shift and scale each clip by its picture.

        Raises:
            LayoutError: The joints are no points of a picture.
        """
        if tracks.skeleton.coordinates.positions != 2:
            raise LayoutError(
                f"fit_image needs joints in a picture, layout '{tracks.skeleton.name}' is 3D: use"
                " centre or align_body"
            )
        half = constant((self.width / 2, self.height / 2), torch.float32, tracks.joints.device)
        halves = half.expand(len(tracks.frames), 2)
        if tracks.image is not None:
            halves = torch.where(tracks.image > 0, tracks.image / 2, halves)  # NaN is not above 0
        place = tracks.spread(halves.to(tracks.joints.dtype))  # (F, V, 2)
        points, rest = tracks.joints[..., :2], tracks.joints[..., 2:]
        missing = (points == 0).all(-1, keepdim=True)
        if rest.shape[-1]:
            missing = rest[..., -1:] <= self.least_score
            rest = rest if self.keep_score else rest.masked_fill(missing, 0.0)
        moved = ((points - place) / place).masked_fill(missing, 0.0)
        return replace(tracks, joints=torch.cat((moved, rest), -1))


@dataclass(frozen=True)
class MinMax:
    """Stretch each axis of each clip to [-1, 1], over all its frames, joints and people.

    Source: the NW-UCLA pipeline of CTR-GCN.
    Differs from the original: an axis without any extent becomes 0 instead of NaN; what is missing
    (see `missing_points`) has no part in it and stays zero unless ``move_missing``
    (``quirks: original``) is set.
    """

    stage = "clip"
    move_missing: bool = False

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Nothing is drawn."""
        return {}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> RaggedTracks:
        """Normalise each clip."""
        size = tracks.skeleton.coordinates.positions
        points = tracks.joints[..., :size]
        missing = missing_points(tracks.joints, tracks.skeleton)
        partial = not self.move_missing
        if partial and waits_for_nothing(missing):
            partial = bool(missing.any())
        low = self._extreme(tracks, points.masked_fill(missing, torch.inf) if partial else points)
        lowered = -points.masked_fill(missing, -torch.inf) if partial else -points
        extent = -self._extreme(tracks, lowered) - low
        joints = (points - tracks.spread(low)).div_(tracks.spread(extent.clamp(min=1e-12)))
        joints.mul_(2).sub_(tracks.spread((extent > 0).to(joints.dtype)))
        if partial:
            joints.masked_fill_(missing, 0.0)
        return replace(tracks, joints=with_channels(joints, tracks.joints))

    @staticmethod
    def _extreme(tracks: RaggedTracks, points: Tensor) -> Tensor:
        """Return (N, D) the smallest coordinate of each clip on each axis of (F, V, D) points."""
        # First over the frames of each clip, in rows of V*D numbers, then over its joints.
        rows = points.reshape(len(points), -1)
        clip = tracks.clip_of_frame()[:, None].expand_as(rows)
        empty = rows.new_zeros(len(tracks.frames), rows.shape[1])
        least = empty.scatter_reduce(0, clip, rows, "amin", include_self=False)
        return least.view(len(empty), -1, points.shape[-1]).amin(1)
