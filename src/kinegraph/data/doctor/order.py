"""Whether bones have the lengths of a body, and if not, which joints might have been exchanged."""

from __future__ import annotations

import numpy as np

from kinegraph.data.clip import Clip
from kinegraph.data.doctor.anatomy import Anatomy, Floats, Rows, misfit
from kinegraph.data.doctor.body import Body, Mask, quiet_median
from kinegraph.data.doctor.case import Case, Table
from kinegraph.skeleton import Skeleton, layout_names, load_layout

# A bone is impossible if it is off by this many body heights and by this factor: 17 cm, and 60 %
# longer or shorter than an adult's. Sensors that place hips or hands differently stay below.
OFF, TIMES = 0.1, 1.6
GAIN = 0.75  # misfit that remains when two joints are exchanged back, at most
SAMPLES = 400  # bodies whose distances between joints speak for the set
MANY = 5  # bodies from which on a clip is compared with the set as well


class Order:
    """Compares the bones of each body with a standing figure, and with the rest of the set."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._anatomy = case.anatomy
        self._bones = Table(len(case.anatomy.children))
        self._samples = Samples()

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Measure the bones of a clip, in body heights."""
        if not self._anatomy.known:
            return
        for body in bodies:
            if body.size > 0 and body.peopled.any():
                self._bones.add(row, body.bones[1] / body.size)
                self._samples.offer(body)

    def finish(self) -> None:
        """Judge the layout by the middle body, then each clip."""
        bones, rows = self._bones.values, self._bones.rows
        if not len(bones) or not self._anatomy.solid:
            return
        usual = np.array([_middle(column) for column in bones.T])
        wrong = impossible(usual, self._anatomy.expected)
        if wrong.any():
            text = self._describe(wrong, usual)
            better = other_layout(self._anatomy, self._samples.distances())
            text += better or exchange(self._anatomy, self._samples.distances())
            self._case.add("joint-order", text, size=float(wrong.sum()))
            return
        if len(bones) >= MANY:
            wrong = impossible(bones, self._anatomy.expected) & impossible(bones, usual)
        else:
            wrong = impossible(bones, self._anatomy.expected)
        for body in np.flatnonzero(wrong.any(axis=1)):
            text = self._describe(wrong[body], bones[body])
            row = int(rows[body])
            error = np.abs(bones[body] - usual)[wrong[body]].sum()
            self._case.add("clip-order", text, self._case.census.names[row], size=float(error))

    def _describe(self, wrong: Mask, bones: Floats) -> str:
        joints = self._anatomy.skeleton.joints
        worst = np.flatnonzero(wrong)[:2]
        words = [
            f"{joints[self._anatomy.parents[e]]} to {joints[self._anatomy.children[e]]}"
            f" is {100 * bones[e]:.0f} % of the body (usual {100 * self._anatomy.expected[e]:.0f})"
            for e in worst
        ]
        more = int(wrong.sum()) - len(worst)
        return "; ".join(words) + (f"; and {more} more bones" if more > 0 else "")


class Samples:
    """Bodies in the middle of their tracks, evenly spread over all that are offered."""

    def __init__(self) -> None:
        self._kept: list[Floats] = []
        self._stride, self._offered = 1, 0

    def offer(self, body: Body) -> None:
        """Keep every so many bodies; when there are too many, every second one goes."""
        if self._offered % self._stride == 0:
            self._kept.append(body.shown[len(body.shown) // 2] / body.size)
            if len(self._kept) == SAMPLES:
                self._kept, self._stride = self._kept[::2], self._stride * 2
        self._offered += 1

    def distances(self) -> Floats:
        """Return (V, V) the middle distance between each two joints, in body heights."""
        joints = np.stack(self._kept)  # (n, V, C)
        apart = np.linalg.norm(joints[:, :, None] - joints[:, None], axis=-1)  # (n, V, V)
        count = apart.shape[-1]
        return quiet_median(apart.reshape(len(apart), -1)).reshape(count, count)


def impossible(bones: Floats, expected: Floats) -> Mask:
    """Return (..., E) whether bones in body heights are far from what is expected of them."""
    low, high = np.minimum(bones, expected), np.maximum(bones, expected)
    return np.asarray((high - low > OFF) & (high > TIMES * low))


def other_layout(anatomy: Anatomy, distances: Floats) -> str:
    """Name a layout with as many joints whose bones fit much better, or return nothing."""
    named = _fit(anatomy, distances, np.arange(len(distances)))
    fits = {}
    for name in layout_names():
        other = Anatomy.of(load_layout(name))
        if _comparable(other.skeleton, anatomy.skeleton):
            fits[name] = _fit(other, distances, np.arange(len(distances)))
    best = min(fits, key=lambda name: fits[name], default="")
    if not best or best == anatomy.skeleton.name or fits[best] > GAIN * named:
        return ""
    return f"; the order of layout '{best}' fits"


def exchange(anatomy: Anatomy, distances: Floats) -> str:
    """Name two joints that give better bones when they are exchanged, or return nothing."""
    count = len(distances)
    orders = np.tile(np.arange(count), (count * (count - 1) // 2, 1))  # one row for each pair
    first, second = np.triu_indices(count, 1)
    rows = np.arange(len(orders))
    orders[rows, first], orders[rows, second] = second, first
    fits = _fit(anatomy, distances, orders)
    best = int(np.argmin(fits))
    if fits[best] > GAIN * _fit(anatomy, distances, np.arange(count)):
        return ""
    names = anatomy.skeleton.joints
    return f"; {names[first[best]]} and {names[second[best]]} may have been exchanged"


def _fit(anatomy: Anatomy, distances: Floats, order: Rows) -> Floats:
    """Return (...,) the misfit if joint v of the layout is joint ``order[..., v]`` of the data."""
    lengths = distances[order[..., anatomy.children], order[..., anatomy.parents]]
    return misfit(lengths, anatomy.expected)


def _comparable(other: Skeleton, named: Skeleton) -> bool:
    return (other.joint_count, other.coordinates.positions) == (
        named.joint_count,
        named.coordinates.positions,
    )


def _middle(column: Floats) -> float:
    known = column[np.isfinite(column)]
    return float(np.median(known)) if len(known) else float("nan")
