"""What an encoder takes for alike: some test clips, and the training clips nearest to each.

Place in the flow: the page of a probe shows them as skeletons, so that one can see what features
go by. This module chooses and draws; it knows features and clips, no networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.store import Store
from kinegraph.evaluation.judges import Described, directions, nearest_of, ranked
from kinegraph.evaluation.plane import some_of_each_class
from kinegraph.inference.colours import PALETTE, bone_side
from kinegraph.inference.scene import Floats, Scene, make_scene
from kinegraph.skeleton import Skeleton

SHOWN = 8  # test clips, half of them wrong where there are so many
NEAREST = 5
FRAMES = 3  # of a clip, side by side
WIDTH, HEIGHT = 174.0, 104.0
MARGIN = 6.0


@dataclass(frozen=True)
class Stroke:
    """Bones of one colour, as the path of an SVG."""

    colour: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """Some frames of a clip."""

    width: float
    height: float
    title: str
    strokes: list[Stroke]


@dataclass(frozen=True)
class Neighbour:
    """A training clip near a test clip.

    Attributes:
        drawing: The clip.
        label: Name of its class.
        alike: Cosine of both clips' features.
        same: Whether it is of the test clip's class.
    """

    drawing: Drawing
    label: str
    alike: float
    same: bool


@dataclass(frozen=True)
class Query:
    """A test clip and its nearest training clips, the nearest first."""

    drawing: Drawing
    label: str
    neighbours: list[Neighbour]


def choose_queries(clips: Described, count: int = SHOWN) -> NDArray[np.int64]:
    """Return places of test clips to be shown: half of them with a nearest clip of another class.

    Where there are fewer of one kind, there are more of the other. Classes take turns. The same
    features give the same clips.
    """
    right = nearest_of(clips) == clips.test_y
    sides = [np.flatnonzero(~right), np.flatnonzero(right)]
    wrong = min(len(sides[0]), max(count // 2, count - len(sides[1])))
    chosen = [
        side[some_of_each_class(clips.test_y[side], wanted)]
        for side, wanted in zip(sides, (wrong, count - wrong), strict=True)
    ]
    return np.concatenate(chosen)


def find_neighbours(
    clips: Described,
    store: Store,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    count: int = SHOWN,
) -> list[Query]:
    """Return some test clips with their nearest training clips, drawn.

    Args:
        clips: Features and classes of all of them.
        store: The store with the clips.
        train: (N_train,) rows of the training clips.
        test: (N_test,) rows of the test clips.
        count: How many test clips.
    """
    chosen = choose_queries(clips, count)
    few = Described(clips.train_x, clips.train_y, clips.test_x[chosen], clips.test_y[chosen])
    orders = np.concatenate(list(ranked(few)))[:, :NEAREST]
    found = []
    for query, order in zip(chosen.tolist(), orders, strict=True):
        own = int(clips.test_y[query])
        cosines = directions(clips.train_x[order]) @ directions(clips.test_x[query : query + 1])[0]
        near = [
            Neighbour(
                drawing=_draw(store, int(train[clip])),
                label=store.class_names[clips.train_y[clip]],
                alike=float(cosine),
                same=bool(clips.train_y[clip] == own),
            )
            for clip, cosine in zip(order, cosines, strict=True)
        ]
        found.append(Query(_draw(store, int(test[query])), store.class_names[own], near))
    return found


def _draw(store: Store, row: int) -> Drawing:
    return draw_frames(store.clip(row), store.skeleton)


def draw_frames(clip: Clip, skeleton: Skeleton, frames: int = FRAMES) -> Drawing:
    """Draw frames of a clip side by side, each in the middle of its part of the paper.

    They are taken from the middles of as many equal parts of the frames with a person. All have
    one scale, and heights are kept: who sits is lower than who stands.
    """
    scene = make_scene(clip, skeleton)
    peopled = scene.peopled_frames
    steps = (np.arange(frames) + 0.5) * len(peopled) / frames
    chosen = scene.points[:, peopled[steps.astype(int)]]  # (M, frames, V, 2)
    known: NDArray[np.bool_] = ~np.isnan(chosen[..., 0])
    strokes: list[Stroke] = []
    if known.any():
        strokes = _strokes(_on_paper(chosen, known, frames), scene, skeleton)
    return Drawing(WIDTH, HEIGHT, clip.name, strokes)


def _on_paper(points: Floats, known: NDArray[np.bool_], frames: int) -> Floats:
    """Bring points (M, frames, V, 2) onto the paper, whose y runs downwards."""
    there = [points[:, frame][known[:, frame]] for frame in range(frames)]
    middles = np.array([(np.ptp(p[:, 0]) / 2 + p[:, 0].min()) if len(p) else 0.0 for p in there])
    widest = max(float(np.ptp(p[:, 0])) for p in there if len(p))
    heights = points[..., 1][known]
    bottom, high = float(heights.min()), float(np.ptp(heights))
    part = WIDTH / frames
    size = min((part - MARGIN) / (widest or 1.0), (HEIGHT - 2 * MARGIN) / (high or 1.0))
    centres = part * (np.arange(frames) + 0.5)
    x = centres[:, None] + (points[..., 0] - middles[:, None]) * size
    y = HEIGHT - MARGIN - (points[..., 1] - bottom) * size
    return np.stack([x, y], axis=-1)


def _strokes(spots: Floats, scene: Scene, skeleton: Skeleton) -> list[Stroke]:
    """Return the bones of spots (M, frames, V, 2), together where they have one colour."""
    paths: dict[str, list[str]] = {}
    for person, frames in zip(scene.persons, spots, strict=True):
        style = PALETTE[person % len(PALETTE)]
        for joints in frames:
            for child, parent in skeleton.edges:
                (x, y), (end_x, end_y) = joints[child], joints[parent]
                if not np.isnan([x, y, end_x, end_y]).any():
                    path = f"M{x:.1f},{y:.1f}L{end_x:.1f},{end_y:.1f}"
                    paths.setdefault(style[bone_side(skeleton, child)], []).append(path)
    return [Stroke(colour, "".join(parts)) for colour, parts in paths.items()]
