"""``NTU60_CS.npz`` and its like: the NTU data sets as CTR-GCN and its relatives prepare them.

``x_train`` and ``x_test`` are (n, T, M*V*3), person by person and joint by joint, ``y_train`` and
``y_test`` one-hot rows. Rows are read one by one, so that the 10 or 20 GB never lie in memory; of a
file that is not compressed in any order, otherwise from the front. Clips have no names there but
``train_0``, ``test_0`` and so on, unless arrays ``name_train`` and ``name_test`` stand beside them,
as ``kinegraph data export`` writes them.

Differs from the original: files of NTU RGB+D 120 repeat the only person of a clip as the second
one. Such a copy is left out here; the clip has one person. Where such a file has zeros instead, the
original has put two bodies of the sensor together as one person: the clip's extra ``bodies`` is 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import MAX_PERSONS, Clip
from kinegraph.data.formats.dense_rows import Archive, DenseRows, open_npz
from kinegraph.data.formats.processed import (
    BODIES,
    COPYING_CLASSES,
    check_labels,
    check_name,
    class_names_of,
    dense_clip,
    last_seen,
)
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.errors import LayoutError, SourceError
from kinegraph.skeleton import Skeleton, load_layout

PARTS = ("train", "test")
SPLIT_WORDS = {"csub": "xsub", "cset": "xset", "cs": "xsub", "cv": "xview"}  # longest first


@dataclass(frozen=True)
class Part:
    """One of the two halves of a file: its rows, with a label and a name for each."""

    side: int  # 1 train, 2 test
    rows: DenseRows
    labels: NDArray[np.int64]
    names: tuple[str, ...]


@contextmanager
def open_ctrgcn_npz(source: Path, options: Options) -> Iterator[Recordings]:
    """Open an ``.npz`` file as CTR-GCN prepares it.

    Raises:
        SourceError: It is no such file, or its arrays do not fit each other.
        LayoutError: Its rows do not fit the layout.
    """
    with open_npz(source) as archive:
        columns, classes = _labels(archive)
        parts = [_part(archive, part, columns[part]) for part in PARTS if part in columns]
        shape = parts[0].rows.shape
        if any(part.rows.shape[2:] != shape[2:] for part in parts):
            raise SourceError(f"{archive.where}: x_train and x_test have rows of different lengths")
        skeleton = _skeleton(options.layout, shape[-1], archive.where)
        split = _split_name(source)
        first, copies = len(parts[0].labels), classes == COPYING_CLASSES

        def recording(row: int) -> Recording:
            part, own = parts[row >= first], row - first * (row >= first)
            return Recording(part.names[own], partial(_clip, part, own, skeleton, copies))

        yield Recordings(
            skeleton=skeleton,
            class_names=_class_names(archive, skeleton, classes),
            items=Lazy(
                sum(len(part.labels) for part in parts),
                recording,
            ),
            default_split=split,
            splits={split: {name: part.side for part in parts for name in part.names}},
            ordered=any(part.rows.ordered for part in parts),
            notes={"copies of the only person as a second one": "left out"},
        )


def _labels(archive: Archive) -> tuple[dict[str, NDArray[np.int64]], int]:
    """Return the labels of each part that is there, and the number of classes."""
    found = [part for part in PARTS if f"x_{part}" in archive.names]
    lacking = [f"y_{part}" for part in found if f"y_{part}" not in archive.names]
    if not found or lacking:
        raise SourceError(
            f"{archive.where} is no file as CTR-GCN prepares it: it has no"
            f" '{lacking[0] if lacking else 'x_train'}' (found: {', '.join(archive.names)})"
        )
    columns, classes = {}, 0
    for part in found:
        labels = archive.whole(f"y_{part}")
        clips = len(np.atleast_1d(labels))
        columns[part] = check_labels(labels, clips, f"{archive.where}: 'y_{part}'")
        one_hot = labels.ndim == 2 and labels.shape[1] > 1
        known = labels.shape[1] if one_hot else int(columns[part].max(initial=0)) + 1
        classes = max(classes, known)
    return columns, classes


def _part(archive: Archive, part: str, labels: NDArray[np.int64]) -> Part:
    rows = archive.rows(f"x_{part}")
    if len(rows.shape) != 3 or len(rows) != len(labels):
        raise SourceError(
            f"{archive.where}: 'x_{part}' has shape {rows.shape} and 'y_{part}' {len(labels)} rows;"
            " expected (clips, frames, people * joints * 3) and as many labels as clips"
        )
    names: tuple[str, ...] = tuple(f"{part}_{row}" for row in range(len(labels)))
    if f"name_{part}" in archive.names:
        stored = archive.whole(f"name_{part}")
        if stored.shape != labels.shape or stored.dtype.kind != "U":
            raise SourceError(f"{archive.where}: 'name_{part}' is not one name for each clip")
        names = tuple(check_name(name, archive.where) for name in stored.tolist())
    return Part(1 + PARTS.index(part), rows, labels, names)


def _skeleton(asked: str | None, width: int, where: str) -> Skeleton:
    """Return the layout; the 150 numbers of a frame are two people of 25 joints."""
    skeleton = load_layout(asked or "ntu25")
    numbers = skeleton.joint_count * skeleton.coordinates.channels
    if width % numbers or not 1 <= width // numbers <= MAX_PERSONS:
        raise LayoutError(
            f"{where} has {width} numbers a frame, which are not people of layout"
            f" '{skeleton.name}' with {numbers} each; give another --layout"
        )
    return skeleton


def _class_names(archive: Archive, skeleton: Skeleton, classes: int) -> tuple[str, ...]:
    if "class_names" in archive.names:
        names = archive.whole("class_names")
        if names.dtype.kind == "U" and names.ndim == 1 and len(names) >= classes:
            return tuple(names.tolist())
        raise SourceError(f"{archive.where}: 'class_names' are not texts for {classes} classes")
    return class_names_of(skeleton.name, classes)


def _split_name(source: Path) -> str:
    """Return what the file name says: ``NTU60_CS`` is ``xsub``; ``own`` where it says nothing."""
    words = source.stem.lower().replace("-", "_").split("_")
    found = (split for word, split in SPLIT_WORDS.items() if word in words)
    by_name = (split for split in ("xsub", "xview", "xset") if split in words)
    return next(found, next(by_name, "own"))


def _clip(part: Part, row: int, skeleton: Skeleton, copies: bool) -> Clip:
    """Turn one row (T, M*V*C) into a clip without padding and without a copied person."""
    block = part.rows[row]
    joints = (skeleton.joint_count, skeleton.coordinates.channels)
    people = block.reshape(len(block), -1, *joints).transpose(1, 0, 2, 3)  # (M, T, V, C)
    extras = {}
    if len(people) == 2 and np.array_equal(people[0], people[1]):
        people = people[:1]
    elif copies and len(people) == 2 and not people[1].any():
        extras[BODIES] = 2
    name = part.names[row]
    return dense_clip(name, people, int(part.labels[row]), last_seen(people, name), extras)


def matches_ctrgcn_npz(path: Path) -> bool:
    """Whether an ``.npz`` file holds ``x_train`` or ``x_test``."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    try:
        with open_npz(path) as archive:
            names: Any = archive.names
            return "x_train" in names or "x_test" in names
    except SourceError:
        return False


CTRGCN_NPZ = Format(
    name="ctrgcn-npz",
    summary="NTU60_CS.npz and the like, as CTR-GCN, FR-Head, LST and InfoGCN prepare them",
    layouts=("ntu25",),
    matches=matches_ctrgcn_npz,
    open=open_ctrgcn_npz,
    looks="an .npz with x_train and x_test",
)
