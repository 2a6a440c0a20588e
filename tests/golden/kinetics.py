"""Checks of Kinetics-skeleton: the files that users download, up to the arrays of the original."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.formats import Options, Recordings, open_recordings
from kinegraph.skeleton import load_layout

from .goldens import Comparison, Golden
from .stores import config, reader_of, run

OPENPOSE = load_layout("openpose18")
FRAMES = 300
CASES = {
    "default": Options(),
    "match": Options(matching=True),
    "in5out5": Options(people=5),
}


def check_kinetics_feeder(golden: Golden) -> Iterator[Comparison]:
    """Which videos are kept, their labels, their people frame by frame, and the sum of it all."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kinetics_val"
        source.mkdir()
        for video, content in json.loads(golden["clips"].item()).items():
            (source / f"{video}.json").write_text(json.dumps(content))
        beside = Path(folder) / "kinetics_val_label.json"
        beside.write_text(golden["labels"].item())
        for case, options in CASES.items():
            stated = golden.meta["result"][case]
            with open_recordings(source, format_name="kinetics", options=options) as recordings:
                clips = _clips(recordings)
            assert [f"{clip.name}.json" for clip in clips] == stated["names"]
            yield Comparison(
                f"meta {case} labels", [clip.label for clip in clips], 1e-9, stated["labels"]
            )
            for clip in clips:
                name = f"{case}_{clip.name}.json"
                expected = golden.expected(name)
                dense = _dense(clip, people=expected.shape[3])
                yield Comparison(name, dense[:, : expected.shape[1]], 1e-6)
                yield Comparison(f"{name}_sum", dense.sum(dtype=np.float64), 1e-6)


def _clips(recordings: Recordings) -> list[Clip]:
    return [item.read() for item in recordings.items]


def _dense(clip: Clip, people: int) -> NDArray[np.float32]:
    """Return (C, T, V, M) as a recipe reads it from a store, padded like the original."""
    reader = reader_of([clip], OPENPOSE, people, count_nonzero=False)
    return run(reader, [config("window", length=FRAMES)])[0].numpy()
