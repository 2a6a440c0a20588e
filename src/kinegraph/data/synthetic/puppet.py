"""A puppet: what a person's trunk, hands and feet want, frame by frame, and the joints it gives.

Motions write into a `Pose`: they bend the trunk and lay goals for hands and feet over each other,
each with a weight that fades in and out. `solve` then turns bones towards these goals, so joints
move on the arcs that bones allow. It knows neither actions nor cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinegraph.data.synthetic.body import (
    ANKLE_HEIGHT,
    SIDES,
    Body,
    Floats,
    combined,
    forward_kinematics,
    rotation,
    turned,
    two_bones,
    unit,
)

Offset = Floats | tuple[float, float, float]

_HANGING = (0.12, -0.97, 0.10)


@dataclass(frozen=True)
class Goal:
    """Where a wrist or an ankle should be.

    Attributes:
        anchor: ``shoulder``, ``chest``, ``mouth``, ``ear``, ``crown``, ``hip``, ``floor`` or
            ``world``.
        offset: (3,) or (T, 3) from the anchor: outwards from the body's middle, up and forward in
            arm lengths (on the floor in leg lengths); for ``world`` the point itself in metres.
        weight: (T,) from 0, not at all, to 1, entirely.
    """

    anchor: str
    offset: Offset
    weight: Floats


class Pose:
    """The goals of one person over T frames; all angles in radians, all arrays (T,) or (T, 3).

    Attributes:
        place: (T, 3) the point of the floor under the person, in metres.
        heading: Turn to the left; at 0 the person looks along +z.
        lean: Forward lean of the whole trunk from the hips.
        bend: Further forward bend of the back.
        side: Sideways lean to the right.
        twist: Turn of the chest to the left against the hips.
        nod: Head down; likewise ``look``, head turned to the left, and ``tilt`` to the right.
        crouch: How far the hips sink, in leg lengths.
        back: How far the hips go back, in leg lengths.
        sway: How far the hips go to the left, in leg lengths.
        hop: Height above the floor in metres.
        stance: How far the feet stand outside the hips, in leg lengths.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.place = np.zeros((frames, 3))
        self.heading, self.lean, self.bend, self.side, self.twist = np.zeros((5, frames))
        self.nod, self.look, self.tilt = np.zeros((3, frames))
        self.crouch, self.back, self.sway, self.hop = np.zeros((4, frames))
        self.stance = 0.04
        self._hands: dict[str, list[Goal]] = {side: [] for side in SIDES}
        self._feet: dict[str, list[Goal]] = {side: [] for side in SIDES}
        always = np.ones(frames)
        for side in SIDES:
            self.reach(side, "shoulder", _HANGING, always)

    def reach(self, side: str, anchor: str, offset: Offset, weight: Floats) -> None:
        """Lay a goal for the left or right wrist over the earlier ones."""
        self._hands[side].append(Goal(anchor, offset, weight))

    def step(self, side: str, anchor: str, offset: Offset, weight: Floats) -> None:
        """Lay a goal for the left or right ankle over the earlier ones."""
        self._feet[side].append(Goal(anchor, offset, weight))

    def solve(self, body: Body) -> Floats:
        """Return the joints (T, V, 3) in metres of a person with this body."""
        return _Solver(self, body).joints()

    def hand_goals(self, side: str) -> tuple[Goal, ...]:
        """Return the goals of one wrist, the uppermost last."""
        return tuple(self._hands[side])

    def foot_goals(self, side: str) -> tuple[Goal, ...]:
        """Return the goals of one ankle, the uppermost last."""
        return tuple(self._feet[side])


