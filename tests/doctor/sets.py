"""Sets of clips to plant faults in: synthetic people as stand-ins, and real ones where they are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kinegraph.data.clip import Clip, Track
from kinegraph.data.doctor import Diagnosis, examine_recordings
from kinegraph.data.formats import Recording, Recordings, open_recordings
from kinegraph.data.synthetic.dataset import CLASS_NAMES, draw_cast, record
from kinegraph.skeleton import Skeleton, load_layout

Joints = NDArray[Any]
REAL = {
    "nw-ucla": "nw-ucla/all_sqe.zip",
    "utd-mhad": "utd-mhad/Skeleton.zip",
    "sbu": "sbu/SBU.zip",
}
CLIPS = 30  # of a real set, spread over all of it
LONG_ENOUGH = 24  # frames


@dataclass(frozen=True)
class Set:
    """Clips without any finding, and their layout."""

    skeleton: Skeleton
    class_names: tuple[str, ...]
    clips: tuple[Clip, ...]


def examine(
    clips: Sequence[Clip],
    skeleton: Skeleton,
    class_names: tuple[str, ...] = CLASS_NAMES,
    **recordings: Any,
) -> Diagnosis:
    """Examine clips as if a format had opened them."""
    items = [Recording(clip.name, partial(_itself, clip)) for clip in clips]
    return examine_recordings(Recordings(skeleton, class_names, items, **recordings))


def _itself(clip: Clip) -> Clip:
    return clip


def kinds(diagnosis: Diagnosis) -> dict[str, set[str]]:
    """Return clip -> kinds of its findings; those of the whole set stand under an empty name."""
    found: dict[str, set[str]] = {}
    for finding in diagnosis.findings:
        found.setdefault(finding.clip, set()).add(finding.kind)
    return found


def changed(clip: Clip, joints: Joints, person: int = 0) -> Clip:
    """Return a clip in which one person has other joints."""
    tracks = list(clip.tracks)
    tracks[person] = replace(tracks[person], joints=joints)
    return replace(clip, tracks=tuple(tracks))


def joints_of(clip: Clip, person: int = 0) -> Joints:
    """Return a copy of the joints of one person."""
    return np.array(clip.tracks[person].joints, dtype=np.float64)


@cache
def synthetic() -> Set:
    """Return synthetic people: 32 clips, some of two people."""
    clips = list(record(3, draw_cast(3, 8), 2))
    return _sound(clips, load_layout("ntu25"), CLASS_NAMES)


@cache
def real(name: str) -> Set:
    """Return some clips of a real set."""
    if name == "utd-mhad":
        pytest.importorskip("scipy")
    folder = Path(os.environ["KINEGRAPH_SHARED"]) / "data"
    with open_recordings(folder / REAL[name], format_name=name) as recordings:
        step = max(1, recordings.count // (2 * CLIPS))
        clips = [recordings.items[row].read() for row in range(0, recordings.count, step)]
        return _sound(clips, recordings.skeleton, recordings.class_names)


def _sound(clips: list[Clip], skeleton: Skeleton, class_names: tuple[str, ...]) -> Set:
    """Keep clips that are long enough and in which nothing is odd."""
    clips = [clip for clip in clips if clip.frames >= LONG_ENOUGH]
    clips = [
        replace(
            clip, tracks=tuple(Track(np.array(t.joints), t.first, t.person) for t in clip.tracks)
        )
        for clip in clips
        if all(len(track.joints) >= LONG_ENOUGH for track in clip.tracks)
    ]
    odd = kinds(examine(clips, skeleton, class_names))
    sound = [clip for clip in clips if clip.name not in odd]
    assert len(sound) >= 8
    return Set(skeleton, class_names, tuple(sound[:CLIPS]))


def all_sets() -> list[Any]:
    """Return the names of all sets as parameters of a test; real ones need the recordings."""
    return ["synthetic", *(pytest.param(name, marks=pytest.mark.shared) for name in REAL)]


def find_set(name: str) -> Set:
    """Return a set by name."""
    return synthetic() if name == "synthetic" else real(name)
