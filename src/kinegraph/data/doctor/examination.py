"""The examination: every clip is read once, every check sees it, then the whole set is judged.

``kinegraph data check`` calls this. It never changes what it looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinegraph.data.clip import Clip, check_clip
from kinegraph.data.doctor.anatomy import Anatomy
from kinegraph.data.doctor.balance import Balance
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.case import Case, Check
from kinegraph.data.doctor.findings import Finding, frame_list
from kinegraph.data.doctor.frames import Frames
from kinegraph.data.doctor.geometry import Geometry, describe_body
from kinegraph.data.doctor.order import Order
from kinegraph.data.doctor.sameness import Sameness
from kinegraph.data.formats.recordings import Recordings
from kinegraph.data.store import Store
from kinegraph.errors import ClipError, printable
from kinegraph.skeleton import Skeleton

Reader = Callable[[int], Clip]
Progress = Callable[[Iterable[int], str, int], Iterator[int]]
PERCENTILES = (0, 10, 50, 90, 100)


@dataclass(frozen=True)
class Group:
    """A group of checks: one line about it, and what makes it for a case."""

    summary: str
    make: Callable[[Case], Check]


CHECKS: dict[str, Group] = {
    "frames": Group("lost, frozen, repeated and jumping joints, sides that flip", Frames),
    "geometry": Group("unit, upward axis, left and right, bones that stretch", Geometry),
    "order": Group("bone lengths no body has: joints in another order", Order),
    "sameness": Group("recordings that are there twice, and on both sides of a split", Sameness),
    "balance": Group("clips of each class and subject, classes that a split lacks", Balance),
}


@dataclass(frozen=True)
class Diagnosis:
    """What an examination found.

    Attributes:
        case: The ledger of findings, the census of clips and the facts of the set.
        bad: Why recordings could not be used, in the order of reading.
        count: How many recordings there are, bad ones included.
    """

    case: Case
    bad: tuple[str, ...]
    count: int

    @property
    def findings(self) -> list[Finding]:
        """The findings, faults first, the worst of a kind first."""
        return list(self.case.ledger)

    def facts(self) -> dict[str, Any]:
        """Return what the set is, as plain data."""
        census = self.case.census
        frames, people = census.column("frames"), census.column("people")
        lengths = np.percentile(frames, PERCENTILES).round().astype(int) if len(census) else ()
        return {
            "layout": self.case.anatomy.skeleton.name,
            "clips": len(census),
            "frames": int(frames.sum()),
            "clips_by_persons": {str(m): n for m, n in sorted(Counter(people.tolist()).items())},
            "length_percentiles": {
                f"{share}%": int(n) for share, n in zip(PERCENTILES, lengths, strict=False)
            },
            **self.case.facts,
        }

    def clips(self) -> Iterator[dict[str, Any]]:
        """Yield frames, bodies and the kinds of findings of every clip, as plain data."""
        census = self.case.census
        kinds: dict[str, list[str]] = {}
        for finding in self.case.ledger:
            if finding.clip:
                kinds.setdefault(finding.clip, []).append(finding.kind)
        frames, people = census.column("frames").tolist(), census.column("people").tolist()
        measured = self.case.measured.values
        starts = np.searchsorted(self.case.measured.rows, np.arange(len(census) + 1))
        for row, name in enumerate(census.names):
            yield {
                "clip": name,
                "frames": frames[row],
                "people": people[row],
                "bodies": [
                    describe_body(numbers, self.case.anatomy)
                    for numbers in measured[starts[row] : starts[row + 1]]
                ],
                "findings": list(dict.fromkeys(kinds.get(name, ()))),
            }


def examine_store(store: Store, progress: Progress | None = None) -> Diagnosis:
    """Examine every clip of a store.

    Args:
        store: The clips.
        progress: Wraps the rows to show how far it is; gets a description and their number.
    """
    names = [str(name) for name in store.clips["name"]]
    splits = {
        split: {name: int(side) for name, side in zip(names, sides, strict=True) if side}
        for split, sides in store.stored_splits.items()
    }
    return _examine(
        store.skeleton, store.class_names, len(store), store.clip, names.__getitem__,
        progress, default_split=store.default_split, stored_splits=splits,
    )  # fmt: skip


def examine_recordings(recordings: Recordings, progress: Progress | None = None) -> Diagnosis:
    """Examine recordings without storing them.

    Args:
        recordings: What a format opened.
        progress: Wraps the rows to show how far it is; gets a description and their number.
    """
    items = recordings.items
    return _examine(
        recordings.skeleton, recordings.class_names, len(items),
        lambda row: items[row].read(), lambda row: items[row].name, progress,
        default_split=recordings.default_split, stored_splits=dict(recordings.splits),
    )  # fmt: skip


@np.errstate(all="ignore")  # a file may hold 1e300; what comes of it is judged, not warned about
def _examine(
    skeleton: Skeleton,
    class_names: tuple[str, ...],
    count: int,
    read: Reader,
    name: Callable[[int], str],
    progress: Progress | None,
    *,
    default_split: str,
    stored_splits: dict[str, Any],
) -> Diagnosis:
    rows: list[int] = []  # of the clips that could be used

    def reread(row: int) -> Clip:
        return read(rows[row])

    anatomy = Anatomy.of(skeleton)
    case = Case(anatomy, class_names, reread, default_split, stored_splits)
    checks = [group.make(case) for group in CHECKS.values()]
    bad: list[str] = []
    every: Iterable[int] = range(count)
    for item in every if progress is None else progress(every, "checking", count):
        lost = ""
        try:
            clip = read(item)
            lost = lost_numbers(clip)
            check_clip(clip, skeleton, len(class_names) or None)
        except ClipError as error:
            bad.append(str(error))
            kind = "not-finite" if lost else "unreadable"
            case.add(kind, lost or str(error), printable(name(item)))
            continue
        rows.append(item)
        row = case.census.add(clip)
        bodies = tuple(Body.of(track, anatomy) for track in clip.tracks)
        for check in checks:
            check.look(row, clip, bodies)
    for check in checks:
        check.finish()
    return Diagnosis(case, tuple(bad), count)


def lost_numbers(clip: Clip) -> str:
    """Word where coordinates are NaN or infinite, or return nothing."""
    frames: set[int] = set()
    count = 0
    for track in clip.tracks:
        if track.joints.dtype.kind == "f":
            lost = np.argwhere(~np.isfinite(track.joints))
            frames |= {int(where[0]) + track.first for where in lost}
            count += len(lost)
    what = "1 coordinate is" if count == 1 else f"{count} coordinates are"
    return f"{what} NaN or infinite in {frame_list(sorted(frames))}" if count else ""
