"""The cleaning of PYSKL: the same rules for noise as ``denoised``, applied in another order.

Source: Duan et al., PYSKL (ACM MM 2022), data preparation.
"""

from __future__ import annotations

import numpy as np

from kinegraph.data.cleaning.bodies import (
    SHORTEST,
    Body,
    Joints,
    Sightings,
    all_are_noise,
    follow_bodies,
    is_wide,
    motion,
    wide_frames,
)
from kinegraph.data.cleaning.denoised import ORIGIN, two_people

NOTHING = 1e-3  # a frame whose numbers sum to less, in magnitude, is empty


def clean_as_pyskl(sightings: Sightings) -> Joints:
    """Return the people of a recording, (M, T, V, 3) with one or two people, not moved.

    Its annotation files hold these numbers as float16; a store made with ``--dtype float16`` has
    the very same ones.

    Differs from the original: a recording whose bodies are all noise, and one without any, are
    errors that say so.

    Raises:
        ClipError: Nobody is left, or a frame has the same body twice.
    """
    bodies = follow_bodies(sightings)
    if len(bodies) == 1:
        return _without_empty_ends(bodies[0].joints[None])  # (1, T, V, 3)
    moved = {body.id: motion(body.joints) for body in bodies}
    kept = [body for body in _by_motion(bodies, moved) if len(body) > SHORTEST]
    if len(kept) > 1:
        kept = _without_wide(kept, moved)
    if not kept:
        raise all_are_noise(bodies)
    frames = max(body.end for body in kept) + 1
    if len(kept) > 1:
        people = two_people(_by_motion(kept, moved), frames, overlap=0)
    else:
        people = np.zeros((1, frames, *kept[0].joints.shape[1:]), dtype=np.float32)
        people[0, kept[0].start : kept[0].end + 1] = kept[0].joints
    people = _without_empty_ends(people)
    if len(people) > 1 and not people[0, 0, ORIGIN].any() and people[1, 0, ORIGIN].any():
        people = people[::-1]  # whoever is there from the beginning comes first
    return people


def _by_motion(bodies: list[Body], moved: dict[int, np.float32]) -> list[Body]:
    return sorted(bodies, key=lambda body: -moved[body.id])


def _without_wide(bodies: list[Body], moved: dict[int, np.float32]) -> list[Body]:
    """Drop bodies that are too wide; update the motion of those that are so in some frames."""
    kept = []
    for body in bodies:
        wide = wide_frames(body.joints)
        if is_wide(wide):
            continue
        kept.append(body)
        if wide.any():
            moved[body.id] = min(moved[body.id], motion(body.joints[~wide]))
    return kept


def _without_empty_ends(people: Joints) -> Joints:
    """Cut frames off both ends of (M, T, V, 3) in which nobody is."""
    sums = people.sum(axis=(0, 2, 3), dtype=np.float64)  # (T,)
    seen = np.flatnonzero(np.abs(sums) >= NOTHING)
    return people[:, seen[0] : seen[-1] + 1] if len(seen) else people
