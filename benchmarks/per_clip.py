"""The usual way to feed such networks, clip by clip in NumPy: the baseline of our batched code.

Written from the description of the published pipelines of CTR-GCN. Clips lie padded in one array;
each is counted, cropped, resized, rotated and turned into its stream on its own, then stacked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]

# (child, parent) joints of NTU RGB+D; joint 20, the root, is its own parent.
NTU_BONES = (
    (0, 1), (1, 20), (2, 20), (3, 2), (4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8), (10, 9),
    (11, 10), (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17), (19, 18),
    (21, 22), (20, 20), (22, 7), (23, 24), (24, 11),
)  # fmt: skip
UCLA_BONES = (
    (0, 1), (1, 2), (2, 2), (3, 2), (4, 2), (5, 4), (6, 5), (7, 6), (8, 2), (9, 8), (10, 9),
    (11, 10), (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17), (19, 18),
)  # fmt: skip


@dataclass(frozen=True)
class NTUDraws:
    """What is random about one clip: its part in frames, and three angles in radians."""

    begin: int
    crop: int
    angles: Array


def ntu_draws(frames: int, random: np.random.Generator) -> NTUDraws:
    """Draw between half and all of a clip, at least 64 frames if it has them, and angles."""
    crop = min(max(int(np.floor(frames * random.uniform(0.5, 1.0))), 64), frames)
    begin = int(random.integers(0, frames - crop + 1))
    return NTUDraws(begin, crop, random.uniform(-0.3, 0.3, 3))


def ntu_clip(
    padded: Array, stream: str, length: int, draws: NTUDraws | np.random.Generator
) -> Array:
    """Turn one padded clip (C, T, V, M) into (C, length, V, M) of a stream."""
    valid = int(np.sum(padded.sum(0).sum(-1).sum(-1) != 0))
    if isinstance(draws, np.random.Generator):
        draws = ntu_draws(valid, draws)
    part = padded[:, draws.begin : draws.begin + draws.crop]
    channels, frames, joints, people = part.shape
    image = torch.tensor(part, dtype=torch.float32).permute(0, 2, 3, 1).contiguous()
    image = image.view(1, 1, channels * joints * people, frames)
    resized = torch.nn.functional.interpolate(
        image, size=(channels * joints * people, length), mode="bilinear", align_corners=False
    )
    clip = resized.view(channels, joints, people, length).permute(0, 3, 1, 2).contiguous().numpy()
    rotation = torch.from_numpy(ntu_rotation(draws.angles)).to(torch.float32)
    points = torch.from_numpy(clip).permute(1, 0, 2, 3).contiguous().view(length, channels, -1)
    turned = torch.matmul(rotation[None].repeat(length, 1, 1), points)
    turned = turned.view(length, channels, joints, people).permute(1, 0, 2, 3).contiguous()
    return make_stream(turned.numpy(), stream, NTU_BONES)


def ntu_rotation(angles: Array) -> Array:
    """Return Rz·Ry·Rx with the signs of the published pipeline."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


@dataclass(frozen=True)
class UCLADraws:
    """What is random about one clip: degrees about x and y, a scale, and the frames."""

    degrees: tuple[int, int]
    scale: float
    frame: Array


def ucla_draws(frames: int, length: int, random: np.random.Generator) -> UCLADraws:
    """Draw a view within 60 degrees, a scale, and frames out of 100 copies of the clip's."""
    x, y = (int(degrees) for degrees in random.integers(-60, 61, 2))
    copies = np.arange(100 * frames) % frames
    frame = np.sort(random.choice(copies, length, replace=False))
    return UCLADraws((x, y), float(random.uniform(0.5, 1.5)), frame)


def ucla_clip(
    joints: Array, stream: str, length: int, draws: UCLADraws | np.random.Generator
) -> Array:
    """Turn one clip (T, V, C) into (C, length, V, 1) of a stream."""
    if isinstance(draws, np.random.Generator):
        draws = ucla_draws(len(joints), length, draws)
    centred = joints - joints[0, 1]
    ax, ay = (math.radians(degrees) for degrees in draws.degrees)
    rx = np.array([[1, 0, 0], [0, math.cos(ax), math.sin(ax)], [0, -math.sin(ax), math.cos(ax)]])
    ry = np.array([[math.cos(ay), 0, -math.sin(ay)], [0, 1, 0], [math.sin(ay), 0, math.cos(ay)]])
    turned = centred.reshape(-1, 3) @ (ry @ (rx @ np.diag([draws.scale] * 3)))
    low, high = turned.min(0), turned.max(0)
    scaled = ((turned - low) / (high - low) * 2 - 1).reshape(joints.shape)
    clip = scaled[draws.frame].transpose(2, 0, 1)[..., None]
    return make_stream(np.ascontiguousarray(clip), stream, UCLA_BONES)


def make_stream(clip: Array, stream: str, bones: tuple[tuple[int, int], ...]) -> Array:
    """Turn joints (C, T, V, M) into a stream."""
    if stream.startswith("bone"):
        joints, clip = clip, np.zeros_like(clip)
        for child, parent in bones:
            clip[:, :, child] = joints[:, :, child] - joints[:, :, parent]
    if stream.endswith("motion"):
        moved = np.zeros_like(clip)
        moved[:, :-1] = clip[:, 1:] - clip[:, :-1]
        clip = moved
    return clip
