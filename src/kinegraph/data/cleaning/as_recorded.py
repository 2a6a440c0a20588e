"""Every body that the sensor followed, where and when it was seen."""

from __future__ import annotations

import numpy as np

from kinegraph.data.cleaning.bodies import Joints, Sightings, follow_bodies
from kinegraph.data.clip import MAX_PERSONS
from kinegraph.errors import ClipError


def every_body(sightings: Sightings) -> Joints:
    """Return (bodies, F, V, 3) in the order of their first appearance, zero where not seen.

    Raises:
        ClipError: Nobody is seen, or there are more bodies than a clip may have people.
    """
    bodies = follow_bodies(sightings)
    if len(bodies) > MAX_PERSONS:
        raise ClipError(
            f"it has {len(bodies)} bodies, a clip at most {MAX_PERSONS} people; import with"
            " --cleaning denoised"
        )
    shape = (len(bodies), len(sightings.counts), *sightings.joints.shape[1:])
    people = np.zeros(shape, dtype=np.float32)
    for place, body in enumerate(bodies):
        people[place, body.frames] = body.joints
    return people
