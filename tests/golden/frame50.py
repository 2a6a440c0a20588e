"""Checks of the preparation to 50 frames, through the files that are exported."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kinegraph.data.clip import Clip
from kinegraph.data.export import export_store
from kinegraph.data.export.frame50 import stretch
from kinegraph.data.store import create_store, open_store
from kinegraph.skeleton import load_layout

from .goldens import POSITIONS, Comparison, Golden
from .stores import CLASSES, clip_of


def check_fifty_frames(golden: Golden) -> Iterator[Comparison]:
    """Position, motion and labels of dense clips.

    A small copy keeps only some of the frames, and one person: people do not depend on each other.
    """
    cases = [name.removeprefix("raw") for name in golden.arrays if name.startswith("raw")]
    clips = [clip_of(f"clip {case}", golden[f"raw{case}"]) for case in cases]
    labels = golden.meta["labels_in"]
    kept = golden.meta.get("kept_frames", list(range(50)))
    with tempfile.TemporaryDirectory() as folder:
        arrays = _exported(Path(folder), clips, [labels[int(case)] for case in cases])
    for row, case in enumerate(cases):
        for kind in ("position", "motion"):
            people = golden.expected(f"raw{case}").shape[3]
            made = arrays[kind][row][:, kept, :, :people]
            yield Comparison(f"{kind}{case}", made, POSITIONS)
        if f"label{case}" in golden.arrays:
            yield Comparison(f"label{case}", arrays["label"][row, 0], 1e-9)
    if "resized0_before_rotation" in golden.arrays:
        people = golden["raw0"].transpose(3, 1, 2, 0)  # (C, T, V, M) -> (M, T, V, C)
        length = golden.meta["lengths"][0]
        made = stretch((people - people[:, :, 20, None])[:, :length], 50)
        yield Comparison("resized0_before_rotation", made.transpose(3, 1, 2, 0)[:, kept], POSITIONS)


def _exported(folder: Path, clips: list[Clip], labels: list[int]) -> dict[str, np.ndarray]:
    """Store clips, all of which train, and one more that tests; export and read the files."""
    store = folder / "store"
    with create_store(store, load_layout("ntu25"), CLASSES, source="golden") as writer:
        for clip, label in zip(clips, labels, strict=True):
            writer.add(Clip(clip.name, clip.tracks, clip.frames, label))
        writer.add(Clip("another", clips[0].tracks, clips[0].frames, 0))
        writer.splits["own"] = np.array([1] * len(clips) + [2])
        writer.default_split = "own"
    export_store(open_store(store), "aimclr-npy", folder / "out")
    return {
        kind: np.load(folder / "out" / f"train_{kind}.npy")
        for kind in ("position", "motion", "label")
    }
