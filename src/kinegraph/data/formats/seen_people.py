"""From dense arrays, zero where nobody is, to the tracks of a clip.

Formats that come as frames with a fixed number of places for people share this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Track


def tracks_where_seen(
    people: NDArray[np.floating[Any]], seen: NDArray[np.bool_] | None = None
) -> tuple[Track, ...]:
    """Return a track for every person who is seen at all, from the first to the last such frame.

    Frames between in which the person is not seen are zero.

    Args:
        people: (M, T, V, C) joints; place m becomes person m of the clip.
        seen: (M, T) whether a person is there in a frame; by default where a number is not zero.
            NaN counts as seen, so that it is found and named later.
    """
    if seen is None:
        with np.errstate(invalid="ignore"):  # some NaN make NumPy complain
            seen = np.asarray(people.any(axis=(2, 3)))
    else:
        people = np.where(seen[:, :, None, None], people, 0.0)
    tracks = []
    for person in np.flatnonzero(seen.any(axis=1)):
        times = np.flatnonzero(seen[person])
        joints = people[person, times[0] : times[-1] + 1]
        tracks.append(Track(joints, first=int(times[0]), person=int(person)))
    return tuple(tracks)
