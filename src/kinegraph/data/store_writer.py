"""Writing a store: clips come one after the other, and the folder appears when it is complete.

Formats and the synthetic data set write through `create_store`; ``store`` reads what is written
here. Clips go to the disk at once, so that memory does not grow with their number. This module
fixes the files of a store; it knows no format that recordings come in.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinegraph import __version__
from kinegraph.data.clip import NUMBERS, Clip, check_clip
from kinegraph.data.name_set import NameSet
from kinegraph.data.row_files import ClipFile, RowFile, blocks
from kinegraph.data.row_files import clip_fields as clip_fields
from kinegraph.errors import ClipError, OutputError, RepeatedClipError, StoreError, printable
from kinegraph.files import atomic_folder, refuse_existing
from kinegraph.skeleton import Skeleton

if TYPE_CHECKING:
    from kinegraph.data.store import Store

FORMAT_VERSION = 2
OWN_CHECKSUM = "checksum"  # the field of meta.json that speaks of the other ones

TRACK_FIELDS = np.dtype(
    [
        ("clip", np.int32),  # row in clips.npy
        ("person", np.int16),  # slot m of this person in its clip
        ("first", np.int32),  # the clip's frame in which the track begins
        ("length", np.int32),  # frames of the track
        ("offset", np.int64),  # row in joints.npy of its first frame
    ]
)


class StoreWriter:
    """Writes clips one after the other; neither joints nor rows of clips are kept in memory.

    Use it through `create_store`, which makes the folder appear only when everything is in it.

    Attributes:
        splits: Splits that no rule yields: name -> (clips,) with 0 none, 1 train, 2 test.
        default_split: The split that is used when a recipe names none.
        left_out: Recordings that could not be used, each with its reason.
        missing: Recordings that a published list leaves out, each with its reason.
        provenance: How the clips were made, as plain data for ``meta.json``.
        shard: Which share of a source the store holds, see `Shard`; None for a whole one.
    """

    def __init__(
        self,
        folder: Path,
        skeleton: Skeleton,
        class_names: Sequence[str],
        *,
        source: str,
        dtype: str = "float32",
    ) -> None:
        self.skeleton = skeleton
        self.class_names = tuple(class_names)
        self.source = source
        self.dtype = np.dtype(dtype)
        self.splits: dict[str, NDArray[Any]] = {}
        self.left_out: list[dict[str, Any]] = []
        self.missing: list[dict[str, str]] = []
        self.provenance: dict[str, Any] = {}
        self.default_split = ""
        self.shard: dict[str, Any] | None = None
        self._folder = folder
        self._names = NameSet()
        self._extras: dict[str, array[float]] = {}
        shape = (skeleton.joint_count, skeleton.coordinates.channels)
        with ExitStack() as opened:  # a full disk can refuse any of them
            self._joints = RowFile(folder / "joints.npy", self.dtype, shape)
            opened.callback(self._joints.close)
            self._tracks = RowFile(folder / "tracks.npy", TRACK_FIELDS)
            opened.callback(self._tracks.close)
            self._clips = ClipFile(folder / "clips.npy")
            opened.pop_all()

    def __len__(self) -> int:
        return self._clips.rows

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, clip: Clip) -> None:
        """Append a clip; its tracks are written in the order of their person slots.

        Raises:
            ClipError: The clip is malformed.
            RepeatedClipError: Its name has been used already.
        """
        check_clip(clip, self.skeleton, len(self.class_names))
        if clip.name in self._names:
            raise RepeatedClipError(repeated(clip.name))
        tracks = sorted(clip.tracks, key=_slot)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused below
            made = [np.ascontiguousarray(track.joints, dtype=self.dtype) for track in tracks]
        if not all(np.isfinite(block).all() for block in made):
            raise ClipError(f"clip '{clip.name}': a coordinate is too large for {self.dtype}")
        row = len(self)
        rows = []
        for track, block in zip(tracks, made, strict=True):
            rows.append((row, track.person, track.first, len(block), self._joints.rows))
            self._joints.append(block)
        self._tracks.append(np.array(rows, dtype=TRACK_FIELDS))
        self._names.add(clip.name)
        numbers = [int(getattr(clip, number)) for number in NUMBERS]
        self._clips.append([clip.name], np.array([numbers]))
        for key, value in clip.extras.items():
            self._extra(key, row).append(float(value))

    def append(self, store: Store) -> NDArray[np.bool_]:
        """Append all clips of a store with the same layout, classes and type of coordinates.

        Returns:
            (clips,) which of them were appended; the names of the others had been used already.

        Raises:
            StoreError: It has names that no clip may have, or its extras are damaged.
        """
        names: NDArray[Any] = store.clips["name"]
        new = np.zeros(len(store), dtype=np.bool_)
        base = len(self)
        for begin, end in blocks(len(store)):
            block: list[str] = names[begin:end].tolist()
            if not all(map(str.isprintable, block)):
                raise StoreError(f"store '{store.path}' has clip names with unprintable characters")
            taken = np.fromiter(map(self._names.add, block), np.bool_, len(block))
            new[begin:end] = taken
            fields = store.clips[begin:end][taken]
            numbers = np.stack([fields[number] for number in NUMBERS], axis=1)
            self._clips.append([name for name, kept in zip(block, taken, strict=True) if kept],
                               numbers)  # fmt: skip
        self._append_tracks(store, new, base)
        for key, column in store.extras.items():
            self._extra(key, base).frombytes(column[new].astype(np.float64).tobytes())
        return new

    def _append_tracks(self, store: Store, new: NDArray[np.bool_], base: int) -> None:
        """Copy the tracks of the clips that are ``new``; they get the rows after ``base``."""
        row = np.cumsum(new) - 1 + base  # (clips,) where each of them goes
        for begin, end in blocks(len(store.tracks)):
            tracks = store.tracks[begin:end]
            tracks = tracks[new[tracks["clip"]]]
            offsets, lengths = tracks["offset"], tracks["length"].astype(np.int64)
            ends = np.cumsum(lengths)
            moved = tracks.copy()
            moved["clip"] = row[tracks["clip"]]
            moved["offset"] = self._joints.rows + ends - lengths
            self._tracks.append(moved)
            # Tracks that follow each other in the file are copied together.
            breaks = np.flatnonzero(offsets[1:] != offsets[:-1] + lengths[:-1]) + 1
            for some in np.split(np.arange(len(tracks)), breaks) if len(tracks) else ():
                stop = int(offsets[some[-1]] + lengths[some[-1]])
                for first, last in blocks(stop - int(offsets[some[0]])):
                    start = int(offsets[some[0]])
                    self._joints.append(store.joints[start + first : start + last])

    def _extra(self, key: str, row: int) -> array[float]:
        """Return the column of an optional number, filled up to a row with NaN."""
        column = self._extras.setdefault(key, array("d"))
        column.extend([np.nan] * (row - len(column)))
        return column

    def leave_out(self, name: str, reason: str, recording: int | None = None) -> None:
        """Record in ``meta.json`` that a recording could not be used, and why.

        Args:
            name: Its name.
            reason: Why.
            recording: Its number in the source, from 0.
        """
        entry: dict[str, Any] = {"clip": printable(name), "reason": printable(reason)}
        self.left_out.append(entry if recording is None else {"recording": recording} | entry)

    def miss(self, name: str, reason: str) -> None:
        """Record in ``meta.json`` that a published list leaves a recording out, and why."""
        self.missing.append({"clip": printable(name), "reason": printable(reason)})

    def finish(self) -> None:
        """Write everything but joints and tracks, which are on the disk already.

        Raises:
            StoreError: No clip was added, or a split does not speak of these clips.
        """
        if len(self) == 0 and self.shard is None:
            raise StoreError(f"no clip could be read from '{self.source}': nothing to store")
        self._joints.finish()
        self._tracks.finish()
        files = {"joints": self._joints, "tracks": self._tracks, "clips": self._clips.finish()}
        splits = {name: check_split(name, s, len(self)) for name, s in self.splits.items()}
        extras = {
            key: np.frombuffer(self._extra(key, len(self)), dtype=np.float64)
            for key in sorted(self._extras)
        }
        _write_archive(self._folder / "splits.npz", splits)
        _write_archive(self._folder / "extras.npz", extras)
        further = {f"{name}.npy, header": file.header_checksum for name, file in files.items()}
        for archive in ("extras.npz", "splits.npz"):
            if (self._folder / archive).is_file():
                further[archive] = file_checksum(self._folder / archive)
        meta = {
            "format_version": FORMAT_VERSION,
            "skeleton": self.skeleton.to_dict(),
            "source": printable(self.source),
            "class_names": list(self.class_names),
            "default_split": self.default_split,
            "splits": sorted(splits),
            "extras": sorted(extras),
            "clips": len(self),
            "tracks": self._tracks.rows,
            "rows": self._joints.rows,
            "dtype": self.dtype.name,
            "left_out": self.left_out,
            "missing": self.missing,
            "shard": self.shard,
            "provenance": {"kinegraph": __version__} | self.provenance,
            "checksums": {name: file.checksum for name, file in files.items()},
            "further_checksums": further,
        }
        meta[OWN_CHECKSUM] = meta_checksum(meta)
        with (self._folder / "meta.json").open("w", encoding="utf-8") as file:
            json.dump(meta, file, indent=1, ensure_ascii=False)
            file.write("\n")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (self._joints, self._tracks, self._clips):
            with suppress(OSError):  # on a full disk the first failure has been told already
                file.close()


@contextmanager
def create_store(
    path: Path,
    skeleton: Skeleton,
    class_names: Sequence[str],
    *,
    source: str,
    dtype: str = "float32",
    force: bool = False,
) -> Iterator[StoreWriter]:
    """Yield a `StoreWriter`; the store stands at ``path`` only if the block succeeds.

    Args:
        path: The folder to be made.
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order.
        source: Where the clips come from, for people.
        dtype: ``float32`` or ``float16``.
        force: Whether a store that stands at ``path`` may be replaced. Nothing else ever is.

    Raises:
        OutputError: ``path`` exists and may not be replaced, or the disk refuses.
        StoreError: No clip was added.
    """
    path = Path(path).absolute()
    check_place(path, force=force)
    with (
        atomic_folder(path, force=force) as folder,
        StoreWriter(folder, skeleton, class_names, source=source, dtype=dtype) as writer,
    ):
        yield writer
        writer.finish()


def check_place(path: Path, *, force: bool) -> None:
    """Raise OutputError if no store may be made at ``path``: something else stands there."""
    refuse_existing(path, force=force)
    if os.path.lexists(path) and not (path / "meta.json").is_file():
        empty = path.is_dir() and not any(path.iterdir())
        if not empty:
            raise OutputError(f"'{path}' is not a store, and --force replaces only stores")


def check_split(name: str, split: ArrayLike, clips: int) -> NDArray[Any]:
    """Return a stored split as (clips,) uint8 with 0 none, 1 train, 2 test.

    Raises:
        StoreError: It has another length or other values.
    """
    rows = np.asarray(split)
    if rows.shape != (clips,) or rows.dtype.kind not in "iu" or not np.isin(rows, (0, 1, 2)).all():
        raise StoreError(f"split '{name}' is not one of 0, 1 and 2 for each of the {clips} clips")
    return rows.astype(np.uint8)


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def meta_checksum(meta: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all fields of ``meta.json`` but the one that holds it."""
    fields = {name: value for name, value in meta.items() if name != OWN_CHECKSUM}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def repeated(name: str) -> str:
    """Return why a clip is left out whose name has been used already."""
    return f"clip '{name}' occurs twice"


def _slot(track: Any) -> int:
    return int(track.person)


def _write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    if arrays:
        np.savez(path, **arrays)  # type: ignore[arg-type]
