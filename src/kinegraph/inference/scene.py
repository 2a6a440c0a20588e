"""The geometry of a drawing: where the joints of a clip fall on the paper, and its limits.

`draw` puts ink on what this module computes. It knows clips and skeletons, but no matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.inference.arrows import stream_arrows
from kinegraph.skeleton import Skeleton

Floats = NDArray[np.float64]

# Kinetics-skeleton, the data set with coordinates between 0 and 1, resized its videos to this.
IMAGE_SIZE = (340.0, 256.0)
UNIT_LABELS = {"metre": "m", "pixel": "px", "millimetre": "mm", "centimetre": "cm"}
MARGIN = 0.06  # white space around the figures, as a share of the larger side
NEAR = 0.3  # of a body's size: no bone is longer


@dataclass(frozen=True)
class Scene:
    """A clip laid out on the paper; x grows to the right and y upwards.

    Attributes:
        points: (M, T, V, 2) positions; NaN where a joint is missing.
        persons: The M person slots of the clip.
        limits: Left, right, bottom and top that hold the whole clip.
        arrows: (M, T, V, 2, 2) beginnings and ends of the arrows of a stream; None for joints.
        ground: Height of the floor, or None where the source does not tell (2D poses).
        bar: Length of the scale bar and its label, or None without a unit of length.
    """

    points: Floats
    persons: tuple[int, ...]
    limits: tuple[float, float, float, float]
    arrows: Floats | None
    ground: float | None
    bar: tuple[float, str] | None

    @property
    def frame_count(self) -> int:
        """T, the frames of the clip."""
        return int(self.points.shape[1])

    @property
    def peopled_frames(self) -> NDArray[np.int64]:
        """Numbers of the frames with a visible joint; all frames if there is none anywhere."""
        visible = ~np.isnan(self.points[..., 0])  # (M, T, V)
        frames = np.flatnonzero(np.any(visible, axis=(0, 2)))
        return frames if len(frames) else np.arange(self.frame_count)

    @property
    def aspect(self) -> float:
        """Width of the limits over their height."""
        left, right, bottom, top = self.limits
        return (right - left) / (top - bottom)


def make_scene(
    clip: Clip, skeleton: Skeleton, *, turn: float = 0.0, stream: str = "joint"
) -> Scene:
    """Lay a clip out on the paper as its camera sees it.

    The first axis that does not point up runs to the right. Kinect's x grows towards the sensor's
    left, so its clips appear as in its own colour video: mirrored, the left of a person who faces
    the sensor is on our left.

    Args:
        clip: Tracks of (T, V, C) joints in the coordinates of ``skeleton``.
        skeleton: The layout of the joints.
        turn: Degrees by which 3D clips are turned about their vertical axis; 25 or so shows depth.
        stream: A stream whose vectors are added as arrows.

    Raises:
        RecipeError: There is no such stream.
    """
    positions, seen = gather(clip, skeleton)
    if skeleton.coordinates.unit == "image":
        size = (clip.extras.get("width", np.nan), clip.extras.get("height", np.nan))
        positions = positions * (size if np.isfinite(size).all() else IMAGE_SIZE)
    arrows = stream_arrows(positions, seen, skeleton, stream)
    middle = positions[seen].mean(axis=0) if seen.any() else None
    points = project(positions, skeleton, turn=turn, middle=middle)
    points[~seen] = np.nan
    ground = _ground(points) if skeleton.coordinates.positions == 3 else None
    limits = _limits(points, ground)
    return Scene(
        points=points,
        persons=tuple(track.person for track in clip.tracks),
        limits=limits,
        arrows=arrows if arrows is None else project(arrows, skeleton, turn=turn, middle=middle),
        ground=ground,
        bar=_bar(limits, skeleton.coordinates.unit),
    )


def gather(clip: Clip, skeleton: Skeleton) -> tuple[Floats, NDArray[np.bool_]]:
    """Return positions (M, T, V, 2 or 3) of all tracks, and (M, T, V) whether a joint was seen.

    Not seen are joints outside their track, with all coordinates zero, or with a score of zero. A
    joint on which the clip is centred lies at zero, too: it is seen if a neighbour is near.
    """
    axes = skeleton.coordinates.axes
    where = [channel for channel, axis in enumerate(axes) if axis != "score"]
    shape = (len(clip.tracks), clip.frames, skeleton.joint_count)
    positions = np.zeros((*shape, len(where)))
    seen = np.zeros(shape, dtype=bool)
    for row, track in enumerate(clip.tracks):
        block = np.asarray(track.joints, dtype=np.float64)
        span = slice(track.first, track.first + len(block))
        positions[row, span] = block[..., where]
        seen[row, span] = np.any(block[..., where] != 0, axis=-1)
        if "score" in axes:
            seen[row, span] &= block[..., axes.index("score")] > 0
        else:
            seen[row, span] |= _centred(positions[row, span], seen[row, span], skeleton)
    return positions, seen


def _centred(positions: Floats, seen: NDArray[np.bool_], skeleton: Skeleton) -> NDArray[np.bool_]:
    """Return (T, V) whether a joint is the only one at zero in its frame, beside another one."""
    alone: NDArray[np.bool_] = ~seen & (seen.sum(axis=1, keepdims=True) == seen.shape[1] - 1)
    if not alone.any():
        return alone
    away = np.where(seen, np.linalg.norm(positions, axis=-1), np.inf)  # (T, V)
    size = np.ptp(positions, axis=1).max(axis=-1)  # (T,)
    near = np.stack([away[:, row == 1].min(axis=1) for row in skeleton.hops], axis=1)  # (T, V)
    return np.asarray(alone & (near < NEAR * size[:, None]))


def project(
    positions: Floats, skeleton: Skeleton, *, turn: float = 0.0, middle: Floats | None = None
) -> Floats:
    """Return the (..., 2) paper coordinates of (..., 2 or 3) positions, without perspective.

    Args:
        positions: Points in the axes of the layout, without a score.
        skeleton: The layout.
        turn: Degrees about the vertical axis through ``middle``, for 3D layouts.
        middle: A point that stays where it is; the origin by default.
    """
    axes = [axis for axis in skeleton.coordinates.axes if axis != "score"]
    sign = -1.0 if skeleton.coordinates.up.startswith("-") else 1.0
    upward = axes.index(skeleton.coordinates.up.lstrip("+-"))
    across, *depth = (axis for axis in range(len(axes)) if axis != upward)
    right = positions[..., across]
    if depth and turn:
        fixed = np.zeros(len(axes)) if middle is None else middle
        angle = np.deg2rad(turn)
        right = fixed[across] + np.cos(angle) * (right - fixed[across])
        right = right + np.sin(angle) * (positions[..., depth[0]] - fixed[depth[0]])
    return np.stack([right, sign * positions[..., upward]], axis=-1)


def _ground(points: Floats) -> float | None:
    heights = points[..., 1]
    seen = ~np.isnan(heights).all(axis=2)  # (M, T)
    if not seen.any():
        return None
    # The low end, not the minimum: one slip of the sensor must not dig the floor away.
    return float(np.percentile(np.nanmin(heights[seen], axis=1), 2))


def _limits(points: Floats, ground: float | None) -> tuple[float, float, float, float]:
    known = points[~np.isnan(points).any(axis=-1)]
    if not len(known):
        return (-1.0, 1.0, -1.0, 1.0)
    (left, bottom), (right, top) = known.min(axis=0), known.max(axis=0)
    bottom = bottom if ground is None else min(bottom, ground)
    size = max(right - left, top - bottom) or 1.0
    # A figure needs room at its sides, or a person standing still would get a sliver of paper.
    narrow = max(0.0, 0.45 * size - (right - left)) / 2
    flat = max(0.0, 0.45 * size - (top - bottom)) / 2
    edge = MARGIN * size
    return (
        float(left - narrow - edge),
        float(right + narrow + edge),
        float(bottom - flat - edge),
        float(top + flat + edge),
    )


def _bar(limits: tuple[float, float, float, float], unit: str) -> tuple[float, str] | None:
    if unit not in UNIT_LABELS:
        return None
    room = 0.6 * (limits[1] - limits[0])
    power = 10.0 ** np.floor(np.log10(room))
    length = float(max(step * power for step in (1, 2, 5) if step * power <= room))
    return length, f"{length:g} {UNIT_LABELS[unit]}"
