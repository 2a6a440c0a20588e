"""Turning whole bodies: the spine upright and the shoulders along x, alike for all of a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinegraph.transforms.augment import missing_points, transform_points, with_channels
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import RaggedTracks, constant

STRAIGHT = 1e-6  # an axis or an angle below this turns nothing, as in the original
UP, ALONG = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class AlignBody:
    """Centre a clip on a joint of its first person, turn the spine to z, then the shoulders to x.

    All frames and people are turned alike, by what the first person does in the first frame.

    Source: ``PreNormalize3D`` of PYSKL (Duan et al., ACM MM 2022).
    Differs from the original: frames without the first person stay, and people do not change
    places, unless ``original`` (``quirks: original``) is set; then the coordinates are also
    subtracted in float16, as PYSKL's files hold them.
    """

    stage = "clip"
    centre: int
    spine: tuple[int, int]  # from the lower joint to the upper one
    shoulders: tuple[int, int]  # from the left one to the right one
    original: bool = False

    def draw(self, random: ClipRandom, tracks: RaggedTracks) -> dict[str, Tensor]:
        """Nothing is drawn."""
        return {}

    def apply(self, tracks: RaggedTracks, draws: dict[str, Tensor]) -> RaggedTracks:
        """Centre and turn each clip."""
        if self.original:
            tracks = follow_leading(tracks)
        points, size = tracks.joints, tracks.skeleton.coordinates.positions
        first = tracks.offset[tracks.leading()]
        origin = tracks.spread(points[first, self.centre, :size])  # (F, V, D)
        if self.original:
            moved = (points[..., :size].half() - origin.half()).to(points.dtype)
        else:
            moved = points[..., :size] - origin
        missing = (points[..., :size] == 0).all(-1, keepdim=True)
        if size < points.shape[-1]:
            missing = missing_points(points, tracks.skeleton)
        moved = moved.masked_fill(missing, 0.0)
        turn = self._turns(moved[first].double())  # (N, 3, 3)
        frames = tracks.clip_of_frame()
        turned = transform_points(moved, turn.to(moved.dtype)[frames])
        return replace(tracks, joints=with_channels(turned, points))

    def _turns(self, joints: Tensor) -> Tensor:
        """Return (N, 3, 3) matrices from (N, V, 3) joints of the first frames."""
        spine = joints[:, self.spine[1]] - joints[:, self.spine[0]]
        upright = turn_onto(spine, UP, coarse=self.original)
        line = joints[:, self.shoulders[1]] - joints[:, self.shoulders[0]]
        line = (upright @ line[..., None])[..., 0]
        return turn_onto(line, ALONG) @ upright


def turn_onto(vectors: Tensor, target: tuple[float, ...], *, coarse: bool = False) -> Tensor:
    """Return (N, 3, 3) the least rotations that take (N, 3) vectors to the direction of a target.

    A vector without length, or that points there or straight away already, is not turned.

    Args:
        vectors: In double precision.
        target: A unit vector.
        coarse: Whether the angle is taken from a direction in float16, as PYSKL does.
    """
    wanted = constant(target, vectors.dtype, vectors.device).expand_as(vectors)
    unit = _direction(vectors.half() if coarse else vectors)
    cos = (unit.to(wanted.dtype) * wanted).sum(1).clamp(-1, 1)
    axis = torch.linalg.cross(vectors, wanted)
    turns = (vectors.abs().sum(1) >= STRAIGHT) & (axis.abs().sum(1) >= STRAIGHT)
    x, y, z = _direction(axis).unbind(1)
    zero = torch.zeros_like(x)
    # Rodrigues: I + sin [axis] + (1 - cos) [axis]^2, with the skew matrix of the axis
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).view(-1, 3, 3)
    sine = torch.where(turns, (1 - cos**2).sqrt(), 0.0)[:, None, None]
    versine = torch.where(turns, 1 - cos, 0.0)[:, None, None]
    unturned = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return unturned + sine * skew + versine * (skew @ skew)


def _direction(vectors: Tensor) -> Tensor:
    """Return (N, 3) vectors of length one; sums are taken in float32 at least, as NumPy does."""
    squares = vectors.to(torch.promote_types(vectors.dtype, torch.float32)).square()
    length = squares.sum(1, keepdim=True).to(vectors.dtype).sqrt()
    return vectors / length.clamp(min=torch.finfo(vectors.dtype).tiny)


def follow_leading(tracks: RaggedTracks) -> RaggedTracks:
    """Keep only frames with the leading person, who becomes the first one.

    Of the first two people of a clip the one who is seen in more frames leads, the first one if
    they are equal. Nobody ceases to be a person: who has no frame left has one of zeros, beyond
    the end of the clip. Nothing has to be asked of a device: rows that go leave zeros behind.

    Args:
        tracks: Compacted tracks.

    Returns:
        Compacted tracks of clips that may be shorter.
    """
    lengths = tracks.length
    rows = torch.arange(len(tracks.joints), device=lengths.device)
    track = torch.searchsorted(torch.cumsum(lengths, 0), rows, right=True)  # (F,)
    seen = (tracks.joints.abs() > 1e-8).flatten(1).any(1).long()  # (F,)
    count = torch.zeros_like(lengths).index_add_(0, track, seen)  # (R,)
    lead, swap = _leading(tracks, count)
    leads = lead[tracks.clip[track]]  # (F,) the leading track of the clip of each row, or -1
    frame = tracks.first[track] + rows - tracks.offset[track]
    step = frame - tracks.first[leads]  # within the leading track
    source = tracks.offset[leads] + step.clamp(min=0).minimum(lengths[leads] - 1)
    before = torch.cumsum(seen, 0) - seen  # rows seen before each, over all tracks
    follows = (leads >= 0) & (count[leads] > 0)
    stays = (step >= 0) & (step < lengths[leads]) & (seen[source] > 0) | ~follows
    moved = torch.where(follows, before[source] - before[tracks.offset[leads]], frame)
    total = torch.where((lead >= 0) & (count[lead] > 0), count[lead], tracks.frames)
    person = torch.where(swap[tracks.clip] & (tracks.person < 2), 1 - tracks.person, tracks.person)
    return _cut(tracks, person, total, stays, moved, track)


def _leading(tracks: RaggedTracks, count: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N,) the track of the leading person, -1 without a first one, and whether to swap."""
    clips = len(tracks.frames)
    slot = torch.where(tracks.person < 2, 2 * tracks.clip + tracks.person, 2 * clips)
    table = torch.full((2 * clips + 1,), -1, device=slot.device)  # the last one: all other people
    table = table.scatter(0, slot, torch.arange(len(slot), device=slot.device))
    first, second = table[: 2 * clips].view(clips, 2).unbind(1)
    swap = (first >= 0) & (second >= 0) & (count[second] > count[first])
    return torch.where(swap, second, first), swap


