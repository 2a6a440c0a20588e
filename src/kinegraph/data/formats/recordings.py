"""What every format yields: recordings that are read one at a time, and what they share.

A format opens a source as `Recordings`; ``importing`` writes them into a store and ``predict``
feeds them to a model. Nothing here knows a file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, overload

from kinegraph.data.clip import Clip
from kinegraph.errors import SourceError, unknown
from kinegraph.skeleton import Skeleton

ABSENT = "absent"  # the note that says how many recordings a label file names beyond the source's


@dataclass(frozen=True)
class Recording:
    """One recording that has not been read yet.

    Attributes:
        name: What names it in messages: its clip name, or the file if that is unknown.
        read: Reads it; raises ClipError if this one cannot be used. Others are not affected.
    """

    name: str
    read: Callable[[], Clip]


class Lazy(Sequence[Recording]):
    """Recordings that are made when they are asked for: a million cost nothing in advance."""

    def __init__(self, count: int, make: Callable[[int], Recording]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> Recording: ...

    @overload
    def __getitem__(self, row: slice) -> list[Recording]: ...

    def __getitem__(self, row: int | slice) -> Recording | list[Recording]:
        if isinstance(row, slice):
            return [self._make(each) for each in range(*row.indices(self._count))]
        if not -self._count <= row < self._count:
            raise IndexError(row)
        return self._make(row % self._count)

    def __iter__(self) -> Iterator[Recording]:
        return map(self._make, range(self._count))


@dataclass(frozen=True)
class Recordings:
    """All recordings of one source, in an order that depends on the source alone.

    Attributes:
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order.
        items: The recordings, each to be read at any time.
        labelled: Whether a recording without a label is an error when a store is made.
        remedy: What to do about such a recording, as the end of a message: ``"; ..."``.
        default_split: The split that publications use for this data set, or empty.
        splits: Splits that no rule yields: name -> {clip name: 1 train or 2 test}.
        ordered: Whether reading is quick only in the order of the items (a compressed stream).
        heavy: Whether opening the source reads all of it, so that several processes would hold it
            several times.
        left_out: Recordings that a published list leaves out, with the reason: no errors.
        notes: What ``meta.json`` says about how they were read, such as the cleaning.
    """

    skeleton: Skeleton
    class_names: tuple[str, ...]
    items: Sequence[Recording]
    labelled: bool = True
    remedy: str = ""
    default_split: str = ""
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    ordered: bool = False
    heavy: bool = False
    left_out: Sequence[tuple[str, str]] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many recordings there are."""
        return len(self.items)


@dataclass(frozen=True)
class Options:
    """What a user may say about a source; None leaves it to the format.

    Attributes:
        layout: Name of the joints' layout, or a ``.toml`` file.
        cleaning: How the bodies of a sensor become the people of a clip.
        labels: File or folder that says which class a recording shows.
        splits: Files or a folder with published splits.
        people: How many people of a clip are kept.
        matching: Whether people are followed through frames by their poses.
        part: Which portion of a data set the source is, such as ``train`` or ``2``.
    """

    layout: str | None = None
    cleaning: str | None = None
    labels: Path | None = None
    splits: Path | None = None
    people: int | None = None
    matching: bool | None = None
    part: str | None = None


@dataclass(frozen=True)
class Format:
    """One form in which recordings come.

    Attributes:
        name: What ``kinegraph data import`` calls it.
        summary: One line for ``kinegraph list``.
        layouts: The layouts its recordings can have; empty if the user names the layout.
        matches: Whether a path looks like this format; it may read the first bytes.
        open: Opens a file, folder or archive; raises SourceError if nothing in it can be read.
        looks: What its files are, where the name does not tell.
        choices: The options besides ``layout`` that it knows: name -> possible values, the first
            one the default; no values where anything is possible.
    """

    name: str
    summary: str
    layouts: tuple[str, ...]
    matches: Callable[[Path], bool]
    open: Callable[[Path, Options], AbstractContextManager[Recordings]]
    looks: str = ""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, options: Options) -> None:
        """Check that the format knows every option that is given.

        Raises:
            SourceError: It does not, or not this value.
        """
        for name in (each.name for each in fields(options) if each.name != "layout"):
            value = getattr(options, name)
            if value is None:
                continue
            if name not in self.choices:
                knows = ", ".join(f"--{known}" for known in self.choices) or "none"
                raise SourceError(
                    f"--{name} means nothing to format '{self.name}' (options it knows: {knows})"
                )
            if self.choices[name] and str(value) not in self.choices[name]:
                raise SourceError(
                    unknown(f"--{name} of '{self.name}'", str(value), self.choices[name])
                )
