"""Streams: what of the joints a network sees. Made last, after augmentation, on (..., T, V, C).

A confidence axis is no position and stays that of the joint in every stream; with ``original``
(``quirks: original``) it is, as in PYSKL, the mean of the two joints or frames of a difference.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kinegraph.skeleton import Skeleton
from kinegraph.transforms import check_stream
from kinegraph.transforms.tracks import constant


def bone(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Joint minus parent; the root, its own parent, becomes zero. Shape (..., V, C) as given."""
    # The V*C numbers of a frame are read as one row, which is faster than V short ones.
    channels = range(joints.shape[-1])
    parents = skeleton.bone_parents
    columns = tuple(parent * len(channels) + channel for parent in parents for channel in channels)
    index = constant(columns, torch.int64, joints.device)
    made = joints.flatten(-2).index_select(-1, index).view(joints.shape)
    return _positions_only(joints, torch.sub(joints, made, out=made), skeleton)


def motion(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Next frame minus this one; the last frame becomes zero. Shape (..., T, V, C) as given."""
    moved = torch.empty_like(joints)
    torch.sub(joints[..., 1:, :, :], joints[..., :-1, :, :], out=moved[..., :-1, :, :])
    moved[..., -1, :, :].zero_()
    return _positions_only(joints, moved, skeleton)


def k_mode(joints: Tensor, skeleton: Skeleton, k: int, *, original: bool = False) -> Tensor:
    """Joint minus its k-th ancestor, see `Skeleton.k_mode`. Shape (..., V, C) as given."""
    operator = _k_mode_operator(skeleton, k, original, joints.dtype, joints.device)
    return _positions_only(joints, operator @ joints, skeleton)


@lru_cache(maxsize=16)
def _k_mode_operator(
    skeleton: Skeleton, k: int, original: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.from_numpy(skeleton.k_mode(k, original=original)).to(device, dtype)


def _positions_only(joints: Tensor, made: Tensor, skeleton: Skeleton) -> Tensor:
    size = skeleton.coordinates.positions
    if size < joints.shape[-1]:
        made[..., size:] = joints[..., size:]
    return made


def make_stream(
    joints: Tensor, skeleton: Skeleton, stream: str, *, original: bool = False
) -> Tensor:
    """Turn joints (..., T, V, C) into a stream of the same shape.

    Args:
        joints: Positions, and a confidence if the layout has one.
        skeleton: Layout of the joints.
        stream: A name of `kinegraph.transforms.STREAMS`.
        original: Whether ``quirks: original`` is set: a bone or motion has the mean confidence of
            its two joints or frames, and k-modes follow the trees of their authors.

    Raises:
        RecipeError: There is no such stream.
    """
    check_stream(stream)
    average = original and skeleton.coordinates.positions < joints.shape[-1]
    if stream.startswith("k-mode-"):
        joints = k_mode(joints, skeleton, int(stream.split("-")[2]), original=original)
    elif stream.startswith("bone"):
        made = bone(joints, skeleton)
        joints = _mean_of_bones(joints, made, skeleton) if average else made
    if not stream.endswith("motion"):
        return joints
    moved = motion(joints, skeleton)
    return _mean_of_frames(joints, moved, skeleton) if average else moved


def _mean_of_bones(joints: Tensor, made: Tensor, skeleton: Skeleton) -> Tensor:
    score = joints[..., skeleton.coordinates.positions :]
    parents = constant(skeleton.bone_parents, torch.int64, joints.device)
    made[..., skeleton.coordinates.positions :] = (score + score.index_select(-2, parents)) / 2
    return made


def _mean_of_frames(joints: Tensor, made: Tensor, skeleton: Skeleton) -> Tensor:
    score = joints[..., skeleton.coordinates.positions :]
    last = made.shape[-3] - 1
    mean = (score[..., 1:, :, :] + score[..., :-1, :, :]) / 2
    made[..., :last, :, skeleton.coordinates.positions :] = mean
    made[..., last, :, skeleton.coordinates.positions :] = 0
    return made
