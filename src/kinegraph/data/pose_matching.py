"""Follows people through the frames of a pose estimator that does not say who is who.

Place in the flow: while 2D poses are imported, before clips are made. Pure functions on arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.floating[Any]]


def follow_people(poses: Poses, *, original: bool = False) -> NDArray[np.int64]:
    """Say which person of each frame continues which one of the first frame.

    From frame to frame the person with the highest total score chooses first and takes the nearest
    person of the next frame (squared distance over all joints); the others choose among the rest.

    Source: ``openpose_match`` of ST-GCN.
    Differs from the original: there, the order of choice is a ranking read the wrong way round, so
    that, with three or more people, not always the surest one chooses first. ``original`` restores
    that.

    Args:
        poses: (T, M, V, C) with x, y and score as the last axis.
        original: Whether ``quirks: original`` is set.

    Returns:
        (T, M): slot of frame t that holds the person who is in slot m of frame 0.
    """
    frames, people = poses.shape[:2]
    positions, scores = poses[..., :-1], poses[..., -1].sum(axis=2)  # (T, M, V, 2), (T, M)
    step = positions[1:, None, :] - positions[:-1, :, None]  # (T-1, from, to, V, 2)
    distance = np.square(step).sum(axis=(3, 4)).astype(np.float64)  # (T-1, from, to)
    chooser = np.argsort(-scores, axis=1, kind="stable")  # (T, M), the surest first
    if original:
        chooser = np.argsort(chooser, axis=1, kind="stable")
    following = np.tile(np.arange(people), (frames, 1))
    steps = np.arange(frames - 1)
    for turn in range(people):
        person = chooser[:-1, turn]
        nearest = distance[steps, person].argmin(axis=1)
        distance[steps, :, nearest] = np.inf  # taken
        following[1:][steps, person] = nearest
    for frame in range(1, frames):
        following[frame] = following[frame][following[frame - 1]]
    return following.astype(np.int64)


def match_people(poses: Poses, *, original: bool = False) -> Poses:
    """Put every person into one slot through all frames, the highest total score first.

    Args:
        poses: (T, M, V, C) with x, y and score as the last axis.
        original: Whether ``quirks: original`` is set, see `follow_people`.

    Returns:
        The same poses with slots exchanged, (T, M, V, C).
    """
    following = follow_people(poses, original=original)
    matched = np.take_along_axis(poses, following[:, :, None, None], axis=1)
    totals = matched[..., -1].sum(axis=(0, 2))
    surest_first = np.argsort(-totals, kind="stable")
    return matched[:, surest_first]
