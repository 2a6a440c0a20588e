"""Arrays (N, C, T, V, M) in files of their own for training and validation, with their labels.

``stgcn-npy`` writes ``train_data.npy`` and ``train_label.pkl``, ``aimclr-npy`` the same clips
stretched to 50 frames as ``train_position.npy``, ``train_motion.npy``, ``train_label.npy`` and
``train_label.pkl``; both write the same for ``val``. Rows stand in the order of the store.

The forms cannot hold clips outside the split, class names, extras, empty frames at the end of a
clip, nor the subject, camera and setup of clips whose names do not tell.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import npy_header
from kinegraph.data.export.frame50 import FRAMES, fifty_frames
from kinegraph.data.export.writing import (
    Export,
    ExportOptions,
    Progress,
    check_frames,
    check_people,
    dense,
    read_clips,
    write_rows,
)
from kinegraph.data.formats.processed import NTU_NAME
from kinegraph.data.splits import Rows, split_rows
from kinegraph.data.store import Store
from kinegraph.errors import ClipError, OutputError

PARTS = ("train", "val")
PADDED_FRAMES = 300  # of the original files; the longest clips of NTU and Kinetics have as many
OLD_PROTOCOL = 2  # that Python 2 can read as well


def write_stgcn_npy(
    store: Store, folder: Path, options: ExportOptions, progress: Progress, out: Path
) -> dict[str, int]:
    """Write the two sides of a split, padded with zeros.

    Raises:
        OutputError: A clip is longer, or has more people, than there is room for.
        SplitError: There is no such split.
    """
    frames, people = options.frames or PADDED_FRAMES, options.people or 2
    parts = _parts(store, options, frames, people, "stgcn-npy")
    for part, rows in parts.items():
        shape = (len(rows), *_row_shape(store, people, frames))
        shown = progress(rows.tolist(), f"writing {part}_data.npy", len(rows))
        # (M, T, V, C) -> (C, T, V, M)
        found = read_clips(store, shown)
        blocks = (dense(clip, people, frames).transpose(3, 1, 2, 0) for clip in found)
        with (folder / f"{part}_data.npy").open("wb") as file:
            write_rows(file, shape, np.float32, blocks)
        _write_names(store, rows, folder / f"{part}_label.pkl")
    return {part: len(rows) for part, rows in parts.items()}


def write_aimclr_npy(
    store: Store, folder: Path, options: ExportOptions, progress: Progress, out: Path
) -> dict[str, int]:
    """Write the two sides of a split, stretched to 50 frames.

    As the originals do it, labels in ``.npy`` begin at 0 in each part; those in ``.pkl`` do not
    change; of clips longer than 300 frames, which PKU-MMD has, the middle 300 are stretched.

    Raises:
        OutputError: The layout is not NTU's, a clip has more people than there is room for, or its
            first person is in no frame.
        SplitError: There is no such split.
    """
    if store.skeleton.name not in ("ntu25", "ntu_edge"):
        raise OutputError(
            f"'aimclr-npy' turns the shoulders of layout 'ntu25'; store '{store.path}' has layout"
            f" '{store.skeleton.name}'"
        )
    people = options.people or 2
    parts = _parts(store, options, None, people, "aimclr-npy")
    for part, rows in parts.items():
        shape = (len(rows), *_row_shape(store, people, FRAMES))
        shown = progress(rows.tolist(), f"writing {part}_position.npy", len(rows))
        with ExitStack() as stack:
            position, motion = (
                stack.enter_context((folder / f"{part}_{kind}.npy").open("wb"))
                for kind in ("position", "motion")
            )
            motion.write(npy_header(shape, np.dtype(np.float32)))
            write_rows(position, shape, np.float32, _stretched(store, shown, people, motion))
        labels = store.clips["label"][rows].astype(np.int64)
        np.save(folder / f"{part}_label.npy", (labels - labels.min())[:, None])
        _write_names(store, rows, folder / f"{part}_label.pkl")
    return {part: len(rows) for part, rows in parts.items()}


def _parts(
    store: Store, options: ExportOptions, frames: int | None, people: int, name: str
) -> dict[str, Rows]:
    """Return the rows of each part, all of which fit into the form; None: of any length."""
    sides = split_rows(store, options.split or "")
    rows = np.concatenate(sides)
    check_people(store, rows, people, name)
    if frames is not None:
        check_frames(store, rows, frames, name)
    return dict(zip(PARTS, sides, strict=True))


def _row_shape(store: Store, people: int, frames: int) -> tuple[int, int, int, int]:
    skeleton = store.skeleton
    return (skeleton.coordinates.channels, frames, skeleton.joint_count, people)


def _stretched(
    store: Store, rows: Iterator[int], people: int, motion_file: Any
) -> Iterator[NDArray[np.float32]]:
    """Yield the positions of each clip; its motion goes to a file of its own meanwhile."""
    for clip in read_clips(store, rows):
        try:
            whole = dense(clip, people, max(clip.frames, PADDED_FRAMES))
            begin = (whole.shape[1] - PADDED_FRAMES) // 2
            position, motion = fifty_frames(whole[:, begin : begin + PADDED_FRAMES])
        except ClipError as error:
            raise OutputError(f"clip '{clip.name}': {error}") from error
        motion_file.write(np.ascontiguousarray(motion).tobytes())
        yield position


def _write_names(store: Store, rows: Rows, file: Path) -> None:
    """Write (names, labels), the names with the suffix of the files that the originals read."""
    suffix = ".json" if store.skeleton.name == "openpose18" else ""
    names = [str(name) for name in store.clips["name"][rows]]
    names = [name + (".skeleton" if NTU_NAME.fullmatch(name) else suffix) for name in names]
    labels = [int(label) for label in store.clips["label"][rows]]
    file.write_bytes(pickle.dumps((names, labels), protocol=OLD_PROTOCOL))


STGCN_NPY = Export(
    name="stgcn-npy",
    summary="a folder with train_data.npy and train_label.pkl, as ST-GCN reads NTU and Kinetics",
    files=tuple(f"{part}_{file}" for part in PARTS for file in ("data.npy", "label.pkl")),
    knows=("split", "frames", "people"),
    write=write_stgcn_npy,
)
AIMCLR_NPY = Export(
    name="aimclr-npy",
    summary="a folder with train_position.npy and more, 50 frames, as AimCLR and CrosSCLR read NTU",
    files=tuple(
        f"{part}_{file}"
        for part in PARTS
        for file in ("position.npy", "motion.npy", "label.npy", "label.pkl")
    ),
    knows=("split", "people"),
    write=write_aimclr_npy,
)
