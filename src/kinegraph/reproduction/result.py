"""What a reproduction reached, as values that go to ``reproduction.json`` and come back.

Accuracies are fractions of the test clips. Nothing here imports torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from kinegraph.reproduction.plan import Plan

Epoch = Literal["last", "best"]


class Value(BaseModel):
    """Base of everything here: values that do not change, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Accuracy(Value):
    """What one table of scores is worth."""

    top1: float
    """Top-1 accuracy."""
    top5: float
    """Top-5 accuracy."""
    mean_class: float
    """Mean of the accuracies of the classes."""


class BeforeResult(Value):
    """What was trained before a run, and gave it its encoder."""

    run: str
    """Name of its folder; several runs may have begun from one."""
    epochs: int
    """How many epochs it was trained."""
    seconds: float
    """Time spent in training batches, summed over its epochs."""
    versions: dict[str, str]
    """As of a run."""


class RunResult(Value):
    """One finished run."""

    stream: str
    """Its stream."""
    seed: int
    """Its seed."""
    epochs: int
    """How many epochs it was trained."""
    last: Accuracy
    """Of the last epoch."""
    best: Accuracy | None
    """Of the epoch that its recipe selects, if that is not the last one."""
    best_epoch: int | None
    """Which epoch that is."""
    seconds: float
    """Time spent in training batches, summed over its epochs."""
    versions: dict[str, str]
    """Of kinegraph, torch and what else its last checkpoint was written with."""
    before: BeforeResult | None = None
    """What was trained before it, if the plan has such a stage."""


class EnsembleResult(Value):
    """One ensemble of the runs of one seed."""

    name: str
    """Its name in the plan."""
    seed: int
    """The seed of its members."""
    last: Accuracy
    """Of its members' last epochs."""
    best: Accuracy | None
    """Of its members' selected epochs."""


class Session(Value):
    """One call of the command, in which runs were trained."""

    began: str
    """When, in UTC."""
    seconds: float
    """How long it took, from its beginning to the last word of its last process."""
    device: str
    """Where, in words."""
    at_once: int
    """How many runs were trained at a time."""
    versions: dict[str, str]
    """Of kinegraph, its commit, torch, Python and so on."""
    runs: tuple[str, ...]
    """The runs that were trained in it, finished or not."""


class Result(Value):
    """Everything that a reproduction reached so far."""

    plan: str
    """Name of the plan."""
    written: str
    """When, in UTC; empty if nothing was run."""
    clips: int
    """Test clips; 0 if nothing was run."""
    selection: Literal["last", "validation", "test"]
    """What the recipe selects the best epoch on."""
    changed: tuple[str, ...]
    """How the recipe departs from the plan's."""
    lacking: tuple[str, ...]
    """Runs of the plan that were not asked for."""
    unfinished: tuple[str, ...]
    """Runs that were asked for and are not finished."""
    runs: tuple[RunResult, ...]
    """Finished runs."""
    ensembles: tuple[EnsembleResult, ...]
    """Ensembles of finished runs."""
    sessions: tuple[Session, ...]
    """The calls that trained them."""

    def accuracies(self, of: str, epoch: Epoch) -> list[float]:
        """Return the top-1 accuracy of a stream or an ensemble for every seed that has one."""
        found: Iterable[RunResult | EnsembleResult] = [
            *(run for run in self.runs if run.stream == of),
            *(ensemble for ensemble in self.ensembles if ensemble.name == of),
        ]
        chosen = [one.last if epoch == "last" else one.best for one in found]
        return [accuracy.top1 for accuracy in chosen if accuracy is not None]

    def seeds(self, of: str) -> list[int]:
        """Return the seeds of a stream or an ensemble that have a result."""
        runs = [run.seed for run in self.runs if run.stream == of]
        return runs + [ensemble.seed for ensemble in self.ensembles if ensemble.name == of]


class Verdict(Value):
    """A target, and whether it is reached."""

    of: str
    """The stream or ensemble."""
    percent: float
    """The mean over seeds, at the last epoch, that has to be reached."""
    seeds: int
    """Seeds that have a result."""
    planned: int
    """Seeds that the plan has."""
    mean: float | None
    """Their mean in percent, or None if there is none."""

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.mean is None:
            return "not run"
        lead = f"missed by {self.short:.2f} points" if self.short > 0 else "reached"
        part = "" if self.seeds >= self.planned else f", with {self.seeds} of {self.planned} seeds"
        return f"{lead} ({self.mean:.2f}{part})"

    @property
    def short(self) -> float:
        """How many points are missing, of the numbers as they are shown."""
        return max(round(round(self.percent, 2) - round(self.mean or 0.0, 2), 2), 0.0)


def verdicts(plan: Plan, result: Result) -> list[Verdict]:
    """Return every target of a plan with what was reached at the last epoch."""
    found = []
    for of, percent in plan.targets.items():
        values = result.accuracies(of, "last")
        found.append(
            Verdict(
                of=of,
                percent=percent,
                seeds=len(values),
                planned=len(planned_seeds(plan, of)),
                mean=100 * statistics.fmean(values) if values else None,
            )
        )
    return found


def planned_seeds(plan: Plan, of: str) -> list[int]:
    """Return the seeds of a stream, or those that all members of an ensemble have."""
    if of in plan.runs:
        return list(plan.runs[of])
    members = [plan.runs[stream] for stream in plan.ensembles[of].streams]
    return [seed for seed in members[0] if all(seed in seeds for seeds in members)]


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation of fractions in percent, or ``not run``."""
    if not values:
        return "not run"
    mean = f"{100 * statistics.fmean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else mean


def nothing_yet(plan: Plan, selection: Literal["last", "validation", "test"]) -> Result:
    """Return the result of a plan of which nothing was run."""
    return Result(
        plan=plan.name, written="", clips=0, selection=selection, changed=(), lacking=(),
        unfinished=(), runs=(), ensembles=(), sessions=(),
    )  # fmt: skip
