"""Geometric augmentation of people: pure functions first, then thin transforms that draw for them.

Every transform draws its parameters (`draw`) and applies them (`apply`), so that stored draws can
be replayed. All of them work on clips of T frames (``stage`` is ``batch``); what needs whole clips
stands in ``normalise``. Points are the leading axes of C; a confidence axis is never touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinegraph.skeleton import Skeleton
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import FixedTracks, constant


def rotation_matrices(angles: Tensor) -> Tensor:
    """Return (N, 3, 3) matrices Rz·Ry·Rx for (N, 3) angles in radians about x, y and z.

    The signs are those of CTR-GCN (its Rx has +sin above the diagonal, and so on): a positive
    angle turns clockwise when one looks against the axis.
    """
    one, zero = torch.ones_like(angles[:, 0]), torch.zeros_like(angles[:, 0])
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    rx = torch.stack((one, zero, zero, zero, cx, sx, zero, -sx, cx), 1).view(-1, 3, 3)
    ry = torch.stack((cy, zero, -sy, zero, one, zero, sy, zero, cy), 1).view(-1, 3, 3)
    rz = torch.stack((cz, sz, zero, -sz, cz, zero, zero, zero, one), 1).view(-1, 3, 3)
    return rz @ ry @ rx


def transform_points(joints: Tensor, matrices: Tensor) -> Tensor:
    """Multiply points by matrices: (R, ..., V, C) joints and (R, D, D) matrices, D <= C.

    Channels beyond D (a confidence) are carried over.
    """
    rows, size = joints.shape[0], matrices.shape[-1]
    points = joints[..., :size].reshape(rows, -1, size)  # (R, P, D)
    turned = matrices.transpose(1, 2)
    if points.shape[1] % 4 == 0 and points.shape[1] >= 64:
        # Four points at a time, by a matrix of four blocks: four times the arithmetic, but in a
        # quarter of the time, because products with a side of two or three are slow.
        blocks = matrices.new_zeros(rows, 4, size, 4, size)
        blocks.diagonal(dim1=1, dim2=3).copy_(turned[..., None])
        points = points.reshape(rows, -1, 4 * size)
        turned = blocks.view(rows, 4 * size, 4 * size)
    moved = torch.bmm(points, turned).view(*joints.shape[:-1], size)
    return with_channels(moved, joints)


def with_channels(points: Tensor, joints: Tensor) -> Tensor:
    """Return changed (..., V, D) points with the channels beyond D of (..., V, C) joints."""
    size = points.shape[-1]
    return points if size == joints.shape[-1] else torch.cat((points, joints[..., size:]), -1)


def turned(tracks: FixedTracks, angles: Tensor) -> FixedTracks:
    """Rotate clips about the origin by (N, 3) angles in radians; 2D ones by the third alone."""
    size = tracks.skeleton.coordinates.positions
    if size == 2:
        angles = angles * constant((0.0, 0.0, 1.0), angles.dtype, angles.device)
    matrices = rotation_matrices(angles)[:, :size, :size]
    return replace(tracks, joints=transform_points(tracks.joints, matrices[tracks.clip]))


def chosen(random: ClipRandom, probability: float) -> Tensor:
    """Return (N,) bool, whether a clip is one of those that a transform changes."""
    return random.uniform()[:, 0] < probability


def where_chosen(tracks: FixedTracks, on: Tensor, changed: Tensor) -> FixedTracks:
    """Return tracks with (R, T, V, C) changed joints in the clips for which (N,) ``on`` is set."""
    on = on[tracks.clip][:, None, None, None]
    return replace(tracks, joints=torch.where(on, changed, tracks.joints))


def missing_points(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Return (..., T, V, 1) bool: what a sampled track has no measurement of.

    Points without any confidence, where the layout has one; otherwise frames that are all zero.
    Single joints at zero may be real there: a centred joint lies at the origin.
    """
    if skeleton.coordinates.positions < joints.shape[-1]:
        return joints[..., -1:] == 0
    return (joints == 0).all(-1, keepdim=True).all(-2, keepdim=True)


@dataclass(frozen=True)
class Rotate:
    """Rotate each clip by three angles, each uniform within ± its limit; the same for all frames.

    A 2D layout turns in its plane by the third angle alone.

    Source: ``random_rot`` of CTR-GCN (theta 0.3 about every axis).
    """

    stage = "batch"
    limits: tuple[float, float, float]  # radians about x, y, z

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, 3) ``angles`` in radians."""
        drawn = random.between(-1, 1, 3)
        return {"angles": drawn * constant(self.limits, drawn.dtype, drawn.device)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Rotate about the origin."""
        return turned(tracks, draws["angles"])


@dataclass(frozen=True)
class Scale:
    """Scale each clip by one factor, uniform within ``low`` .. ``high``."""

    stage = "batch"
    low: float
    high: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) ``factor``."""
        return {"factor": random.between(self.low, self.high)[:, 0]}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Scale about the origin."""
        size = tracks.skeleton.coordinates.positions
        eye = torch.eye(size, device=tracks.joints.device)
        matrices = draws["factor"][:, None, None] * eye
        return replace(tracks, joints=transform_points(tracks.joints, matrices[tracks.clip]))


