"""Streams: what of the joints a network sees. Made last, after augmentation, on (..., T, V, C).

A confidence axis is no position and stays that of the joint in every stream.
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


def k_mode(joints: Tensor, skeleton: Skeleton, k: int) -> Tensor:
    """Joint minus its k-th ancestor, see `Skeleton.k_mode`. Shape (..., V, C) as given."""
    operator = _k_mode_operator(skeleton, k, joints.dtype, joints.device)
    return _positions_only(joints, operator @ joints, skeleton)


@lru_cache(maxsize=16)
def _k_mode_operator(
    skeleton: Skeleton, k: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.from_numpy(skeleton.k_mode(k)).to(device, dtype)


def _positions_only(joints: Tensor, made: Tensor, skeleton: Skeleton) -> Tensor:
    size = skeleton.coordinates.positions
    if size < joints.shape[-1]:
        made[..., size:] = joints[..., size:]
    return made


def make_stream(joints: Tensor, skeleton: Skeleton, stream: str) -> Tensor:
    """Turn joints (..., T, V, C) into a stream of the same shape.

    Raises:
        RecipeError: There is no such stream.
    """
    check_stream(stream)
    if stream.startswith("k-mode-"):
        joints = k_mode(joints, skeleton, int(stream.split("-")[2]))
    elif stream.startswith("bone"):
        joints = bone(joints, skeleton)
    return motion(joints, skeleton) if stream.endswith("motion") else joints
