"""A picture of accuracy by the number of labels: what pre-training is worth with few of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from kinegraph.evaluation.probe import ENCODER, RANDOM, RAW
from kinegraph.files import atomic_file

LINES = {  # name -> colour, marker, what it is called
    ENCODER: ("#1f5fa8", "o", "from the encoder"),
    RANDOM: ("#d9822b", "s", "from random weights"),
    RAW: ("#8a939d", "^", "raw coordinates, linear"),
}


def draw(summaries: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw mean accuracy over the share of the labels, with a standard deviation up and down.

    Args:
        summaries: For each share: ``share``, ``train_clips``, and ``rows`` of ``top-1`` and
            ``deviation`` (or None) by name.
        title: Above the axes.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shares = [100 * summary["share"] for summary in summaries]
    for name, (colour, marker, label) in LINES.items():
        rows = [summary["rows"][name] for summary in summaries]
        means = [100 * row["top-1"] for row in rows]
        spread = [100 * (row["deviation"] or 0.0) for row in rows]
        axes.errorbar(
            shares, means, spread, color=colour, marker=marker, markersize=4, capsize=3, label=label
        )
    clips = [summary["train_clips"] for summary in summaries]
    axes.set_xscale("log")
    labels = [f"{share:g} %\n{count} clips" for share, count in zip(shares, clips, strict=True)]
    axes.set_xticks(shares, labels)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="labels of each class", ylabel="top-1, %", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    axes.set_title(title, fontsize=10, loc="left", parse_math=False)
    return figure


def save_labels_picture(path: Path, summaries: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write the picture as SVG; the same numbers give the same file.

    Raises:
        OutputError: The disk refuses.
    """
    with mpl.rc_context({"svg.hashsalt": "kinegraph"}), atomic_file(path) as file:
        draw(summaries, title).savefig(file, format="svg", metadata={"Date": None})
