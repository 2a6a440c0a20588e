"""The Store: all clips of a data set in one folder of flat arrays, opened by memory map.

``formats`` writes a Store, ``splits`` and ``loader`` read it. There is no padding: a clip has one
track per person, a track has the frames in which that person was seen, and ``joints.npy`` holds
the frames of all tracks one after the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import npy_header, open_npy
from kinegraph.errors import ClipError, LayoutError, StoreError, nearest
from kinegraph.files import atomic_folder
from kinegraph.skeleton import Skeleton

FORMAT_VERSION = 1
NAME_LENGTH = 200  # characters of a clip name
MAX_PERSONS = 32
UNKNOWN = -1  # label, subject, camera, setup or replication that the source does not tell

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
    integers = ("label", "subject", "camera", "setup", "replication", "frames")
    return np.dtype([("name", f"U{max(name_length, 1)}"), *((i, np.int32) for i in integers)])


@dataclass(frozen=True)
class Track:
    """One person in one clip.

    Attributes:
        joints: (T, V, C) floats, the frames in which the person was seen, without gaps.
        first: The clip's frame in which the track begins.
        person: Slot m of the person in the clip; slots are unique and start at 0.
    """

    joints: NDArray[np.floating[Any]]
    first: int = 0
    person: int = 0


@dataclass(frozen=True)
class Clip:
    """One labelled recording on its way into a store, or out of it.

    Attributes:
        name: Unique name, without slashes.
        tracks: The people in it, at least one.
        frames: Length of the clip in frames; every track lies within it.
        label: 0-based class, or -1.
        subject: Number of the acting person, or -1; likewise camera, setup and replication.
        extras: Optional single numbers such as ``fps``, ``width`` and ``height``.
    """

    name: str
    tracks: tuple[Track, ...]
    frames: int
    label: int = UNKNOWN
    subject: int = UNKNOWN
    camera: int = UNKNOWN
    setup: int = UNKNOWN
    replication: int = UNKNOWN
    extras: Mapping[str, float] = field(default_factory=dict)


def check_clip(clip: Clip, skeleton: Skeleton, class_count: int | None = None) -> None:
    """Check one clip against a layout and a number of classes.

    Raises:
        ClipError: The clip is empty, not finite, of another layout, or badly named or labelled.
    """
    where = f"clip '{clip.name}'"
    if not clip.name or len(clip.name) > NAME_LENGTH:
        raise ClipError(f"{where}: a name needs 1 to {NAME_LENGTH} characters")
    if any(character in "/\\\0" or ord(character) < 32 for character in clip.name):
        raise ClipError(f"{where}: a name may not hold slashes or control characters")
    if class_count is not None and not -1 <= clip.label < class_count:
        raise ClipError(
            f"{where}: label {clip.label} is outside 0..{class_count - 1}"
            " (-1 stands for an unknown one)"
        )
    if not clip.tracks or clip.frames < 1:
        raise ClipError(f"{where} is empty: it has no frames with a person")
    persons = [track.person for track in clip.tracks]
    if len(set(persons)) != len(persons) or not all(0 <= m < MAX_PERSONS for m in persons):
        raise ClipError(
            f"{where}: person slots {persons} are not unique numbers below {MAX_PERSONS}"
        )
    for track in clip.tracks:
        _check_track(track, clip, skeleton, where)
    if not any(np.any(track.joints) for track in clip.tracks):
        raise ClipError(f"{where} is empty: every joint of every frame is zero")


def _check_track(track: Track, clip: Clip, skeleton: Skeleton, where: str) -> None:
    expected = (skeleton.joint_count, skeleton.coordinates.channels)
    shape = track.joints.shape
    if track.joints.dtype.kind not in "fiu":
        raise ClipError(f"{where}: joints are of type {track.joints.dtype}, expected numbers")
    if len(shape) != 3 or shape[1:] != expected:
        raise ClipError(
            f"{where}: joints have shape {shape}, but layout '{skeleton.name}' expects"
            f" (T, {expected[0]}, {expected[1]})"
        )
    if shape[0] < 1 or track.first < 0 or track.first + shape[0] > clip.frames:
        raise ClipError(
            f"{where}: person {track.person} spans frames {track.first}.."
            f"{track.first + shape[0]} of a clip of {clip.frames}"
        )
    if not np.isfinite(track.joints).all():
        frame = int(np.argwhere(~np.isfinite(track.joints))[0][0]) + track.first
        raise ClipError(f"{where}: frame {frame} has a coordinate that is NaN or infinite")


class StoreWriter:
    """Writes clips one after the other; only rows are kept in memory, never joints.

    Use it through `create_store`, which makes the folder appear only when everything is in it.
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
        self._clips: list[tuple[str, int, int, int, int, int, int]] = []
        self._names: set[str] = set()
        self._tracks: list[tuple[int, int, int, int, int]] = []
        self._extras: dict[str, dict[int, float]] = {}
        self._rows = 0
        self._hash = hashlib.sha256()
        self._file: IO[bytes] = (folder / "joints.npy").open("wb")
        self._file.write(self._header())

    def _header(self) -> bytes:
        shape = (self._rows, self.skeleton.joint_count, self.skeleton.coordinates.channels)
        return npy_header(shape, self.dtype)

    def add(self, clip: Clip) -> None:
        """Append a clip.

        Raises:
            ClipError: The clip is malformed, or its name has been used already.
        """
        check_clip(clip, self.skeleton, len(self.class_names))
        if clip.name in self._names:
            raise ClipError(f"clip '{clip.name}' occurs twice")
        blocks = [np.ascontiguousarray(track.joints, dtype=self.dtype) for track in clip.tracks]
        if not all(np.isfinite(block).all() for block in blocks):
            raise ClipError(f"clip '{clip.name}': a coordinate is too large for {self.dtype}")
        row = len(self._clips)
        for track, block in zip(clip.tracks, blocks, strict=True):
            data = block.tobytes()
            self._file.write(data)
            self._hash.update(data)
            self._tracks.append((row, track.person, track.first, len(block), self._rows))
            self._rows += len(block)
        self._names.add(clip.name)
        self._clips.append(
            (clip.name, clip.label, clip.subject, clip.camera, clip.setup, clip.replication,
             clip.frames)
        )  # fmt: skip
        for key, value in clip.extras.items():
            self._extras.setdefault(key, {})[row] = float(value)

    def leave_out(self, name: str, reason: str) -> None:
        """Record in ``meta.json`` that a recording was skipped, and why."""
        self.left_out.append({"clip": name, "reason": reason})

    def finish(self) -> None:
        """Write everything but the joints, which are on the disk already.

        Raises:
            StoreError: No clip was added.
        """
        if not self._clips:
            raise StoreError(f"no clip could be read from '{self.source}': nothing to store")
        self._file.seek(0)
        self._file.write(self._header())
        self._file.close()
        longest = max(len(clip[0]) for clip in self._clips)
        clips = np.array(self._clips, dtype=clip_fields(longest))
        tracks = np.array(self._tracks, dtype=TRACK_FIELDS)
        np.save(self._folder / "clips.npy", clips)
        np.save(self._folder / "tracks.npy", tracks)
        if self.splits:
            np.savez(self._folder / "splits.npz", **self.splits)  # type: ignore[arg-type]
        if self._extras:
            columns = {
                key: np.array([values.get(row, np.nan) for row in range(len(clips))])
                for key, values in self._extras.items()
            }
            np.savez(self._folder / "extras.npz", **columns)  # type: ignore[arg-type]
        meta = {
            "format_version": FORMAT_VERSION,
            "skeleton": self.skeleton.to_dict(),
            "source": self.source,
            "class_names": list(self.class_names),
            "default_split": self.default_split,
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

    Raises:
        OutputError: ``path`` exists and ``force`` is false, or the disk refuses.
        StoreError: No clip was added.
    """
    with (
        atomic_folder(Path(path), force=force) as folder,
        StoreWriter(folder, skeleton, class_names, source=source, dtype=dtype) as writer,
    ):
        yield writer
        writer.finish()


class Store:
    """An opened store. Arrays are memory maps; nothing is read until it is used.

    Attributes:
        path: The folder.
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order.
        joints: (sum of T, V, C) floats of all tracks.
        tracks: One row per track, fields as in `TRACK_FIELDS`.
        clips: One row per clip: name, label, subject, camera, setup, replication, frames.
        meta: What ``meta.json`` says.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.meta = _read_meta(self.path)
        try:
            self.skeleton = Skeleton.from_dict(self.meta["skeleton"])
        except LayoutError as error:
            raise StoreError(f"store '{self.path}': {error}") from error
        self.class_names: tuple[str, ...] = tuple(self.meta["class_names"])
        self._open()

    def _open(self) -> None:
        self.joints = open_npy(self.path / "joints.npy", memory_map=True)
        self.tracks = open_npy(self.path / "tracks.npy", memory_map=False)
        self.clips = open_npy(self.path / "clips.npy", memory_map=False)
        self._check()
        # Tracks are written clip by clip, so those of clip i are rows starts[i]..starts[i+1].
        self.track_starts = np.searchsorted(self.tracks["clip"], np.arange(len(self.clips) + 1))

    def _check(self) -> None:
        shape = (
            self.meta["rows"],
            self.skeleton.joint_count,
            self.skeleton.coordinates.channels,
        )
        if self.joints.shape != shape or self.joints.dtype.name != self.meta["dtype"]:
            self._fail(f"joints.npy is {self.joints.dtype} {self.joints.shape}, expected {shape}")
        names = self.clips.dtype.names or ()
        if names != clip_fields(1).names or self.tracks.dtype != TRACK_FIELDS:
            self._fail("clips.npy or tracks.npy has other fields than this version writes")
        if (len(self.clips), len(self.tracks)) != (self.meta["clips"], self.meta["tracks"]):
            self._fail("clips.npy or tracks.npy has another number of rows than meta.json says")
        ends = self.tracks["offset"] + self.tracks["length"]
        clip_rows = self.tracks["clip"]
        if (
            np.any(self.tracks["offset"] < 0)
            or np.any(self.tracks["length"] < 1)
            or np.any(ends > len(self.joints))
            or np.any(np.diff(clip_rows) < 0)
            or not np.array_equal(np.unique(clip_rows), np.arange(len(self.clips)))
        ):
            self._fail("tracks.npy points outside joints.npy or clips.npy")
        labels = self.clips["label"]
        if np.any(labels < -1) or np.any(labels >= len(self.class_names)):
            self._fail(f"clips.npy has labels outside the {len(self.class_names)} classes")

    def _fail(self, complaint: str) -> None:
        raise StoreError(
            f"store '{self.path}' is damaged: {complaint}; import the recordings again"
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        # A pickled store must not carry its arrays; it opens them again where it arrives.
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    @property
    def max_persons(self) -> int:
        """The number of person slots that the clips of this store use."""
        return int(self.tracks["person"].max()) + 1

    @property
    def max_frames(self) -> int:
        """Length of the longest clip in frames."""
        return int(self.clips["frames"].max())

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
            extras={key: float(column[row]) for key, column in self.extras().items()},
        )

    def extras(self) -> dict[str, NDArray[Any]]:
        """Return the optional per-clip numbers, such as ``fps``; NaN where a clip has none."""
        return _open_npz(self.path / "extras.npz")

    def stored_splits(self) -> dict[str, NDArray[Any]]:
        """Return splits that no rule yields: name -> (clips,) with 0 none, 1 train, 2 test."""
        return _open_npz(self.path / "splits.npz")

    def verify(self) -> None:
        """Read everything and compare it with the checksums.

        Raises:
            StoreError: A file is not what was written.
        """
        joints = hashlib.sha256()
        for begin in range(0, len(self.joints), 65536):
            joints.update(np.ascontiguousarray(self.joints[begin : begin + 65536]).tobytes())
        found = {
            "joints": joints.hexdigest(),
            "clips": hashlib.sha256(self.clips.tobytes()).hexdigest(),
            "tracks": hashlib.sha256(self.tracks.tobytes()).hexdigest(),
        }
        for name, digest in found.items():
            if digest != self.meta["checksums"].get(name):
                self._fail(f"the checksum of {name}.npy is not the one written")


def open_store(path: Path | str) -> Store:
    """Open a store.

    Raises:
        StoreError: There is none, it is of another version, cut short or inconsistent.
    """
    return Store(Path(path))


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / "meta.json"
    if not path.is_dir() or not file.is_file():
        found = "is no folder" if path.exists() and not path.is_dir() else (
            "has no meta.json" if path.exists() else "does not exist"
        )  # fmt: skip
        raise StoreError(
            f"'{path}' is not a store: it {found}; make one with: kinegraph data import"
        )
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
        version = meta["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"store '{path}': meta.json is damaged ({error!r})") from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"store '{path}' has format version {version}, this kinegraph reads {FORMAT_VERSION};"
            " import the recordings again"
        )
    needed = {"skeleton", "source", "class_names", "clips", "tracks", "rows", "dtype", "checksums"}
    missing = sorted(needed - set(meta))
    if missing:
        raise StoreError(f"store '{path}': meta.json lacks {', '.join(missing)}")
    return dict(meta)


def _open_npz(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}") from error
