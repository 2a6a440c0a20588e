"""From finished runs to accuracies: scores of the last and the selected epoch, and their sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kinegraph.evaluation.ensemble import build_ensemble
from kinegraph.evaluation.metrics import summarise
from kinegraph.evaluation.presets import preset_weights
from kinegraph.evaluation.scores import Scores, load_scores, save_scores
from kinegraph.evaluation.testing import save_test, score_run
from kinegraph.reproduction.plan import EnsemblePlan, Plan
from kinegraph.reproduction.result import (
    Accuracy,
    BeforeResult,
    EnsembleResult,
    Result,
    RunResult,
    Session,
)
from kinegraph.reproduction.runs import PlannedRun
from kinegraph.reproduction.stages import deviations
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.run_folder import RunFolder

LAST = "test-last"  # name of the scores of the last epoch, where the recipe selects another


@dataclass(frozen=True)
class ScoredRun:
    """The scores of a run: of its last epoch, and of the selected one if that is another."""

    run: PlannedRun
    last: Scores
    best: Scores | None


def score_finished(runs: Sequence[PlannedRun], store: Path, device: str) -> list[ScoredRun]:
    """Score the test clips with every run; what was scored before is read again.

    Args:
        runs: Finished runs.
        store: Their recordings.
        device: Where to compute.

    Raises:
        CheckpointError, StoreError, OutputError: A run cannot be scored.
    """
    return [_score(run, store, device) for run in runs]


def _score(run: PlannedRun, store: Path, device: str) -> ScoredRun:
    folder = run.folder
    selects = run.recipe.evaluation.selection != "last"
    if not (_is_fresh(folder.scores("test"), folder) and folder.report.is_file()):
        save_test(score_run(folder.path, store=store, device=device), force=True)
    selected = load_scores(folder.path, split="test")
    if not selects:
        return ScoredRun(run, selected, None)
    if not _is_fresh(folder.scores(LAST), folder):
        tested = score_run(folder.last, store=store, device=device)
        save_scores(folder.scores(LAST), tested.scores)
    return ScoredRun(run, load_scores(folder.path, split=LAST), selected)


def _is_fresh(scores: Path, folder: RunFolder) -> bool:
    """Whether scores were written after the last checkpoint."""
    return scores.is_file() and scores.stat().st_mtime_ns > folder.last.stat().st_mtime_ns


def collect(
    plan: Plan,
    runs: Sequence[PlannedRun],
    scored: Sequence[ScoredRun],
    sessions: Sequence[Session],
) -> Result:
    """Return what was reached.

    Args:
        plan: The plan.
        runs: All runs that were asked for.
        scored: Those that are finished, with their scores.
        sessions: The calls that trained them.

    Raises:
        ScoreError: The runs did not score the same clips.
    """
    finished = [one.run.name for one in scored]
    changed, lacking = deviations(plan, runs)
    return Result(
        plan=plan.name,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        clips=len(scored[0].last) if scored else 0,
        selection=runs[0].recipe.evaluation.selection,
        changed=tuple(changed),
        lacking=tuple(lacking),
        unfinished=tuple(run.name for run in runs if run.name not in finished),
        runs=tuple(_run_result(one) for one in scored),
        ensembles=tuple(_ensembles(plan, scored)),
        sessions=tuple(sessions),
    )


def _seconds(folder: RunFolder) -> float:
    """Return the time spent in the training batches of a run."""
    return round(math.fsum(float(row.get("seconds", 0.0)) for row in folder.read_metrics()), 3)


def _before(run: PlannedRun | None) -> BeforeResult | None:
    if run is None:
        return None
    last = load_checkpoint(run.folder.last, weights=False)
    return BeforeResult(
        run=run.name,
        epochs=last.epoch,
        seconds=_seconds(run.folder),
        versions=dict(last.versions),
    )


def _run_result(one: ScoredRun) -> RunResult:
    folder = one.run.folder
    last = load_checkpoint(folder.last, weights=False)
    best = None if one.best is None else load_checkpoint(folder.best, weights=False)
    return RunResult(
        stream=one.run.stream,
        seed=one.run.seed,
        epochs=last.epoch,
        last=accuracy(one.last),
        best=None if one.best is None else accuracy(one.best),
        best_epoch=None if best is None else best.epoch,
        seconds=_seconds(folder),
        versions=dict(last.versions),
        before=_before(one.run.before),
    )


def accuracy(scores: Scores) -> Accuracy:
    """Return what scores are worth.

    Raises:
        ScoreError: No clip has a label.
    """
    known = scores.labelled()
    summary = summarise(known.logits, known.labels)
    return Accuracy(top1=summary.top1, top5=summary.top5, mean_class=summary.mean_class)


def _ensembles(plan: Plan, scored: Sequence[ScoredRun]) -> list[EnsembleResult]:
    """Add up the streams of every seed that has all of them."""
    results = []
    by_seed: dict[int, dict[str, ScoredRun]] = {}
    for one in scored:
        by_seed.setdefault(one.run.seed, {})[one.run.stream] = one
    for name, ensemble in plan.ensembles.items():
        for seed in sorted(by_seed):
            if all(stream in by_seed[seed] for stream in ensemble.streams):
                members = [by_seed[seed][stream] for stream in ensemble.streams]
                results.append(_ensemble(name, seed, ensemble, members))
    return results


def _ensemble(
    name: str, seed: int, plan: EnsemblePlan, members: Sequence[ScoredRun]
) -> EnsembleResult:
    weights = preset_weights(plan.preset, plan.roles)
    rule = f"weights of preset {plan.preset}"

    def add_up(scores: Sequence[Scores]) -> Accuracy:
        return accuracy(build_ensemble(scores, weights, rule).combined)

    best = [member.best for member in members if member.best is not None]
    return EnsembleResult(
        name=name,
        seed=seed,
        last=add_up([member.last for member in members]),
        best=add_up(best) if len(best) == len(members) else None,
    )