@dataclass(frozen=True)
class ScaleAxes:
    """Scale each axis of each clip by a factor of its own, 1 + U(-limit, limit).

    Source: ``RandomScale`` of PYSKL (0.1, or 0.2 for strong augmentation).
    """

    stage = "batch"
    limit: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, D) ``factor``."""
        axes = tracks.skeleton.coordinates.positions
        return {"factor": 1 + random.between(-self.limit, self.limit, axes)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Scale about the origin."""
        factor = draws["factor"][tracks.clip][:, None, None].to(tracks.joints.dtype)
        points = tracks.joints[..., : factor.shape[-1]] * factor  # (R, T, V, D)
        return replace(tracks, joints=with_channels(points, tracks.joints))


@dataclass(frozen=True)
class Mirror:
    """Swap left and right of a clip with some probability: joints change places, x its sign.

    With ``exchange_only`` x keeps its sign, as in the spatial flip of AimCLR (Guo et al., AAAI
    2022): limbs change their places while the body faces the same way.
    """

    stage = "batch"
    probability: float
    exchange_only: bool = False

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N,) bool ``swap``."""
        return {"swap": chosen(random, self.probability)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Mirror the drawn clips at the plane x = 0."""
        other = constant(tracks.skeleton.mirror, torch.int64, tracks.joints.device)
        mirrored = tracks.joints.index_select(2, other)
        if not self.exchange_only:
            mirrored[..., 0].neg_()
        return where_chosen(tracks, draws["swap"], mirrored)


@dataclass(frozen=True)
class Noise:
    """Add normal noise to what is there, see `missing_points`, of all clips or of some.

    By default every coordinate has noise of its own. ``of_extent`` moves each joint in a random
    direction by a normal share of the extent of its person in that frame, the diagonal of the box
    around the joints.

    Source: the Gaussian noise of AimCLR (half of the clips), and of ``of_extent``
    ``RandomGaussianNoise`` of PYSKL.
    Differs from the originals: what is missing stays zero unless ``move_missing`` (``quirks:
    original``) is set; absent people, too, then get noise that knows no extent.
    """

    stage = "batch"
    deviation: float
    of_extent: bool = False
    probability: float = 1.0
    move_missing: bool = False

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, M*T*V*D) ``noise``, standard normal, or 0 in clips that get none."""
        frames, joints = tracks.joints.shape[1:3]
        size = tracks.skeleton.coordinates.positions
        points = tracks.persons * frames * joints
        if self.of_extent:
            towards = random.between(-1, 1, points * size).view(-1, points, size)
            towards = torch.nn.functional.normalize(towards, dim=-1)
            noise = (random.normal(points)[..., None] * towards).flatten(1)
        else:
            noise = random.normal(points * size)
        if self.probability < 1:
            noise = noise * chosen(random, self.probability)[:, None]
        return {"noise": noise}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Add the noise."""
        if self.move_missing and not self.of_extent:
            tracks = tracks.with_absent()
        size = tracks.skeleton.coordinates.positions
        shape = (tracks.clips, tracks.persons, *tracks.joints.shape[1:3], size)
        noise = draws["noise"].view(shape)[tracks.clip, tracks.person]  # (R, T, V, D)
        joints = tracks.joints.clone()
        if self.of_extent:
            noise = noise * self._extent(joints[..., :size])
        if not self.move_missing:
            noise = noise * ~missing_points(joints, tracks.skeleton)
        joints[..., :size] += self.deviation * noise
        return replace(tracks, joints=joints)

    @staticmethod
    def _extent(points: Tensor) -> Tensor:
        """Return (R, T, 1, 1) the diagonal of the box around (R, T, V, D) points."""
        box = points.amax(2, keepdim=True) - points.amin(2, keepdim=True)
        return box.square().sum(-1, keepdim=True).sqrt()


