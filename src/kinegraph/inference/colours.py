"""The inks of all drawings: cool colours for left limbs, warm ones for right limbs.

From Okabe and Ito's palette, which colour-blind people can tell apart; every further person has
another pair. Knows skeletons, but no figures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from kinegraph.skeleton import Skeleton

# One row per person; the fourth person starts over, and numbers at the heads tell them apart.
PALETTE = (
    {"left": "#0072B2", "right": "#D55E00", "middle": "#333333"},
    {"left": "#56B4E9", "right": "#E69F00", "middle": "#8C8C8C"},
    {"left": "#009E73", "right": "#CC79A7", "middle": "#B0A58F"},
)
INK = "#555555"
FAINT = "#C8C8C8"


def bone_side(skeleton: Skeleton, child: int) -> str:
    """Return ``left``, ``right`` or ``middle`` for the bone from a joint to its parent."""
    side = skeleton.sides[child]
    return side if side != "middle" else skeleton.sides[skeleton.bone_parents[child]]


def rgb(colours: Sequence[str]) -> NDArray[np.float64]:
    """Return (len(colours), 3) values between 0 and 1."""
    return np.array([to_rgb(colour) for colour in colours]).reshape(-1, 3)


def gif_palette() -> Image.Image:
    """Return an image with one palette for all frames: every ink in steps towards white.

    A palette drawn from the first frame would lack the colours of people who appear later.
    """
    inks = rgb([INK, FAINT, "black", *(colour for style in PALETTE for colour in style.values())])
    steps = np.linspace(0, 1, 21)[:, None, None]
    colours = ((1 - steps) * inks + steps).reshape(-1, 3)  # 21 steps of 12 inks: 252 of 256
    colours[colours.min(axis=1) > 0.97] = 1  # Pillow takes what is nearly white for white
    image = Image.new("P", (1, 1))
    image.putpalette((colours * 255).round().astype(np.uint8).tobytes())
    return image
