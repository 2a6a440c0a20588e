"""The whole synthetic set: who acts, what, how long, seen from where; and the store it fills.

Outermost part of the synthetic data; everything random about a clip follows from (seed, class,
number), everything about a person from (seed, person). It knows no networks and no pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.store import Clip, Track, create_store
from kinegraph.data.synthetic.body import Body, Floats, draw_body
from kinegraph.data.synthetic.interactions import INTERACTIONS, Performer
from kinegraph.data.synthetic.motions import ACTIONS, fidget, idle
from kinegraph.data.synthetic.puppet import Pose
from kinegraph.data.synthetic.sensor import CAMERAS, blur, draw_view, occlude
from kinegraph.data.synthetic.timing import FRAMES_PER_SECOND, Take
from kinegraph.errors import RecipeError
from kinegraph.skeleton import load_layout

CLASS_NAMES = (*ACTIONS, *INTERACTIONS)
SHORTEST, LONGEST = 30, 90  # frames of a clip
GRID = 2.0**-13  # metres, see `_rounded`

TRAIN, TEST = 1, 2  # as stored in splits.npz
# Spread along the list of people, so that the first clips of a class already have both halves.
_ROLES = (TRAIN, TEST, TRAIN, TEST, TRAIN, TRAIN, TEST, TRAIN)

_PEOPLE, _CLIPS = 1, 2  # keep the random streams of one seed apart


@dataclass(frozen=True)
class Subject:
    """One of the people, with habits that stay the same from clip to clip.

    Attributes:
        number: From 1 on.
        role: TRAIN or TEST.
        body: The bones.
        tempo: Speed of the movements; 1 is middling.
        vigour: Size of the movements; 1 is middling.
        left_handed: Whether the left side usually acts.
    """

    number: int
    role: int
    body: Body
    tempo: float
    vigour: float
    left_handed: bool


def make_synthetic(
    out: Path,
    *,
    seed: int = 0,
    clips_per_class: int = 48,
    subjects: int = 16,
    force: bool = False,
) -> Path:
    """Make the synthetic data set and return the path of its store.

    The bytes depend on the arguments alone. The split ``xsub`` trains on five eighths of the
    subjects; nobody, not even as the partner in an interaction, is in both of its halves.

    Args:
        out: The folder to be made.
        seed: Another seed gives other people, cameras and performances.
        clips_per_class: Clips of each class, dealt out to the subjects in turn.
        subjects: Number of people.
        force: Whether an existing folder may be replaced.

    Raises:
        RecipeError: A negative seed, under 2 clips per class, or too few people for pairs.
        OutputError: ``out`` exists and ``force`` is false, or the disk refuses.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("clips_per_class", clips_per_class, 2),
        ("subjects", subjects, 4),
    ):
        if value < least:
            raise RecipeError(f"synthetic data: {name} is {value}, expected {least} or more")
    cast = draw_cast(seed, subjects)
    with create_store(
        Path(out), load_layout("ntu25"), CLASS_NAMES, source=f"synthetic, seed {seed}", force=force
    ) as writer:
        roles = []
        for clip in record(seed, cast, clips_per_class):
            writer.add(clip)
            roles.append(cast[clip.subject - 1].role)
        writer.splits["xsub"] = np.array(roles, dtype=np.int8)
        writer.default_split = "xsub"
    return Path(out)


def draw_cast(seed: int, subjects: int) -> tuple[Subject, ...]:
    """Return the people of a seed, some of whom train and the others test."""
    cast = []
    for number in range(1, subjects + 1):
        rng = np.random.default_rng([seed, _PEOPLE, number])
        body = draw_body(rng)
        tempo, vigour = float(rng.uniform(0.8, 1.25)), float(rng.uniform(0.8, 1.15))
        left_handed = bool(rng.random() < 0.4)
        role = _ROLES[(number - 1) % len(_ROLES)]
        cast.append(Subject(number, role, body, tempo, vigour, left_handed))
    return tuple(cast)


