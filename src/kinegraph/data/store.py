"""The Store: all clips of a data set in one folder of flat arrays, opened by memory map.

``store_writer`` writes a Store, ``splits`` and ``loader`` read it. There is no padding: a clip has
one track per person, a track has the frames in which that person was seen, and ``joints.npy``
holds the frames of all tracks one after the other.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import open_npy, read_npz
from kinegraph.data.clip import MAX_PERSONS, NUMBERS, UNKNOWN, Clip, Track, check_clip
from kinegraph.data.store_writer import (
    FORMAT_VERSION,
    TRACK_FIELDS,
    StoreWriter,
    check_split,
    clip_fields,
    create_store,
)
from kinegraph.data.verifying import verify_store
from kinegraph.errors import LayoutError, StoreError, nearest
from kinegraph.skeleton import Skeleton

__all__ = [
    "UNKNOWN", "Clip", "Store", "StoreWriter", "Track", "check_clip", "create_store", "open_store",
]  # fmt: skip

TRACK_NAMES = ("clip", "person", "first", "length", "offset")
SHARD_FIELDS = ("number", "of", "begin", "end", "recordings")
META_FIELDS: dict[str, type] = {
    "skeleton": dict,
    "source": str,
    "class_names": list,
    "default_split": str,
    "splits": list,
    "extras": list,
    "clips": int,
    "tracks": int,
    "rows": int,
    "dtype": str,
    "left_out": list,
    "missing": list,
    "provenance": dict,
    "checksums": dict,
    "further_checksums": dict,
}


class Store:
    """An opened store. Arrays are memory maps; nothing is read until it is used.

    Attributes:
        path: The folder.
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order.
        joints: (sum of T, V, C) floats of all tracks.
        tracks: One row per track, fields as in `TRACK_FIELDS`; ordered by clip, then person.
        clips: One row per clip: name, label, subject, camera, setup, replication, frames.
        track_starts: (clips + 1,) rows of ``tracks``; clip i has rows starts[i] to starts[i+1].
        meta: What ``meta.json`` says.
    """

    track_starts: NDArray[np.int64]

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.meta = _read_meta(self.path)
        try:
            self.skeleton = Skeleton.from_dict(self.meta["skeleton"])
        except LayoutError as error:
            raise StoreError(f"store '{self.path}': {error}") from error
        self.class_names = tuple(str(name) for name in self.meta["class_names"])
        self.joints = open_npy(self.path / "joints.npy", memory_map=True)
        # Plain views of the maps: indexing a memmap object row by row is slow.
        self.tracks = np.asarray(open_npy(self.path / "tracks.npy", memory_map=True))
        self.clips = np.asarray(open_npy(self.path / "clips.npy", memory_map=True))
        self._check_shapes()
        self._check_tracks()
        self._check_labels()

    def _check_shapes(self) -> None:
        shape = (
            self.meta["rows"],
            self.skeleton.joint_count,
            self.skeleton.coordinates.channels,
        )
        dtype = self.joints.dtype
        if self.joints.shape != shape or dtype.name != self.meta["dtype"] or dtype.kind != "f":
            self._fail(f"joints.npy is {dtype} {self.joints.shape}, expected {shape}")
        named = "name" in (self.clips.dtype.names or ())
        width = self.clips.dtype["name"].itemsize // 4 if named else 1
        if self.clips.dtype != clip_fields(width) or self.tracks.dtype != TRACK_FIELDS:
            self._fail("clips.npy or tracks.npy has other fields than this version writes")
        shapes = (self.meta["clips"],), (self.meta["tracks"],)
        if (self.clips.shape, self.tracks.shape) != shapes:
            self._fail("clips.npy or tracks.npy has another number of rows than meta.json says")

    def _check_tracks(self) -> None:
        """Check that tracks lie in ``joints.npy`` and in their clips, ordered, none left out."""
        clips = len(self.clips)
        # Columns that stand together: each is gone through several times.
        clip, person, first, length, offset = (
            np.ascontiguousarray(self.tracks[name]) for name in TRACK_NAMES
        )
        if len(clip) == 0 and clips == 0 and self.shard is not None:
            self.track_starts = np.zeros(1, dtype=np.int64)
            return
        if len(clip) == 0 or clip[0] != 0 or clip[-1] != clips - 1:
            self._fail("tracks.npy does not speak of the clips of clips.npy")
        steps = np.diff(clip)
        wrong = (steps < 0) | (steps > 1) | ((steps == 0) & (person[1:] <= person[:-1]))
        if wrong.any():
            self._fail("tracks.npy is not ordered by clip and person")
        # Every clip has a track, so the rows where a new one begins are all their starts.
        self.track_starts = np.concatenate(([0], np.flatnonzero(steps) + 1, [len(clip)]))
        inside = (person >= 0) & (person < MAX_PERSONS) & (first >= 0) & (length >= 1)
        inside &= (offset >= 0) & (offset <= len(self.joints) - length.astype(np.int64))
        inside &= first.astype(np.int64) + length <= self.clips["frames"][clip]
        if not inside.all():
            row = int(np.argmin(inside))
            self._fail(f"row {row} of tracks.npy points outside joints.npy or its clip")

    def _check_labels(self) -> None:
        classes = len(self.class_names)
        label = self.clips["label"]
        if label.max(initial=UNKNOWN) >= classes or label.min(initial=UNKNOWN) < UNKNOWN:
            self._fail(f"clips.npy has labels outside the {classes} classes")
        if any(self.clips[name].min(initial=UNKNOWN) < UNKNOWN for name in NUMBERS):
            self._fail(f"clips.npy has numbers below {UNKNOWN}")

    def _fail(self, complaint: str) -> None:
        raise StoreError(
            f"store '{self.path}' is damaged: {complaint}; import the recordings again"
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        # A pickled store does not carry its arrays; it opens them again where it arrives.
        return Store, (self.path.absolute(),)

    @property
    def num_classes(self) -> int:
        """The number of classes, whether or not they have clips."""
        return len(self.class_names)

    @property
    def shard(self) -> dict[str, int] | None:
        """Which share of a source the store holds: number, of, begin, end, recordings; or None."""
        shard: dict[str, int] | None = self.meta.get("shard")
        return shard

    @property
    def default_split(self) -> str:
        """The split to use when a recipe names none; empty if the source has none."""
        return str(self.meta["default_split"])

    @property
    def max_persons(self) -> int:
        """The number of person slots that the clips of this store use."""
        return int(self.tracks["person"].max(initial=-1)) + 1

    @property
    def max_frames(self) -> int:
        """Length of the longest clip in frames."""
        return int(self.clips["frames"].max(initial=0))

    def find(self, name: str) -> int:
        """Return the row of a clip.

        Raises:
            StoreError: No clip has this name.
        """
        rows = np.flatnonzero(self.clips["name"] == name)
        if len(rows) == 0:
            hint = nearest(name, self.clips["name"].tolist())
            raise StoreError(f"store '{self.path}' has no clip '{name}'{hint}")
        return int(rows[0])

    def clip(self, row: int) -> Clip:
        """Return one clip with its tracks as memory maps."""
        fields = self.clips[row]
        tracks = []
        for track in self.tracks[self.track_starts[row] : self.track_starts[row + 1]]:
            begin = int(track["offset"])
            block = self.joints[begin : begin + int(track["length"])]
            tracks.append(Track(block, int(track["first"]), int(track["person"])))
        return Clip(
            name=str(fields["name"]),
            tracks=tuple(tracks),
            frames=int(fields["frames"]),
            label=int(fields["label"]),
            subject=int(fields["subject"]),
            camera=int(fields["camera"]),
            setup=int(fields["setup"]),
            replication=int(fields["replication"]),
            extras={key: float(column[row]) for key, column in self.extras.items()},
        )

    @cached_property
    def extras(self) -> dict[str, NDArray[Any]]:
        """Optional per-clip numbers, such as ``fps``: name -> (clips,), NaN where a clip has none.

        Raises:
            StoreError: ``extras.npz`` is missing or damaged.
        """
        columns = self._read_archive("extras")
        for key, column in columns.items():
            if column.shape != (len(self),) or column.dtype.kind != "f":
                self._fail(f"'{key}' in extras.npz is not one number per clip")
        return columns

    @cached_property
    def stored_splits(self) -> dict[str, NDArray[Any]]:
        """Splits that no rule yields: name -> (clips,) with 0 none, 1 train, 2 test.

        Raises:
            StoreError: ``splits.npz`` is missing or damaged.
        """
        columns = self._read_archive("splits")
        return {name: check_split(name, rows, len(self)) for name, rows in columns.items()}

    def _read_archive(self, kind: str) -> dict[str, NDArray[Any]]:
        file = self.path / f"{kind}.npz"
        columns = read_npz(file) if file.is_file() else {}
        if sorted(columns) != self.meta[kind]:
            self._fail(f"{file.name} holds {sorted(columns)}, meta.json says {self.meta[kind]}")
        return columns

    def verify(self) -> None:
        """Read everything and compare it with the checksums.

        Raises:
            StoreError: A file is not what was written; the message names all of them.
        """
        verify_store(self.path)


def open_store(path: Path | str) -> Store:
    """Open a store.

    Raises:
        StoreError: There is none, it is of another version, cut short or inconsistent.
    """
    return Store(Path(path))


def _read_meta(path: Path) -> dict[str, Any]:
    """Read ``meta.json``; every field in it has the type that `META_FIELDS` names."""
    file = path / "meta.json"
    if not path.is_dir() or not file.is_file():
        found = "is no folder" if path.exists() and not path.is_dir() else (
            "has no meta.json" if path.exists() else "does not exist"
        )  # fmt: skip
        raise StoreError(
            f"'{path}' is not a store: it {found}; make one with: kinegraph data import"
        )
    try:
        meta = dict(json.loads(file.read_text(encoding="utf-8")))
        version = meta["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"store '{path}': meta.json is damaged ({error!r})") from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"store '{path}' has format version {version}, this kinegraph reads {FORMAT_VERSION};"
            " import the recordings again"
        )
    wrong = sorted(
        name for name, kind in META_FIELDS.items() if not isinstance(meta.get(name), kind)
    )
    wrong += [name for name in ("left_out", "missing") if not _are_reasons(meta.get(name))]
    if meta.get("shard") is not None and not is_shard(meta["shard"]):
        wrong.append("shard")
    if wrong:
        names = ", ".join(dict.fromkeys(wrong))
        raise StoreError(f"store '{path}': meta.json lacks a sound {names}")
    return meta


def is_shard(fields: Any) -> bool:
    """Whether a value read from ``meta.json`` says which share of a source a store holds."""
    if not isinstance(fields, dict) or set(fields) != set(SHARD_FIELDS):
        return False
    number, of, begin, end, recordings = (fields[name] for name in SHARD_FIELDS)
    if not all(type(value) is int for value in fields.values()):
        return False
    return bool(1 <= number <= of and 0 <= begin <= end <= recordings)


def _are_reasons(entries: Any) -> bool:
    """Whether a value read from ``meta.json`` lists recordings, each with a reason."""
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and isinstance(entry.get("clip"), str)
        and isinstance(entry.get("reason"), str)
        and isinstance(entry.get("recording", 0), int)
        for entry in entries
    )
