"""What two people do with each other; both act, and the second reacts to the first.

An interaction writes goals into two poses that stand in one world, facing each other along its
z axis. Goals that concern the other person (a hand to shake, a back to embrace) are points of the
world, which each of the two reaches for with the arms they have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinegraph.data.synthetic.body import ANKLE_HEIGHT, SIDES, Body, Floats
from kinegraph.data.synthetic.puppet import Pose
from kinegraph.data.synthetic.timing import Take


@dataclass(frozen=True)
class Performer:
    """One of the two.

    Attributes:
        pose: The goals.
        body: The bones that will follow them.
        towards: 1 if the other person stands in the direction of +z, -1 if of -z.
    """

    pose: Pose
    body: Body
    towards: float


@dataclass(frozen=True)
class Interaction:
    """One class of two people.

    Attributes:
        seconds: How long it usually takes.
        perform: Writes the goals of both.
    """

    seconds: float
    perform: Callable[[Performer, Performer, Take], None]


def shake_hands(first: Performer, second: Performer, take: Take) -> None:
    """Step up to each other and shake the right hands."""
    gap = take.between(0.75, 0.95)
    _meet(first, second, take, gap, until=0.35)
    weight = take.hold(0.15, 0.4, 0.8, 1.0)
    pump = take.wobble(0.42, 0.8, float(take.rng.integers(2, 5))) * 0.08 * take.vigour
    height = 0.29 * (first.body.stature + second.body.stature) + take.between(-0.05, 0.05)
    side_off = take.between(-0.05, 0.05)
    for person in (first, second):
        # Wrists stop short of the middle, where the palms meet.
        path = np.stack(
            [
                np.full(take.frames, side_off),
                height + pump,
                np.full(take.frames, -0.07 * person.towards),
            ],
            axis=-1,
        )
        pose = person.pose
        pose.reach("right", "world", path, weight)
        pose.lean += 0.18 * weight
        pose.nod += 0.15 * take.wobble(0.4, 0.8, 1.0) * weight


def hug(first: Performer, second: Performer, take: Take) -> None:
    """Embrace each other."""
    gap = take.between(0.3, 0.4)
    _meet(first, second, take, gap, until=0.45)
    opening = take.hold(0.05, 0.35, 0.4, 0.55)
    weight = take.hold(0.3, 0.5, 0.84, 1.0)
    for person, other in ((first, second), (second, first)):
        pose, towards = person.pose, person.towards
        for number, side in enumerate(SIDES):
            out = (1.0 if side == "left" else -1.0) * towards
            pose.reach(side, "shoulder", (0.75, 0.0, 0.6), opening)
            height = other.body.stature * (0.68 + 0.09 * ((number + (towards > 0)) % 2))
            back = (0.07 * out, height, towards * (0.5 * gap + 0.03))
            pose.reach(side, "world", back, weight)
        pose.lean += 0.16 * weight
        pose.tilt += 0.2 * weight


def push(first: Performer, second: Performer, take: Take) -> None:
    """The first pushes the second with both hands; the second stumbles back."""
    gap = take.between(0.65, 0.85)
    _meet(first, second, take, gap, until=0.35)
    shove = take.hold(0.38, 0.52, 0.6, 0.85)
    ready = take.hold(0.1, 0.35, 0.7, 0.95)
    chest = 0.8 * second.body.stature - 0.1
    for side in SIDES:
        out = 1.0 if side == "left" else -1.0
        first.pose.reach(side, "shoulder", (0.0, -0.3, 0.3), ready)
        target = (0.12 * out * first.towards, chest, first.towards * (0.5 * gap + 0.02))
        first.pose.reach(side, "world", target, shove)
        flung = (0.45, take.between(-0.4, 0.2), 0.6)
        second.pose.reach(side, "shoulder", flung, take.hold(0.46, 0.62, 0.72, 1.0))
    first.pose.lean += 0.3 * take.vigour * shove
    first.pose.step(take.side, "floor", (0.16, 0.09, 0.3), take.hold(0.3, 0.5, 0.75, 0.95))
    fall = take.hold(0.46, 0.6, 0.7, 0.95)
    second.pose.lean -= 0.35 * take.vigour * fall
    second.pose.nod += 0.3 * fall
    distance = take.between(0.5, 0.8) * take.vigour
    start = second.pose.place[:, 2].copy()
    _walk(second, start - second.towards * distance * take.rise(0.48, 0.95), take, 0.48, 0.95)


INTERACTIONS: dict[str, Interaction] = {
    "shake hands": Interaction(1.8, shake_hands),
    "hug": Interaction(1.9, hug),
    "push": Interaction(1.7, push),
}


def _meet(first: Performer, second: Performer, take: Take, gap: float, until: float) -> None:
    """Let both come from where they stand to ``gap`` metres from each other,."""
    share = take.between(0.3, 0.7)
    apart = gap + take.between(0.25, 0.9)
    come = take.rise(0.0, until)
    for person, part in ((first, share), (second, 1 - share)):
        near, far = 0.5 * gap, 0.5 * gap + part * (apart - gap)
        distance = far + (near - far) * come
        _walk(person, -person.towards * distance, take, 0.0, until)


def _walk(person: Performer, way: Floats, take: Take, begin: float, end: float) -> None:
    """Move a person along z in two steps, one foot after the other, without sliding.

    Args:
        person: Who walks.
        way: (T,) where the person is along z, in metres.
        take: Times the steps.
        begin: Progress at which the first foot leaves the floor.
        end: Progress at which the second foot arrives.
    """
    pose, body = person.pose, person.body
    pose.place[:, 2] = way
    middle = 0.5 * (begin + end)
    out = body.lengths["left hip"] + pose.stance * body.leg
    order = SIDES if take.side == "left" else SIDES[::-1]
    before = take.progress <= begin
    origin = float(way[before][-1]) if before.any() else float(way[0])
    target = float(way[np.argmax(take.progress >= end)])
    weight = np.where((take.progress > begin) & (take.progress < end), 1.0, 0.0)
    for side, (leave, arrive) in zip(order, ((begin, middle), (middle, end)), strict=True):
        lift = take.hold(leave, 0.5 * (leave + arrive), 0.5 * (leave + arrive), arrive)
        goal = np.zeros((take.frames, 3))
        goal[:, 0] = (1.0 if side == "left" else -1.0) * person.towards * out
        goal[:, 1] = ANKLE_HEIGHT * body.stature + 0.08 * lift
        goal[:, 2] = origin + (target - origin) * take.rise(leave, arrive)
        pose.step(side, "world", goal, weight)
