"""The copied second person of NTU RGB+D 120, with ``quirks: original``.

The files that CTR-GCN, InfoGCN, FR-Head and LST train on repeat a person who is alone in a clip as
the second person, in NTU RGB+D 120 and only there. Published numbers of that set were reached so.
Stores hold such a person once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.formats.processed import BODIES, ntu_class_names
from kinegraph.data.store import Store


def copies_a_lone_person(class_names: Sequence[str]) -> bool:
    """Whether these are the classes of NTU RGB+D 120."""
    return tuple(class_names) == ntu_class_names()


def with_copied_tracks(store: Store) -> NDArray[Any]:
    """Return the tracks of a store with a second one for each clip of one person, of its frames.

    Clips in which several bodies became one person (extra ``bodies``) have none: there the
    original files hold zeros.
    """
    tracks = store.tracks
    alone = np.diff(store.track_starts) == 1  # (clips,)
    if BODIES in store.extras:
        alone &= ~(store.extras[BODIES] > 1)  # NaN: not known
    rows = np.flatnonzero(alone[tracks["clip"]] & (tracks["person"] == 0))
    twins = tracks[rows]
    twins["person"] = 1
    return np.insert(tracks, rows + 1, twins)


def with_copied_person(clip: Clip) -> Clip:
    """Return a clip with its only person twice, or as it is if there are more."""
    persons = [track.person for track in clip.tracks]
    if persons != [0] or clip.extras.get(BODIES, 1) > 1:
        return clip
    return replace(clip, tracks=(*clip.tracks, replace(clip.tracks[0], person=1)))
