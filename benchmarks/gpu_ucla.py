"""The row of `bench_gpu` that goes the whole way on NW-UCLA: from a store to a tested checkpoint.

Not yet run on a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from gpu_report import Found, Place, Row, goal_line

from kinegraph.benchmarking.random_store import SPLIT, RandomStore

RECIPE = "nw-ucla-ctrgcn"
TRAIN, TEST, FRAMES = 1020, 464, (10, 70)  # clips and frames of the real set
EPOCHS = 65
LIMIT = 150.0  # seconds; what is missing then is extrapolated
SOURCE = Path(__file__).parents[1] / "src"


def run(place: Place) -> list[Found]:
    """Train the published schedule and test it, as two commands of a user's."""
    store, split = place.ucla, "view3"
    if store is None:
        split = SPLIT
        made = RandomStore("ucla20", place.size(TRAIN, 16), place.size(TEST, 4), FRAMES, classes=10)
        store = place.folder / "ucla"
        if not store.exists():
            made.write(store)
    folder, epochs = place.folder / f"ucla-run-{time.time():.0f}", place.size(EPOCHS, 1)
    words = ["train", RECIPE, "--data.store", str(store), "--data.split", split]
    words += ["--training.epochs", str(epochs), "--out", str(folder), "--device", place.device]
    if place.smoke:
        words += ["--backbone.width", "4", "--training.repeat", "1"]
    trained, said = call(words, LIMIT)
    metrics = folder / "metrics.jsonl"
    done = (
        [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    )
    if not done:
        raise RuntimeError(f"no epoch was finished in {trained:.0f} s")
    seconds = [row["seconds"] for row in done]
    details: dict[str, Any] = {
        "epochs": len(done),
        "epoch_seconds": median(seconds),
        "first_epoch_seconds": seconds[0],
        "said": [line for line in said.splitlines() if "epoch" not in line][-8:],
    }
    if len(done) == epochs:
        tested, said = call(["test", str(folder), "--device", place.device], LIMIT)
        total = trained + tested
        details |= {"test_seconds": tested, "report": said.splitlines()[-1:]}
    else:
        # What remains would take as long as the epochs so far, evaluation included.
        steady = (trained - seconds[0]) / max(len(done) - 1, 1)
        total = trained + steady * (epochs - len(done))
        details["extrapolated"] = f"stopped after {len(done)} of {epochs} epochs"
    # Whatever the first epoch takes longer than the others: compiling, recording, choosing.
    details["of_it_compiling_and_starting"] = max(0.0, seconds[0] - median(seconds[1:] or seconds))
    return [Found([total], details)]


def call(words: list[str], limit: float) -> tuple[float, str]:
    """Run a command of kinegraph; return its seconds and what it said, cut off at the limit.

    Raises:
        RuntimeError: It failed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
        filter(None, (str(SOURCE), os.environ.get("PYTHONPATH", "")))
    )}  # fmt: skip
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "kinegraph", *words], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=limit)
    except BaseException as error:
        process.terminate()
        said, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    else:
        if process.returncode:
            raise RuntimeError(f"kinegraph {words[0]} failed: {said.strip().splitlines()[-1]}")
    return time.monotonic() - begin, said


def ucla_rows() -> list[Row]:
    """Return the row."""
    return [Row("goals", (goal_line("ucla"),), run, LIMIT + 40)]
