"""How two stores differ: layout, classes, clips, their fields and joints, splits, provenance.

Clips are compared by name, whatever their order. Joints are read from both stores; no checksum is
believed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import NUMBERS
from kinegraph.data.row_files import blocks
from kinegraph.data.store import Store

NAMED_AT_ONCE = 5
TRACK_PARTS = ("person", "first", "length")
META = ("source", "default_split", "dtype", "shard", "left_out", "missing", "provenance")

Rows = NDArray[np.int64]
Pairs = tuple[Rows, Rows]  # rows of the same clips in both stores


def compare_stores(
    first: Store, second: Store, *, done: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Return how two stores differ as plain data, ready for JSON; nothing if they do not.

    Args:
        first: A store.
        second: Another one.
        done: Is told how many of the clips that are in both have been compared.

    Returns:
        What differs: ``layout``, ``classes``, ``clips`` (those in one of them only), ``order``,
        ``fields``, ``people`` (who is seen when), ``joints`` (how many clips, the largest
        difference and where), ``extras``, ``splits`` and what else ``meta.json`` says.

    Raises:
        StoreError: The splits or extras of a store are damaged.
    """
    found: dict[str, Any] = {}
    if first.skeleton != second.skeleton:
        found["layout"] = _differing(first.meta["skeleton"], second.meta["skeleton"])
    if first.class_names != second.class_names:
        found["classes"] = _classes(first.class_names, second.class_names)
    pairs, only = _pairs(first, second)
    if any(len(rows) for rows in only):
        found["clips"] = {
            "only_first": _named(first, only[0]),
            "only_second": _named(second, only[1]),
        }
    if np.any(np.diff(pairs[1]) < 0):
        found["order"] = "the clips that are in both stand in another order"
    found |= {
        name: value
        for name, value in {
            "fields": _fields(first, second, pairs),
            **_tracks(first, second, pairs, done),
            "extras": _columns(first, second, pairs, first.extras, second.extras),
            "splits": _columns(first, second, pairs, first.stored_splits, second.stored_splits),
            "meta": _differing(
                {name: first.meta[name] for name in META},
                {name: second.meta[name] for name in META},
            ),
        }.items()
        if value
    }
    return found


def _pairs(first: Store, second: Store) -> tuple[Pairs, Pairs]:
    """Return rows of the clips in both stores, in the order of the first, and of the others."""
    names: tuple[NDArray[Any], NDArray[Any]] = first.clips["name"], second.clips["name"]
    _, own, other = np.intersect1d(*names, return_indices=True)
    order = np.argsort(own)
    only = [
        np.setdiff1d(np.arange(len(store)), rows) for store, rows in ((first, own), (second, other))
    ]
    return (own[order], other[order]), (only[0], only[1])


def _named(store: Store, rows: Rows) -> dict[str, Any]:
    """Return how many clips, and the names of the first ones."""
    return {"count": len(rows), "first": store.clips["name"][rows[:NAMED_AT_ONCE]].tolist()}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that differ, both values of each, going down into nested ones."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys((*first, *second)):
        own, other = first.get(name), second.get(name)
        if own == other:
            continue
        if isinstance(own, dict) and isinstance(other, dict):
            found[name] = _differing(own, other)
        elif isinstance(own, list) and isinstance(other, list):
            found[name] = _lists(own, other)
        else:
            found[name] = {"first": own, "second": other}
    return found


def _lists(first: list[Any], second: list[Any]) -> dict[str, Any]:
    """Return how long two lists are and the first places in which they differ."""
    places = [
        {"place": place, "first": values[0], "second": values[1]}
        for place, values in enumerate(zip(first, second, strict=False))
        if values[0] != values[1]
    ]
    longer = first if len(first) > len(second) else second
    side = "first" if longer is first else "second"
    shortest = min(len(first), len(second))
    places += [
        {"place": shortest + number, side: value} for number, value in enumerate(longer[shortest:])
    ]
    return {
        "lengths": [len(first), len(second)],
        "differing": len(places),
        "places": places[:NAMED_AT_ONCE],
    }


def _classes(first: tuple[str, ...], second: tuple[str, ...]) -> dict[str, Any]:
    return {
        "only_first": [name for name in first if name not in second],
        "only_second": [name for name in second if name not in first],
    } | _lists(list(first), list(second))


