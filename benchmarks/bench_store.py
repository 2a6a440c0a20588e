"""How long it takes to open a store: one the size of NW-UCLA, and one of 100,000 clips.

The joints stay a memory map, so their number changes nothing: clips here are short. Baseline: what
a start costs without a store, reading the JSON file of every clip.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import orjson
from measure import Case, load_average, measure, report
from recordings import UCLA_CLIPS, make_folder

from kinegraph.data.clip import Clip, Track
from kinegraph.data.importing import import_data
from kinegraph.data.store import create_store, open_store
from kinegraph.skeleton import load_layout

ROUNDS = 15
GOAL = 0.02  # seconds
MANY = 100_000


def make_large(folder: Path) -> None:
    """Make a store of many clips, a fifth of them with two people, of two frames each."""
    random = np.random.default_rng(0)
    joints = random.normal(size=(2, 25, 3)).astype(np.float32)
    names = [f"class {label}" for label in range(120)]
    with create_store(folder, load_layout("ntu25"), names, source="random") as writer:
        for number in range(MANY):
            people = 2 if number % 5 == 0 else 1
            tracks = tuple(Track(joints, 0, person) for person in range(people))
            writer.add(
                Clip(
                    f"S{number % 32 + 1:03}C{number % 3 + 1:03}N{number:06}",
                    tracks,
                    frames=2,
                    label=number % 120,
                    subject=number % 106 + 1,
                    camera=number % 3 + 1,
                    setup=number % 32 + 1,
                )
            )


def read_all(folder: Path) -> None:
    """Read every recording as a program without a store does at each start."""
    for file in sorted(folder.iterdir()):
        np.array(orjson.loads(file.read_bytes())["skeletons"], dtype=np.float32)


def main() -> None:
    load = load_average()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder / "json")
        import_data("nw-ucla", folder / "json", folder / "ucla")
        make_large(folder / "large")
        loop = f"reading {UCLA_CLIPS} JSON files"
        results = measure(
            [
                Case(
                    f"opening {UCLA_CLIPS} clips",
                    partial(open_store, folder / "ucla"),
                    baseline=loop,
                    goal=GOAL,
                ),
                Case(f"opening {MANY} clips", partial(open_store, folder / "large"), goal=GOAL),
                Case(loop, partial(read_all, folder / "json")),
            ],
            ROUNDS,
        )
    settings = {"rounds": ROUNDS, "what": "open_store, files in the page cache", "clips": MANY}
    report("store", settings, results, load=load)


if __name__ == "__main__":
    main()