def record(seed: int, cast: tuple[Subject, ...], clips_per_class: int) -> Iterator[Clip]:
    """Yield the clips of a seed, class by class."""
    for label, name in enumerate(CLASS_NAMES):
        for number in range(clips_per_class):
            rng = np.random.default_rng([seed, _CLIPS, label, number])
            subject = cast[number % len(cast)]
            camera = int(rng.choice(list(CAMERAS)))
            extras = {"fps": FRAMES_PER_SECOND}
            people: tuple[Floats, ...]
            if name in INTERACTIONS:
                others = [s for s in cast if s.role == subject.role and s is not subject]
                partner = others[int(rng.integers(len(others)))]
                extras["partner"] = partner.number
                people = perform_together(rng, name, subject, partner)
            else:
                people = (perform_alone(rng, name, subject),)
            yield Clip(
                name=f"{name.replace(' ', '-')}-p{subject.number:02d}-{number:03d}",
                tracks=_film(rng, people, camera),
                frames=len(people[0]),
                label=label,
                subject=subject.number,
                camera=camera,
                replication=number // len(cast) + 1,
                extras=extras,
            )


def perform_alone(rng: np.random.Generator, name: str, subject: Subject) -> Floats:
    """Return the true joints (T, V, 3) in metres of one person who performs an action."""
    action = ACTIONS[name]
    take = _draw_take(rng, action.seconds, subject)
    pose = Pose(take.frames)
    idle(pose, take)
    if rng.random() < 0.5:
        fidget(pose, take, begin=rng.uniform(-0.2, 0.8 * take.seconds[-1]))
    action.perform(pose, take)
    return pose.solve(subject.body)


def perform_together(
    rng: np.random.Generator, name: str, subject: Subject, partner: Subject
) -> tuple[Floats, Floats]:
    """Return the true joints (T, V, 3) in metres of two people, the one who begins first."""
    interaction = INTERACTIONS[name]
    take = _draw_take(rng, interaction.seconds, subject)
    poses = (Pose(take.frames), Pose(take.frames))
    for pose in poses:
        idle(pose, take)
    poses[1].heading += np.pi
    performers = (Performer(poses[0], subject.body, 1.0), Performer(poses[1], partner.body, -1.0))
    interaction.perform(*performers, take)
    return poses[0].solve(subject.body), poses[1].solve(partner.body)


def _draw_take(rng: np.random.Generator, usual: float, subject: Subject) -> Take:
    """Draw length, onset and manner of a clip of at least SHORTEST and at most LONGEST frames."""
    duration = min(usual * rng.uniform(0.75, 1.25) / subject.tempo, 2.6)
    spare = (LONGEST - 1) / FRAMES_PER_SECOND - duration
    onset = rng.uniform(0.05, min(1.7, spare))
    rest = rng.uniform(0.05, min(1.1, spare - onset + 0.05))
    frames = int(np.clip((onset + duration + rest) * FRAMES_PER_SECOND, SHORTEST, LONGEST))
    seconds = np.arange(frames) / FRAMES_PER_SECOND
    left = rng.random() < (0.8 if subject.left_handed else 0.2)
    return Take(
        rng=rng,
        progress=np.clip((seconds - onset) / duration, 0.0, 1.0),
        seconds=seconds,
        side="left" if left else "right",
        other="right" if left else "left",
        vigour=subject.vigour * float(rng.uniform(0.85, 1.15)),
    )


def _film(rng: np.random.Generator, people: tuple[Floats, ...], camera: int) -> tuple[Track, ...]:
    """Return the tracks that the camera reports of people in the world."""
    # A person alone faces the camera in the middle; two are seen from either side.
    facing = np.pi if len(people) == 1 else float(rng.choice([-0.5, 0.5])) * np.pi
    view = draw_view(rng, camera, facing)
    tracks = []
    for person, true in enumerate(people):
        joints = blur(rng, view.look(true))
        if rng.random() < 0.4:
            joints = occlude(rng, joints)
        # Trackers need a moment for a second body.
        first = int(rng.integers(1, 9)) if person == 1 and rng.random() < 0.25 else 0
        tracks.append(Track(_rounded(joints[first:]), first, person))
    return tuple(tracks)


def _rounded(joints: Floats) -> NDArray[np.float32]:
    """Round to a grid of about 0.1 mm, which float32 holds exactly.

    Sines and exponentials may differ in their last bit from one processor to the next; on the grid
    that difference is gone.
    """
    return (np.round(joints / GRID) * GRID).astype(np.float32)