def _fields(first: Store, second: Store, pairs: Pairs) -> dict[str, Any]:
    """Return, for each number of a clip, in how many clips it differs, and the first of them."""
    found = {}
    for field in NUMBERS:
        values = first.clips[field][pairs[0]], second.clips[field][pairs[1]]
        differ = np.flatnonzero(values[0] != values[1])
        if len(differ):
            found[field] = _values(first, pairs[0], differ, values)
    return found


def _values(
    store: Store, rows: Rows, differ: Rows, values: tuple[NDArray[Any], NDArray[Any]]
) -> dict[str, Any]:
    """Return how many clips differ in a value, and name the first ones with both values."""
    some = differ[:NAMED_AT_ONCE]
    names = store.clips["name"][rows[some]].tolist()
    shown = zip(names, *(each[some].tolist() for each in values), strict=True)
    return {
        "clips": len(differ),
        "first_ones": [{"clip": clip, "first": _plain(a), "second": _plain(b)}
                       for clip, a, b in shown],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return None if value != value else value  # NaN is no JSON


def _columns(
    first: Store,
    second: Store,
    pairs: Pairs,
    own: Mapping[str, NDArray[Any]],
    others: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Compare what stores have for each clip under names: splits, or optional numbers."""
    found: dict[str, Any] = {}
    for name in sorted({*own, *others}):
        if name not in own or name not in others:
            found[name] = {"only": "first" if name in own else "second"}
            continue
        values = own[name][pairs[0]], others[name][pairs[1]]
        same = (values[0] == values[1]) | ((values[0] != values[0]) & (values[1] != values[1]))
        if not same.all():
            found[name] = _values(first, pairs[0], np.flatnonzero(~same), values)
    return found


def _tracks(
    first: Store, second: Store, pairs: Pairs, done: Callable[[int], None] | None
) -> dict[str, Any]:
    """Compare who is seen when, and where both stores agree about that, the joints."""
    if first.joints.shape[1:] != second.joints.shape[1:]:
        return {}  # layouts differ, which is told already
    people: list[Rows] = []
    largest = np.zeros(len(pairs[0]))
    for begin, end in blocks(len(pairs[0])):
        block = pairs[0][begin:end], pairs[1][begin:end]
        people.append(begin + _other_people(first, second, block))
        for number in np.setdiff1d(np.arange(begin, end), people[-1]).tolist():
            largest[number] = _largest(first, second, int(pairs[0][number]), int(pairs[1][number]))
        if done is not None:
            done(end)
    found: dict[str, Any] = {}
    others = np.concatenate(people) if people else np.zeros(0, np.int64)
    if len(others):
        found["people"] = {"clips": len(others)} | _named(first, pairs[0][others])
        del found["people"]["count"]
    differ = np.flatnonzero(largest)
    if len(differ):
        worst = int(np.argmax(largest))
        found["joints"] = {
            "clips": len(differ),
            "largest": float(largest[worst]),
            "largest_in": str(first.clips["name"][pairs[0][worst]]),
            "first": first.clips["name"][pairs[0][differ[:NAMED_AT_ONCE]]].tolist(),
        }
    return found


def _other_people(first: Store, second: Store, pairs: Pairs) -> Rows:
    """Return which of some clips have other people in the two stores, or at other times."""
    sides = []
    for store, rows in ((first, pairs[0]), (second, pairs[1])):
        counts = store.track_starts[rows + 1] - store.track_starts[rows]
        sides.append((store, store.track_starts[rows], counts))
    (one, one_starts, counts), (other, other_starts, other_counts) = sides
    differ = counts != other_counts
    for place in range(int(counts.max(initial=0))):
        both = np.flatnonzero((counts > place) & ~differ)
        left, right = one.tracks[one_starts[both] + place], other.tracks[other_starts[both] + place]
        for part in TRACK_PARTS:
            differ[both] |= left[part] != right[part]
    return np.flatnonzero(differ)


def _largest(first: Store, second: Store, row: int, other: int) -> float:
    """Return the largest difference between the joints of a clip whose people are the same."""
    largest = 0.0
    tracks = first.tracks[first.track_starts[row] : first.track_starts[row + 1]]
    others = second.tracks[second.track_starts[other] : second.track_starts[other + 1]]
    for own, its in zip(tracks, others, strict=True):
        length = int(own["length"])
        left = first.joints[int(own["offset"]) : int(own["offset"]) + length]
        right = second.joints[int(its["offset"]) : int(its["offset"]) + length]
        if not np.array_equal(left, right):
            with np.errstate(invalid="ignore"):
                far = np.abs(np.subtract(left, right, dtype=np.float64))
            largest = max(largest, float(np.nan_to_num(far, nan=np.inf).max()))
    return largest
