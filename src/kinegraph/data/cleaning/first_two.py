"""The first two bodies of each frame, as they stand there: no tracks, no order among people.

Source: Yan et al., ST-GCN (AAAI 2018), data preparation; AimCLR and CrosSCLR share it.
"""

from __future__ import annotations

import numpy as np

from kinegraph.data.cleaning.bodies import Joints, Sightings, check_seen

PEOPLE = 2


def first_two(sightings: Sightings) -> Joints:
    """Return (M, F, V, 3) of every frame, zero where it has fewer bodies; M is 2, or 1.

    The numbers of the bodies mean nothing here: a person who is listed first in one frame and
    second in the next jumps between the places.

    Raises:
        ClipError: Nobody is seen.
    """
    check_seen(sightings)
    count, (_, joints, axes) = len(sightings.counts), sightings.joints.shape
    frames = sightings.frames
    before = np.cumsum(sightings.counts) - sightings.counts  # (F,) rows of earlier frames
    place = np.arange(len(frames)) - before[frames]
    kept = place < PEOPLE
    most = min(int(sightings.counts.max()), PEOPLE)
    people = np.zeros((most, count, joints, axes), dtype=np.float32)
    people[place[kept], frames[kept]] = sightings.joints[kept]
    return people
