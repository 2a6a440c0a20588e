"""The depth camera that watches: where it stands, how it errs, what it loses from sight.

Last in the synthesis: takes true joints in the world, gives joints as a Kinect v2 would report
them, in metres, with the camera at the origin, x to the left as the camera looks, y up, z away
from it. It knows no actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinegraph.data.synthetic.body import SIDES, Floats, puppet_tree, rotation, turned

CAMERAS = {1: 0.0, 2: -0.75, 3: 0.75}  # number -> angle around the scene in radians

# Standard deviations of the tracking error in metres, elsewhere and at hands and feet.
_STEADY = 0.006
_LIMB_END = 0.014
_DRIFT = 6  # frames in which the slow part of the error finds a new value


@dataclass(frozen=True)
class View:
    """Where the scene stands before the camera; angles in radians, lengths in metres."""

    yaw: float
    pitch: float
    roll: float
    position: tuple[float, float, float]

    def look(self, joints: Floats) -> Floats:
        """Express joints (T, V, 3) of a world centred on the scene in camera coordinates."""
        points = _rotate(joints.reshape(-1, 3), "y", self.yaw)  # (T * V, 3)
        points = points + np.asarray(self.position)
        points = _rotate(_rotate(points, "x", self.pitch), "z", self.roll)
        return points.reshape(joints.shape)


def draw_view(rng: np.random.Generator, camera: int, facing: float) -> View:
    """Draw the view of a numbered camera: roughly aimed, 2.6 to 4.2 m away, at table height.

    Args:
        rng: Draws the deviations.
        camera: One of `CAMERAS`.
        facing: Turn of the scene's z axis against the middle camera's, in radians.
    """
    yaw = facing + CAMERAS[camera] + float(rng.normal(0.0, 0.2))
    pitch, roll = float(rng.normal(0.0, 0.06)), float(rng.normal(0.0, 0.03))
    side, height = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(0.8, 1.3))
    return View(yaw, pitch, roll, (side, -height, float(rng.uniform(2.6, 4.2))))


def blur(rng: np.random.Generator, joints: Floats) -> Floats:
    """Add tracking errors to joints (T, V, 3): slow drift and jitter, most at hands and feet."""
    frames, count, _ = joints.shape
    tree = puppet_tree()
    far = ("wrist", "hand", "thumb", "ankle", "foot")
    ends = [any(end in name for end in far) for name in tree.joints]
    size = np.where(ends, _LIMB_END, _STEADY) * rng.uniform(0.6, 1.5)
    jitter = rng.normal(size=(frames, count, 3))
    drift = rng.normal(size=(frames // _DRIFT + 2, count, 3))
    at = np.arange(frames) / _DRIFT
    left, part = at.astype(int), (at % 1)[:, None, None]
    slow = drift[left] * (1 - part) + drift[left + 1] * part
    error: Floats = 0.6 * jitter + 0.8 * slow
    error[..., 2] *= 1.4  # depth is the camera's worst axis
    return joints + size[None, :, None] * error


def occlude(rng: np.random.Generator, joints: Floats) -> Floats:
    """Lose one limb of joints (T, V, 3) for some frames: it freezes, jumps aside or vanishes.

    A vanished limb is reported as zeros, as trackers do that give no position.
    """
    frames = len(joints)
    joints = joints.copy()
    length = int(rng.integers(3, 11))
    begin = int(rng.integers(0, frames - length))
    limb = _limb(str(rng.choice(SIDES)), str(rng.choice(["arm", "leg"], p=[0.7, 0.3])))
    lost = np.ix_(range(begin, begin + length), limb)
    match str(rng.choice(["freeze", "jump", "vanish"], p=[0.5, 0.35, 0.15])):
        case "freeze":
            joints[lost] = joints[begin, limb]
        case "jump":
            joints[lost] += rng.normal(0.0, 0.12, 3)
        case _:
            joints[lost] = 0.0
    return joints


def _limb(side: str, kind: str) -> list[int]:
    names = {"arm": ("wrist", "hand", "thumb", "hand tip"), "leg": ("knee", "ankle", "foot")}
    tree = puppet_tree()
    return [tree.joints.index(f"{side} {name}") for name in names[kind]]


def _rotate(points: Floats, axis: str, angle: float) -> Floats:
    return turned(np.broadcast_to(rotation(axis, np.array([angle])), (len(points), 3, 3)), points)
