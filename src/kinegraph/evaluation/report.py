"""Writes ``report.html``: what a network, or an ensemble, does on the clips of one split.

Place in the flow: the last step of testing and of ensembles. The page is one file that loads
nothing, and its template escapes every text. This module knows scores and metrics, no networks.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from kinegraph.evaluation import metrics
from kinegraph.evaluation.curves import run_charts
from kinegraph.evaluation.ensemble import Ensemble
from kinegraph.evaluation.figures import confusion_figure, reliability_figure
from kinegraph.evaluation.scores import Scores
from kinegraph.evaluation.templates import environment
from kinegraph.files import refuse_existing, write_text

HARDEST_PAIRS = 12


def write_report(
    path: str | Path,
    scores: Scores,
    *,
    title: str,
    curves: Sequence[Mapping[str, Any]] = (),
    recipe_yaml: str = "",
    ensemble: Ensemble | None = None,
    baselines: Mapping[str, float] | None = None,
    provenance: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    force: bool = True,
) -> Path:
    """Write a self-contained report.

    Args:
        path: The HTML file.
        scores: What is reported; clips without a known label are left out and counted.
        title: Heading of the page.
        curves: One mapping per epoch, as in ``metrics.jsonl``: ``epoch``, ``lr``, ``loss`` and its
            parts, ``accuracy`` on the training batches, and accuracies that end in ``_top1``.
        recipe_yaml: The resolved recipe.
        ensemble: The members, if ``scores`` are their sum.
        baselines: Name -> top-1 accuracy, as a fraction, of what is worth beating.
        provenance: What a reader needs to judge and repeat the numbers, such as the seed and which
            epoch was selected how. Versions and the time of writing are added.
        notes: Sentences shown beside the headline, such as a protocol that flatters the result.
        force: Whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        ScoreError: No clip has a label.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    page = environment().get_template("report.html.j2")
    html = page.render(
        title=title,
        curves=run_charts(curves),
        recipe=recipe_yaml.strip(),
        members=_members(ensemble),
        baselines=baselines or {},
        provenance={**(provenance or {}), **versions()},
        notes=[*notes, *(ensemble.notes if ensemble else ())],
        **_results(scores),
    )
    write_text(path, html)
    return path


def versions() -> dict[str, str]:
    """Return what the numbers were computed with, and when."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy"))
    return {
        "versions": f"kinegraph {metadata.version('kinegraph')}, Python"
        f" {platform.python_version()}, {packages}",
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


@dataclass(frozen=True)
class ClassRow:
    """One class in the per-class table; ratios that are 0/0 are None."""

    name: str
    clips: int
    recall: float | None
    precision: float | None
    f1: float | None
    mistaken: str


def _results(scores: Scores) -> dict[str, Any]:
    """Compute everything that the template shows of one table of scores."""
    known = scores.labelled()
    logits, labels = known.logits, known.labels
    classes = known.classes or tuple(f"class {i}" for i in range(known.num_classes))
    confusion = metrics.confusion_matrix(logits, labels)
    calibration = metrics.calibration(logits, labels)
    return {
        "scores": known,
        "unlabelled": len(scores) - len(known),
        "classes": classes,
        "absent": [classes[i] for i in np.flatnonzero(confusion.sum(axis=1) == 0)],
        "summary": metrics.summarise(logits, labels),
        "interval": wilson_interval(int(np.trace(confusion)), len(known)),
        "confusion": confusion_figure(confusion, classes),
        "pairs": [
            (classes[pair.label], classes[pair.predicted], pair)
            for pair in metrics.hardest_pairs(confusion, HARDEST_PAIRS)
        ],
        "rows": _class_rows(confusion, classes),
        "reliability": reliability_figure(calibration),
    }


def wilson_interval(right: int, clips: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy of ``right`` out of ``clips``.

    Source: Wilson, Probable inference, 1927.
    """
    z = 1.959964
    share = right / clips
    middle = (share + z * z / (2 * clips)) / (1 + z * z / clips)
    half = z * math.sqrt(share * (1 - share) / clips + (z / (2 * clips)) ** 2) / (1 + z * z / clips)
    return middle - half, middle + half


def _class_rows(confusion: metrics.IntArray, classes: Sequence[str]) -> list[ClassRow]:
    """Return the classes that have clips or predictions, the hardest first."""
    found = metrics.class_metrics(confusion)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    rows = [
        ClassRow(
            name=name,
            clips=int(found.clips[i]),
            recall=_number(found.recall[i]),
            precision=_number(found.precision[i]),
            f1=_number(found.f1[i]),
            mistaken=f"{classes[wrong[i].argmax()]} ({wrong[i].max()})" if wrong[i].any() else "",
        )
        for i, name in enumerate(classes)
        if found.clips[i] or found.predicted[i]
    ]
    return sorted(rows, key=_difficulty)


def _difficulty(row: ClassRow) -> float:
    return 2.0 if row.recall is None else row.recall


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _members(ensemble: Ensemble | None) -> dict[str, Any] | None:
    if ensemble is None:
        return None
    *members, _total = ensemble.summaries()
    return {
        "how": ensemble.how,
        "rows": list(zip(ensemble.members, ensemble.weights, members, strict=True)),
    }
