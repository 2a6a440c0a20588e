"""What the checks of one examination share: the layout, the ledger, and a few numbers per clip.

A clip is read once and let go; what the whole set is judged by stays here, a kilobyte a clip.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.doctor.anatomy import Anatomy, Floats
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.findings import Finding, Ledger

Sides = Mapping[str, NDArray[Any]]
COLUMNS = 8  # of a measured body: size, up (3), facing, crossed, stretching, largest coordinate
NUMBERS = ("label", "subject", "camera", "setup", "replication", "frames", "people")


class Census:
    """A few numbers of every clip that could be read, in the order of reading."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers = {name: array("q") for name in NUMBERS}

    def add(self, clip: Clip) -> int:
        """Count a clip in and return its row."""
        self.names.append(clip.name)
        for name in NUMBERS[:-1]:
            self._numbers[name].append(int(getattr(clip, name)))
        self._numbers["people"].append(len(clip.tracks))
        return len(self.names) - 1

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> NDArray[np.int64]:
        """Return (clips,) one of `NUMBERS`."""
        return np.array(self._numbers[name], dtype=np.int64)


class Table:
    """Rows of floats, one per body that could be measured, with the clip each belongs to."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._values, self._rows = array("f"), array("q")

    def add(self, row: int, values: Floats) -> None:
        """Add the (width,) numbers of a body in the clip of this row."""
        self._rows.append(row)
        self._values.frombytes(values.astype(np.float32).tobytes())

    @property
    def rows(self) -> NDArray[np.int64]:
        """(bodies,) rows of the clips."""
        return np.array(self._rows, dtype=np.int64)

    @property
    def values(self) -> NDArray[Any]:
        """(bodies, width) the numbers, as float32: there may be many."""
        return np.frombuffer(self._values, dtype=np.float32).reshape(-1, self._width)


@dataclass(frozen=True)
class Case:
    """What an examination is about.

    Attributes:
        anatomy: What is known of the layout.
        class_names: Names of the classes, in label order.
        reread: Reads the clip of a row of the census again.
        default_split: The split that publications use, or empty.
        stored_splits: Splits the source brings: name -> {clip name: 1 train or 2 test}.
        ledger: Where findings go.
        census: The clips seen so far.
        facts: What was measured of the whole set, for the summary.
        measured: `COLUMNS` numbers of every body.
    """

    anatomy: Anatomy
    class_names: tuple[str, ...]
    reread: Callable[[int], Clip]
    default_split: str = ""
    stored_splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    census: Census = field(default_factory=Census)
    facts: dict[str, Any] = field(default_factory=dict)
    measured: Table = field(default_factory=partial(Table, COLUMNS))

    def joints(self, chosen: NDArray[Any]) -> str:
        """Word some joints, such as ``head, left elbow and 3 more joints``."""
        names = self.anatomy.skeleton.joints
        if len(chosen) == len(names):
            return "all joints"
        shown = ", ".join(names[joint] for joint in chosen[:3])
        return shown + (f" and {len(chosen) - 3} more joints" if len(chosen) > 3 else "")

    def add(
        self,
        kind: str,
        text: str,
        clip: str = "",
        *,
        others: tuple[str, ...] = (),
        frames: tuple[int, ...] = (),
        size: float = 0.0,
    ) -> None:
        """Write a finding down."""
        self.ledger.add(Finding(kind, text, clip, others, frames, size))


class Check(Protocol):
    """A group of checks: it sees every clip once, and the whole set at the end."""

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Look at one clip."""

    def finish(self) -> None:
        """Judge the whole set."""
