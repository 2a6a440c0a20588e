"""Dense arrays of the original programs -> stores, and pipelines over them, as runs use them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.data.clip import Clip, Track
from kinegraph.data.reader import TrackReader
from kinegraph.data.store import create_store, open_store
from kinegraph.registry import Config
from kinegraph.skeleton import Coordinates, Skeleton
from kinegraph.transforms import TRANSFORMS
from kinegraph.transforms.pipeline import Draws, Pipeline
from kinegraph.transforms.tracks import FixedTracks

CLASSES = [f"class {number}" for number in range(10)]


def clip_of(name: str, dense: NDArray[Any]) -> Clip:
    """Turn (C, T, V, M) with zeros where nobody is into a clip without padding."""
    tracks = []
    for person in range(dense.shape[3]):
        joints = dense[..., person].transpose(1, 2, 0)  # (T, V, C)
        seen = np.flatnonzero(joints.any((1, 2)))
        if len(seen):
            first, last = int(seen[0]), int(seen[-1])
            tracks.append(Track(joints[first : last + 1], first, person))
    return Clip(name, tuple(tracks), frames=dense.shape[1], label=0)


def reader_of(
    clips: Sequence[Clip], skeleton: Skeleton, persons: int, *, count_nonzero: bool = True
) -> TrackReader:
    """Write clips into a store, open it, and return a reader of its tracks.

    The folder is removed at once: a memory map outlives its file's name.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        with create_store(path, skeleton, CLASSES, source="golden") as writer:
            for clip in clips:
                writer.add(clip)
        return TrackReader(open_store(path), persons, count_nonzero=count_nonzero)


def config(name: str, **values: Any) -> Config:
    """Make the configuration of a transform, as a recipe does."""
    return TRANSFORMS[name].config.model_validate({"name": name, **values})


def run(
    reader: TrackReader,
    configs: Sequence[Config],
    *,
    stream: str = "joint",
    rows: Sequence[int] | None = None,
    replay: Sequence[Draws | None] | None = None,
    original: bool = True,
) -> torch.Tensor:
    """Run a pipeline over clips of a reader; return (N, C, T, V, M)."""
    pipeline = Pipeline(configs, stream, reader.skeleton, original=original)
    index = torch.arange(len(reader)) if rows is None else torch.tensor(rows)
    fixed = pipeline(reader.read(index), seed=0, epoch=0, index=index, replay=replay)
    assert isinstance(fixed, FixedTracks)
    return fixed.dense()


def plain_layout(joints: int) -> Skeleton:
    """Return a chain of joints, for arrays that belong to no body."""
    return Skeleton(
        name="chain",
        title="a chain of joints",
        joints=tuple(f"joint {joint}" for joint in range(joints)),
        parents=tuple(range(-1, joints - 1)),
        mirror=tuple(range(joints)),
        parts={
            "head": tuple(range(joints)), "arms": (), "hands": (), "hips": (), "legs": (),
            "feet": (),
        },
        centre=0,
        coordinates=Coordinates(axes=("x", "y", "z"), up="+y", unit="metre"),
    )  # fmt: skip
