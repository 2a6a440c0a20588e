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
from jinja2 import Environment, PackageLoader, StrictUndefined

from kinegraph.evaluation import metrics
from kinegraph.evaluation.ensemble import Ensemble
from kinegraph.evaluation.figures import (
    LineChart,
    confusion_figure,
    line_chart,
    reliability_figure,
)
from kinegraph.evaluation.scores import Scores
from kinegraph.files import refuse_existing, write_text

HARDEST_PAIRS = 12
NOT_LOSSES = {"epoch", "lr", "seconds", "step"}
MAX_LINES = 6


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
    page = _environment().get_template("report.html.j2")
    html = page.render(
        title=title,
        curves=_charts(curves),
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


def _charts(curves: Sequence[Mapping[str, Any]]) -> list[LineChart]:
    """Return the charts of loss, accuracy and learning rate by epoch."""
    columns: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(curves, start=1):
        for key, value in row.items():
            if isinstance(value, int | float):
                columns.setdefault(key, []).append((float(row.get("epoch", number)), float(value)))
    accuracies = {
        "train" if key == "accuracy" else key.removesuffix("_top1"): points
        for key, points in columns.items()
        if key == "accuracy" or key.endswith("_top1")
    }
    losses = {
        key: points
        for key, points in columns.items()
        if key not in NOT_LOSSES and key != "accuracy" and not key.endswith("_top1")
    }
    losses = dict(list(losses.items())[:MAX_LINES])
    charts = (
        line_chart("Accuracy", accuracies, percent=True),
        line_chart("Loss", losses),
        line_chart("Learning rate", {"learning rate": columns.get("lr", [])}),
    )
    return [chart for chart in charts if chart is not None]


def _members(ensemble: Ensemble | None) -> dict[str, Any] | None:
    if ensemble is None:
        return None
    *members, _total = ensemble.summaries()
    return {
        "how": ensemble.how,
        "rows": list(zip(ensemble.members, ensemble.weights, members, strict=True)),
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kinegraph.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    return environment


def _percent(value: float | None, digits: int = 2) -> str:
    """Write a fraction in percent with a thin space; a missing one as a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u202f%"
