"""Noise dropped, broken tracks joined to at most two people, moved to the first frame.

The three steps that CTR-GCN, InfoGCN, FR-Head and LST prepare NTU RGB+D with, in one pass and on
the clip alone.

Source: Zhang et al., Semantics-Guided Neural Networks (CVPR 2020), data preparation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.cleaning.bodies import (
    SHORTEST,
    Body,
    Joints,
    Sightings,
    all_are_noise,
    follow_bodies,
    frames_with_bodies,
    is_wide,
    motion,
    wide_frames,
)

ORIGIN = 1  # the joint that the first frame is centred on: middle of the spine


def clean(sightings: Sightings) -> Joints:
    """Return the people of a recording, (M, T, V, 3) with one or two people.

    Raises:
        ClipError: Nobody is left, or the bodies are not told apart.
    """
    return move_to_first_frame(denoise(sightings))


def denoise(sightings: Sightings) -> Joints:
    """Drop noise and join what is left to one or two people, (M, T, V, 3) in sensor coordinates.

    Frames without any body are dropped and gaps in a body's track are closed. A body that is alone
    in a recording is never doubted.

    Differs from the original: a recording whose bodies are all short is an error that says so; a
    person is absent from a frame where all numbers are zero, not where their sum is.

    Raises:
        ClipError: Nobody is left, or a frame has the same body twice.
    """
    bodies = follow_bodies(sightings)
    if len(bodies) == 1:
        return bodies[0].joints[None]  # (1, T, V, 3)
    frames = frames_with_bodies(sightings)
    kept = [body for body in bodies if len(body) > SHORTEST]
    if not kept:
        raise all_are_noise(bodies)
    if len(kept) > 1:
        kept = _people_first(kept)
    if len(kept) > 1:
        people = two_people(kept, frames, overlap=1)
    else:
        people = np.zeros((1, frames, *kept[0].joints.shape[1:]), dtype=np.float32)
        people[0, kept[0].start : kept[0].end + 1] = kept[0].joints
    return people[:, people.any(axis=(0, 2, 3))]


def _people_first(bodies: list[Body]) -> list[Body]:
    """Drop bodies that are too wide, but never the last one; order the others by motion."""
    kept = list(bodies)
    moved = {}
    for body in bodies:
        if len(kept) == 1:
            break
        wide = wide_frames(body.joints)
        if is_wide(wide):
            kept.remove(body)
            continue
        moved[body.id] = motion(body.joints)
        if wide.any():  # such frames stay in the track, but may not make it the main actor's
            moved[body.id] = min(moved[body.id], motion(body.joints[~wide]))
    if len(kept) == 1:
        return kept
    return sorted(kept, key=lambda body: -moved[body.id])


def two_people(bodies: list[Body], frames: int, *, overlap: int) -> Joints:
    """Write tracks into two places, each into the first where it does not overlap what is there.

    Args:
        bodies: At least two, the main actor first.
        frames: T, frames of the recording that have a body.
        overlap: How many frames two tracks may share and still be taken for one person's; the
            later one overwrites them.

    Returns:
        (2, T, V, 3), zero where nobody is. The second person is all zero where every track was
        joined to the first. A track that overlaps both is dropped.
    """
    people = np.zeros((2, frames, *bodies[0].joints.shape[1:]), dtype=np.float32)
    taken = [(bodies[0].start, bodies[0].end), (0, -1)]  # first and last frame of each place
    people[0, bodies[0].start : bodies[0].end + 1] = bodies[0].joints
    for body in bodies[1:]:
        for person, (start, end) in enumerate(taken):
            # A place also counts as taken where its track has a hole: only its ends are known.
            if min(end, body.end) - max(start, body.start) < overlap:
                people[person, body.start : body.end + 1] = body.joints
                taken[person] = (min(start, body.start), max(end, body.end))
                break
    return people


def move_to_first_frame(people: Joints) -> Joints:
    """Put the middle of the main actor's spine, where it is first seen, at the origin.

    Args:
        people: (M, T, V, 3) with one or two people. Where two are there, one that is absent from a
            frame stays zero.
    """
    first = int(np.argmax(people[0].any(axis=(1, 2))))
    moved = people - people[0, first, ORIGIN]
    if len(people) > 1:
        moved[_absent(people)] = 0
    return np.asarray(moved)


def _absent(people: Joints) -> NDArray[np.bool_]:
    return np.asarray(~people.any(axis=(2, 3)))  # (M, T)
