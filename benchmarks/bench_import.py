"""Time and memory of ``kinegraph data import nw-ucla``, the whole process.

The archive is made, in the size of the real one. With KINEGRAPH_SHARED, the folder that holds
``data/nw-ucla/all_sqe.zip``, the real one is measured as well. Baseline: ``json.load`` of every
member, which the usual programs do at each start instead of once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Result, load_average, report
from recordings import UCLA_CLIPS, make_zip

ROUNDS = 5
GOAL_SECONDS = 5.0
GOAL_MEGABYTES = 500.0
MEASURED = """
import resource, sys
from kinegraph.cli import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss / 1000, used.ru_utime + used.ru_stime)
sys.exit(code)
"""
LOOP = """
import json, resource, sys, zipfile
import numpy as np
with zipfile.ZipFile(sys.argv[1]) as archive:
    names = [name for name in archive.namelist() if name.endswith(".json")]
    clips = [np.array(json.loads(archive.read(name))["skeletons"]) for name in names]
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss / 1000, used.ru_utime + used.ru_stime)
"""


def run(program: str, *words: str) -> tuple[float, float, float]:
    """Return seconds, megabytes at the most, and processor seconds of a program."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, *words], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    megabytes, processor = done.stdout.splitlines()[-1].split()
    return seconds, float(megabytes), float(processor)


def measure_archive(archive: Path, kind: str, out: Path) -> list[Result]:
    """Import an archive and read it with the loop, in turns."""
    loop = f"{kind} archive, json.load loop"
    ours = Result(f"{kind} archive", "s", [], baseline=loop, goal=GOAL_SECONDS)
    memory = Result(f"{kind} archive, memory", "MB", [], goal=GOAL_MEGABYTES)
    usual = Result(loop, "s", [])
    for number in range(ROUNDS + 1):
        store = str(out / f"{kind}-{number}")
        words = ("data", "import", "nw-ucla", str(archive), "--out", store)
        for result, done in ((ours, run(MEASURED, *words)), (usual, run(LOOP, str(archive)))):
            if number == 0:
                continue  # fills the page cache
            result.rounds.append(done[0])
            result.processor_rounds.append(done[2])
            if result is ours:
                memory.rounds.append(done[1])
    return [ours, memory, usual]


def main() -> None:
    load = load_average()
    shared = os.environ.get("KINEGRAPH_SHARED")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_zip(folder / "made.zip")
        results = measure_archive(folder / "made.zip", "made", folder)
        if shared:
            real = Path(shared) / "data" / "nw-ucla" / "all_sqe.zip"
            results += measure_archive(real, "real", folder)
        size = (folder / "made.zip").stat().st_size / 1e6
    settings = {
        "rounds": ROUNDS,
        "clips": UCLA_CLIPS,
        "made_archive_mb": round(size, 1),
        "what": "whole processes, archive in the page cache; memory is the largest resident set",
        "real_archive": "measured" if shared else "left out: KINEGRAPH_SHARED is not set",
    }
    report("import", settings, results, load=load)


if __name__ == "__main__":
    main()
