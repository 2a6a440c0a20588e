"""Stores of the size of NTU RGB+D 120 and of a million clips: bytes, time to open, memory.

Each thing is measured in a process of its own, so that memory is that thing's alone: how much the
process grew at the most. Pages of a store's files are left out: they are the system's to keep or to
drop. Beside the first size stands what a padded array of the same clips takes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Result, load_average, report

ROUNDS = 3
NTU_CLIPS, NTU_FRAMES, NTU_PEOPLE = 113_945, 80, 1.2
PADDED_FRAMES, PADDED_PEOPLE = 300, 2  # of the arrays that the original programs make
MILLION = 1_000_000
BATCHES, BATCH = 200, 64
CLASSES = [f"class {label}" for label in range(120)]


def made_clips(amount: int, frames: int, people: float) -> Any:
    """Yield made clips: lengths around a mean, so many people on average, numbers of NTU."""
    from kinegraph.data.clip import Clip, Track

    random = np.random.default_rng(0)
    block = random.normal(size=(4 * frames, 25, 3)).astype(np.float32)
    for number in range(amount):
        length = int(random.integers(frames // 2, frames + frames // 2 + 1))
        persons = 1 + (number % 1000 < 1000 * (people - 1))
        begin = int(random.integers(0, frames))
        tracks = tuple(
            Track(block[begin + person : begin + person + length], 0, person)
            for person in range(persons)
        )
        yield Clip(
            f"S{number % 32 + 1:03}C{number % 3 + 1:03}N{number:07}A001",
            tracks,
            length,
            label=number % 120,
            subject=number % 106 + 1,
            camera=number % 3 + 1,
            setup=number % 32 + 1,
        )


def build(folder: Path, amount: int, frames: int, people: float, dtype: str) -> None:
    """Write a store of made clips."""
    from kinegraph.data.store import create_store
    from kinegraph.skeleton import load_layout

    with create_store(
        folder, load_layout("ntu25"), CLASSES, source="random", dtype=dtype, force=True
    ) as writer:
        for clip in made_clips(amount, frames, people):
            writer.add(clip)
        writer.default_split = "xsub"


def open_once(folder: Path) -> None:
    """Open a store."""
    from kinegraph.data.store import open_store

    open_store(folder)


def sample(folder: Path) -> None:
    """Draw batches of any clips through the loader, shuffled, as a run does."""
    import torch

    from kinegraph.data.loader import ClipLoader
    from kinegraph.data.reader import TrackReader
    from kinegraph.data.store import open_store
    from kinegraph.recipe import load_recipe
    from kinegraph.training.setup import build_pipelines

    torch.set_num_threads(1)
    store = open_store(folder)
    loader = ClipLoader(
        TrackReader(store, 2), store.clips["label"], np.arange(len(store)),
        build_pipelines(load_recipe("ctrgcn"), store.skeleton), views=("train",),
        batch_size=BATCH, shuffle=True,
    )  # fmt: skip
    for number, _ in enumerate(loader.epoch(0), start=1):
        if number == BATCHES:
            return


def prepare_sampling(folder: Path) -> None:
    """Do once what the first batch waits for: imports, and a tiny loader."""
    import torch

    torch.set_num_threads(1)
    from kinegraph.data.loader import ClipLoader
    from kinegraph.recipe import load_recipe
    from kinegraph.training.setup import build_pipelines

    assert ClipLoader
    assert build_pipelines
    load_recipe("ctrgcn")


WORKS: dict[str, tuple[Callable[..., None], Callable[[Path], None] | None]] = {
    "build": (build, None),
    "open": (open_once, open_once),
    "sample": (sample, prepare_sampling),
}


def work(name: str, folder: Path, words: list[Any]) -> dict[str, float]:
    """Do one thing and return seconds, processor seconds, and megabytes that this process grew."""
    import kinegraph.data.store  # noqa: F401  (what everything needs is not counted)

    act, before = WORKS[name]
    if before is not None:
        before(folder)
    grown = Growth()
    with grown:
        start, processor = time.perf_counter(), time.process_time()
        act(folder, *words)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    return {"seconds": seconds, "processor": processor, "megabytes": grown.megabytes}


class Growth:
    """By how much the memory of this process grows at the most, without pages of files."""

    def __init__(self) -> None:
        self._begin = self._most = _megabytes("RssAnon")
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look)

    def __enter__(self) -> None:
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    @property
    def megabytes(self) -> float:
        return max(self._most - self._begin, 0.1)

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, _megabytes("RssAnon"))
        self._most = max(self._most, _megabytes("RssAnon"))


def _megabytes(field: str) -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines[field].split()[0]) / 1000


def apart(name: str, folder: Path, *words: Any) -> dict[str, float]:
    """Do one thing in a process of its own."""
    command = [sys.executable, __file__, name, str(folder), json.dumps(words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    load = load_average()
    rows: dict[str, Result] = {}

    def note(
        name: str, unit: str, value: float, processor: float | None = None, **more: Any
    ) -> None:
        row = rows.setdefault(name, Result(name, unit, [], **more))
        row.rounds.append(value)
        if processor is not None:
            row.processor_rounds.append(processor)

    padded = NTU_CLIPS * PADDED_FRAMES * PADDED_PEOPLE * 25 * 3 * 4 / 1e6
    ntu, million = (NTU_CLIPS, NTU_FRAMES, NTU_PEOPLE), (MILLION, 4, 1.0)
    with tempfile.TemporaryDirectory() as name:
        for _ in range(ROUNDS):
            note("padded array, float32", "MB", padded)
            for dtype, goal in (("float32", 3400.0), ("float16", 1700.0)):
                folder = Path(name) / dtype
                made = apart("build", folder, *ntu, dtype)
                size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
                note(f"{NTU_CLIPS:,} clips, {dtype}", "MB", size, goal=goal,
                     baseline="padded array, float32")  # fmt: skip
                note(f"{NTU_CLIPS:,} clips, {dtype}, building", "s", *_times(made))
                note(f"{NTU_CLIPS:,} clips, {dtype}, memory of building", "MB", made["megabytes"])
                opened = apart("open", folder)
                note(f"{NTU_CLIPS:,} clips, {dtype}, opening", "s", *_times(opened), goal=0.05)
                shutil.rmtree(folder)
            folder = Path(name) / "million"
            for kind, words in (("build", (*million, "float32")), ("open", ()), ("sample", ())):
                done = apart(kind, folder, *words)
                what = f"{MILLION:,} clips, {WORDS[kind]}"
                note(what, "s", *_times(done))
                note(f"{what}, memory", "MB", done["megabytes"])
            few = Path(name) / "few"
            apart("build", few, MILLION // 10, 4, 1.0, "float32")
            for kind in ("open", "sample"):
                what = f"{MILLION // 10:,} clips, {WORDS[kind]}, memory"
                note(what, "MB", apart(kind, few)["megabytes"])
            shutil.rmtree(folder)
            shutil.rmtree(few)
    settings = {
        "rounds": ROUNDS,
        "large": f"{NTU_CLIPS:,} clips, {NTU_FRAMES} frames and {NTU_PEOPLE} people on average",
        "million": "4 frames and one person on average",
        "padded": f"{PADDED_FRAMES} frames, {PADDED_PEOPLE} people, computed, not written",
        "sampling": f"{BATCHES} shuffled batches of {BATCH}, transforms of the recipe ctrgcn",
        "what": "each in a process of its own; memory is by how much it grew at the most",
    }
    report("large", settings, list(rows.values()), load=load)


WORDS = {"build": "building", "open": "opening", "sample": "sampling"}


def _times(done: dict[str, float]) -> tuple[float, float]:
    return done["seconds"], done["processor"]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(work(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))))
    else:
        main()
