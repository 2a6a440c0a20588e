"""What the forms of export share: their options, and clips as dense arrays, one at a time."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import npy_header
from kinegraph.data.clip import Clip
from kinegraph.data.store import Store
from kinegraph.errors import OutputError

CLIPS_HELD = 512  # clips of the store's memory map that stay in memory


class Progress(Protocol):
    """Shows how far some work has come; see `kinegraph.console.progress`."""

    def __call__(self, items: Iterable[int], description: str, total: int) -> Iterator[int]:
        """Yield the items."""


@dataclass(frozen=True)
class ExportOptions:
    """What a user may say about the files; None leaves it to the form.

    Attributes:
        split: The split whose two sides become the parts.
        frames: Length to which clips are padded.
        people: Places for people.
        dtype: Type of the coordinates, ``float16`` or ``float32``.
        second_person: What stands in the second place where there is one person: ``copy`` of the
            first, or ``zeros``.
    """

    split: str | None = None
    frames: int | None = None
    people: int | None = None
    dtype: str | None = None
    second_person: str | None = None


@dataclass(frozen=True)
class Export:
    """One form in which a store can be written.

    Attributes:
        name: What ``kinegraph data export`` calls it; the format of the same name reads it.
        summary: One line for people.
        files: The files of the folder that it writes; empty if it writes one file.
        knows: The options that mean something to it.
        write: Writes a store to a temporary path; gets the final one for its name and for errors.
            Returns how many clips each part holds.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    knows: tuple[str, ...]
    write: Callable[[Store, Path, ExportOptions, Progress, Path], dict[str, int]]

    @property
    def folder(self) -> bool:
        """Whether it writes a folder of files."""
        return bool(self.files)

    def check(self, options: ExportOptions) -> None:
        """Check that the form knows every option that is given.

        Raises:
            OutputError: It does not.
        """
        for each in fields(options):
            if getattr(options, each.name) is not None and each.name not in self.knows:
                known = ", ".join(f"--{name.replace('_', '-')}" for name in self.knows)
                raise OutputError(
                    f"--{each.name.replace('_', '-')} means nothing to '{self.name}' (options it"
                    f" knows: {known})"
                )


def check_people(store: Store, rows: NDArray[Any], people: int, name: str) -> None:
    """Check that the people of some clips fit into the places of a form.

    Raises:
        OutputError: A clip has more.
    """
    concerned = np.zeros(len(store), dtype=bool)
    concerned[rows] = True
    beyond = (store.tracks["person"] >= people) & concerned[store.tracks["clip"]]
    if beyond.any():
        track = store.tracks[int(np.argmax(beyond))]
        clip = store.clips["name"][track["clip"]]
        raise OutputError(
            f"clip '{clip}' has a person in place {track['person'] + 1}, but '{name}' has places"
            f" for {people}: give --people {int(store.tracks['person'].max()) + 1}"
        )


def check_frames(store: Store, rows: NDArray[Any], frames: int, name: str) -> None:
    """Check that no clip is longer than the padded length.

    Raises:
        OutputError: One is.
    """
    lengths = store.clips["frames"][rows]
    if lengths.max() > frames:
        clip = store.clips["name"][rows[int(lengths.argmax())]]
        raise OutputError(
            f"clip '{clip}' has {lengths.max()} frames, but '{name}' pads to {frames}: give"
            f" --frames {lengths.max()}"
        )


def read_clips(store: Store, rows: Iterable[int]) -> Iterator[Clip]:
    """Yield clips and let go of what has been read: memory does not grow with their number."""
    pages = getattr(store.joints, "_mmap", None)
    for count, row in enumerate(rows, start=1):
        yield store.clip(row)
        if count % CLIPS_HELD == 0 and isinstance(pages, mmap.mmap):
            pages.madvise(mmap.MADV_DONTNEED)  # they are read again where they are needed again


def dense(clip: Clip, people: int, frames: int, dtype: Any = np.float32) -> NDArray[Any]:
    """Return (M, T, V, C) coordinates, zero where nobody is."""
    size = clip.tracks[0].joints.shape[1:]
    block = np.zeros((people, frames, *size), dtype=dtype)
    for track in clip.tracks:
        block[track.person, track.first : track.first + len(track.joints)] = track.joints
    return block


def write_rows(
    file: IO[bytes], shape: Sequence[int], dtype: Any, rows: Iterable[NDArray[Any]]
) -> None:
    """Write the rows of an array one after the other as a ``.npy`` file.

    Args:
        file: Where to.
        shape: Of the whole array; as many rows come as it says.
        dtype: Of the whole array.
        rows: Arrays of the shape behind the first axis.
    """
    file.write(npy_header(tuple(shape), np.dtype(dtype)))
    for row in rows:
        file.write(np.ascontiguousarray(row, dtype=dtype).tobytes())
