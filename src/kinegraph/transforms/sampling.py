"""From whole ragged clips to T frames each: crop and resize, pick frames, or cut a window."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import FixedTracks, RaggedTracks


def gather_frames(tracks: RaggedTracks, frame: Tensor, weight: Tensor | None = None) -> FixedTracks:
    """Read clip frames; a track is zero in frames in which its person is not there.

    Args:
        tracks: Whole clips.
        frame: (N, T) int64 frames of each clip; any number outside the clip gives zeros.
        weight: (N, T) float32 or None. With a weight w the result is the linear interpolation
            (1 - w) * x[frame] + w * x[frame + 1].

    Returns:
        Tracks of T frames.
    """
    own = (frame[tracks.clip] - tracks.first[:, None])[..., None]  # (R, T, 1), within the track
    share = torch.ones(1, device=own.device)
    if weight is not None:
        own = torch.cat((own, own + 1), -1)  # (R, T, 2)
        share = torch.stack((1 - weight, weight), -1)[tracks.clip]
    last = tracks.length[:, None, None] - 1
    inside = (own >= 0) & (own <= last)
    source = tracks.offset[:, None, None] + own.clamp(min=0).minimum(last)
    return FixedTracks(
        joints=_mix(tracks.joints, source, share * inside),
        clip=tracks.clip,
        person=tracks.person,
        clips=len(tracks.frames),
        persons=tracks.persons,
        skeleton=tracks.skeleton,
    )


def _mix(joints: Tensor, source: Tensor, share: Tensor) -> Tensor:
    """Add up weighted frames.

    Args:
        joints: (F, V, C) frames.
        source: (R, T, K) int64, the frames to add.
        share: (R, T, K) float32, their weights.

    Returns:
        (R, T, V, C) float32.
    """
    shape = (*source.shape[:2], *joints.shape[1:])
    if joints.dtype == torch.float32:
        # Frames as words of V*C numbers: reads, weighs and adds in one pass through memory.
        mixed = torch.nn.functional.embedding_bag(
            source.flatten(0, 1),
            joints.flatten(1),
            mode="sum",
            per_sample_weights=share.flatten(0, 1),
        )
        return mixed.view(shape)
    parts = zip(source.unbind(-1), share.unbind(-1), strict=True)
    read = (joints[frame].to(torch.float32).mul_(w[..., None, None]) for frame, w in parts)
    return reduce(torch.Tensor.add_, read)


def resize_positions(crop: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Where each of ``length`` output frames lies in a crop of (N,) frames: (N, T) frame, weight.

    Linear interpolation with half-pixel centres and clamped edges, without antialiasing, as
    ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` does it.
    """
    scale = (crop.to(torch.float32) / length)[:, None]
    steps = torch.arange(length, device=crop.device, dtype=torch.float32)
    position = ((steps + 0.5) * scale - 0.5).clamp(min=0)
    frame = position.floor()
    last = (crop[:, None] - 1).to(torch.float32)
    weight = torch.where(frame >= last, 0.0, position - frame)
    return frame.minimum(last).to(torch.int64), weight


@dataclass(frozen=True)
class CropResize:
    """Take a part of each clip and resize it in time by linear interpolation.

    With one proportion p the middle p of the clip is taken; with two, a random proportion between
    them at a random place, but at least ``minimum`` frames.

    Source: the sampling of CTR-GCN (Chen et al., ICCV 2021), used by InfoGCN, FR-Head and LST.
    """

    stage = "sample"
    length: int
    proportion: float | tuple[float, float]
    minimum: int = 64

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Return (N,) ``begin`` and ``crop``, the part of each clip in frames."""
        if isinstance(self.proportion, tuple):
            proportion, place = random.uniform(2).unbind(1)
            return self.part(proportion, place, tracks.frames)
        frames = tracks.frames
        begin = ((1 - self.proportion) * frames.to(torch.float64) / 2).to(torch.int64)
        return {"begin": begin, "crop": frames - 2 * begin}

    def part(self, proportion: Tensor, place: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """Turn (N,) uniform draws into the part of each clip of (N,) ``frames``."""
        low, high = self.proportion if isinstance(self.proportion, tuple) else (1.0, 1.0)
        share = proportion.to(torch.float64) * (high - low) + low
        crop = (frames * share).floor().to(torch.int64).clamp(min=self.minimum).minimum(frames)
        begin = (place * (frames - crop + 1)).to(torch.int64).minimum(frames - crop)
        return {"begin": begin, "crop": crop}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Read and interpolate the drawn parts."""
        frame, weight = resize_positions(draws["crop"], self.length)
        return gather_frames(tracks, frame + draws["begin"][:, None], weight)


