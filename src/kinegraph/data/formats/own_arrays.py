"""A user's own recordings as arrays in one ``.npz`` file.

``x`` is (N, C, T, V, M) as networks take it, or (N, T, V, C) for one person a clip; clips shorter
than T end in zeros. Beside it may stand ``label`` (N,) numbers from 0 or names, ``class_names``,
``frames``, ``name``, ``subject``, ``camera``, ``setup``, ``replication``, ``split`` (0 none,
1 train, 2 test) and ``layout``. Clips are read one by one, so a file may be larger than memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.archives import ARCHIVE_ERRORS, check_packing, check_ratio
from kinegraph.data.arrays import Header, read_header, read_member
from kinegraph.data.clip import UNKNOWN, Clip, Track
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.data.limits import ALWAYS_BYTES, MAX_CLASSES, MAX_CLIP_BYTES, MAX_COLUMN_BYTES
from kinegraph.errors import ClipError, LayoutError, SourceError, nearest
from kinegraph.skeleton import Skeleton, layout_names, load_layout

INTEGERS = ("frames", "subject", "camera", "setup", "replication", "split")
KEYS = ("x", "label", "class_names", "name", "layout", *INTEGERS)


@dataclass(frozen=True)
class Columns:
    """Everything in the file but ``x``: numbers and texts, one per clip where they are given."""

    values: dict[str, NDArray[Any]]
    class_names: tuple[str, ...]
    names: tuple[str, ...]

    def number(self, key: str, row: int) -> int:
        """Return an integer of one clip, or -1 where the file does not give it."""
        return int(self.values[key][row]) if key in self.values else UNKNOWN

    def label(self, row: int) -> int:
        """Return the 0-based class of one clip.

        Raises:
            ClipError: The label is a name that ``class_names`` does not have, or below -1.
        """
        if "label" not in self.values:
            return UNKNOWN
        label = self.values["label"][row]
        if self.values["label"].dtype.kind != "U":
            return int(label)
        if str(label) not in self.class_names:
            hint = nearest(str(label), self.class_names)
            raise ClipError(
                f"clip '{self.names[row]}': label '{label}' is not among the class names{hint}"
            )
        return self.class_names.index(str(label))


@contextmanager
def open_arrays(source: Path, options: Options) -> Iterator[Recordings]:
    """Open an ``.npz`` file of the user's own recordings.

    Raises:
        SourceError: It is no such file, or its arrays do not fit each other.
        LayoutError: No layout was named, or the joints are not those of the layout.
    """
    where = f"'{source}'"
    if not source.is_file():
        found = "is a folder" if source.is_dir() else "does not exist"
        raise SourceError(f"{where} {found}; expected an .npz file with arrays x and label")
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(source))
            members = _members(archive, where)
            arrays = {
                key: read_member(archive, info, where, error=SourceError)
                for key, info in members.items()
                if key != "x"
            }
            x = stack.enter_context(archive.open(members["x"]))
            header = read_header(x, members["x"].file_size, f"{where}: 'x'", error=SourceError)
        except ARCHIVE_ERRORS as error:
            raise SourceError(f"{where} is not a readable .npz file: {error}") from error
        _check_x(header, members["x"], where)
        skeleton = _skeleton(arrays.pop("layout", None), options.layout, header, where)
        columns = _columns(arrays, header.shape[0], source)
        yield Recordings(
            skeleton=skeleton,
            class_names=columns.class_names,
            items=_items(x, header, columns, where),
            labelled=False,
            ordered=True,
            default_split="own" if "split" in columns.values else "",
            splits=_splits(columns),
        )


def _members(archive: zipfile.ZipFile, where: str) -> dict[str, zipfile.ZipInfo]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for key, info in members.items():
        if key not in KEYS:
            hint = nearest(key, KEYS)
            raise SourceError(f"{where}: unknown array '{key}'{hint} (known: {', '.join(KEYS)})")
        check_packing(info, where, SourceError)
        if key != "x" and info.file_size > MAX_COLUMN_BYTES:
            raise SourceError(f"{where}: '{key}' has {info.file_size:,} bytes, that cannot be")
    if "x" not in members:
        raise SourceError(f"{where} has no array 'x' (found: {', '.join(members) or 'nothing'})")
    return members


def _check_x(header: Header, info: zipfile.ZipInfo, where: str) -> None:
    if len(header.shape) not in (4, 5) or header.dtype.kind not in "fiu":
        raise SourceError(
            f"{where}: 'x' is {header.dtype} of shape {header.shape}; expected numbers of shape"
            " (N, C, T, V, M), or (N, T, V, C) for one person a clip"
        )
    if 0 in header.shape:
        raise SourceError(f"{where} is empty: 'x' has shape {header.shape}")
    largest = header.size if header.fortran else header.size // header.shape[0]
    if largest > MAX_CLIP_BYTES:
        raise SourceError(
            f"{where}: one clip of 'x' has {largest:,} bytes; expected at most {MAX_CLIP_BYTES:,}"
            " and rows that stand together (np.ascontiguousarray)"
        )
    if largest > ALWAYS_BYTES:
        check_ratio(info, where, SourceError)


def _skeleton(stored: Any, asked: str | None, header: Header, where: str) -> Skeleton:
    named = None
    if stored is not None and stored.dtype.kind in "US" and stored.size == 1:
        named = _texts(stored)[0]
    if asked is None and named is None:
        raise LayoutError(
            f"{where} names no layout; give --layout, one of {', '.join(layout_names())},"
            " or a .toml file of your own"
        )
    skeleton = load_layout(asked or named or "")
    if asked and named and _contradicts(named, skeleton):
        raise LayoutError(f"{where} names layout '{named}', but --layout says '{asked}'")
    joints, channels = header.shape[-2 if len(header.shape) == 4 else 3], header.shape[1]
    if len(header.shape) == 4:
        channels = header.shape[3]
    expected = (skeleton.joint_count, skeleton.coordinates.channels)
    if (joints, channels) != expected:
        raise LayoutError(
            f"{where}: 'x' of shape {header.shape} has {joints} joints of {channels} numbers, but"
            f" layout '{skeleton.name}' has {expected[0]} of {expected[1]}"
            f" ({', '.join(skeleton.coordinates.axes)});"
            " x is read as (N, T, V, C) or (N, C, T, V, M)"
        )
    return skeleton


def _contradicts(named: str, skeleton: Skeleton) -> bool:
    """Whether a file names another layout; a ``.toml`` file that is gone says nothing."""
    if not named.endswith(".toml"):
        return named != skeleton.name
    return Path(named).is_file() and load_layout(named).name != skeleton.name


def _columns(arrays: dict[str, NDArray[Any]], clips: int, source: Path) -> Columns:
    """Check that every array has one value per clip, and give clips and classes names."""
    where = f"'{source}'"
    class_names = arrays.pop("class_names", None)
    for key, array in arrays.items():
        if array.shape != (clips,):
            raise SourceError(f"{where}: '{key}' has shape {array.shape}, 'x' has {clips} clips")
        if key in INTEGERS and array.dtype.kind not in "iu":
            raise SourceError(f"{where}: '{key}' is of type {array.dtype}, expected integers")
    if "split" in arrays and not np.isin(arrays["split"], (0, 1, 2)).all():
        raise SourceError(f"{where}: 'split' holds other numbers than 0 none, 1 train, 2 test")
    names = arrays.pop("name", None)
    if names is None:
        width = len(str(clips - 1))
        texts = tuple(f"{source.stem}-{row:0{width}}" for row in range(clips))
    elif names.dtype.kind in "US":
        texts = _texts(names)
    else:
        raise SourceError(f"{where}: 'name' is of type {names.dtype}, expected texts")
    label = arrays.get("label")
    if label is not None and label.dtype.kind == "S":
        arrays["label"] = label = np.array(_texts(label))
    return Columns(arrays, _class_names(label, class_names, where), texts)


def _class_names(
    label: NDArray[Any] | None, names: NDArray[Any] | None, where: str
) -> tuple[str, ...]:
    if label is not None and label.dtype.kind not in "iuU":
        raise SourceError(
            f"{where}: 'label' is of type {label.dtype}, expected integers from 0 or names"
        )
    if names is not None:
        if names.dtype.kind not in "US" or names.ndim != 1 or len(set(_texts(names))) != len(names):
            raise SourceError(f"{where}: 'class_names' is not a list of different names")
        return _texts(names)
    if label is None:
        return ()
    if label.dtype.kind == "U":
        return tuple(sorted({str(name) for name in label}))
    if label.max() >= MAX_CLASSES:
        raise SourceError(f"{where}: label {label.max()} is no class; give class_names")
    return tuple(f"class {number}" for number in range(max(int(label.max()) + 1, 1)))


def _texts(array: NDArray[Any]) -> tuple[str, ...]:
    values = array.reshape(-1).tolist()
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values)


def _splits(columns: Columns) -> dict[str, dict[str, int]]:
    if "split" not in columns.values:
        return {}
    return {"own": dict(zip(columns.names, columns.values["split"].tolist(), strict=True))}


def _items(x: IO[bytes], header: Header, columns: Columns, where: str) -> Lazy:
    """Return the clips; where ``x`` itself is damaged, those after it cannot be read either."""
    rows = _Rows(x, header, where)
    return Lazy(
        header.shape[0],
        lambda row: Recording(columns.names[row], partial(_clip, rows, columns, row)),
    )


class _Rows:
    """``x`` clip by clip, without holding more than one of them where rows stand together."""

    def __init__(self, x: IO[bytes], header: Header, where: str) -> None:
        self._x, self._header, self._where = x, header, where
        self._begin = x.tell()
        self._whole: NDArray[Any] | None = None

    def __getitem__(self, row: int) -> NDArray[Any]:
        header = self._header
        size = header.size // header.shape[0]
        try:
            if header.fortran:
                if self._whole is None:
                    data = np.frombuffer(self._x.read(header.size), dtype=header.dtype)
                    self._whole = data.reshape(header.shape, order="F")
                return np.asarray(self._whole[row])
            begin = self._begin + row * size
            if self._x.tell() != begin:
                self._x.seek(begin)
            return np.frombuffer(self._x.read(size), dtype=header.dtype).reshape(header.shape[1:])
        except (*ARCHIVE_ERRORS, ValueError) as error:
            raise SourceError(f"{self._where}: 'x' is damaged or cut short: {error}") from error


def _clip(rows: _Rows, columns: Columns, row: int) -> Clip:
    """Turn one row of ``x``, (C, T, V, M) or (T, V, C), into a clip without padding."""
    block = rows[row]
    name = columns.names[row]
    people = block[None] if block.ndim == 3 else block.transpose(3, 1, 2, 0)  # (M, T, V, C)
    # NaN counts as seen, so that it is found and named; some NaN make NumPy complain.
    with np.errstate(invalid="ignore"):
        seen = np.asarray(people.any(axis=(2, 3)))  # (M, T)
    if "frames" in columns.values:
        frames = columns.number("frames", row)
        if not 1 <= frames <= people.shape[1]:
            raise ClipError(
                f"clip '{name}': frames {frames} is outside 1..{people.shape[1]}, the length of x"
            )
    else:
        frames = int(np.flatnonzero(seen.any(axis=0)).max(initial=-1)) + 1
    tracks: list[Track] = []
    for person in np.flatnonzero(seen[:, :frames].any(axis=1)):
        times = np.flatnonzero(seen[person, :frames])
        joints = people[person, times[0] : times[-1] + 1]
        tracks.append(Track(joints, first=int(times[0]), person=int(person)))
    return Clip(
        name=name,
        tracks=tuple(tracks),
        frames=frames,
        label=columns.label(row),
        subject=columns.number("subject", row),
        camera=columns.number("camera", row),
        setup=columns.number("setup", row),
        replication=columns.number("replication", row),
    )


def matches_arrays(path: Path) -> bool:
    """Whether the path ends in ``.npz``."""
    return path.suffix == ".npz" and path.is_file()


ARRAYS = Format(
    name="arrays",
    summary="your own arrays: x, label and optionally subject, camera, ... in one .npz",
    layouts=(),
    matches=matches_arrays,
    open=open_arrays,
    looks="an .npz with an array x",
)
