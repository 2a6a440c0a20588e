"""ST-GCN's neighbourhoods: who listens to whom in which subset, as it should be and as it was."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kinegraph.inference.layout_sheet import rest_pose
from kinegraph.nn.graph import partition
from kinegraph.skeleton import Skeleton, load_layout
from pictures.body import INK, LEFT, RIGHT, TEXT, arrow, bones, dots, panels, title


def draw(_: Path) -> Figure:
    """Draw the subsets of the spatial partition, the true ones beside the original program's."""
    skeleton = load_layout("ntu25")
    figure, (right, original) = panels(2, 9.0, 5.4)
    _subsets(right, skeleton, original=False)
    title(right, "by the true distance to the centre")
    _subsets(original, skeleton, original=True)
    title(original, "as the original program has it")
    handles = [
        Line2D([], [], color=LEFT, label="from a joint that is farther out, or as far", lw=2),
        Line2D([], [], color=RIGHT, label="from a joint that is nearer to the centre", lw=2),
        Line2D([], [], color=INK, marker="o", lw=0, label="from the joint itself"),
        Line2D([], [], color="white", marker="o", lw=0, label="centre", markeredgecolor="black",
               markeredgewidth=1.5),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=TEXT)
    figure.subplots_adjust(0.01, 0.08, 0.99, 0.92, 0.02)
    return figure


def _subsets(axes: Axes, skeleton: Skeleton, *, original: bool) -> None:
    """Draw an arrow along which each joint receives, in the colour of its subset."""
    points = rest_pose(skeleton)
    bones(axes, skeleton, points)
    dots(axes, points, size=22)
    axes.plot(*points[skeleton.centre], "o", markersize=9, markerfacecolor="white",
              markeredgecolor="black", markeredgewidth=1.5, zorder=4)  # fmt: skip
    matrices = partition(skeleton, original=original)  # themselves, farther, nearer
    counts = [int((matrix > 0).sum()) for matrix in matrices]
    for matrix, colour in zip(matrices[1:], (LEFT, RIGHT), strict=True):
        for source, target in zip(*matrix.nonzero(), strict=True):
            arrow(axes, points[source], points[target], colour, width=1.2, bend=0.18)
    axes.text(0.5, 0.0, "{} + {} + {} links".format(*counts), transform=axes.transAxes,
              ha="center", va="top", fontsize=TEXT, color=INK)  # fmt: skip
