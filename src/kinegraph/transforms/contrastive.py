"""Augmentation that makes two views of a clip look different, for contrastive learning.

Transforms as in ``augment``, on clips of T frames. All are linear in the joints or only choose
among them, so what is zero stays zero without further care; blurring alone has to be told what is
missing.

Source of all: the normal and extreme augmentations of AimCLR (Guo et al., AAAI 2022). Normal are
`MirrorCrop` and `Shear`; extreme the same, then joints exchanged (``Mirror``), `RotateAboutAxis`,
``Noise``, `Blur`, `MaskAxis` and, off in its published runs, `ReverseTime`.
Differs from the original: it seeds its workers anew with the same numbers when an epoch begins, so
that its draws repeat; here every epoch has draws of its own, but for ``training.repeat_draws``
(`ClipLoader`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinegraph.transforms.augment import (
    chosen,
    missing_points,
    transform_points,
    turned,
    where_chosen,
    with_channels,
)
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import FixedTracks


@dataclass(frozen=True)
class MirrorCrop:
    """Lengthen a clip at both ends by its own frames, mirrored in time, and cut T of them.

    Each end becomes longer by T // ratio frames, of which the first is the edge frame again.
    """

    stage = "batch"
    ratio: int

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) ``begin``, the first frame of the longer clip that is kept."""
        added = tracks.joints.shape[1] // self.ratio
        return {"begin": random.below(2 * added + 1)[:, 0]}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Read the drawn parts."""
        frames = tracks.joints.shape[1]
        steps = torch.arange(frames, device=tracks.clip.device) - frames // self.ratio
        frame = steps + draws["begin"][tracks.clip][:, None]  # (R, T), outside 0..T-1: mirrored
        frame = torch.where(frame < 0, -1 - frame, frame)
        frame = torch.where(frame >= frames, 2 * frames - 1 - frame, frame)
        row = torch.arange(len(frame), device=frame.device)[:, None]
        return replace(tracks, joints=tracks.joints[row, frame])


@dataclass(frozen=True)
class Shear:
    """Slant each clip: every axis gets shares of the others, uniform within ± amplitude.

    The same for all frames and people. A 2D layout is slanted in its plane.
    """

    stage = "batch"
    amplitude: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, 6) ``shares``: of y in x, x in y, x in z, then of z in x, z in y, y in z."""
        return {"shares": random.between(-self.amplitude, self.amplitude, 6)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Slant about the origin."""
        size = tracks.skeleton.coordinates.positions
        (a, b, c, d, e, f), one = draws["shares"].unbind(1), torch.ones_like(draws["shares"][:, 0])
        matrices = torch.stack((one, a, d, b, one, e, c, f, one), 1).view(-1, 3, 3)
        matrices = matrices[:, :size, :size]
        return replace(tracks, joints=transform_points(tracks.joints, matrices[tracks.clip]))


@dataclass(frozen=True)
class RotateAboutAxis:
    """Rotate each clip about one of the axes, and a little about the two others.

    Angles are uniform between 0 and their limit, never negative, as there; all frames and
    people turn alike. A 2D layout turns in its plane, as about its main axis.
    """

    stage = "batch"
    main: float  # degrees
    others: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, 3) ``angles`` in radians about x, y and z."""
        axis = random.below(3)  # (N, 1)
        if tracks.skeleton.coordinates.positions == 2:
            axis = torch.full_like(axis, 2)
        is_main = axis == torch.arange(3, device=axis.device)
        limit = math.pi / 180 * torch.where(is_main, self.main, self.others)
        return {"angles": limit * random.uniform(3)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Rotate about the origin: about x, then y, then z."""
        return turned(tracks, draws["angles"])


@dataclass(frozen=True)
class Blur:
    """Blur a clip over time, with some probability, by a Gaussian of random width.

    Differs from the original: a frame becomes the mean of the frames around it, weighted by the
    Gaussian; what is missing (see `missing_points`) or beyond the ends has no weight, and stays
    zero. With ``original`` (``quirks: original``) frames are added up by weights that are one in
    the middle, which makes a clip up to five times as large, and missing ones count as zeros.
    """

    stage = "batch"
    probability: float
    taps: int
    low: float
    high: float
    original: bool = False

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) ``sigma``, in frames, and (N,) bool ``on``."""
        sigma = random.between(self.low, self.high)[:, 0]
        return {"sigma": sigma, "on": chosen(random, self.probability)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Blur the drawn clips."""
        joints, size = tracks.joints, tracks.skeleton.coordinates.positions
        weight = self._weights(draws["sigma"], joints.shape[1])[tracks.clip]  # (R, T, T)
        points = joints[..., :size]
        if self.original:
            blurred = _mixed(weight, points)
        else:
            missing = missing_points(joints, tracks.skeleton)  # (R, T, V or 1, 1)
            there = (~missing).to(joints.dtype)
            blurred = _mixed(weight, points * there).div_(_mixed(weight, there))
            blurred = torch.where(missing, points, blurred)
        return where_chosen(tracks, draws["on"], with_channels(blurred, joints))

    def _weights(self, sigma: Tensor, frames: int) -> Tensor:
        """Return (N, T, T) what each frame takes of each other one."""
        farthest = self.taps // 2
        steps = torch.arange(farthest + 2, device=sigma.device)
        taps = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)  # (N, farthest + 2)
        # What is out of reach, and what is as good as nothing: subnormal numbers are very slow.
        taps = taps * ((steps <= farthest) & (taps > 1e-30))
        frame = torch.arange(frames, device=sigma.device)
        return taps[:, (frame[:, None] - frame).abs().clamp(max=farthest + 1)]


def _mixed(weight: Tensor, points: Tensor) -> Tensor:
    """Add up frames of (R, T, V, D) points by (R, T, T) weights."""
    return torch.bmm(weight, points.flatten(2)).view(points.shape)


@dataclass(frozen=True)
class MaskAxis:
    """Set one of the axes of a clip to zero, with some probability."""

    stage = "batch"
    probability: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) ``axis`` and (N,) bool ``on``."""
        axis = random.below(tracks.skeleton.coordinates.positions)[:, 0]
        return {"axis": axis, "on": chosen(random, self.probability)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Blank the drawn axes."""
        channels = torch.arange(tracks.joints.shape[-1], device=tracks.clip.device)
        blank = draws["on"][:, None] & (draws["axis"][:, None] == channels)  # (N, C)
        blank = blank[tracks.clip][:, None, None]
        return replace(tracks, joints=tracks.joints.masked_fill(blank, 0.0))


@dataclass(frozen=True)
class ReverseTime:
    """Play a clip backwards, with some probability."""

    stage = "batch"
    probability: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) bool ``on``."""
        return {"on": chosen(random, self.probability)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Reverse the drawn clips."""
        return where_chosen(tracks, draws["on"], tracks.joints.flip(1))
