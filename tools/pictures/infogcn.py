"""InfoGCN's k-mode representation of a pose, and what attention makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kinegraph.backbones.infogcn import SelfAttentionGraphConv
from kinegraph.inference.scene import Floats
from kinegraph.skeleton import Skeleton
from pictures.body import (
    INK,
    LEFT,
    RIGHT,
    Trained,
    arrow,
    bones,
    dots,
    input_of,
    panels,
    posed,
    title,
    train,
)

ACTION = "wave"
MODES = (1, 2, 8)
BLOCK = 4
OPTIONS = (
    *("--backbone.name", "infogcn", "--backbone.width", "16", "--optim.lr", "0.05"),
    *("--transforms.train.1.length", "16", "--transforms.train.1.minimum", "16"),
    *("--transforms.test.1.length", "16", "--training.epochs", "6"),
)


def draw(folder: Path) -> Figure:
    """Draw a frame in three k-modes, and the attention of a trained network in it."""
    (run,) = train(folder, OPTIONS)
    return compare(run)


def compare(run: Trained) -> Figure:
    """Draw k-modes and attention for a trained network."""
    skeleton = run.checkpoint.skeleton
    points, row = posed(run, ACTION)
    points = points - points[skeleton.centre]
    figure, row_of_axes = panels(len(MODES) + 1, 10.0, 4.1)
    for axes, mode in zip(row_of_axes, MODES, strict=False):
        bones(axes, skeleton, points)
        _vectors(axes, skeleton, points, mode)
        dots(axes, points, size=10)
        title(axes, f"k = {mode}")
    last = row_of_axes[-1]
    bones(last, skeleton, points)
    hand = max((skeleton.joints.index(f"{side} hand") for side in ("left", "right")),
               key=lambda joint: float(points[joint, 1]))  # fmt: skip
    heeded = attention(run, row)[hand]
    last.scatter(*points.T, s=190 * heeded / heeded.max(), color=RIGHT, linewidths=0, zorder=3)
    last.plot(*points[hand], "o", markersize=17, markerfacecolor="none", markeredgecolor=INK)
    title(last, "what the raised hand heeds")
    figure.subplots_adjust(0.01, 0.03, 0.99, 0.9, 0.04)
    return figure


def _vectors(axes: Axes, skeleton: Skeleton, points: Floats, mode: int) -> None:
    """Draw what each joint becomes as an arrow that ends in it."""
    vectors = skeleton.k_mode(mode) @ points
    for point, vector in zip(points, vectors, strict=True):
        if np.abs(vector).max() > 0:
            arrow(axes, point - vector, point, LEFT, width=1.1)


@torch.no_grad()
def attention(run: Trained, row: int) -> Floats:
    """Return the mean over heads of the attention in the middle frame of a clip, (V, V)."""
    objective = run.checkpoint.build()
    conv = objective.backbone.body.blocks[BLOCK].spatial.conv
    assert isinstance(conv, SelfAttentionGraphConv)
    x = input_of(run, objective, conv, row)  # (R, C, T, V)
    maps = conv.attention(x[0].permute(1, 2, 0))  # (T, H, V, V)
    return maps[len(maps) // 2].mean(0).double().numpy()
