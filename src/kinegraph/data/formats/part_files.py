"""Arrays of clips in files of their own for training and validation, with labels beside them.

ST-GCN writes ``train_data.npy`` and ``train_label.pkl`` (names and labels), and the same for
``val``; AimCLR's preparation to 50 frames ``train_position.npy`` with ``train_label.npy`` or
``.pkl``. Arrays are (N, C, T, V, M); clips are read one by one, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import open_npy
from kinegraph.data.clip import Clip
from kinegraph.data.formats.dense_rows import DenseRows, open_npy_rows
from kinegraph.data.formats.processed import (
    check_labels,
    check_name,
    class_names_of,
    dense_clip,
    find_layout,
    last_seen,
    ntu_class_count,
)
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.errors import SourceError, StoreError
from kinegraph.pickles import read_pickle
from kinegraph.skeleton import Skeleton

PARTS = {"train": 1, "val": 2, "test": 2}
NTU_SPLIT = re.compile(r"xsub|xview|xset")


@dataclass(frozen=True)
class Kind:
    """What the files of a format are called.

    Attributes:
        ending: How the arrays' names end, after ``train`` and ``val``.
        padded: Whether empty frames at the end of a clip are padding.
    """

    ending: str
    padded: bool


@dataclass(frozen=True)
class Part:
    """One file of clips: its rows, with a name and a label for each, and its side of the split."""

    side: int
    rows: DenseRows
    names: tuple[str, ...]
    labels: NDArray[np.int64]


@contextmanager
def open_part_files(kind: Kind, source: Path, options: Options) -> Iterator[Recordings]:
    """Open a folder of such files, or one of the arrays.

    Raises:
        SourceError: There is no such file, or labels and clips do not match.
        LayoutError: No layout is known, or it does not fit.
    """
    with ExitStack() as stack:
        parts = [_part(file, kind, stack) for file in part_files(kind, source)]
        skeleton = _skeleton(parts, options.layout, f"'{source}'")
        ends = list(accumulate(len(part.names) for part in parts))
        names = [name for part in parts for name in part.names]
        known = max(int(part.labels.max()) for part in parts) + 1
        split = _split_name(source)

        def recording(row: int) -> Recording:
            number = next(number for number, end in enumerate(ends) if row < end)
            part, own = parts[number], row - ends[number] + len(parts[number].names)
            return Recording(part.names[own], partial(_clip, part, own, kind))

        yield Recordings(
            skeleton=skeleton,
            class_names=class_names_of(skeleton.name, ntu_class_count(names, known)),
            items=Lazy(ends[-1], recording),
            default_split=split,
            splits={split: {name: part.side for part in parts for name in part.names}},
        )


def part_files(kind: Kind, source: Path) -> list[Path]:
    """Return the arrays of a folder, training before validation, or the one that is named.

    Raises:
        SourceError: There is none.
    """
    if source.is_file() and source.name.endswith(kind.ending):
        return [source]
    found = [source / f"{part}{kind.ending}" for part in PARTS]
    found = [file for file in found if file.is_file()]
    if not found:
        raise SourceError(
            f"'{source}' holds no train{kind.ending} and no val{kind.ending}; name the folder that"
            " holds them"
            if source.exists()
            else f"'{source}' does not exist"
        )
    return found


def _part(file: Path, kind: Kind, stack: ExitStack) -> Part:
    rows = stack.enter_context(open_npy_rows(file))
    if len(rows.shape) != 5:
        raise SourceError(f"'{file}' has shape {rows.shape}, expected (N, C, T, V, M)")
    stem = file.name.removesuffix(kind.ending)
    names, labels, where = _labels(file.with_name(f"{stem}_label"), stem)
    if len(labels) != len(rows):
        raise SourceError(
            f"{where} has {len(labels)} labels, but '{file}' {len(rows)} clips; they do not belong"
            " together"
        )
    return Part(PARTS.get(stem, 1), rows, names, labels)


def _labels(beside: Path, stem: str) -> tuple[tuple[str, ...], NDArray[np.int64], str]:
    """Return names, labels and where they are from; an ``.npy`` file has no names."""
    pickled, plain = beside.with_suffix(".pkl"), beside.with_suffix(".npy")
    if pickled.is_file():
        return *_pickled_labels(pickled), f"'{pickled}'"
    if not plain.is_file():
        raise SourceError(f"'{pickled}' does not exist; it says which class each clip shows")
    try:
        array = open_npy(plain, memory_map=False)
    except StoreError as error:
        raise SourceError(str(error)) from error
    labels = check_labels(array, len(array) if array.ndim else 0, f"'{plain}'")
    return tuple(f"{stem}_{row}" for row in range(len(labels))), labels, f"'{plain}'"


def _pickled_labels(file: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Read (names, labels)."""
    where = f"'{file}'"
    content = read_pickle(file, error=SourceError)
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise SourceError(f"{where} is no pair of names and labels")
    names, labels = (list(_plain(each)) for each in content)
    if len(names) != len(labels):
        raise SourceError(f"{where} has {len(names)} names and {len(labels)} labels")
    if not all(isinstance(label, int | np.integer) for label in labels):
        raise SourceError(f"{where}: a label is no whole number")
    if any(abs(int(label)) > np.iinfo(np.int32).max for label in labels):
        raise SourceError(f"{where}: a label is far too large")
    numbers = check_labels(np.array(labels, dtype=np.int64), len(labels), where)
    return tuple(check_name(name, where) for name in names), numbers


def _plain(values: Any) -> list[Any] | tuple[Any, ...]:
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    return plain if isinstance(plain, list | tuple) else ()


def _skeleton(parts: list[Part], asked: str | None, where: str) -> Skeleton:
    shapes = {part.rows.shape[1:] for part in parts}
    sizes = {(shape[2], shape[0]) for shape in shapes}
    if len(sizes) > 1:
        raise SourceError(f"{where}: its arrays have different joints, {sorted(shapes)}")
    return find_layout(asked, *sizes.pop(), where)


def _split_name(source: Path) -> str:
    """Return the benchmark that the folder is named after, as the originals name theirs."""
    for part in reversed(source.absolute().parts):
        if found := NTU_SPLIT.search(part.lower()):
            return found[0]
    return "own"


def _clip(part: Part, row: int, kind: Kind) -> Clip:
    name = part.names[row]
    people = part.rows[row].transpose(3, 1, 2, 0)  # (C, T, V, M) -> (M, T, V, C)
    frames = last_seen(people, name)
    label = int(part.labels[row])
    return dense_clip(name, people, label, frames if kind.padded else people.shape[1])


def matches_part_files(kind: Kind, path: Path) -> bool:
    """Whether a folder holds such arrays, or the path is one."""
    try:
        return bool(part_files(kind, path))
    except SourceError:
        return False


def _format(name: str, summary: str, layouts: tuple[str, ...], kind: Kind) -> Format:
    return Format(
        name=name,
        summary=summary,
        layouts=layouts,
        matches=partial(matches_part_files, kind),
        open=partial(open_part_files, kind),
        looks=f"train{kind.ending} and val{kind.ending} with their labels",
    )


STGCN_NPY = _format(
    "stgcn-npy",
    "train_data.npy and train_label.pkl, as ST-GCN prepares NTU and Kinetics",
    ("ntu25", "openpose18"),
    Kind("_data.npy", padded=True),
)
AIMCLR_NPY = _format(
    "aimclr-npy",
    "train_position.npy with 50 frames, as AimCLR and CrosSCLR prepare NTU and PKU-MMD",
    ("ntu25",),
    Kind("_position.npy", padded=False),
)
