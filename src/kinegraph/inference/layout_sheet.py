"""One labelled drawing of a skeleton layout: joint numbers, names, sides and bones.

For people who check a layout or write their own. It knows skeletons and the colours of `draw`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from kinegraph.inference.colours import INK, PALETTE, bone_side
from kinegraph.inference.scene import Floats, project
from kinegraph.skeleton import Skeleton

# A standing person of height 1: distance from the midline and height over the floor of every joint
# that the built-in layouts name.
STANDING = {
    "head": (0.0, 0.95),
    "nose": (0.0, 0.91),
    "eye": (0.03, 0.95),
    "ear": (0.085, 0.925),
    "neck": (0.0, 0.84),
    "spine at shoulders": (0.0, 0.785),
    "shoulder centre": (0.0, 0.8),
    "shoulder": (0.12, 0.77),
    "elbow": (0.24, 0.65),
    "wrist": (0.35, 0.52),
    "hand": (0.4, 0.465),
    "thumb": (0.37, 0.39),
    "hand tip": (0.46, 0.42),
    "torso": (0.0, 0.64),
    "spine": (0.0, 0.63),
    "middle of spine": (0.0, 0.66),
    "base of spine": (0.0, 0.52),
    "hip centre": (0.0, 0.52),
    "hip": (0.08, 0.48),
    "knee": (0.105, 0.27),
    "ankle": (0.12, 0.05),
    "foot": (0.17, 0.0),
}


def rest_pose(skeleton: Skeleton) -> Floats:
    """Return a standing pose (V, 2) of height 1 with the left side on our left.

    Joints with names of their own are put beside their parent, away from the midline.
    """
    points = np.zeros((skeleton.joint_count, 2))
    for joint in skeleton.order:
        side = skeleton.sides[joint]
        sign = {"left": -1, "right": 1, "middle": 0}[side]
        # "middle of spine" is a whole name, "left knee" is a knee.
        name = skeleton.joints[joint].removeprefix(f"{side} " if sign else "")
        if name in STANDING:
            across, height = STANDING[name]
            points[joint] = (sign * across, height)
        else:
            points[joint] = points[skeleton.bone_parents[joint]] + (0.07 * sign, 0.05)
    return points


def draw_layout(skeleton: Skeleton, pose: NDArray[np.floating[Any]] | None = None) -> Figure:
    """Draw a layout; arrows run from parents to children, and the centre has a dark ring.

    Args:
        skeleton: The layout.
        pose: (V, C) joints of a recording; `rest_pose` by default.
    """
    points = rest_pose(skeleton) if pose is None else _on_paper(skeleton, pose)
    figure = Figure(figsize=(7.5, 8.5))
    axes = figure.add_axes((0.02, 0.03, 0.96, 0.9))
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.25, 0.06)
    axes.set_title(f"{skeleton.name}: {skeleton.title}", fontsize=10, parse_math=False)
    colours = PALETTE[0]
    for child, parent in skeleton.edges:
        axes.annotate(
            "",
            xy=points[child],
            xytext=points[parent],
            arrowprops={
                "arrowstyle": "-|>",
                "color": colours[bone_side(skeleton, child)],
                "linewidth": 1.6,
                "shrinkA": 7,
                "shrinkB": 7,
            },
        )
    midline = points[:, 0].mean()
    for joint, (x, y) in enumerate(points):
        colour = colours[skeleton.sides[joint]]
        ring = "black" if joint == skeleton.centre else "white"
        axes.plot(x, y, "o", markersize=14, color=colour, markeredgecolor=ring, markeredgewidth=1.5)
        axes.text(x, y, str(joint), ha="center", va="center", color="white", fontsize=7)
        leftward = x < midline - 1e-9
        middle = skeleton.sides[joint] == "middle"
        axes.annotate(
            skeleton.joints[joint],
            (x, y),
            xytext=(-11 if leftward else 11, 8 if middle else 0),
            textcoords="offset points",
            ha="right" if leftward else "left",
            va="center",
            fontsize=8,
            color=INK,
            parse_math=False,
        )
    return figure


def _on_paper(skeleton: Skeleton, pose: NDArray[np.floating[Any]]) -> Floats:
    where = [c for c, axis in enumerate(skeleton.coordinates.axes) if axis != "score"]
    return project(np.asarray(pose, dtype=np.float64)[:, where], skeleton)
