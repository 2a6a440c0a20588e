"""The curves of a run, from the rows of ``metrics.jsonl``, for every page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kinegraph.evaluation.figures import LineChart, line_chart

# What a run without labels is watched by, as metrics name it; the first has a part before it.
KNN, ALIGNMENT, UNIFORMITY = "_knn", "alignment", "uniformity"
NOT_LOSSES = {"epoch", "lr", "seconds", "step", "accuracy", ALIGNMENT, UNIFORMITY}
MAX_LINES = 6
Column = list[tuple[float, float]]


def run_charts(curves: Sequence[Mapping[str, Any]], selection: str = "last") -> list[LineChart]:
    """Return the charts of what a run told of its epochs.

    Args:
        curves: One mapping per epoch: ``epoch``, ``lr``, ``loss`` and its parts, ``accuracy`` on
            the training batches, accuracies that end in ``_top1``; of a run without labels what
            `evaluation.monitor` tells.
        selection: By which clips the run chose its epoch, see ``evaluation.selection``.
    """
    columns: dict[str, Column] = {}
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
        if key not in NOT_LOSSES and not key.endswith(("_top1", KNN))
    }
    losses = dict(list(losses.items())[:MAX_LINES])
    charts = [line_chart("Accuracy", accuracies, percent=True)]
    charts += [
        line_chart(_neighbours(key.removesuffix(KNN), selection), {key: points}, percent=True)
        for key, points in columns.items()
        if key.endswith(KNN)
    ]
    charts += [
        line_chart("Loss", losses),
        line_chart("Alignment", {ALIGNMENT: columns.get(ALIGNMENT, [])}),
        line_chart("Uniformity", {UNIFORMITY: columns.get(UNIFORMITY, [])}),
        line_chart("Learning rate", {"learning rate": columns.get("lr", [])}),
    ]
    return [chart for chart in charts if chart is not None]


def _neighbours(part: str, selection: str) -> str:
    """Say what k-NN on a part is, and whether the result can still be trusted there."""
    title = f"k-NN accuracy on {part} clips"
    if part == "test":
        return title + (", by which the epoch is chosen" if selection == part else ", watched only")
    return title
