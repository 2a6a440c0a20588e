"""Shows how far runs are that are trained side by side: bars on a terminal, lines elsewhere.

It reads the files that runs write and knows nothing of their processes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from kinegraph.console import remark
from kinegraph.reproduction.runs import PlannedRun

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_LOOKS = 1.0


class Display(Protocol):
    """Shows how far all runs are."""

    def update(self, working: Sequence[PlannedRun]) -> None:
        """Show the runs, of which some are at work."""


def how_far(run: PlannedRun) -> tuple[int, str]:
    """Return how many epochs of a run are finished, and the newest accuracy on test clips."""
    rows = run.folder.read_metrics()
    tested = next((row for row in reversed(rows) if "test_top1" in row), None)
    return len(rows), "" if tested is None else f"test {100 * tested['test_top1']:.2f} %"


class _Bars:
    """A bar for everything, and one for each run at work."""

    def __init__(self, progress: Progress, runs: Sequence[PlannedRun]) -> None:
        self._progress, self._runs = progress, runs
        self._bars: dict[str, TaskID] = {}
        total = sum(run.epochs for run in runs)
        self._all = progress.add_task("all runs", total=total, text="")
        self._looked = -SECONDS_BETWEEN_LOOKS

    def update(self, working: Sequence[PlannedRun]) -> None:
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._looked = time.monotonic()
        names = {run.name for run in working}
        for name in [name for name in self._bars if name not in names]:
            self._progress.remove_task(self._bars.pop(name))
        total = 0
        for run in self._runs:
            done, text = how_far(run)
            total += done
            if run.name in names and run.name not in self._bars:
                self._bars[run.name] = self._progress.add_task(run.name, total=run.epochs, text="")
            if run.name in names:
                self._progress.update(self._bars[run.name], completed=done, text=text)
        self._progress.update(self._all, completed=total, text=f"{len(working)} at work")


class _Lines:
    """A plain line now and then."""

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self._runs = runs
        self._told = time.monotonic()

    def update(self, working: Sequence[PlannedRun]) -> None:
        if time.monotonic() - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = time.monotonic()
        done = sum(how_far(run)[0] for run in self._runs)
        total = sum(run.epochs for run in self._runs)
        parts = [f"{run.name} {how_far(run)[0]} {how_far(run)[1]}".rstrip() for run in working]
        remark(f"{done}/{total} epochs; {', '.join(parts)}")


@contextmanager
def display(runs: Sequence[PlannedRun]) -> Iterator[Display]:
    """Yield what shows the runs."""
    if not sys.stderr.isatty():
        yield _Lines(runs)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bars(progress, runs)