@dataclass(frozen=True)
class PickFrames:
    """Pick frames without interpolation: evenly spread, or a random sorted choice.

    The random choice takes T of 100 copies of the clip's frames without replacement, so frames of
    short clips repeat.

    Source: the NW-UCLA sampling of CTR-GCN.
    """

    stage = "sample"
    length: int
    random: bool
    copies: int = 100

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Return (N, T) ``frame``."""
        frames = tracks.frames
        if not self.random:
            steps = torch.arange(self.length, device=frames.device, dtype=torch.float64)
            step = (frames - 1).to(torch.float64) / max(self.length - 1, 1)
            frame = (steps * step[:, None]).to(torch.int64)
            if self.length > 1:  # the last one exactly, whatever the rounding
                frame[:, -1] = frames - 1
            return {"frame": frame}
        # Draw more tickets than are needed and keep the first T different ones of each clip.
        tickets = random.below(frames * self.copies, 2 * self.length + 24)
        order = torch.sort(tickets, dim=1, stable=True)
        again = torch.zeros_like(tickets, dtype=torch.bool)
        repeated = order.values[:, 1:] == order.values[:, :-1]
        again.scatter_(1, order.indices[:, 1:], repeated)
        kept = torch.argsort(again.to(torch.int8), dim=1, stable=True)[:, : self.length]
        frame = torch.gather(tickets, 1, kept) % frames[:, None]
        return {"frame": frame.sort(dim=1).values}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Read the drawn frames."""
        return gather_frames(tracks, draws["frame"])


@dataclass(frozen=True)
class UniformFrames:
    """Take frames from all parts of a clip, without interpolation.

    The clip is divided into T bins, and one frame is taken from each. A clip of fewer than 2T
    frames skips single ones instead; one of fewer than T is repeated from a random frame on.

    Source: ``UniformSample`` of PYSKL (Duan et al., Revisiting Skeleton-based Action Recognition).
    Differs from the original: without randomness the middle of each bin is taken, where PYSKL draws
    ten times from a generator with a fixed seed and takes the mean of the scores.
    """

    stage = "sample"
    length: int
    random: bool
    proportion: tuple[float, float] = (1.0, 1.0)

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Return (N,) ``begin`` and ``count``, the part of the clip, and (N, T+1) ``ticket``."""
        frames = tracks.frames
        if not self.random:
            middle = torch.full((len(frames), self.length + 1), 0.5, device=frames.device)
            return {"begin": torch.zeros_like(frames), "count": frames, "ticket": middle}
        low, high = self.proportion
        share = random.between(low, high)[:, 0].to(torch.float64)
        count = (share * frames).to(torch.int64).clamp(min=1).minimum(frames)
        begin = random.below(frames - count + 1)[:, 0]
        return {"begin": begin, "count": count, "ticket": random.uniform(self.length + 1)}

    def frames_of(self, draws: dict[str, Tensor], frames: Tensor) -> Tensor:
        """Turn draws into (N, T) frames of clips of (N,) ``frames``.

        Tickets in [0, 1) say which frame of its bin is taken, by their order which gaps between T
        neighbours skip one frame, and the first one with which frame a short clip begins.
        """
        count, ticket = draws["count"][:, None], draws["ticket"]
        steps = torch.arange(self.length + 1, device=ticket.device)[None]
        edges = torch.div(steps * count, self.length, rounding_mode="floor")  # (N, T+1)
        size = (edges[:, 1:] - edges[:, :-1]).clamp(min=1)
        binned = edges[:, :-1] + (ticket[:, :-1] * size).to(torch.int64).minimum(size - 1)
        if self.random:
            rank = ticket.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
            skips = (rank < count - self.length).long().cumsum(1)[:, :-1]
            start = (ticket[:, :1] * count).to(torch.int64).minimum(count - 1)
            few = torch.where(count < self.length, start + steps[:, :-1], steps[:, :-1] + skips)
        else:
            few = torch.where(count < self.length, steps[:, :-1].expand_as(binned), binned)
        chosen = torch.where(count < 2 * self.length, few, binned)
        return (chosen + draws["begin"][:, None]) % frames[:, None]

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Read the drawn frames."""
        return gather_frames(tracks, self.frames_of(draws, tracks.frames))


@dataclass(frozen=True)
class Window:
    """Cut a window of T frames; a shorter clip is surrounded by zeros.

    Without randomness a short clip stands at the beginning and a long one is cut in its middle.

    Source: ``auto_pading``, ``random_choose`` and ``random_shift`` of ST-GCN (Yan et al., AAAI
    2018), which are one operation here: the window begins at a clip frame, negative for padding.
    """

    stage = "sample"
    length: int
    random: bool

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Return (N,) ``begin``, the clip frame in which the window begins."""
        spare = tracks.frames - self.length  # negative: frames of padding
        if not self.random:
            return {"begin": spare.clamp(min=0) // 2}
        place = random.below(spare.abs() + 1)[:, 0]
        return {"begin": torch.where(spare >= 0, place, -place)}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Read the drawn windows."""
        steps = torch.arange(self.length, device=tracks.frames.device)
        return gather_frames(tracks, draws["begin"][:, None] + steps)
