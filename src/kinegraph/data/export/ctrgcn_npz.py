"""``NTU60_CS.npz`` and its like: dense rows of all clips of a split, as CTR-GCN's feeder reads.

``x_train`` and ``x_test`` are (n, T, M*V*C) float32, person by person and joint by joint,
``y_train`` and ``y_test`` one-hot float64; T is the length of the longest clip. Rows stand in the
order of the originals, see ``row_order``. Beside them stand ``name_train``, ``name_test`` and
``class_names``, which the original programs do not look at, so that an import gives the clips their
names back.

The form cannot hold clips outside the split, empty frames at the end of a clip, extras, nor the
subject, camera and setup of clips whose names do not tell. As in the original, the only person of a
clip of NTU RGB+D 120 is repeated as the second one, unless the clip's extra ``bodies`` says that
the sensor saw more of them, which became one person: then zeros stand there.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from kinegraph.data.formats.processed import BODIES, COPYING_CLASSES
from kinegraph.data.row_order import original_rows
from kinegraph.data.store import Store
from kinegraph.errors import OutputError

SECOND = ("copy", "zeros")


def write_ctrgcn_npz(
    store: Store, path: Path, options: ExportOptions, progress: Progress, out: Path
) -> dict[str, int]:
    """Write the two sides of a split into one archive, row by row.

    Raises:
        OutputError: A clip is longer, or has more people, than was asked for.
        SplitError: There is no such split.
    """
    if out.suffix != ".npz":
        raise OutputError(f"'{out}' must end in .npz, as the original programs expect")
    copy = _copies(store, options)
    parts = dict(zip(("train", "test"), original_rows(store, options.split or ""), strict=True))
    rows = np.concatenate(list(parts.values()))
    people = options.people or 2
    frames = options.frames or int(store.clips["frames"][rows].max())
    check_people(store, rows, people, "ctrgcn-npz")
    check_frames(store, rows, frames, "ctrgcn-npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for part, own in parts.items():
            width = people * store.skeleton.joint_count * store.skeleton.coordinates.channels
            shown = progress(own.tolist(), f"writing x_{part}", len(own))
            blocks = _rows(store, shown, people, frames, copy=copy)
            # force_zip64: the size is not known before, and may be beyond 4 GB
            with archive.open(_member(f"x_{part}"), "w", force_zip64=True) as file:
                write_rows(file, (len(own), frames, width), np.float32, blocks)
            one_hot = np.eye(store.num_classes, dtype=np.float64)[store.clips["label"][own]]
            _write(archive, f"y_{part}", one_hot)
            _write(archive, f"name_{part}", store.clips["name"][own])
        _write(archive, "class_names", np.array(store.class_names))
    return {part: len(own) for part, own in parts.items()}


def _copies(store: Store, options: ExportOptions) -> bool:
    if options.second_person not in (None, *SECOND):
        raise OutputError(f"--second-person is '{options.second_person}', expected copy or zeros")
    if options.second_person is None:
        return store.num_classes == COPYING_CLASSES
    return options.second_person == "copy"


def _rows(
    store: Store, rows: Iterator[int], people: int, frames: int, *, copy: bool
) -> Iterator[NDArray[Any]]:
    """Yield (T, M*V*C) for each clip."""
    for clip in read_clips(store, rows):
        block = dense(clip, people, frames)  # (M, T, V, C)
        alone = [track.person for track in clip.tracks] == [0] and people > 1
        if copy and alone and not clip.extras.get(BODIES, 1) > 1:
            block[1] = block[0]
        yield block.transpose(1, 0, 2, 3).reshape(frames, -1)  # (T, M, V, C) -> (T, M*V*C)


def _member(name: str) -> zipfile.ZipInfo:
    # A fixed date: equal stores give equal bytes.
    return zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))


def _write(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    archive.writestr(_member(name), buffer.getvalue())


CTRGCN_NPZ = Export(
    name="ctrgcn-npz",
    summary="one .npz of a split, as CTR-GCN, FR-Head, LST and InfoGCN read NTU",
    files=(),
    knows=("split", "frames", "people", "second_person"),
    write=write_ctrgcn_npz,
)
