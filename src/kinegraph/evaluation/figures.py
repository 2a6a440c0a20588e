"""Where the marks of the report's figures go, in the units of an SVG's view box.

Place in the flow: ``report`` computes these and ``figures.html.j2`` draws them, so that colours
follow the reader's light or dark theme and every text is escaped by the template. This module knows
numbers and positions, no colours and no markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.evaluation.metrics import Calibration


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: its position and what it says."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One series of a chart: its name, the points (x, y) and what each says when pointed at."""

    name: str
    points: list[tuple[float, float, str]]

    @property
    def path(self) -> str:
        """The points as the ``points`` of a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in self.points)


@dataclass(frozen=True)
class Plot:
    """A frame with axes: outer size, inner borders, ticks."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: list[Tick]
    y_ticks: list[Tick]


@dataclass(frozen=True)
class LineChart:
    """A chart of values by epoch."""

    title: str
    plot: Plot
    lines: list[Line]


def line_chart(
    title: str, series: Mapping[str, Sequence[tuple[float, float]]], *, percent: bool = False
) -> LineChart | None:
    """Lay out values by epoch.

    Args:
        title: What the values are.
        series: Name -> (epoch, value); values that are not finite are left out.
        percent: Whether the values are fractions to be shown in percent.

    Returns:
        The chart, or None if there is nothing to draw.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in series.items()
    }
    finite = {name: points for name, points in finite.items() if points}
    if not finite:
        return None
    xs = [x for points in finite.values() for x, _ in points]
    ys = [y for points in finite.values() for _, y in points]
    first, last = min(xs), max(xs)
    y_values = _ticks(min(0.0, *ys) if min(ys) < 0.5 * max(ys) else min(ys), max(ys))
    low, high = y_values[0], y_values[-1]
    width, height, left, right, top, bottom = 360, 216, 46, 350, 8, 180

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        return left + across * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    def say(y: float) -> str:
        return f"{100 * y:.2f} %" if percent else f"{y:.4g}"

    lines = [
        Line(name, [(*place(x, y), f"{name}, epoch {x:g}: {say(y)}") for x, y in points])
        for name, points in finite.items()
    ]
    return LineChart(
        title=title,
        plot=Plot(
            width, height, left, right, top, bottom,
            x_ticks=[
                Tick(place(x, low)[0], f"{x:g}")
                for x in _ticks(first, last, whole=True)
                if first <= x <= last
            ],
            y_ticks=[
                Tick(place(first, y)[1], f"{100 * y:g} %" if percent else f"{y:g}")
                for y in y_values
            ],
        ),
        lines=lines,
    )  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One pair of classes in the confusion matrix that has clips."""

    x: float
    y: float
    share: float
    right: bool
    count: int
    title: str


@dataclass(frozen=True)
class ConfusionFigure:
    """The confusion matrix: one square per pair of classes, labels on the left and on top."""

    width: float
    height: float
    left: float
    top: float
    side: float
    font: float
    numbers: bool
    slant: int
    cells: list[Cell]
    rows: list[Tick]
    columns: list[Tick]


LONGEST_LABEL = 30


def confusion_figure(
    confusion: NDArray[np.integer[Any]], classes: Sequence[str]
) -> ConfusionFigure:
    """Lay out a confusion matrix so that it stays readable from two classes to some hundred.

    Args:
        confusion: (num_classes, num_classes) counts: row = label, column = prediction.
        classes: Class names.
    """
    count = len(classes)
    side = 44.0 if count <= 12 else 27.0 if count <= 30 else 16.0 if count <= 64 else 10.0
    font = min(13.0, 0.86 * side)
    labels = [
        name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…" for name in classes
    ]
    margin = 12 + 0.56 * font * max(map(len, labels))
    slant = 45 if count <= 30 else 90
    overhang = 0.71 * margin if slant == 45 else 0.0
    top = margin * (0.75 if slant == 45 else 1.0)
    clips = np.maximum(confusion.sum(axis=1), 1)
    cells = [
        Cell(
            x=margin + side * column,
            y=top + side * row,
            share=float(confusion[row, column] / clips[row]),
            right=bool(row == column),
            count=int(confusion[row, column]),
            title=f"{classes[row]} taken for {classes[column]}: {confusion[row, column]} of"
            f" {clips[row]} clips",
        )
        for row, column in zip(*np.nonzero(confusion), strict=True)
    ]
    return ConfusionFigure(
        width=margin + side * count + overhang,
        height=top + side * count + 4,
        left=margin,
        top=top,
        side=side,
        font=font,
        numbers=side > 20,
        slant=slant,
        cells=cells,
        rows=[Tick(top + side * (i + 0.5), label) for i, label in enumerate(labels)],
        columns=[Tick(margin + side * (i + 0.5), label) for i, label in enumerate(labels)],
    )


@dataclass(frozen=True)
class Bar:
    """One confidence bin: accuracy, the gap to confidence, and how many clips it holds."""

    x: float
    width: float
    accuracy_y: float
    gap_y: float
    gap_height: float
    share_height: float
    title: str


@dataclass(frozen=True)
class ReliabilityFigure:
    """Accuracy by confidence, and below it how many clips have that confidence."""

    plot: Plot
    base: int
    bars: list[Bar]


def reliability_figure(found: Calibration) -> ReliabilityFigure:
    """Lay out the reliability diagram."""
    width, height, left, right, top, bottom, base = 420, 420, 46, 400, 10, 310, 386
    step = (right - left) / len(found.clips)
    most = max(int(found.clips.max()), 1)

    def level(value: float) -> float:
        return bottom - value * (bottom - top)

    bars = []
    for row, clips in enumerate(found.clips.tolist()):
        if not clips:
            continue
        accuracy, confidence = float(found.accuracy[row]), float(found.confidence[row])
        upper, lower = max(accuracy, confidence), min(accuracy, confidence)
        bars.append(
            Bar(
                x=left + row * step,
                width=step,
                accuracy_y=level(accuracy),
                gap_y=level(upper),
                gap_height=level(lower) - level(upper),
                share_height=(base - bottom - 22) * clips / most,
                title=f"confidence {100 * found.edges[row]:.0f} to {100 * found.edges[row + 1]:.0f}"
                f" %: {clips} clips, mean confidence {100 * confidence:.1f} %, accuracy"
                f" {100 * accuracy:.1f} %",
            )
        )
    fifths = [i / 5 for i in range(6)]
    return ReliabilityFigure(
        plot=Plot(
            width, height, left, right, top, bottom,
            x_ticks=[Tick(left + v * (right - left), f"{100 * v:.0f} %") for v in fifths],
            y_ticks=[Tick(level(v), f"{100 * v:.0f} %") for v in fifths],
        ),
        base=base,
        bars=bars,
    )  # fmt: skip


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return four to seven round numbers that enclose the range."""
    span = high - low or abs(high) or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    if whole:
        step = max(1.0, round(step))
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if stop == start:
        stop += 1
    return [round(step * i, 12) for i in range(start, stop + 1)]
