"""Writing a store: clips come one after the other, and the folder appears when it is complete.

Formats and the synthetic data set write through `create_store`; ``store`` reads what is written
here. This module fixes the files of a store; it knows no format that recordings come in.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinegraph.data.arrays import npy_header
from kinegraph.data.clip import NUMBERS, Clip, check_clip
from kinegraph.errors import ClipError, OutputError, StoreError, printable
from kinegraph.files import atomic_folder, refuse_existing
from kinegraph.skeleton import Skeleton

FORMAT_VERSION = 1

TRACK_FIELDS = np.dtype(
    [
        ("clip", np.int32),  # row in clips.npy
        ("person", np.int16),  # slot m of this person in its clip
        ("first", np.int32),  # the clip's frame in which the track begins
        ("length", np.int32),  # frames of the track
        ("offset", np.int64),  # row in joints.npy of its first frame
    ]
)


def clip_fields(name_length: int) -> np.dtype[Any]:
    """Return the row type of ``clips.npy`` for names of up to ``name_length`` characters."""
    return np.dtype([("name", f"U{max(name_length, 1)}"), *((i, np.int32) for i in NUMBERS)])


class StoreWriter:
    """Writes clips one after the other; only rows are kept in memory, never joints.

    Use it through `create_store`, which makes the folder appear only when everything is in it.

    Attributes:
        splits: Splits that no rule yields: name -> (clips,) with 0 none, 1 train, 2 test.
        default_split: The split that is used when a recipe names none.
        left_out: Recordings that were skipped, each with its reason.
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
        self.left_out: list[dict[str, str]] = []
        self.default_split = ""
        self._folder = folder
        self._clips: list[tuple[str | int, ...]] = []
        self._names: set[str] = set()
        self._tracks: list[tuple[int, int, int, int, int]] = []
        self._extras: dict[str, dict[int, float]] = {}
        self._rows = 0
        self._hash = hashlib.sha256()
        self._file: IO[bytes] = (folder / "joints.npy").open("wb")
        self._file.write(self._header())

    def __len__(self) -> int:
        return len(self._clips)

    def _header(self) -> bytes:
        shape = (self._rows, self.skeleton.joint_count, self.skeleton.coordinates.channels)
        return npy_header(shape, self.dtype)

    def add(self, clip: Clip) -> None:
        """Append a clip; its tracks are written in the order of their person slots.

        Raises:
            ClipError: The clip is malformed, or its name has been used already.
        """
        check_clip(clip, self.skeleton, len(self.class_names))
        if clip.name in self._names:
            raise ClipError(f"clip '{clip.name}' occurs twice")
        tracks = sorted(clip.tracks, key=_slot)
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused below
            blocks = [np.ascontiguousarray(track.joints, dtype=self.dtype) for track in tracks]
        if not all(np.isfinite(block).all() for block in blocks):
            raise ClipError(f"clip '{clip.name}': a coordinate is too large for {self.dtype}")
        row = len(self._clips)
        for track, block in zip(tracks, blocks, strict=True):
            data = block.tobytes()
            self._file.write(data)
            self._hash.update(data)
            self._tracks.append((row, track.person, track.first, len(block), self._rows))
            self._rows += len(block)
        self._names.add(clip.name)
        self._clips.append((clip.name, *(int(getattr(clip, number)) for number in NUMBERS)))
        for key, value in clip.extras.items():
            self._extras.setdefault(key, {})[row] = float(value)

    def leave_out(self, name: str, reason: str) -> None:
        """Record in ``meta.json`` that a recording was skipped, and why."""
        self.left_out.append({"clip": printable(name), "reason": printable(reason)})

    def finish(self) -> None:
        """Write everything but the joints, which are on the disk already.

        Raises:
            StoreError: No clip was added, or a split does not speak of these clips.
        """
        if not self._clips:
            raise StoreError(f"no clip could be read from '{self.source}': nothing to store")
        self._file.seek(0)
        self._file.write(self._header())
        self._file.close()
        longest = max(len(str(clip[0])) for clip in self._clips)
        clips = np.array(self._clips, dtype=clip_fields(longest))
        tracks = np.array(self._tracks, dtype=TRACK_FIELDS)
        _write_array(self._folder / "clips.npy", clips)
        _write_array(self._folder / "tracks.npy", tracks)
        splits = {name: check_split(name, s, len(clips)) for name, s in self.splits.items()}
        extras = {
            key: np.array([values.get(row, np.nan) for row in range(len(clips))])
            for key, values in self._extras.items()
        }
        _write_archive(self._folder / "splits.npz", splits)
        _write_archive(self._folder / "extras.npz", extras)
        meta = {
            "format_version": FORMAT_VERSION,
            "skeleton": self.skeleton.to_dict(),
            "source": printable(self.source),
            "class_names": list(self.class_names),
            "default_split": self.default_split,
            "splits": sorted(splits),
            "extras": sorted(extras),
            "clips": len(clips),
            "tracks": len(tracks),
            "rows": self._rows,
            "dtype": self.dtype.name,
            "left_out": self.left_out,
            "checksums": {
                "joints": self._hash.hexdigest(),
                "clips": hashlib.sha256(clips.tobytes()).hexdigest(),
                "tracks": hashlib.sha256(tracks.tobytes()).hexdigest(),
            },
        }
        text = json.dumps(meta, indent=1, ensure_ascii=False)
        (self._folder / "meta.json").write_text(text + "\n", encoding="utf-8")

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


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


def _slot(track: Any) -> int:
    return int(track.person)


def _write_array(path: Path, array: NDArray[Any]) -> None:
    # Not np.save(path): on a full disk it does not say why it failed.
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.tobytes())


def _write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    if arrays:
        np.savez(path, **arrays)  # type: ignore[arg-type]
