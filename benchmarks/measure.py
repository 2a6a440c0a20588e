"""What all benchmarks share: rounds, the machine they ran on, the table and the result file.

A result file holds every round, so that medians can be doubted. Times are of the wall clock; the
processor time of the same rounds stands beside them, which other jobs on the machine stretch less.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before anything imports torch or NumPy: every benchmark uses one core but where it says so.
for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"

FORMAT_VERSION = 1
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("kinegraph", "numpy", "orjson", "pydantic", "torch", "tyro")


@dataclass
class Result:
    """The rounds of one thing that was measured.

    Attributes:
        name: What was measured.
        unit: What the numbers are: ``s``, ``clips/s``, ``MB``.
        rounds: One number for each round.
        processor_rounds: The same by processor time; empty where it says nothing.
        baseline: Name of the result that it is compared with, or None.
        goal: The median that was aimed for, or None.
    """

    name: str
    unit: str
    rounds: list[float]
    processor_rounds: list[float] = field(default_factory=list)
    baseline: str | None = None
    goal: float | None = None

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        return max(self.rounds) if self.more_is_better else min(self.rounds)


@dataclass(frozen=True)
class Case:
    """Something to measure: ``run`` does ``amount`` units of work (clips), or one.

    ``processor`` reads the processor time so far of whatever does the work.
    """

    name: str
    run: Callable[[], object]
    amount: int = 0
    baseline: str | None = None
    goal: float | None = None
    processor: Callable[[], float] | None = None


def measure(cases: Sequence[Case], rounds: int) -> list[Result]:
    """Run all cases once unmeasured, then in turns, so that a busy minute meets all of them."""
    for case in cases:
        case.run()
    results = [
        Result(
            case.name, "clips/s" if case.amount else "s", [], baseline=case.baseline, goal=case.goal
        )
        for case in cases
    ]
    for _ in range(rounds):
        for case, result in zip(cases, results, strict=True):
            gc.collect()
            spent = case.processor or processor_seconds
            wall, processor = time.perf_counter(), spent()
            case.run()
            wall, processor = time.perf_counter() - wall, spent() - processor
            result.rounds.append(case.amount / wall if case.amount else wall)
            result.processor_rounds.append(case.amount / processor if case.amount else processor)
    return results


def processor_seconds() -> float:
    """Return the processor time of this program and of those it has run to their end."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def machine() -> dict[str, Any]:
    """Describe the machine, without names of people or hosts."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def commit() -> str:
    """Return the commit that was measured, with ``-dirty`` if the tree has changes to ``src``."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", "../src", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    changes = [line for line in changed.splitlines() if not line.endswith(".json")]
    return f"{head}-dirty" if changes else head


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def report(
    what: str, settings: Mapping[str, Any], results: Sequence[Result], *, load: float
) -> None:
    """Print a table and write ``results/<what>.json``.

    Args:
        what: Name of the benchmark.
        settings: What was measured, in numbers and words.
        results: The results; a baseline is one of them.
        load: Load average of the machine when the benchmark began, from `load_average`.
    """
    medians = {result.name: result.median for result in results}
    rows = []
    for result in results:
        baseline = medians[result.baseline] if result.baseline else None
        rows.append(
            {
                "name": result.name,
                "unit": result.unit,
                "median": _short(result.median),
                "best": _short(result.best),
                "processor_median": _short(statistics.median(result.processor_rounds))
                if result.processor_rounds
                else None,
                "rounds": [_short(value) for value in result.rounds],
                "baseline": result.baseline,
                "ratio": None if baseline is None else _short(_times(result, baseline)),
                "goal": result.goal,
            }
        )
    document = {
        "format_version": FORMAT_VERSION,
        "benchmark": what,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "load_average": {"before": load, "after": load_average()},
        "versions": {"python": platform.python_version()} | {n: version(n) for n in LIBRARIES},
        "settings": dict(settings),
        "results": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    (RESULTS / f"{what}.json").write_text(text + "\n", encoding="utf-8")
    print(table(document))


def load_average() -> float:
    """Return the load of the last minute: how many programs wanted a core."""
    return round(os.getloadavg()[0], 2)


def _times(result: Result, baseline: float) -> float:
    """How many times as good as its baseline a result is."""
    return result.median / baseline if result.more_is_better else baseline / result.median


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def table(document: Mapping[str, Any]) -> str:
    """Return a result file as a table for people."""
    load, cpu = document["load_average"], document["machine"]
    threads = document["settings"].get("threads", 1)
    lines = [
        f"{document['benchmark']}  ({cpu['cores']} cores of {cpu['cpu']}, threads: {threads}; load"
        f" {load['before']} to {load['after']}; commit {document['commit']})",
        f"  {'':44}{'median':>10}{'best':>10}{'processor':>11}{'ratio':>8}{'goal':>9}",
    ]
    for row in document["results"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}x"
        numbers = [row["median"], row["best"], row["processor_median"]]
        shown = [_shown(value) for value in numbers]
        lines.append(
            f"  {row['name'][:44]:44}{shown[0]:>10}{shown[1]:>10}{shown[2]:>11}{ratio:>8}"
            f"{_shown(row['goal']):>9} {row['unit']}"
        )
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
