"""What the pictures share: a body on paper, arrows on it, a network trained on the demo data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor, nn

from kinegraph.cli import main
from kinegraph.data.synthetic import make_synthetic
from kinegraph.inference.colours import FAINT, INK, PALETTE
from kinegraph.inference.scene import Floats, make_scene
from kinegraph.objectives.base import Objective
from kinegraph.skeleton import Skeleton
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.run_folder import find_checkpoint
from kinegraph.training.setup import RunData, open_data

LEFT, RIGHT = PALETTE[0]["left"], PALETTE[0]["right"]
SMALL, TEXT, HEADING = 8, 9, 10.5


def panels(count: int, width: float = 9.0, height: float = 4.4) -> tuple[Figure, list[Axes]]:
    """Return a figure with bare panels of equal scale, side by side."""
    figure = Figure(figsize=(width, height))
    row = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in row:
        axes.set_aspect("equal")
        axes.set_axis_off()
    return figure, row


def title(axes: Axes, text: str) -> None:
    """Write a heading over a panel."""
    axes.set_title(text, fontsize=HEADING, color="black", pad=8)


def bones(
    axes: Axes, skeleton: Skeleton, points: Floats, colour: str = FAINT, width: float = 2.0
) -> None:
    """Draw the bones of one pose (V, 2)."""
    lines = [(points[child], points[parent]) for child, parent in skeleton.edges]
    axes.add_collection(LineCollection(lines, colors=colour, linewidths=width, zorder=1))
    low, high = points.min(0), points.max(0)
    edge = 0.08 * float((high - low).max())
    axes.set_xlim(low[0] - edge, high[0] + edge)
    axes.set_ylim(low[1] - edge, high[1] + edge)


def dots(axes: Axes, points: Floats, colour: str = INK, size: float = 16) -> None:
    """Draw joints (V, 2)."""
    axes.scatter(points[:, 0], points[:, 1], s=size, color=colour, linewidths=0, zorder=3)


def arrow(
    axes: Axes, begin: Floats, end: Floats, colour: str, *, width: float = 1.4, bend: float = 0.0
) -> None:
    """Draw an arrow between two points that leaves both of them free."""
    axes.annotate(
        "",
        xy=(float(end[0]), float(end[1])),
        xytext=(float(begin[0]), float(begin[1])),
        arrowprops={
            "arrowstyle": "->,head_width=0.16,head_length=0.32",
            "color": colour,
            "linewidth": width,
            "shrinkA": 3,
            "shrinkB": 3,
            "connectionstyle": f"arc3,rad={bend}",
        },
    )


class Trained(NamedTuple):
    """A network that was trained for a picture, and the recordings that it was trained on."""

    checkpoint: Checkpoint
    data: RunData


def train(folder: Path, *groups: Sequence[str]) -> list[Trained]:
    """Train the recipe of the demo once with each group of options, on the same recordings.

    Args:
        folder: Where recordings and runs are kept; what is returned reads from it.
        groups: Options of `kinegraph train`.
    """
    store = make_synthetic(folder / "data")
    runs = []
    for number, options in enumerate(groups):
        out = folder / f"run{number}"
        words = ["train", "demo", "--data.store", str(store), "--out", str(out), *options]
        assert main([*words, "--device", "cpu"]) == 0, words
        checkpoint = load_checkpoint(find_checkpoint(out))
        runs.append(Trained(checkpoint, open_data(checkpoint.recipe, store, persons=2)))
    return runs


def posed(run: Trained, name: str) -> tuple[Floats, int]:
    """Return the middle frame (V, 2) of the first test clip of a class on paper, and its row."""
    store = run.data.store
    row = next(
        int(row)
        for row in run.data.rows["test"]
        if store.class_names[store.clips["label"][row]] == name
    )
    scene = make_scene(store.clip(row), store.skeleton, turn=20)
    return scene.points[0, scene.frame_count // 2], row


@torch.no_grad()
def input_of(run: Trained, objective: Objective, module: nn.Module, row: int) -> Tensor:
    """Return what reaches a module of the network when it is given the clip of a row."""
    loader = run.data.testing_loader("test", 1, torch.device("cpu"))
    (batch,) = loader.batch(torch.tensor([row]))
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective.logits(batch.x, batch.people)
    handle.remove()
    return seen[0]


def links(axes: Axes, points: Floats, weights: Floats, *, most: int = 24) -> None:
    """Draw the strongest links between different joints: how much each receives from others.

    Args:
        axes: Where.
        points: (V, 2).
        weights: (V, V), from column to row; negative ones are drawn in another colour.
        most: Number of links.
    """
    strength = np.abs(weights)
    np.fill_diagonal(strength, 0)
    order = np.argsort(-strength, axis=None)[:most]
    for place in order[::-1]:
        target, source = np.unravel_index(place, strength.shape)
        share = float(strength[target, source] / strength.max())
        colour = LEFT if weights[target, source] > 0 else RIGHT
        ends = points[[source, target]]
        axes.plot(ends[:, 0], ends[:, 1], color=colour, lw=4 * share, alpha=0.75,
                  solid_capstyle="round", zorder=2)  # fmt: skip
