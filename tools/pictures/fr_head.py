"""FR-Head's descriptions of clips of two classes, and the prototypes that they are pulled to."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from torch.nn import functional

from kinegraph.backbones.base import STAGES
from kinegraph.inference.scene import Floats
from kinegraph.nn.persons import rows_of
from kinegraph.objectives.refine import Refine
from pictures.body import INK, LEFT, RIGHT, SMALL, TEXT, Trained, title, train

COLOURS = (LEFT, RIGHT)
OPTIONS = ("--objective.name", "refine", "--objective.frames", "32", "--objective.width", "64")


class Seen(NamedTuple):
    """What a network makes of the test clips.

    Attributes:
        cosines: (N, K) of descriptions with prototypes.
        between: (K, K) of prototypes with each other.
        answers: (N,).
        labels: (N,).
    """

    cosines: Floats
    between: Floats
    answers: NDArray[np.int64]
    labels: NDArray[np.int64]


def draw(folder: Path) -> Figure:
    """Draw two classes early and late in training."""
    epochs = (("--training.epochs", str(count)) for count in (2, 10))
    return compare(*train(folder, *((*OPTIONS, *words) for words in epochs)))


def compare(early: Trained, late: Trained) -> Figure:
    """Draw the classes that the early network confuses most, as both networks describe them."""
    seen = {name: describe(run) for name, run in (("early", early), ("late", late))}
    pair = _confused(seen["early"])
    names = [early.checkpoint.class_names[label] for label in pair]
    figure = Figure(figsize=(9.0, 4.3))
    row = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (name, run) in zip(row, (("early", early), ("late", late)), strict=True):
        epochs = run.checkpoint.recipe.training.epochs
        _scatter(axes, seen[name], pair)
        title(axes, f"after {epochs} epochs")
        axes.set_xlabel(f"cosine with the prototype of '{names[0]}'", fontsize=TEXT)
        axes.set_ylabel(f"cosine with that of '{names[1]}'", fontsize=TEXT)
    handles = [
        Line2D([], [], color=colour, marker="o", lw=0, label=f"'{name}', recognised")
        for name, colour in zip(names, COLOURS, strict=True)
    ]
    handles.append(
        Line2D([], [], color=INK, marker="X", markersize=8, lw=0, label="taken for another class")
    )
    handles.append(Line2D([], [], color="white", marker="*", markeredgecolor="black", lw=0,
                          markersize=12, label="prototypes"))  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=TEXT)
    figure.subplots_adjust(0.08, 0.23, 0.98, 0.9, 0.08)
    return figure


@torch.no_grad()
def describe(run: Trained) -> Seen:
    """Compare the test clips with the prototypes of the last stage, over joints."""
    objective = run.checkpoint.build()
    assert isinstance(objective, Refine)
    place = 2 * STAGES.index("final")  # of each stage: over joints, over frames
    centres = functional.normalize(objective.contrast.prototypes[place], dim=1)
    loader = run.data.testing_loader("test", 64, torch.device("cpu"))
    cosines, answers, labels = [], [], []
    for (batch,) in loader.epoch():
        rows = rows_of(batch.x, batch.people)
        features = objective.classifier.backbone(batch.x, rows, stages=STAGES)
        described = objective.stages["final"](features.stages["final"], rows.counted)[0]
        cosines.append(functional.normalize(described, dim=1) @ centres.T)
        answers.append(objective.classifier.head(features.pooled).argmax(1))
        labels.append(batch.label)
    alike, found, wanted = (torch.cat(parts).numpy() for parts in (cosines, answers, labels))
    return Seen(alike, (centres @ centres.T).numpy(), found, wanted)


def _confused(seen: Seen) -> tuple[int, int]:
    """Return the two classes that are taken for each other most often."""
    classes = seen.cosines.shape[1]
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (seen.labels, seen.answers), 1)
    np.fill_diagonal(counts, 0)
    first, second = divmod(int((counts + counts.T).argmax()), classes)
    return first, second


def _scatter(axes: Axes, seen: Seen, pair: tuple[int, int]) -> None:
    for label, colour in zip(pair, COLOURS, strict=True):
        mine = seen.labels == label
        right = mine & (seen.answers == label)
        wrong = mine & ~right
        points = seen.cosines[:, list(pair)]
        axes.scatter(*points[right].T, s=26, color=colour, alpha=0.8, linewidths=0)
        axes.scatter(*points[wrong].T, s=60, color=colour, marker="X", linewidths=0)
        axes.scatter(*seen.between[label, list(pair)], s=170, color=colour, marker="*",
                     edgecolors="black", linewidths=0.8, zorder=3)  # fmt: skip
    axes.plot((-1, 1), (-1, 1), color=INK, linewidth=0.8, linestyle=":", zorder=0)
    axes.set(xlim=(0, 1.05), ylim=(0, 1.05), aspect="equal")
    axes.tick_params(labelsize=SMALL)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
