"""Where the marks of a picture of features go: a point for each clip, and a key of the classes.

Place in the flow: ``plane`` finds the points, this module lays them out, and ``pictures.html.j2``
draws them, into a page or a file of their own. It knows numbers and names, no networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinegraph.evaluation.plane import Placed
from kinegraph.evaluation.templates import environment
from kinegraph.files import write_text

# Mostly from Okabe and Ito's palette, which colour-blind people can tell apart; all of them can be
# seen on white and on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A5FC0", "#808080")
# Paths around the place of a mark, about 6 units wide. Further classes have another shape, and when
# shapes are used up, no filling: 128 classes look different.
SHAPES = (
    "m-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z",
    "m-2.7,-2.7h5.4v5.4h-5.4z",
    "m0,-3.6l3.3,5.7h-6.6z",
    "m0,-3.8l3.1,3.8l-3.1,3.8l-3.1,-3.8z",
    "m0,3.6l3.3,-5.7h-6.6z",
    "m-1.1,-3.3h2.2v2.2h2.2v2.2h-2.2v2.2h-2.2v-2.2h-2.2v-2.2h2.2z",
    "m-3.8,-1.4h7.6v2.8h-7.6z",
    "m-1.4,-3.8v7.6h2.8v-7.6z",
)
WIDTH = 960.0
EDGE = 12.0
HEAD = 26.0  # above a panel, for its title
FOOT = 24.0  # below it, for what it says
GAP = 24.0
LINE = 19.0  # between entries of the key
LONGEST_NAME = 32


@dataclass(frozen=True)
class Mark:
    """A path and what it says when pointed at."""

    path: str
    title: str


@dataclass(frozen=True)
class Group:
    """The marks of a class."""

    colour: str
    filled: bool
    marks: list[Mark]


@dataclass(frozen=True)
class Panel:
    """One cloud of points in a square."""

    title: str
    note: str
    left: float
    top: float
    side: float
    groups: list[Group]


@dataclass(frozen=True)
class Key:
    """An entry of the key: the mark of a class, and its name."""

    x: float
    y: float
    name: str
    group: Group


@dataclass(frozen=True)
class EmbeddingPicture:
    """Panels beside each other, and below them the key."""

    width: float
    height: float
    title: str
    panels: list[Panel]
    keys: list[Key]


def embedding_picture(
    clouds: Mapping[str, Placed],
    names: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    title: str,
) -> EmbeddingPicture:
    """Lay clouds of points out beside each other.

    Args:
        clouds: Title -> the clips on a plane.
        names: Names of all test clips.
        labels: (N,) their classes.
        classes: Names of the classes.
        title: What all of it is, for those who cannot see it.
    """
    side = min(520.0, (WIDTH - GAP * (len(clouds) - 1)) / len(clouds))
    panels = [
        Panel(
            title=name,
            note=f"nearest point of the same class: {100 * placed.separation:.1f} %",
            left=number * (side + GAP),
            top=HEAD,
            side=side,
            groups=_groups(
                placed, names, labels, classes, left=number * (side + GAP), top=HEAD, side=side
            ),
        )
        for number, (name, placed) in enumerate(clouds.items())
    ]
    shown = sorted({int(labels[clip]) for placed in clouds.values() for clip in placed.clips})
    keys, height = _keys(shown, classes, HEAD + side + FOOT + LINE)
    return EmbeddingPicture(width=WIDTH, height=height, title=title, panels=panels, keys=keys)


def _groups(
    placed: Placed,
    names: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    left: float,
    top: float,
    side: float,
) -> list[Group]:
    """Return the marks of a panel, class by class."""
    low, high = placed.points.min(axis=0), placed.points.max(axis=0)
    scale = (side - 2 * EDGE) / (float((high - low).max()) or 1.0)  # both ways alike
    middle = np.array([left + side / 2, top + side / 2])
    spots = middle + (placed.points - (low + high) / 2) * scale
    found: dict[int, list[Mark]] = {}
    for clip, (x, y) in zip(placed.clips.tolist(), spots.tolist(), strict=True):
        label = int(labels[clip])
        title = f"{names[clip]}: {classes[label]}"
        found.setdefault(label, []).append(Mark(_mark(label, x, y), title))
    return [_group(label, marks) for label, marks in sorted(found.items())]


def _mark(label: int, x: float, y: float) -> str:
    return f"M{x:.1f},{y:.1f}{SHAPES[label // len(COLOURS) % len(SHAPES)]}"


def _group(label: int, marks: list[Mark]) -> Group:
    filled = label // (len(COLOURS) * len(SHAPES)) % 2 == 0
    return Group(COLOURS[label % len(COLOURS)], filled, marks)


def _keys(shown: list[int], classes: Sequence[str], top: float) -> tuple[list[Key], float]:
    """Return the key in columns from a height on, and where it ends."""
    short = {label: _shortened(classes[label]) for label in shown}
    width = 30 + 6.6 * max(map(len, short.values()), default=0)
    columns = max(1, int(WIDTH / width))
    rows = -(-len(shown) // columns)
    keys = []
    for number, label in enumerate(shown):
        column, row = divmod(number, rows)
        x, y = column * width + 8, top + row * LINE
        mark = Mark(_mark(label, x, y), classes[label])
        keys.append(Key(x + 10, y, short[label], _group(label, [mark])))
    return keys, top + rows * LINE


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def write_svg(path: Path, picture: EmbeddingPicture) -> None:
    """Write a picture as a file of its own, whole or not at all.

    Raises:
        OutputError: The disk refuses.
    """
    write_text(path, environment().get_template("embedding.svg.j2").render(picture=picture))
