"""Checks of the space that joints live in: unit, upward axis, left and right, steady bones.

A clip alone is judged against the others, the whole set against its layout. What sensors do every
day is no finding: limits are where no posture and no usual tracking error leads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kinegraph.data.clip import Clip
from kinegraph.data.doctor.anatomy import Anatomy, Floats, Rows
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.case import COLUMNS, Case

# Body heights, from a small child to more than the tallest person, in each unit of length.
UNITS = {"metre": (0.7, 2.7), "centimetre": (70.0, 270.0), "millimetre": (700.0, 2700.0)}
FRACTION = 1.5  # coordinates up to here are shares of a picture or of a body, not pixels
OTHER_SIZE = 2.5  # times: more than between a child and a tall adult
LYING = 0.3  # of the trunk's direction along the upward axis; bending over leaves more over a clip
BACKWARDS = -0.35  # feet against the front; Kinect's worst clips of real sets reach -0.2
CROSSED = -0.3  # cosine between shoulders and hips; a twisted spine reaches 0 for moments
STRETCH = 0.75  # between the shortest and the longest tenth of a bone, as a share of its middle
MANY = 5  # bodies from which on a set can be told from an odd clip


class Geometry:
    """Measures each body, and judges when all are known."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._table = case.measured

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Measure the people of a clip."""
        for body in bodies:
            numbers = np.full(COLUMNS, np.nan)
            numbers[0] = body.size
            numbers[1 : 1 + len(body.upward)] = body.upward
            numbers[4:6] = body.facing, body.crossed
            if body.anatomy.solid and len(body.positions) > 2:
                numbers[6] = stretching(body)
            numbers[7] = np.abs(body.positions).max()
            self._table.add(row, numbers)

    def finish(self) -> None:
        """Judge the set, then each clip against it."""
        values, rows = self._table.values, self._table.rows
        if not len(values):
            return
        self._sizes(values, rows)
        self._upward(values[:, 1:4], rows)
        self._sides(values, rows)
        self._stretching(values[:, 6], rows)

    def _sizes(self, values: Floats, rows: Rows) -> None:
        sizes = np.where(values[:, 0] > 0, values[:, 0], np.nan)
        if not np.isfinite(sizes).any():
            return
        usual = float(np.nanmedian(sizes))
        solid = self._case.anatomy.solid
        largest = float(np.nanmedian(values[:, 7]))
        unit = probable_unit(usual, largest, solid=solid)
        declared = self._case.anatomy.skeleton.coordinates.unit
        low, high = (float(size) for size in np.nanpercentile(sizes, (5, 95)))
        self._case.facts.update({"body_size": usual, "body_size_5%": low, "body_size_95%": high})
        self._case.facts.update({"unit": declared, "probable_unit": unit})
        if contradicts(declared, unit, solid=solid):
            text = f"bodies of {usual:.4g} speak of '{unit}', the layout says '{declared}'"
            self._case.add("unit", text)
        if not solid or len(sizes) < MANY:  # near and far people differ in a picture
            return
        ratio = np.nan_to_num(sizes / usual, nan=1.0)
        for body in np.flatnonzero((ratio > OTHER_SIZE) | (ratio < 1 / OTHER_SIZE)):
            text = f"the body is {sizes[body]:.4g} tall, {ratio[body]:.3g} times the usual"
            badness = float(abs(np.log(ratio[body])))
            self._case.add("clip-unit", text, self._name(rows[body]), size=badness)

    def _upward(self, up: Floats, rows: Rows) -> None:
        coordinates = self._case.anatomy.skeleton.coordinates
        axes = coordinates.axes[: coordinates.positions]
        known = up[:, : len(axes)]
        told = np.isfinite(known).all(axis=1) & (np.abs(known).max(axis=1) > 0)
        if not told.any():
            return
        # Each body votes for the axis nearest its trunk: people who lie down are outvoted.
        nearest = np.abs(known[told]).argmax(axis=1)
        signs = np.sign(known[told][np.arange(len(nearest)), nearest]).astype(int)
        votes = np.bincount(2 * nearest + (signs < 0), minlength=2 * len(axes))
        found = int(votes.argmax())
        usual = f"{'-' if found % 2 else '+'}{axes[found // 2]}"
        self._case.facts.update({"up": coordinates.up, "probable_up": usual})
        if usual != coordinates.up:
            self._case.add("up-axis", f"heads point to {usual}, the layout says {coordinates.up}")
        upright = known[:, found // 2] * (-1 if found % 2 else 1)
        if told.sum() < MANY:
            return
        for body in np.flatnonzero(told & (upright < LYING)):
            other = int(np.abs(known[body]).argmax())
            axis = f"{'-' if known[body, other] < 0 else '+'}{axes[other]}"
            text = f"from hips to head it points to {axis} for most of the clip"
            size = 1.0 - float(upright[body])
            self._case.add("clip-up", text, self._name(rows[body]), size=size)

    def _sides(self, values: Floats, rows: Rows) -> None:
        facing, crossed = values[:, 4], values[:, 5]
        told = np.isfinite(facing)
        usual = float(np.median(facing[told])) if told.any() else float("nan")
        if told.sum() >= MANY:
            self._case.facts["facing"] = usual
        if told.any() and usual < BACKWARDS:
            self._case.add(
                "sides", "feet point backwards, as left and right say where the front is"
            )
        elif told.sum() >= MANY:
            for body in np.flatnonzero(told & (facing < BACKWARDS)):
                text = "feet point backwards, as left and right say where the front is"
                self._case.add(
                    "clip-sides", text, self._name(rows[body]), size=-float(facing[body])
                )
        told = np.isfinite(crossed)
        if told.any() and np.median(crossed[told]) < CROSSED:
            self._case.add("sides", "shoulders and hips contradict each other about left and right")
            return
        for body in np.flatnonzero(told & (crossed < CROSSED)):
            text = "shoulders and hips contradict each other about left and right"
            self._case.add("clip-sides", text, self._name(rows[body]), size=-float(crossed[body]))

    def _stretching(self, stretch: Floats, rows: Rows) -> None:
        if not np.isfinite(stretch).any():
            return
        self._case.facts["bone_variation"] = float(np.nanmedian(stretch))
        for body in np.flatnonzero(np.nan_to_num(stretch) > STRETCH):
            text = f"half of the bones vary by {100 * stretch[body]:.0f} % of their length"
            self._case.add("stretching", text, self._name(rows[body]), size=float(stretch[body]))

    def _name(self, row: int) -> str:
        return self._case.census.names[row]


def describe_body(numbers: Floats, anatomy: Anatomy) -> dict[str, Any]:
    """Return what was measured of one body, a row of `Case.measured`, as plain data."""
    size, up, stretch, largest = numbers[0], numbers[1:4], numbers[6], numbers[7]
    known: dict[str, Any] = {"size": None, "unit": "unknown", "up": "", "bone_variation": None}
    if size > 0:
        known["size"] = float(size)
        known["unit"] = probable_unit(float(size), float(largest), solid=anatomy.solid)
    axes = anatomy.skeleton.coordinates.axes[: anatomy.skeleton.coordinates.positions]
    told = np.nan_to_num(up[: len(axes)])
    if told.any():
        axis = int(np.abs(told).argmax())
        known["up"] = f"{'-' if told[axis] < 0 else '+'}{axes[axis]}"
    if np.isfinite(stretch):
        known["bone_variation"] = float(stretch)
    return known


def stretching(body: Body) -> float:
    """Return how much the middle one of the bones varies: 0 for stiff ones."""
    low, middle, high = body.bones
    good = np.isfinite(middle) & (middle > 0)
    if body.anatomy.known:
        good &= body.anatomy.expected >= 0.5 * np.nanmedian(body.anatomy.expected)
    if not good.any():
        return float("nan")
    return float(np.median((high[good] - low[good]) / middle[good]))


def probable_unit(size: float, largest: float, *, solid: bool) -> str:
    """Return the unit that bodies of a size speak of, or ``unknown``.

    Args:
        size: Height of the middle body.
        largest: Largest coordinate of the middle body.
        solid: Whether positions have depth.
    """
    if solid:
        fitting = [unit for unit, (low, high) in UNITS.items() if low <= size <= high]
        if fitting:
            return fitting[0]
    if largest <= FRACTION:
        return "normalised"
    return "unknown" if solid else "pixel"


def contradicts(declared: str, probable: str, *, solid: bool) -> bool:
    """Whether a layout's unit cannot be the one that bodies speak of; made-up units never do."""
    if solid:
        return declared in UNITS and probable != declared
    return {"pixel": "pixel", "image": "normalised"}.get(declared, probable) != probable
