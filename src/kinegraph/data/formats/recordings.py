"""What every format yields: recordings that are read one at a time, and what they share.

A format opens a source as `Recordings`; ``importing`` writes them into a store and ``predict``
feeds them to a model. Nothing here knows a file format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from kinegraph.data.clip import Clip
from kinegraph.skeleton import Skeleton


@dataclass(frozen=True)
class Recording:
    """One recording that has not been read yet.

    Attributes:
        name: What names it in messages: its clip name, or the file if that is unknown.
        read: Reads it; raises ClipError if this one cannot be used. Others are not affected.
    """

    name: str
    read: Callable[[], Clip]


@dataclass(frozen=True)
class Recordings:
    """All recordings of one source.

    Attributes:
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order.
        items: The recordings; to be taken, and read, once and in this order.
        count: How many there are.
        labelled: Whether a recording without a label is an error when a store is made.
        default_split: The split that publications use for this data set, or empty.
        splits: Splits that no rule yields: name -> {clip name: 1 train or 2 test}.
    """

    skeleton: Skeleton
    class_names: tuple[str, ...]
    items: Iterable[Recording]
    count: int
    labelled: bool = True
    default_split: str = ""
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Format:
    """One form in which recordings come.

    Attributes:
        name: What ``kinegraph data import`` calls it.
        summary: One line for ``kinegraph list``.
        layouts: The layouts its recordings can have; empty if the user names the layout.
        matches: Whether a path looks like this format; it may read the first bytes.
        open: Opens a file, folder or archive, given the layout that the user named or None;
            raises SourceError if nothing in it can be read.
        looks: What its files are, where the name does not tell.
    """

    name: str
    summary: str
    layouts: tuple[str, ...]
    matches: Callable[[Path], bool]
    open: Callable[[Path, str | None], AbstractContextManager[Recordings]]
    looks: str = ""
