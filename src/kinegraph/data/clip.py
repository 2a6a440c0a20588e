"""Clip and Track: one recording and the people in it, and what makes a recording usable.

Formats yield clips, the store writer checks and keeps them, an opened store gives them back. This
module knows neither files nor data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ClipError
from kinegraph.skeleton import Skeleton

UNKNOWN = -1  # label, subject, camera, setup or replication that the source does not tell
NAME_LENGTH = 200  # characters of a clip name
MAX_PERSONS = 32
MAX_NUMBER = np.iinfo(np.int32).max
NUMBERS = ("label", "subject", "camera", "setup", "replication", "frames")


@dataclass(frozen=True)
class Track:
    """One person in one clip.

    Attributes:
        joints: (T, V, C) floats, the frames in which the person was seen, without gaps.
        first: The clip's frame in which the track begins.
        person: Slot m of the person in the clip; slots are unique and start at 0.
    """

    joints: NDArray[np.floating[Any]]
    first: int = 0
    person: int = 0


@dataclass(frozen=True)
class Clip:
    """One labelled recording on its way into a store, or out of it.

    Attributes:
        name: Unique name, without slashes.
        tracks: The people in it, at least one.
        frames: Length of the clip in frames; every track lies within it.
        label: 0-based class, or -1.
        subject: Number of the acting person, or -1; likewise camera, setup and replication.
        extras: Optional single numbers such as ``fps``, ``width`` and ``height``.
    """

    name: str
    tracks: tuple[Track, ...]
    frames: int
    label: int = UNKNOWN
    subject: int = UNKNOWN
    camera: int = UNKNOWN
    setup: int = UNKNOWN
    replication: int = UNKNOWN
    extras: Mapping[str, float] = field(default_factory=dict)


def check_clip(clip: Clip, skeleton: Skeleton, class_count: int | None = None) -> None:
    """Check one clip against a layout and a number of classes.

    Raises:
        ClipError: The clip is empty, not finite, of another layout, or badly named or labelled.
    """
    where = f"clip {clip.name!r}"
    if not clip.name or len(clip.name) > NAME_LENGTH:
        raise ClipError(f"{where}: a name needs 1 to {NAME_LENGTH} characters")
    if not clip.name.isprintable() or any(sign in clip.name for sign in "/\\"):
        raise ClipError(f"{where}: a name may not hold slashes or unprintable characters")
    _check_numbers(clip, class_count, where)
    if not clip.tracks or clip.frames < 1:
        raise ClipError(f"{where} is empty: it has no frames with a person")
    persons = [track.person for track in clip.tracks]
    if len(set(persons)) != len(persons) or not all(0 <= m < MAX_PERSONS for m in persons):
        raise ClipError(
            f"{where}: person slots {persons} are not unique numbers below {MAX_PERSONS}"
        )
    for track in clip.tracks:
        _check_track(track, clip, skeleton, where)
    if not any(np.any(track.joints) for track in clip.tracks):
        raise ClipError(f"{where} is empty: every joint of every frame is zero")


def _check_numbers(clip: Clip, class_count: int | None, where: str) -> None:
    for name in NUMBERS:
        value = getattr(clip, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ClipError(f"{where}: {name} is {value!r}, expected a whole number")
        if not UNKNOWN <= value <= MAX_NUMBER:
            raise ClipError(f"{where}: {name} {value} is outside -1..{MAX_NUMBER}")
    if class_count is not None and clip.label >= class_count:
        raise ClipError(
            f"{where}: label {clip.label} is outside 0..{class_count - 1}"
            " (-1 stands for an unknown one)"
        )


def _check_track(track: Track, clip: Clip, skeleton: Skeleton, where: str) -> None:
    expected = (skeleton.joint_count, skeleton.coordinates.channels)
    shape = track.joints.shape
    if track.joints.dtype.kind not in "fiu":
        raise ClipError(f"{where}: joints are of type {track.joints.dtype}, expected numbers")
    if len(shape) != 3 or shape[1:] != expected:
        raise ClipError(
            f"{where}: joints have shape {shape}, but layout '{skeleton.name}' expects"
            f" (T, {expected[0]}, {expected[1]})"
        )
    if shape[0] < 1 or track.first < 0 or track.first + shape[0] > clip.frames:
        raise ClipError(
            f"{where}: person {track.person} spans frames {track.first}.."
            f"{track.first + shape[0] - 1} of a clip of {clip.frames}"
        )
    if not np.isfinite(track.joints).all():
        frame = int(np.argwhere(~np.isfinite(track.joints))[0][0]) + track.first
        raise ClipError(f"{where}: frame {frame} has a coordinate that is NaN or infinite")
