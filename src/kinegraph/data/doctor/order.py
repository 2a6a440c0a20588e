"""Whether bones have the lengths of a body, and if not, which joints might have been exchanged."""

from __future__ import annotations

import numpy as np

from kinegraph.data.clip import Clip
from kinegraph.data.doctor.anatomy import Anatomy, Floats, Rows, misfit
from kinegraph.data.doctor.body import Body, Mask
from kinegraph.data.doctor.case import Case, Table
from kinegraph.data.doctor.medians import middle
from kinegraph.errors import ClipError, SourceError
from kinegraph.skeleton import Skeleton, layout_names, load_layout

# A bone is impossible if it is off by this many body heights and by this factor: 17 cm, and 60 %
# longer or shorter than an adult's. Sensors that place hips or hands differently stay below.
OFF, TIMES = 0.1, 1.6
# Misfit that remains, at most, when joints are put into another order: of the whole set, where all
# bodies speak, and of one clip, where tracking errors may look like an exchange.
GAIN, CLIP_GAIN = 0.75, 0.5
HINTS = 50  # clips that are read again to find out which joints were exchanged
SAMPLED_FRAMES = 32  # of them
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
        usual = middle(bones, axis=0)
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
        found = np.flatnonzero(wrong.any(axis=1))
        errors = np.nansum(np.abs(bones[found] - usual) * wrong[found], axis=1)
        for rank, place in enumerate(np.argsort(-errors, kind="stable")):
            body, row = found[place], int(rows[found[place]])
            text = self._describe(wrong[body], bones[body])
            text += self._hint(row) if rank < HINTS else ""
            name = self._case.census.names[row]
            self._case.add("clip-order", text, name, size=float(errors[place]))

    def _hint(self, row: int) -> str:
        """Read a clip again and name two joints that may have been exchanged in it."""
        try:
            clip = self._case.reread(row)
        except (ClipError, SourceError):  # what could be read once may be gone now
            return ""
        for track in clip.tracks:
            body = Body.of(track, self._anatomy)
            if (
                body.size > 0
                and impossible(body.bones[1] / body.size, self._anatomy.expected).any()
            ):
                step = max(1, len(body.shown) // SAMPLED_FRAMES)
                distances = middle_distances(body.shown[::step] / body.size)
                return exchange(self._anatomy, distances, CLIP_GAIN)
        return ""

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
        return middle_distances(np.stack(self._kept))


def middle_distances(joints: Floats) -> Floats:
    """Return (V, V) the middle distance between each two joints of (n, V, C); NaN if never seen."""
    apart = np.linalg.norm(joints[:, :, None] - joints[:, None], axis=-1)  # (n, V, V)
    return middle(apart, axis=0)


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


def exchange(anatomy: Anatomy, distances: Floats, gain: float = GAIN) -> str:
    """Name two joints that give better bones when they are exchanged, or return nothing."""
    count = len(distances)
    orders = np.tile(np.arange(count), (count * (count - 1) // 2, 1))  # one row for each pair
    first, second = np.triu_indices(count, 1)
    rows = np.arange(len(orders))
    orders[rows, first], orders[rows, second] = second, first
    fits = _fit(anatomy, distances, orders)
    best = int(np.argmin(fits))
    if fits[best] > gain * _fit(anatomy, distances, np.arange(count)):
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
