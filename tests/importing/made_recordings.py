"""Recordings made for tests of imports, in a format that counts how often each of them is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import Format, Lazy, Options, Recording, Recordings
from kinegraph.errors import ClipError
from kinegraph.skeleton import load_layout

LAYOUT = "sbu15"


@dataclass
class Made:
    """A format of made recordings.

    Attributes:
        count: How many there are.
        bad: Numbers of those that cannot be read.
        copies: Number of a recording -> number of the one whose name it has.
        reads: Numbers of the recordings that were read, in order.
        before: Is called with the number of a recording before it is read.
    """

    count: int = 40
    bad: frozenset[int] = frozenset()
    copies: dict[int, int] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)
    before: Callable[[int], None] | None = None

    def name(self, number: int) -> str:
        number = self.copies.get(number, number)
        return f"clip {number}" + "x" * (number % 5)

    def clip(self, number: int) -> Clip:
        if self.before is not None:
            self.before(number)
        self.reads.append(number)
        if number in self.bad:
            raise ClipError(f"'{self.name(number)}' is bad")
        random = np.random.default_rng(number)
        length = number % 4 + 1
        tracks = tuple(
            Track(random.normal(size=(length, 15, 3)), 0, person)
            for person in range(number % 2 + 1)
        )
        extras = {"fps": float(number)} if number % 3 else {}
        return Clip(self.name(number), tracks, length, number % 2, number % 5, extras=extras)

    @contextmanager
    def open(self, source: Path, options: Options) -> Iterator[Recordings]:
        def recording(number: int) -> Recording:
            return Recording(f"file {number}", lambda: self.clip(number))

        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=("push", "pull"),
            items=Lazy(self.count, recording),
            default_split="own",
            splits={"own": {self.name(number): number % 3 for number in range(self.count)}},
            left_out=[("clip -1", "the list says so")],
            notes={"part": options.part or "all"},
        )

    def format(self, name: str = "made") -> Format:
        return Format(
            name, "made", (LAYOUT,), lambda path: False, self.open, choices={"part": ("1", "2")}
        )


def contents(store: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a store."""
    return {file.name: file.read_bytes() for file in sorted(store.iterdir())}


def garble(file: Path) -> None:
    """Change the bytes of a file so that its size and time of change stay."""
    status = file.stat()
    file.write_bytes(b"!" * status.st_size)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
