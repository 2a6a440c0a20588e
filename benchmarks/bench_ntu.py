"""How fast raw files of NTU RGB+D become a store, and with how much memory.

Made ``.skeleton`` files (`ntu_files`) lie in a folder, in the page cache. Baseline: a plain reader
that goes through a file line by line and turns all 12 fields of a joint into numbers, as the usual
programs do; it only reads, while ours also cleans and writes. Before anything is timed both must
read the same numbers.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import Case, Result, load_average, measure, report
from ntu_files import make_folder

from kinegraph.data.formats.ntu_text import read_skeleton
from kinegraph.data.importing import import_data

ROUNDS = 3
FILES = 400
MANY_FILES = 8000  # enough for several parts, which several processes share
MEMORY = ((2000, 1), (20_000, 1), (20_000, 2))  # files and processes
GOAL = 1000.0
GOAL_MEGABYTES = 500.0
PEAK = """
import resource, sys
from kinegraph.cli import main
if len(sys.argv) > 1 and main(sys.argv[1:]):
    raise SystemExit(1)
# Not ru_maxrss of this process: it begins with the size of whoever started it.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
own = int(status["VmHWM"].split()[0])
others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(max(own, others) / 1000)
"""


def plainly(data: str) -> list[Any]:
    """Read a file line by line, all fields of every joint."""
    lines = iter(data.split("\n"))
    frames = []
    for _ in range(int(next(lines))):
        bodies = []
        for _ in range(int(next(lines))):
            header = next(lines).split()
            joints = [
                [float(word) for word in next(lines).split()] for _ in range(int(next(lines)))
            ]
            bodies.append((int(header[0]), [float(word) for word in header[1:]], joints))
        frames.append(bodies)
    return frames


def agree(file: Path) -> None:
    """Check that both readers see the same numbers."""
    theirs = [np.array(body[2])[:, :3] for bodies in plainly(file.read_text()) for body in bodies]
    ours = read_skeleton(file.read_bytes(), file.name)
    assert np.array_equal(ours.joints, np.array(theirs).astype(np.float32))


def importing(source: Path, out: Path, **how: Any) -> Callable[[], object]:
    """Return what imports a source and removes the store again."""

    def run() -> None:
        import_data("ntu120", source, out, **how)
        shutil.rmtree(out)

    return run


def beside(source: Path, folder: Path) -> None:
    """Import the same files twice at the same time, in programs of their own."""
    words = (sys.executable, "-m", "kinegraph", "data", "import", "ntu120", str(source))
    outs = [folder / f"beside-{number}" for number in (1, 2)]
    imports = [
        subprocess.Popen([*words, "--out", out, "--workers", "1"], stdout=subprocess.DEVNULL)
        for out in outs
    ]
    if any([each.wait() for each in imports]):
        raise SystemExit("an import failed")
    for out in outs:
        shutil.rmtree(out)


def peak(*words: str) -> float:
    """Return the largest resident set of a program, in megabytes."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *words], check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def measure_memory(folder: Path) -> list[Result]:
    """Import few and many files, each time in a process of its own."""
    bare = Result("memory, nothing imported", "MB", [peak() for _ in range(ROUNDS)])
    results = [bare]
    for amount, workers in MEMORY:
        source, out = folder / f"memory-{amount}", folder / "memory-store"
        if not source.exists():
            make_folder(source, amount)
        words = ("data", "import", "ntu120", str(source), "--out", str(out), "--force")
        used = [peak(*words, "--workers", str(workers)) - bare.median for _ in range(ROUNDS)]
        name = f"memory above that, {amount:,} files, {workers} process{'es' * (workers > 1)}"
        results.append(Result(name, "MB", used, goal=GOAL_MEGABYTES))
    return results


def main() -> None:
    load = load_average()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few, many = folder / "few", folder / "many"
        size = make_folder(few, FILES)
        make_folder(many, MANY_FILES)
        with zipfile.ZipFile(folder / "few.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(few.iterdir()):
                archive.write(file, file.name)
        texts = [file.read_bytes() for file in sorted(few.iterdir())]
        agree(sorted(few.iterdir())[0])
        plain = "line by line, reading only"
        store = partial(importing, out=folder / "store")
        cases = [
            Case(plain, lambda: [plainly(t.decode()) for t in texts[:40]], amount=40),
            Case("reading only", lambda: [read_skeleton(t, "") for t in texts], FILES, plain),
            Case("folder to store, denoised", store(few), FILES, plain, GOAL),
            *(
                Case(f"folder to store, {cleaning}", _cleaned(few, folder, cleaning), FILES, plain)
                for cleaning in ("aligned", "stgcn", "pyskl", "none")
            ),
            Case("zip to store, denoised", store(folder / "few.zip"), FILES, plain),
        ]
        results = measure(cases, ROUNDS)
        one = f"{MANY_FILES:,} files, one process"
        parallel = [
            Case(one, store(many, workers=1), MANY_FILES),
            Case(f"{MANY_FILES:,} files, two processes", store(many, workers=2), MANY_FILES, one),
            # What two cores of this machine do for two programs that share nothing.
            Case(
                f"{MANY_FILES:,} files, two imports beside each other",
                partial(beside, many, folder),
                2 * MANY_FILES,
                one,
            ),
        ]
        results += measure(parallel, ROUNDS)
        results += measure_memory(folder)
    settings = {
        "rounds": ROUNDS,
        "files": FILES,
        "mean_kilobytes": round(size / 1000, 1),
        "what": "files in the page cache; wall clock and processor time of this process and its"
        " children; memory is the largest resident set of any process of an import",
    }
    report("ntu", settings, results, load=load)


def _cleaned(source: Path, folder: Path, cleaning: str) -> Callable[[], object]:
    from kinegraph.data.formats import Options

    return importing(source, folder / "store", options=Options(cleaning=cleaning))


if __name__ == "__main__":
    main()