def _cut(
    tracks: RaggedTracks,
    person: Tensor,
    frames: Tensor,
    stays: Tensor,
    frame: Tensor,
    track: Tensor,
) -> RaggedTracks:
    """Return tracks with the rows that stay, their clips' new lengths and people's new places.

    Args:
        tracks: Compacted tracks.
        person: (R,) new places.
        frames: (N,) new lengths of the clips.
        stays: (F,) whether a row of the joints stays.
        frame: (F,) the new frame of its clip that it shows.
        track: (F,) the track that it belongs to.
    """
    length = torch.zeros_like(tracks.length).index_add_(0, track, stays.long())
    beyond = frames[tracks.clip]  # where those stand who have no frame left
    far = torch.where(stays, frame, beyond[track])
    first = beyond.scatter_reduce(0, track, far, "amin")
    # In each track the rows that stay come first; the others become zeros behind them.
    order = torch.argsort(2 * track + (~stays).long(), stable=True)
    joints = (tracks.joints * stays[:, None, None]).index_select(0, order)
    places = torch.argsort(64 * tracks.clip + person, stable=True)
    return replace(
        tracks,
        joints=joints,
        offset=tracks.offset[places],
        length=length.clamp(min=1)[places],
        first=first[places],
        clip=tracks.clip[places],
        person=person[places],
        frames=frames,
    )
