"""A picture of a reproduction: every seed's accuracy beside the figures of others."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from kinegraph.files import atomic_file
from kinegraph.reproduction.plan import Plan
from kinegraph.reproduction.result import Result

LAST, BEST, OTHERS, PUBLISHED = "#1f5fa8", "#d9822b", "#b9c4d0", "#333333"
REACH = 0.38  # half the width of a column's lines; columns are 1 apart
APART = 0.14  # from the middle of a column to the dots of the last and of the best epoch


def draw(plan: Plan, result: Result) -> Canvas:
    """Draw a column for each stream and ensemble: a dot per seed and epoch, lines for others."""
    subjects = plan.subjects
    canvas = Canvas(figsize=(1.6 + 1.35 * len(subjects), 3.6), layout="constrained")
    axes = canvas.add_subplot()
    for column, of in enumerate(subjects):
        _others(axes, plan, column, of)
        _dots(axes, result, column, of)
    axes.set_xticks(range(len(subjects)), [of.replace("-", " ") for of in subjects])
    axes.set_xlim(-0.6, len(subjects) - 0.4)
    axes.set_ylabel("top-1, %")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    canvas.legend(once.values(), once.keys(), loc="outside lower center", ncols=5, frameon=False)
    title = plan.title + (" (a trial)" if result.changed else "")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    return canvas


def _others(axes: Axes, plan: Plan, column: int, of: str) -> None:
    ends = (column - REACH, column + REACH)
    for figure in plan.reported:
        if figure.of == of:
            low, high = min(figure.percent), max(figure.percent)
            if high > low:
                axes.fill_between(ends, low, high, color=OTHERS, lw=0, label="others report")
            else:
                axes.hlines(low, *ends, color=OTHERS, lw=3, label="others report")
    for figure in plan.published:
        if figure.of == of:
            for value in figure.percent:
                axes.hlines(value, *ends, color=PUBLISHED, lw=1.5, label="published")
    if of in plan.targets:
        axes.hlines(plan.targets[of], *ends, color=LAST, lw=1, ls=":", label="target")


def _dots(axes: Axes, result: Result, column: int, of: str) -> None:
    last = [100 * value for value in result.accuracies(of, "last")]
    best = [100 * value for value in result.accuracies(of, "best")]
    if last:
        places = [column - APART] * len(last)
        axes.scatter(places, last, s=22, color=LAST, zorder=3, label="last epoch")
    if best:
        places = [column + APART] * len(best)
        axes.scatter(places, best, s=22, facecolor="none", edgecolor=BEST, zorder=3,
                     label="best epoch")  # fmt: skip


def save_picture(path: Path, plan: Plan, result: Result) -> None:
    """Write the picture as SVG; the same result gives the same file.

    Raises:
        OutputError: The disk refuses.
    """
    with mpl.rc_context({"svg.hashsalt": "kinegraph"}), atomic_file(path) as file:
        draw(plan, result).savefig(file, format="svg", metadata={"Date": None})
