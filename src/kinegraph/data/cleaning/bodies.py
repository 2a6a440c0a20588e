"""What a depth sensor saw, frame by frame, and the bodies that it followed through the frames.

A sensor gives every body that it finds a number and keeps the number while it does not lose the
body. Every way of cleaning starts here.

Source: Shahroudy et al., NTU RGB+D (CVPR 2016), for what is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ClipError

Joints = NDArray[np.float32]


@dataclass(frozen=True)
class Sightings:
    """The bodies of each frame, in the order in which the file lists them.

    Attributes:
        counts: (F,) how many bodies each frame has.
        ids: (R,) number of each body, whole: 17 digits do not fit a float.
        joints: (R, V, 3) metres; y up, z away from the sensor.
    """

    counts: NDArray[np.int64]
    ids: NDArray[np.int64]
    joints: Joints

    @property
    def frames(self) -> NDArray[np.int64]:
        """Return (R,) the frame of each body."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


@dataclass(frozen=True)
class Body:
    """One body that the sensor followed.

    Attributes:
        id: Its number.
        frames: (T,) the recording's frames in which it was seen.
        joints: (T, V, 3).
        start: Frame of its first sighting, not counting frames without any body.
    """

    id: int
    frames: NDArray[np.int64]
    joints: Joints
    start: int

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def end(self) -> int:
        """Its last frame, counted from ``start`` as if it was never lost in between."""
        return self.start + len(self.joints) - 1


def check_seen(sightings: Sightings) -> None:
    """Raise ClipError if no frame has a body."""
    if len(sightings.ids) == 0:
        raise ClipError(f"nobody is seen in any of its {len(sightings.counts)} frames")


def follow_bodies(sightings: Sightings) -> list[Body]:
    """Return the bodies in the order of their first appearance.

    Raises:
        ClipError: No frame has a body, or a frame has the same body twice.
    """
    check_seen(sightings)
    frames = sightings.frames
    renumbered = np.cumsum(sightings.counts > 0) - 1  # frames without a body do not count
    if np.all(sightings.ids == sightings.ids[0]):
        rows_of = {int(sightings.ids[0]): np.arange(len(sightings.ids))}
    else:
        order = dict.fromkeys(sightings.ids.tolist())
        rows_of = {number: np.flatnonzero(sightings.ids == number) for number in order}
    bodies = []
    for number, rows in rows_of.items():
        seen = frames[rows]
        twice = np.flatnonzero(np.diff(seen) == 0)
        if len(twice):
            raise ClipError(f"frame {seen[twice[0]]} has body {number} twice; expected it once")
        bodies.append(Body(number, seen, sightings.joints[rows], int(renumbered[seen[0]])))
    return bodies


def frames_with_bodies(sightings: Sightings) -> int:
    """Return how many frames have a body."""
    return int(np.count_nonzero(sightings.counts))


def motion(joints: Joints) -> np.float32:
    """Return how much (T, V, 3) coordinates spread over all joints and frames.

    It is the variance of all numbers along each axis, summed over the axes: a measure of size as
    much as of motion, but what every cleaning orders people by.
    """
    return np.float32(joints.reshape(-1, 3).var(axis=0).sum())  # (T V, 3)


# Noise is furniture and reflections, which the sensor takes for bodies that lie or crouch.
SHORTEST = 11  # a body that is seen in no more frames is noise
WIDE = 0.8  # a frame is wide where a body is wider than this share of its height
MOST_WIDE = 0.69754  # from this share of wide frames on, a body is noise


def wide_frames(joints: Joints) -> NDArray[np.bool_]:
    """Return (T,) in which frames of (T, V, 3) a body is too wide for its height."""
    low, high = joints.min(axis=1), joints.max(axis=1)  # (T, 3)
    size = high - low
    return np.asarray(~(size[:, 0] <= np.float32(WIDE) * size[:, 1]))


def is_wide(wide: NDArray[np.bool_]) -> bool:
    """Whether so many frames are wide that the body is noise."""
    return float(np.count_nonzero(wide)) / len(wide) >= MOST_WIDE


def all_are_noise(bodies: list[Body]) -> ClipError:
    """Word the error for a recording in which every body was dropped."""
    longest = max(len(body) for body in bodies)
    return ClipError(
        f"none of its {len(bodies)} bodies is a person: they are seen in at most {longest} frames"
        f" (expected more than {SHORTEST}) or are wider than high; --cleaning none keeps them"
    )