@dataclass(frozen=True)
class RandomMove:
    """Turn, scale and shift a clip in the x-y plane, slowly changing over time.

    At a few nodes in time an angle, a scale and a shift are drawn from short lists; between the
    nodes they are interpolated linearly.

    Source: ``random_move`` of ST-GCN.
    Differs from the original: what is missing (see `missing_points`; absent people too) stays zero
    unless ``move_missing`` (``quirks: original``) is set.
    """

    stage = "batch"
    move_missing: bool = False
    segments: int = 1
    angles: tuple[float, ...] = (-10.0, -5.0, 0.0, 5.0, 10.0)  # degrees
    scales: tuple[float, ...] = (0.9, 1.0, 1.1)
    shifts: tuple[float, ...] = (-0.2, -0.1, 0.0, 0.1, 0.2)  # in units of the coordinates

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, nodes) ``angle``, ``scale``, ``shift_x`` and ``shift_y``."""
        nodes = self.segments + 1
        lists = {"angle": self.angles, "scale": self.scales}
        lists |= {"shift_x": self.shifts, "shift_y": self.shifts}
        place = torch.float32, tracks.clip.device
        return {
            name: constant(values, *place)[random.below(len(values), nodes)]
            for name, values in lists.items()
        }

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Move every frame by its interpolated parameters."""
        if self.move_missing:
            tracks = tracks.with_absent()
        frames = tracks.joints.shape[1]
        path = {name: self._over_time(nodes, frames) for name, nodes in draws.items()}
        angle = path["angle"] * (math.pi / 180)
        cos, sin = path["scale"] * angle.cos(), path["scale"] * angle.sin()  # (N, T)
        row = tracks.clip
        joints = tracks.joints.clone()
        x, y = tracks.joints[..., 0], tracks.joints[..., 1]  # (R, T, V)
        cos, sin = cos[row][..., None].to(x.dtype), sin[row][..., None].to(x.dtype)
        joints[..., 0] = cos * x - sin * y + path["shift_x"][row][..., None]
        joints[..., 1] = sin * x + cos * y + path["shift_y"][row][..., None]
        if not self.move_missing:
            missing = missing_points(tracks.joints, tracks.skeleton)
            joints = torch.where(missing, tracks.joints, joints)
        return replace(tracks, joints=joints)

    def _over_time(self, nodes: Tensor, frames: int) -> Tensor:
        """Interpolate (N, nodes) to (N, T); each segment includes both of its nodes."""
        width = frames / self.segments
        ends = [round(width * segment) for segment in range(self.segments)] + [frames]
        path = nodes.new_zeros(len(nodes), frames)
        for segment in range(self.segments):
            begin, end = ends[segment], ends[segment + 1]
            steps = torch.linspace(0, 1, end - begin, device=nodes.device, dtype=nodes.dtype)
            left, right = nodes[:, segment : segment + 1], nodes[:, segment + 1 : segment + 2]
            path[:, begin:end] = left + (right - left) * steps
        return path


@dataclass(frozen=True)
class ScaleBones:
    """Change the length of every bone by its own factor, alike on both sides of the body.

    The factors 1 + U(-limit, limit) are averaged over left and right, and hold for all frames and
    people of a clip; positions are rebuilt from the joint ``root`` outwards.

    Source: ``random_scale`` of FR-Head (Zhou et al., CVPR 2023), theta 0.2, root: base of the
    spine (joint 0 of NTU).
    Differs from the original: missing points (see `missing_points`) stay zero and the joints that
    hang on them stay where they are, unless ``move_missing`` (``quirks: original``) is set.
    """

    stage = "batch"
    limit: float
    root: int
    move_missing: bool = False

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, V) ``factor`` for the bone that ends in each joint (the root's is unused)."""
        joints = tracks.skeleton.joint_count
        return {"factor": 1 + random.between(-self.limit, self.limit, joints)}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Rebuild the positions from scaled bones."""
        skeleton = tracks.skeleton.rooted_at(self.root)
        size = skeleton.coordinates.positions
        other = constant(skeleton.mirror, torch.int64, tracks.joints.device)
        factor = (draws["factor"] + draws["factor"][:, other]) / 2
        factor = factor[tracks.clip][:, None, :, None].to(tracks.joints.dtype)  # (R, 1, V, 1)
        joints = tracks.joints.clone()
        parents = constant(skeleton.bone_parents, torch.int64, joints.device)
        points = tracks.joints[..., :size]
        bones = (points - points.index_select(2, parents)) * factor
        missing = missing_points(tracks.joints, skeleton).expand(*joints.shape[:3], 1)
        for joint in skeleton.order[1:]:
            parent = skeleton.parents[joint]
            moved = joints[:, :, parent, :size] + bones[:, :, joint]
            if not self.move_missing:
                unknown = missing[:, :, joint] | missing[:, :, parent]
                moved = torch.where(unknown, points[:, :, joint], moved)
            joints[:, :, joint, :size] = moved
        return replace(tracks, joints=joints)


@dataclass(frozen=True)
class MaskFrames:
    """Set a share of the frames, drawn with replacement, to zero.

    Source: ``random_mask`` of FR-Head (a quarter of the frames; off in its published runs).
    """

    stage = "batch"
    share: float

    def draw(self, random: ClipRandom, tracks: FixedTracks) -> dict[str, Tensor]:
        """Return (N, count) ``frame``."""
        frames = tracks.joints.shape[1]
        return {"frame": random.below(frames, int(frames * self.share))}

    def apply(self, tracks: FixedTracks, draws: dict[str, Tensor]) -> FixedTracks:
        """Blank the drawn frames."""
        keep = tracks.joints.new_ones(tracks.clips, tracks.joints.shape[1])
        keep.scatter_(1, draws["frame"], 0.0)
        return replace(tracks, joints=tracks.joints * keep[tracks.clip][:, :, None, None])
