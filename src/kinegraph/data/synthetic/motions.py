"""What one person does alone: the actions of the synthetic data, and the habits around them.

Every action writes goals into a `Pose`, timed by the progress of its `Take`. Idling and habits
(scratching the head, looking at the watch ...) also happen while nothing is being performed, so
that a raised hand alone tells no class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinegraph.data.synthetic.body import SIDES
from kinegraph.data.synthetic.puppet import Pose
from kinegraph.data.synthetic.timing import Take, ease, wander


@dataclass(frozen=True)
class Action:
    """One class of one person.

    Attributes:
        seconds: How long it usually takes.
        perform: Writes its goals into the pose.
    """

    seconds: float
    perform: Callable[[Pose, Take], None]


def wave(pose: Pose, take: Take) -> None:
    """Swing the raised hand from side to side."""
    swing = take.wobble(0.15, 0.88, take.between(2.5, 4.0)) * 0.3 * take.vigour
    goal = np.array([0.3, take.between(0.4, 0.75), 0.25]) + take.vary(0.06)
    path = goal + swing[:, None] * np.array([1.0, -0.15, 0.0])
    pose.reach(take.side, "shoulder", path, take.hold(0.0, 0.2, 0.84, 1.0))


def clap(pose: Pose, take: Take) -> None:
    """Bring both hands together several times in front of the chest."""
    open_ = 0.5 - 0.5 * np.cos(
        2 * np.pi * round(take.between(3, 5)) * np.clip((take.progress - 0.2) / 0.62, 0, 1)
    )
    height, far = take.between(-0.45, 0.05), take.between(0.45, 0.65)
    weight = take.hold(0.0, 0.2, 0.82, 1.0)
    for side in SIDES:
        gap = 0.04 + 0.42 * take.vigour * open_
        path = np.stack([gap, np.full_like(gap, height), np.full_like(gap, far)], axis=-1)
        pose.reach(side, "chest", path, weight)


def drink(pose: Pose, take: Take) -> None:
    """Lift a cup to the mouth, tip it, put it down."""
    lift = take.hold(0.15, 0.4, 0.7, 0.95)
    cup = np.array([-0.1, -0.5, 0.55]) + take.vary(0.08)
    pose.reach(take.side, "shoulder", cup, take.hold(0.0, 0.2, 0.85, 1.0))
    mouth = np.array([0.08, -0.19, 0.1]) + take.vary(0.03)
    tip = take.hold(0.38, 0.5, 0.6, 0.72)
    path = mouth + tip[:, None] * np.array([0.02, 0.03, 0.04])
    pose.reach(take.side, "mouth", path, lift)
    pose.nod -= 0.4 * take.vigour * tip
    pose.lean -= 0.12 * take.vigour * tip


def march(pose: Pose, take: Take) -> None:
    """March on the spot with high knees and swinging arms."""
    steps = int(take.rng.integers(3, 6))
    sides = (take.side, take.other)
    for number in range(steps):
        at, width = 0.9 * number / steps, 1.0 / steps
        lift = take.hold(at, at + 0.5 * width, at + 0.5 * width, at + width)
        leg, arm = sides[number % 2], sides[(number + 1) % 2]
        knee = (0.1, 0.12 + 0.35 * take.vigour, 0.12)
        pose.step(leg, "floor", knee, lift)
        pose.sway += (-0.05 if leg == "left" else 0.05) * lift
        pose.reach(arm, "shoulder", (0.05, -0.6, 0.6), 0.8 * lift)
        pose.reach(leg, "shoulder", (0.15, -0.85, -0.3), 0.8 * lift)


def throw(pose: Pose, take: Take) -> None:
    """Draw the arm back over the shoulder and hurl something forward."""
    path = take.keys(
        (0.0, (0.1, -0.6, 0.3)),
        (0.38, np.array([0.45, 0.25, -0.45]) + take.vary(0.08)),
        (0.56, np.array([-0.05, 0.35, 0.9]) + take.vary(0.08)),
        (0.74, (-0.35, -0.45, 0.55)),
    )
    pose.reach(take.side, "shoulder", path, take.hold(0.0, 0.2, 0.78, 1.0))
    away = -1.0 if take.side == "right" else 1.0
    wind, hurl = take.hold(0.05, 0.36, 0.4, 0.55), take.hold(0.42, 0.58, 0.72, 1.0)
    pose.twist += away * take.vigour * (0.5 * wind - 0.45 * hurl)
    pose.lean += 0.3 * take.vigour * hurl - 0.1 * wind
    pose.reach(take.other, "shoulder", (0.35, -0.3, 0.6), 0.8 * wind)
    forward = (0.16, 0.09 + 0.05 * wind, 0.32 * take.vigour)
    stride = np.stack(np.broadcast_arrays(*forward), axis=-1)
    pose.step(take.other, "floor", stride, take.hold(0.25, 0.5, 0.8, 1.0))


def punch(pose: Pose, take: Take) -> None:
    """Box the air: fists before the chin, then one straight blow after the other."""
    guard = take.hold(0.0, 0.18, 0.85, 1.0)
    turn = 1.0 if take.side == "right" else -1.0
    blows = int(take.rng.integers(2, 4))
    for side in SIDES:
        pose.reach(side, "shoulder", np.array([-0.15, -0.05, 0.38]) + take.vary(0.05), guard)
    for blow in range(blows):
        begin = 0.2 + 0.62 * blow / blows
        reach = 0.62 / blows
        strike = take.hold(begin, begin + 0.4 * reach, begin + 0.45 * reach, begin + 0.95 * reach)
        side = take.side if blow % 2 == 0 else take.other
        target = np.array([-0.2, take.between(-0.1, 0.15), 1.0 * take.vigour])
        pose.reach(side, "shoulder", target, strike)
        pose.twist += (turn if blow % 2 == 0 else -turn) * 0.6 * strike
    pose.crouch += 0.1 * guard
    pose.lean += 0.2 * guard
    pose.step(take.other, "floor", (0.16, 0.09, 0.3), guard)


def kick(pose: Pose, take: Take) -> None:
    """Swing one leg back and then up to the front."""
    height = take.between(0.3, 0.75) * take.vigour
    path = take.keys(
        (0.0, (0.12, 0.12, 0.0)),
        (0.32, (0.14, 0.3, -0.45)),
        (0.55, (0.05, 0.1 + height, 0.85)),
        (0.85, (0.12, 0.12, 0.05)),
    )
    weight = take.hold(0.0, 0.15, 0.8, 1.0)
    pose.step(take.side, "floor", path, weight)
    swing = take.hold(0.3, 0.55, 0.6, 0.9)
    pose.lean -= 0.28 * take.vigour * swing - 0.12 * take.hold(0.05, 0.3, 0.35, 0.5)
    pose.sway += (0.06 if take.side == "right" else -0.06) * weight
    pose.reach(take.other, "shoulder", (0.45, -0.45, 0.45), 0.8 * swing)
    pose.reach(take.side, "shoulder", (0.5, -0.6, -0.3), 0.7 * swing)


def sit_down(pose: Pose, take: Take) -> None:
    """Sit down on a chair and stay there."""
    _seat(pose, take, take.rise(0.0, 0.85), 4 * take.rise(0.0, 0.85) * (1 - take.rise(0.1, 1.0)))


def stand_up(pose: Pose, take: Take) -> None:
    """Rise from a chair."""
    rise = take.rise(0.15, 1.0)
    _seat(pose, take, 1 - rise, 4 * take.rise(0.0, 0.7) * (1 - rise))


def _seat(pose: Pose, take: Take, seated: np.ndarray, effort: np.ndarray) -> None:
    height = take.between(0.40, 0.48)
    pose.crouch += height * seated
    pose.back += take.between(0.4, 0.5) * seated
    pose.lean += 0.35 * np.clip(effort, 0, 1) * take.vigour + 0.05 * seated
    rest = np.array([0.0, -0.66, 0.42]) + take.vary(0.08)
    for side in SIDES:
        pose.reach(side, "shoulder", rest, 0.9 * seated)


def pick_up(pose: Pose, take: Take) -> None:
    """Bend down, take something from the floor and lift it to the waist."""
    down = take.hold(0.0, 0.42, 0.52, 0.9)
    knees = take.between(0.2, 0.45)
    pose.crouch += knees * down
    pose.back += 0.25 * down
    pose.lean += (1.35 - 0.7 * knees) * down
    pose.bend += 0.45 * down
    floor = np.array([0.12, 0.14, 0.5]) + np.array([1.0, 0.2, 1.0]) * take.vary(0.06)
    pose.reach(take.side, "shoulder", (0.0, -0.5, 0.5), take.hold(0.5, 0.85, 0.9, 1.0))
    pose.reach(take.side, "floor", floor, take.hold(0.05, 0.4, 0.52, 0.85))
    if take.rng.random() < 0.4:
        pose.reach(take.other, "floor", floor, take.hold(0.05, 0.4, 0.52, 0.85))


def jump(pose: Pose, take: Take) -> None:
    """Jump up once or twice on the spot."""
    jumps = int(take.rng.integers(1, 3))
    for number in range(jumps):
        at, width = number / jumps, 1 / jumps
        dip = take.hold(at, at + 0.3 * width, at + 0.32 * width, at + 0.42 * width)
        land = take.hold(at + 0.68 * width, at + 0.76 * width, at + 0.8 * width, at + width)
        flight = np.clip((take.progress - at - 0.4 * width) / (0.3 * width), 0.0, 1.0)
        pose.hop += take.vigour * 4 * flight * (1 - flight) * take.between(0.12, 0.28)
        pose.crouch += 0.28 * take.vigour * dip + 0.18 * land
        pose.lean += 0.35 * dip + 0.2 * land
        back, up = (
            0.8 * dip,
            take.hold(at + 0.3 * width, at + 0.5 * width, at + 0.6 * width, at + width),
        )
        raised = (0.15, take.between(-0.2, 0.8), 0.5)
        for side in SIDES:
            pose.reach(side, "shoulder", (0.2, -0.85, -0.35), back)
            pose.reach(side, "shoulder", raised, up)


def squat(pose: Pose, take: Take) -> None:
    """Bend the knees deeply with a straight back, once or twice."""
    turns = int(take.rng.integers(1, 3))
    depth = take.between(0.38, 0.55)
    pose.stance += 0.06
    for number in range(turns):
        at, width = number / turns, 1 / turns
        down = take.hold(at, at + 0.42 * width, at + 0.55 * width, at + width)
        pose.crouch += depth * down
        pose.back += 0.3 * down
        pose.lean += 0.45 * down
        ahead = np.array([0.0, -0.1, 0.9]) + take.vary(0.08)
        for side in SIDES:
            pose.reach(side, "shoulder", ahead, 0.9 * down)


def bow(pose: Pose, take: Take) -> None:
    """Bow from the hips with straight legs."""
    down = take.hold(0.0, 0.4, 0.6, 1.0)
    pose.lean += take.between(0.6, 1.1) * down
    pose.bend += 0.2 * down
    pose.back += 0.2 * down
    pose.nod += 0.35 * down
    for side in SIDES:
        pose.reach(side, "hip", (0.1, -0.3, 0.25), 0.7 * down)


ACTIONS: dict[str, Action] = {
    "wave": Action(1.5, wave),
    "clap": Action(1.4, clap),
    "drink": Action(1.6, drink),
    "march": Action(1.7, march),
    "throw": Action(1.2, throw),
    "punch": Action(1.2, punch),
    "kick": Action(1.1, kick),
    "sit down": Action(1.2, sit_down),
    "stand up": Action(1.2, stand_up),
    "pick up": Action(1.4, pick_up),
    "jump": Action(1.2, jump),
    "squat": Action(1.5, squat),
    "bow": Action(1.4, bow),
}


def idle(pose: Pose, take: Take) -> None:
    """Stand as people stand: swaying, with hands and feet in places of their own."""
    rng, seconds = take.rng, take.seconds
    pose.lean += rng.normal(0.02, 0.04) + wander(rng, seconds, 0.012)
    pose.bend += rng.normal(0.05, 0.05)
    pose.side += rng.normal(0.0, 0.02) + wander(rng, seconds, 0.012)
    pose.sway += rng.normal(0.0, 0.03) + wander(rng, seconds, 0.015)
    pose.twist += rng.normal(0.0, 0.06) + wander(rng, seconds, 0.03)
    pose.look += rng.normal(0.0, 0.15) + wander(rng, seconds, 0.06)
    pose.nod += rng.normal(0.05, 0.08)
    pose.stance += rng.uniform(-0.02, 0.1)
    manner = rng.choice(["hanging", "folded", "hips", "one hip"], p=[0.6, 0.2, 0.1, 0.1])
    for side in SIDES:
        drift = np.stack([wander(rng, seconds, 0.02) for _ in range(3)], axis=-1)
        offset, weight = drift + rng.normal(0.0, 0.05, 3), np.ones(take.frames)
        if manner == "folded":
            pose.reach(side, "chest", drift + np.array([0.05, -0.85, 0.4]), weight)
        elif manner == "hips" or (manner == "one hip" and side == take.other):
            pose.reach(side, "hip", drift + np.array([0.15, 0.12, 0.0]), weight)
        else:
            pose.reach(side, "shoulder", offset + np.array([0.14, -0.95, 0.1]), weight)


def fidget(pose: Pose, take: Take, begin: float) -> None:
    """Do something small and idle for a second or so, beginning at ``begin`` seconds."""
    length = take.between(0.6, 1.3)
    at = (take.seconds - begin) / length
    weight = ease(at / 0.3) - ease((at - 0.7) / 0.3)
    side = SIDES[int(take.rng.integers(2))]
    out = 1.0 if side == "left" else -1.0
    quick = np.sin(2 * np.pi * 3.0 * (take.seconds - begin))
    match int(take.rng.integers(6)):
        case 0:  # scratch the head
            path = np.array([0.15, 0.1, 0.0]) + 0.05 * quick[:, None] * np.array([1.0, 0.3, 0.6])
            pose.reach(side, "crown", path, weight)
        case 1:  # look at the watch
            pose.reach(side, "chest", (0.05, -0.3, 0.5), weight)
            pose.nod += 0.4 * weight
        case 2:  # shift the weight
            pose.sway += out * 0.1 * weight
            pose.side -= out * 0.08 * weight
        case 3:  # look around
            pose.look += out * 0.8 * weight
            pose.twist += out * 0.2 * weight
        case 4:  # rub the chin
            pose.reach(side, "mouth", (0.08, -0.22, 0.12), weight)
        case _:  # shake out an arm
            path = np.array([0.3, -0.75, 0.25]) + 0.06 * quick[:, None]
            pose.reach(side, "shoulder", path, weight)
