"""CTR-GCN's topologies: what all clips share, and what channels of a clip add to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.inference.scene import Floats
from pictures.body import (
    LEFT,
    RIGHT,
    TEXT,
    Trained,
    bones,
    dots,
    input_of,
    links,
    panels,
    posed,
    title,
    train,
)

ACTIONS = ("wave", "kick")
BLOCK, SUBSET = (
    9,
    2,
)  # the last block; the subset that begins as "every joint listens to its parent"


def draw(folder: Path) -> Figure:
    """Draw what all clips share, and what two channels and two clips add to it."""
    (run,) = train(folder, ("--training.epochs", "10"))
    return compare(run)


def compare(run: Trained) -> Figure:
    """Draw the topologies of a trained network."""
    poses, rows = zip(*(posed(run, action) for action in ACTIONS), strict=True)
    shared, inferred = topologies(run, rows)
    first, second = _most_different(inferred[0])
    shown = (
        ("shared by all clips\nand channels", poses[0], shared),
        (f"{ACTIONS[0]}, channel {first}", poses[0], inferred[0, first]),
        (f"{ACTIONS[0]}, channel {second}", poses[0], inferred[0, second]),
        (f"{ACTIONS[1]}, channel {first}", poses[1], inferred[1, first]),
    )
    figure, row_of_axes = panels(4, 10.0, 4.1)
    for axes, (name, points, weights) in zip(row_of_axes, shown, strict=True):
        bones(axes, run.checkpoint.skeleton, points)
        links(axes, points, weights)
        dots(axes, points, size=10)
        title(axes, name if "\n" in name else f"added to it:\n{name}")
    handles = [
        Line2D([], [], color=LEFT, lw=3, label="more of the other joint"),
        Line2D([], [], color=RIGHT, lw=3, label="less of it"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False, fontsize=TEXT)
    figure.subplots_adjust(0.01, 0.09, 0.99, 0.86, 0.04)
    return figure


@torch.no_grad()
def topologies(run: Trained, rows: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the shared part (V, V) and the inferred ones (N, C, V, V), to row from column."""
    objective = run.checkpoint.build()
    conv = objective.backbone.body.blocks[BLOCK].spatial.conv
    assert isinstance(conv, RefinedGraphConv)
    inferred = []
    for row in rows:
        x = input_of(run, objective, conv, row)
        made = conv.refinement(x[:1])  # of the first person
        relation = torch.tanh(made.query[0, SUBSET, :, :, None] - made.key[0, SUBSET, :, None])
        of_clip = torch.einsum("cq,quv->cuv", made.expand[SUBSET], relation)
        inferred.append(made.alpha * (of_clip + made.bias[SUBSET, :, None, None]))
    return conv.adjacency[SUBSET].double().numpy(), torch.stack(inferred).double().numpy()


def _most_different(inferred: Floats) -> tuple[int, int]:
    """Return the two channels (of C, V, V) whose links agree least."""
    flat = inferred.reshape(len(inferred), -1)
    units = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    return divmod(int((units @ units.T).argmin()), len(inferred))
