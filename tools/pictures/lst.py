"""LST's parts of the body, and what is said about each of them for one class."""

from __future__ import annotations

import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from kinegraph.inference.colours import FAINT, PALETTE
from kinegraph.inference.layout_sheet import rest_pose
from kinegraph.objectives.language_parts import part_lists
from kinegraph.skeleton import load_layout
from kinegraph.text.description import load_descriptions
from pictures.body import INK, TEXT, bones, dots, panels, title

CLASS = "brush hair"
COLOURS = {
    "head": PALETTE[2]["right"],
    "hand": PALETTE[0]["right"],
    "hip": PALETTE[2]["left"],
    "foot": PALETTE[0]["left"],
}


def draw(_: Path) -> Figure:
    """Draw a body in the colours of its parts, the texts of a class beside it."""
    skeleton = load_layout("ntu25")
    (told,) = (one for one in load_descriptions("ntu120") if one.name == CLASS)
    figure, (axes,) = panels(1, 9.0, 4.6)
    points = rest_pose(skeleton)
    bones(axes, skeleton, points, FAINT, 3)
    for part, joints in part_lists(skeleton).items():
        where = points[list(joints)]
        dots(axes, where, COLOURS[part], 60)
    axes.set_position((0.0, 0.02, 0.42, 0.9))
    title(axes, "the parts of layout ntu25")
    texts = dict(zip(COLOURS, told.prompts(), strict=True))
    lines = [("whole body", INK, " / ".join(told.names))]
    lines += [(part, COLOURS[part], texts[part]) for part in COLOURS]
    for row, (part, colour, text) in enumerate(lines):
        height = 0.93 - 0.185 * row
        figure.text(0.45, height, part, fontsize=TEXT + 2, color=colour, weight="bold", va="top")
        figure.text(0.45, height - 0.06, textwrap.fill(text, 68), fontsize=TEXT, va="top")
    return figure
