"""Looking at what a store or a clip holds: counts for people, and signs that something is odd.

``kinegraph data info`` and ``data check`` show what is found here. An odd clip is no error: real
recordings have them, and they stay in the store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.splits import working_splits
from kinegraph.data.store import Store
from kinegraph.skeleton import Skeleton

FROZEN_FRAMES = 10  # a joint that stays in place, to the last digit, for so long was not tracked
JUMP = 1.0  # body sizes that no joint travels between two frames
LENGTH_QUANTILES = (0, 10, 50, 90, 100)


def describe_store(store: Store) -> dict[str, Any]:
    """Return counts of a store's clips as plain data, ready for JSON."""
    clips, tracks = store.clips, store.tracks
    labels = np.bincount(clips["label"] + 1, minlength=store.num_classes + 1)
    persons = np.bincount(np.bincount(tracks["clip"], minlength=len(store)))
    lengths = np.percentile(clips["frames"], LENGTH_QUANTILES).round().astype(int)
    return {
        "store": str(store.path),
        "source": store.meta["source"],
        "layout": store.skeleton.name,
        "joints": store.skeleton.joint_count,
        "axes": list(store.skeleton.coordinates.axes),
        "unit": store.skeleton.coordinates.unit,
        "dtype": store.joints.dtype.name,
        "bytes": sum(file.stat().st_size for file in store.path.iterdir() if file.is_file()),
        "clips": len(store),
        "frames": int(clips["frames"].sum()),
        "classes": {n: int(c) for n, c in zip(store.class_names, labels[1:], strict=True)},
        "unlabelled": int(labels[0]),
        "subjects": _values(clips["subject"]),
        "cameras": _values(clips["camera"]),
        "setups": _values(clips["setup"]),
        "clips_by_persons": {str(m): int(n) for m, n in enumerate(persons) if n},
        "length_percentiles": {
            f"{q}%": int(n) for q, n in zip(LENGTH_QUANTILES, lengths, strict=True)
        },
        "default_split": store.default_split,
        "splits": {
            name: {"train": train, "test": test}
            for name, (train, test) in working_splits(store).items()
        },
        "left_out": store.meta["left_out"],
    }


def doubts(clip: Clip, skeleton: Skeleton) -> list[str]:
    """Return what is odd about a clip, one phrase each: nothing that forbids its use.

    A clip of one frame; joints at the origin; joints that stay in exactly one place for
    `FROZEN_FRAMES` frames or more; joints that travel over a body's size between two frames.
    """
    found = ["it has one frame"] if clip.frames == 1 else []
    several = len(clip.tracks) > 1
    for track in clip.tracks:
        person = f"person {track.person}: " if several else ""
        joints = np.asarray(track.joints, dtype=np.float64)
        positions = joints[..., : skeleton.coordinates.positions]
        seen = np.asarray(positions.any(axis=-1))  # (T, V)
        found += [
            person + phrase
            for phrase in (
                _at_origin(seen, track.first, skeleton),
                _frozen(positions, seen, skeleton),
                _jumps(positions, seen, track.first, skeleton),
            )
            if phrase
        ]
    return found


def _values(column: NDArray[Any]) -> dict[str, int]:
    """Count the known values of a column of ``clips.npy``."""
    values, counts = np.unique(column[column != UNKNOWN], return_counts=True)
    return {str(v): int(n) for v, n in zip(values, counts, strict=True)}


def _at_origin(seen: NDArray[np.bool_], first: int, skeleton: Skeleton) -> str:
    """An estimator that reports a confidence says with zeros that it did not see a joint."""
    if seen.all() or "score" in skeleton.coordinates.axes:
        return ""
    frames = np.flatnonzero(~seen.all(axis=1)) + first
    joints = np.flatnonzero(~seen.all(axis=0))
    return f"{_joint_names(joints, skeleton)} all zero in {_frames(frames)}"


def _frozen(positions: NDArray[Any], seen: NDArray[np.bool_], skeleton: Skeleton) -> str:
    if len(positions) < FROZEN_FRAMES:
        return ""
    still = (positions[1:] == positions[:-1]).all(axis=-1) & seen[1:]  # (T-1, V)
    # A run of FROZEN_FRAMES equal frames has one step less; count the steps of every such window.
    steps = np.cumsum(np.pad(still, ((1, 0), (0, 0))), axis=0)
    window = FROZEN_FRAMES - 1
    frozen = (steps[window:] - steps[:-window] == window).any(axis=0)  # (V,)
    if not frozen.any():
        return ""
    return f"{_joint_names(np.flatnonzero(frozen), skeleton)} frozen for {FROZEN_FRAMES} frames"


def _jumps(positions: NDArray[Any], seen: NDArray[np.bool_], first: int, skeleton: Skeleton) -> str:
    if len(positions) < 2:
        return ""
    # The largest extent along an axis, of joints that are seen, in the middle one of all frames.
    shown = np.where(seen[..., None], positions, np.nan)
    whole = seen.any(axis=1)
    extent = np.nanmax(shown[whole], axis=1) - np.nanmin(shown[whole], axis=1)  # (T', C)
    size = float(np.median(extent.max(axis=1))) if whole.any() else 0.0
    travelled = np.linalg.norm(np.diff(positions, axis=0), axis=-1)  # (T-1, V)
    far = (travelled > JUMP * size) & seen[1:] & seen[:-1]
    if size == 0 or not far.any():
        return ""
    frames = np.flatnonzero(far.any(axis=1)) + first + 1
    joints = np.flatnonzero(far.any(axis=0))
    return f"{_joint_names(joints, skeleton)} jump by a body's size in {_frames(frames)}"


def _joint_names(joints: NDArray[Any], skeleton: Skeleton) -> str:
    if len(joints) == skeleton.joint_count:
        return "all joints"
    names = ", ".join(skeleton.joints[joint] for joint in joints[:3])
    return names + (f" and {len(joints) - 3} more joints" if len(joints) > 3 else "")


def _frames(frames: NDArray[Any]) -> str:
    if len(frames) == 1:
        return f"frame {frames[0]}"
    shown = ", ".join(str(frame) for frame in frames[:3])
    return f"frames {shown}" + (f" and {len(frames) - 3} more" if len(frames) > 3 else "")