class _Solver:
    """Directs the trunk first, then the limbs, whose goals may hang on the trunk or the head."""

    def __init__(self, pose: Pose, body: Body) -> None:
        self.pose, self.body = pose, body
        self.ground = rotation("y", pose.heading)
        self.hips = combined(self.ground, rotation("z", pose.side), rotation("x", 0.4 * pose.lean))
        spine = combined(self.ground, rotation("z", pose.side), rotation("x", pose.lean))
        self.chest = combined(spine, rotation("x", pose.bend), rotation("y", pose.twist))
        self.head = combined(
            self.chest, rotation("y", pose.look), rotation("z", pose.tilt),
            rotation("x", pose.nod - 0.6 * (pose.lean + pose.bend).clip(0, 0.5)),
        )  # fmt: skip
        self.directions = {
            "middle of spine": turned(spine, (0.0, 1.0, 0.0)),
            "spine at shoulders": turned(self.chest, (0.0, 1.0, 0.0)),
            "neck": turned(self.chest, (0.0, 1.0, 0.0)),
            "head": unit(turned(self.head, (0.0, 1.0, 0.1))),
        }
        for side in SIDES:
            out = _out(side)
            self.directions[f"{side} shoulder"] = unit(turned(self.chest, (out, -0.22, 0.0)))
            self.directions[f"{side} hip"] = unit(turned(self.hips, (out, -0.35, 0.0)))
        self.base = self._base()

    def _base(self) -> Floats:
        """Return the base of the spine: over the feet, as high as the legs carry it."""
        pose, body = self.pose, self.body
        hip_drop = 0.33 * body.lengths["left hip"]
        height = ANKLE_HEIGHT * body.stature + (0.985 - pose.crouch) * body.leg + hip_drop
        shift = np.stack([pose.sway * body.leg, height + pose.hop, -pose.back * body.leg], axis=-1)
        return pose.place + turned(self.ground, shift)

    def joints(self) -> Floats:
        """Return the joints (T, V, 3)."""
        self.trunk = self._follow(
            self.base, "middle of spine", "spine at shoulders", "neck", "head"
        )
        for side in SIDES:
            self._direct_arm(side)
            self._direct_leg(side)
        return forward_kinematics(self.body, self.base, self.directions)

    def _follow(self, start: Floats, *names: str) -> dict[str, Floats]:
        """Return the joints of a chain of bones by name."""
        found = {}
        for name in names:
            start = start + self.body.lengths[name] * self.directions[name]
            found[name] = start
        return found

    def _anchor(self, name: str, side: str, start: Floats) -> tuple[Floats, Floats, float]:
        """Return the point (T, 3), the axes (T, 3, 3) and the unit in metres of an anchor."""
        arm, chest = self.body.arm, self.trunk["spine at shoulders"]
        size, head = self.body.stature, self.trunk["head"]
        match name:
            case "shoulder":
                return start, self.chest, arm
            case "chest":
                return chest, self.chest, arm
            case "mouth":
                return head + turned(self.head, (0.0, -0.03 * size, 0.06 * size)), self.head, arm
            case "ear":
                out = _out(side) * 0.045 * size
                return head + turned(self.head, (out, -0.01 * size, 0.0)), self.head, arm
            case "crown":
                return head + turned(self.head, (0.0, 0.06 * size, 0.0)), self.head, arm
            case "hip":
                hip = self._follow(self.base, f"{side} hip")[f"{side} hip"]
                return hip, self.ground, arm
            case "floor":
                return self.pose.place, self.ground, self.body.leg
            case _:  # the world itself
                still = np.zeros(self.pose.frames)
                return np.zeros((self.pose.frames, 3)), rotation("y", still), 1.0

    def _aim(self, goals: tuple[Goal, ...], side: str, start: Floats) -> Floats:
        """Return the point (T, 3) that layered goals ask for."""
        aim = np.zeros((self.pose.frames, 3))
        for goal in goals:
            point, frame, length = self._anchor(goal.anchor, side, start)
            outwards = _out(side) if goal.anchor != "world" else 1.0
            offset = np.asarray(goal.offset) * np.array([outwards, 1.0, 1.0]) * length
            aim += goal.weight[:, None] * (point + turned(frame, offset) - aim)
        return aim

    def _direct_arm(self, side: str) -> None:
        body, lengths, out = self.body, self.body.lengths, _out(side)
        shoulder = self._follow(self.trunk["spine at shoulders"], f"{side} shoulder")
        start = shoulder[f"{side} shoulder"]
        goal = self._aim(self.pose.hand_goals(side), side, start)
        elbow_gives = turned(self.chest, (0.35 * out, -1.0, -0.3))
        upper, lower = two_bones(
            start, goal, lengths[f"{side} elbow"], lengths[f"{side} wrist"], elbow_gives
        )
        # The hand goes on straight from the forearm; the thumb stands off towards the middle.
        inwards = turned(self.chest, (-out, 0.4, 0.3))
        inwards = unit(inwards - lower * (inwards * lower).sum(axis=-1, keepdims=True))
        thumb = unit(0.6 * lower + 0.8 * inwards)
        tip = 0.055 * body.stature * lower - lengths[f"{side} thumb"] * thumb
        self.directions |= {
            f"{side} elbow": upper,
            f"{side} wrist": lower,
            f"{side} hand": lower,
            f"{side} thumb": thumb,
            f"{side} hand tip": unit(tip),
        }

    def _direct_leg(self, side: str) -> None:
        lengths, out = self.body.lengths, _out(side)
        start = self._follow(self.base, f"{side} hip")[f"{side} hip"]
        hip_width = lengths[f"{side} hip"] / self.body.leg
        ankle = ANKLE_HEIGHT * self.body.stature / self.body.leg
        always = np.ones(self.pose.frames)
        stand = Goal("floor", (hip_width + self.pose.stance, ankle, 0.0), always)
        goal = self._aim((stand, *self.pose.foot_goals(side)), side, start)
        goal[:, 1] += self.pose.hop
        knee_gives = turned(self.ground, (0.15 * out, 0.0, 1.0))
        upper, lower = two_bones(
            start, goal, lengths[f"{side} knee"], lengths[f"{side} ankle"], knee_gives
        )
        # A standing foot lies flat; a raised one keeps its angle to the shin.
        flat = turned(self.ground, (0.2 * out, -0.3, 1.0))
        raised = flat - lower * (flat * lower).sum(axis=-1, keepdims=True)
        lift = np.clip((goal[:, 1:2] - goal[:, 1:2].min()) / 0.2, 0.0, 1.0)
        self.directions |= {
            f"{side} knee": upper,
            f"{side} ankle": lower,
            f"{side} foot": unit(unit(flat) * (1 - lift) + unit(raised) * lift),
        }


def _out(side: str) -> float:
    return 1.0 if side == "left" else -1.0
