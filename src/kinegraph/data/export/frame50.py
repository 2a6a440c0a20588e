"""Clips of 50 frames as AimCLR and CrosSCLR prepare them: pure functions on dense arrays.

Positions are relative to one joint of the same frame and turned to face one way; motion is the
difference of neighbouring frames. Both are stretched to 50 frames.

Source: the 50-frame preparation of AimCLR (Guo et al., AAAI 2022), which CrosSCLR shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ClipError

FRAMES = 50
_GUARD = 1e-4  # added to a length, as the original does, so that nothing is divided by zero


@dataclass(frozen=True)
class Body:
    """The joints that the preparation looks at; the defaults are those of ``ntu25``."""

    origin: int = 20  # the spine at the shoulders: positions are relative to it
    left: int = 4  # left shoulder; the vector from it to the right one becomes the x axis
    right: int = 8
    presence: int = 0  # base of the spine: a frame counts where the first person has it


NTU_BODY = Body()


def fifty_frames(
    people: NDArray[Any], *, frames: int = FRAMES, body: Body = NTU_BODY
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Prepare one clip.

    The length of the clip is the number of frames in which the first person has the joint
    ``presence``. As in the original it is a count: a gap cuts as many frames off the end.

    Args:
        people: (M, T, V, 3) metres, zero where nobody is and behind the last frame; the original
            pads to 300 frames, so that the motion of the last frame leads to zero.
        frames: Frames to stretch to.
        body: The joints to look at.

    Returns:
        Position and motion, each (3, frames, V, M).

    Raises:
        ClipError: The first person is in no frame.
    """
    points = np.asarray(people, dtype=np.float32)
    length = int(np.count_nonzero(points[0, :, body.presence].any(axis=-1)))
    if length == 0:
        raise ClipError("the first person is in no frame: there is nothing to stretch")
    motion = np.zeros_like(points)
    motion[:, :-1] = points[:, 1:] - points[:, :-1]
    position = points - points[:, :, body.origin, None]
    position, motion = (stretch(each[:, :length], frames) for each in (position, motion))
    # (M, T, V, C) -> (C, T, V, M)
    return turn_about_y(position, body).transpose(3, 1, 2, 0), motion.transpose(3, 1, 2, 0)


def stretch(people: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Resize (M, T, V, C) in time by linear interpolation; half-pixel centres, clamped edges."""
    length = people.shape[1]
    place = ((np.arange(frames) + 0.5) * (length / frames) - 0.5).clip(0, length - 1)
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, length - 1)
    share = (place - before).astype(np.float32)[:, None, None]  # (T, 1, 1)
    mixed = people[:, before] * (1 - share) + people[:, after] * share
    return np.asarray(mixed, dtype=np.float32)


def turn_about_y(people: NDArray[np.float32], body: Body = NTU_BODY) -> NDArray[np.float32]:
    """Turn each person (M, T, V, 3) about y, frame by frame, so that the shoulders lie along x.

    The angle is that between x and the line of the shoulders, with one sign for all frames: that
    in which the line points to negative z on the whole.
    """
    line = people[:, :, body.right] - people[:, :, body.left]  # (M, T, 3)
    along, across = line[..., 0], line[..., 2]
    angle = np.arccos(along / (np.hypot(along, across) + _GUARD))  # (M, T)
    sign = np.where(across.sum(axis=1, keepdims=True) >= 0, -1, 1)
    cos, sin = np.cos(angle * sign)[..., None], np.sin(angle * sign)[..., None]  # (M, T, 1)
    x, y, z = people[..., 0], people[..., 1], people[..., 2]  # (M, T, V)
    turned = np.stack((cos * x - sin * z, y, sin * x + cos * z), axis=-1)
    return np.asarray(turned, dtype=np.float32)
