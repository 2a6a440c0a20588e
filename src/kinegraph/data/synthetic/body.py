"""One person's bones, and how directions of bones become joints.

The innermost part of the synthetic data: proportions, forward kinematics over the ntu25 tree, and
the two-bone inverse kinematics that turns an arm or a leg towards a goal. It knows no actions.

World axes are metres with y up. A person's own axes are x to their left, y up, z forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kinegraph.skeleton import Skeleton, load_layout

Floats = NDArray[np.float64]

SIDES = ("left", "right")

# Bone lengths as fractions of the stature, by the joint at the outer end. Rough means over adults;
# trunk and shoulders sit where Kinect v2 reports them, not where the anatomical joints are.
_TRUNK = {
    "middle of spine": 0.155,
    "spine at shoulders": 0.135,
    "neck": 0.04,
    "head": 0.085,
}
_LIMB = {
    "shoulder": 0.095,
    "elbow": 0.165,
    "wrist": 0.15,
    "hand": 0.045,
    "thumb": 0.03,
    "hand tip": 0.03,
    "hip": 0.05,
    "knee": 0.23,
    "ankle": 0.23,
    "foot": 0.075,
}
ANKLE_HEIGHT = 0.045  # of the stature, above the floor


@lru_cache(maxsize=1)
def puppet_tree() -> Skeleton:
    """Return ntu25 hung from the base of the spine, where a body's movement starts."""
    layout = load_layout("ntu25")
    return layout.rooted_at(layout.joints.index("base of spine"))


@dataclass(frozen=True)
class Body:
    """The bones of one person.

    Attributes:
        stature: Height of the standing person in metres.
        lengths: Bone length in metres, by the name of the joint at its outer end.
    """

    stature: float
    lengths: Mapping[str, float]

    @property
    def arm(self) -> float:
        """Length of the arm from shoulder to wrist in metres."""
        return self.lengths["left elbow"] + self.lengths["left wrist"]

    @property
    def leg(self) -> float:
        """Length of the leg from hip to ankle in metres."""
        return self.lengths["left knee"] + self.lengths["left ankle"]


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a person: stature 1.5 to 1.95 m, long or short legs, arms and trunk, wide or narrow."""
    stature = float(rng.uniform(1.5, 1.95))
    trunk, width, arm, leg = rng.uniform(0.93, 1.07, size=4)
    factor = {"shoulder": width, "hip": width, "elbow": arm, "wrist": arm, "knee": leg}
    factor["ankle"] = leg
    lengths = {name: stature * trunk * part for name, part in _TRUNK.items()}
    for name, part in _LIMB.items():
        for side in SIDES:
            lengths[f"{side} {name}"] = stature * part * factor.get(name, 1.0)
    return Body(stature, lengths)


def forward_kinematics(body: Body, base: Floats, directions: Mapping[str, Floats]) -> Floats:
    """Walk the tree outwards: a joint lies one bone length from its parent.

    Args:
        body: The bones.
        base: (T, 3) base of the spine in metres.
        directions: For every other joint the (T, 3) unit direction of the bone that ends in it.

    Returns:
        (T, V, 3) joints in metres, in ntu25 order.
    """
    tree = puppet_tree()
    joints = np.empty((len(base), tree.joint_count, 3))
    joints[:, tree.root] = base
    for joint in tree.order[1:]:
        name = tree.joints[joint]
        bone = body.lengths[name] * directions[name]
        joints[:, joint] = joints[:, tree.parents[joint]] + bone
    return joints


def rotation(axis: str, angle: Floats) -> Floats:
    """Return (T, 3, 3) right-handed rotations about x, y or z by ``angle`` (T,) in radians."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, "xyz".index(axis), "xyz".index(axis)] = 1
    matrix[:, first, first] = matrix[:, second, second] = cosine
    matrix[:, second, first], matrix[:, first, second] = sine, -sine
    return matrix


def turned(frame: Floats, vector: Floats | tuple[float, float, float]) -> Floats:
    """Turn a vector, (3,) or (T, 3), given in the axes of ``frame`` (T, 3, 3), into world axes."""
    vectors = np.broadcast_to(np.asarray(vector, dtype=np.float64), (len(frame), 3))
    # Written out, not as a matrix product, whose order of summation depends on the machine.
    return (
        frame[:, :, 0] * vectors[:, None, 0]
        + frame[:, :, 1] * vectors[:, None, 1]
        + frame[:, :, 2] * vectors[:, None, 2]
    )


def combined(*frames: Floats) -> Floats:
    """Chain rotations (T, 3, 3) from the outermost to the innermost."""
    result = frames[0]
    for frame in frames[1:]:
        columns = [turned(result, frame[:, :, axis]) for axis in range(3)]
        result = np.stack(columns, axis=-1)
    return result


def unit(vectors: Floats) -> Floats:
    """Scale (T, 3) vectors to length 1."""
    length: Floats = np.sqrt((vectors**2).sum(axis=-1, keepdims=True))
    return vectors / np.maximum(length, 1e-9)


def two_bones(
    start: Floats, goal: Floats, upper: float, lower: float, bend: Floats
) -> tuple[Floats, Floats]:
    """Turn a limb of two bones so that its end comes as near to the goal as the bones allow.

    Args:
        start: (T, 3) shoulder or hip.
        goal: (T, 3) where wrist or ankle should be.
        upper: Length of the upper bone in metres.
        lower: Length of the lower bone in metres.
        bend: (T, 3) the direction in which elbow or knee give way.

    Returns:
        (T, 3) unit directions of the upper and of the lower bone.
    """
    offset = goal - start
    distance = np.sqrt((offset**2).sum(axis=-1, keepdims=True))
    # Never quite straight or folded: there the direction of the middle joint would flicker.
    reach = np.clip(distance, 1.1 * abs(upper - lower) + 0.05, 0.995 * (upper + lower))
    along = unit(offset)
    across = unit(bend - along * (bend * along).sum(axis=-1, keepdims=True))
    cosine = np.clip((upper**2 + reach**2 - lower**2) / (2 * upper * reach), -1.0, 1.0)
    first = along * cosine + across * np.sqrt(1 - cosine**2)
    second = (along * reach - first * upper) / lower
    return first, second
