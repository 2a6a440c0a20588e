"""Trains the runs of a plan that are not finished, side by side on one device.

Each run is ``kinegraph train`` in a process of its own; what it says is kept in ``logs/RUN.txt``.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinegraph.console import remark
from kinegraph.reproduction.display import display, how_far
from kinegraph.reproduction.runs import PlannedRun, State
from kinegraph.reproduction.sessions import Clock
from kinegraph.training.guards import Interrupted, Interruption
from kinegraph.training.side_by_side import Child, Job, run_side_by_side, threads_for

SHOWN_LINES = 5  # of the log of a run that failed
PLUGIN = "kinegraph_plugin_"  # how `registry.load_plugin` names the modules it makes


@dataclass(frozen=True)
class Place:
    """Where runs are trained.

    Attributes:
        out: Folder of all runs.
        store: Their recordings.
        device: As `kinegraph train` takes it.
        at_once: How many runs at a time.
    """

    out: Path
    store: Path
    device: str
    at_once: int


def train_missing(
    runs: Sequence[tuple[PlannedRun, State]], place: Place, clock: Clock
) -> list[Child]:
    """Train every run that is not finished; return the processes that failed.

    A run begins when that before it is finished; if that one fails, it is not trained.

    Raises:
        Interrupted: A signal came. All runs have been saved, and the same call goes on.
    """
    missing = {run.name: run for run, state in runs if state is not State.FINISHED}
    jobs = [_job(run, state, place, missing) for run, state in runs if run.name in missing]
    if not jobs:
        return []
    told: set[str] = set()
    with Interruption() as interruption, display([run for run, _ in runs]) as shown:

        def look(running: Sequence[Child], ended: Sequence[Child]) -> None:
            clock.tick([child.job.name for child in (*ended, *running)])
            shown.update([missing[child.job.name] for child in running])
            for child in ended:
                if child.job.name not in told:
                    told.add(child.job.name)
                    _tell(child, missing[child.job.name], stopped=bool(interruption.signal))

        ended = run_side_by_side(
            jobs, at_once=place.at_once, stopped=lambda: bool(interruption.signal), look=look
        )
        clock.write([child.job.name for child in ended])
        if interruption.signal:
            raise Interrupted(interruption.signal)
    return [child for child in ended if child.code != 0]


def _job(run: PlannedRun, state: State, place: Place, missing: Container[str]) -> Job:
    """Return the process of a run; what is missing is trained in this call, too."""
    words = [sys.executable, "-m", "kinegraph", "train"]
    if state is State.INTERRUPTED:
        words += ["--resume", str(run.folder.path)]
    else:
        words += [run.recipe_name, "--out", str(run.folder.path)]
        words += [f"--{key}={value}" for key, value in run.options]
        words += ["--force"] if state is State.BROKEN else []
    words += [f"--data.store={place.store}", "--device", place.device, *_plugins()]
    log = place.out / "logs" / f"{run.name}.txt"
    after = run.before.name if run.before is not None and run.before.name in missing else None
    return Job(run.name, tuple(words), threads_for(place.at_once), log, after=after)


def _plugins() -> list[str]:
    """Return the options that load in a child the plug-ins that are loaded here."""
    files = [module.__file__ for name, module in sys.modules.items() if name.startswith(PLUGIN)]
    return [word for file in files for word in ("--plugin", str(file))]


def _tell(child: Child, run: PlannedRun, *, stopped: bool) -> None:
    """Say how a run ended."""
    done, accuracy = how_far(run)
    if child.code == 0:
        remark(f"{run.name}: finished, {accuracy or f'{done} epochs'}")
    elif stopped:
        remark(f"{run.name}: stopped after {done} of {run.epochs} epochs")
    else:
        remark(f"{run.name}: failed; the end of {child.job.log}:")
        for line in child.lines[-SHOWN_LINES:]:
            remark(f"    {line}")
