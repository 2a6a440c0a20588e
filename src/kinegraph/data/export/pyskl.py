"""PYSKL's annotation pickle: all clips with a label, and the splits that the store knows.

Coordinates are float16 as in the published files, unless float32 is asked for: float16 keeps 11
bits, 2 mm at 3 m, or one pixel in 1,920. A layout with scores becomes ``keypoint`` and
``keypoint_score``; extras ``height`` and ``width`` become ``img_shape``. ``class_names`` stands
beside ``split`` and ``annotations``; PYSKL does not look at it.

The form cannot hold other extras, nor the subject, camera and setup of clips whose names do not
tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.export.pickle_stream import write_dict_with_list
from kinegraph.data.export.writing import Export, ExportOptions, Progress, dense, read_clips
from kinegraph.data.formats.processed import BODIES, NTU_CLASSES
from kinegraph.data.splits import split_rows, working_splits
from kinegraph.data.store import Store
from kinegraph.errors import OutputError

DTYPES = ("float16", "float32")
BENCHMARKS = dict(zip(NTU_CLASSES, (("xsub", "xview"), ("xsub", "xset")), strict=True))


def write_pyskl(
    store: Store, path: Path, options: ExportOptions, progress: Progress, out: Path
) -> dict[str, int]:
    """Write one pickle, clip by clip.

    Raises:
        OutputError: No clip has a label, or a coordinate is too large for float16.
        SplitError: There is no such split.
    """
    if out.suffix not in (".pkl", ".pickle"):
        raise OutputError(f"'{out}' must end in .pkl, as the original programs expect")
    dtype = options.dtype or DTYPES[0]
    if dtype not in DTYPES:
        raise OutputError(f"--dtype is '{dtype}', expected {' or '.join(DTYPES)}")
    rows = np.flatnonzero(store.clips["label"] != UNKNOWN)
    if len(rows) == 0:
        raise OutputError(f"no clip of store '{store.path}' has a label: PYSKL needs them")
    listed, sizes = _listed(store, options.split)
    fields = {"split": listed, "class_names": list(store.class_names)}
    shown = progress(rows.tolist(), f"writing {out.name}", len(rows))
    with path.open("wb") as file:
        count = write_dict_with_list(file, fields, "annotations", _items(store, shown, dtype))
    return {"annotations": count, **sizes}


def _listed(store: Store, split: str | None) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return PYSKL's lists of clips, and their sizes."""
    lists: dict[str, list[str]] = {}
    for name in _splits(store) if split is None else (split,):
        train, test = split_rows(store, name)
        for side, rows in (("train", train), ("val", test)):
            lists[_key(name, side)] = [str(clip) for clip in store.clips["name"][rows]]
    return lists, {key: len(clips) for key, clips in lists.items()}


def _splits(store: Store) -> list[str]:
    """Return the splits of the store itself, and those that are published for NTU."""
    names = [*store.stored_splits, store.default_split]
    if np.all(store.clips["setup"] != UNKNOWN):
        names += BENCHMARKS.get(store.num_classes, ())
    works = working_splits(store)
    return [name for name in dict.fromkeys(names) if name in works]


def _key(split: str, side: str) -> str:
    """Return what PYSKL calls one side of a split; formats.pyskl goes the way back."""
    if split == "own":
        return side
    number = split.removeprefix("split")
    if number != split and number.isdigit():
        return f"{'train' if side == 'train' else 'test'}{number}"
    return f"{split}_{side}"


def _items(store: Store, rows: Iterator[int], dtype: str) -> Iterator[dict[str, Any]]:
    size = store.skeleton.coordinates.positions
    scored = size < store.skeleton.coordinates.channels
    for clip in read_clips(store, rows):
        people = max(track.person for track in clip.tracks) + 1
        bodies = clip.extras.get(BODIES, np.nan)  # more of them than people where some were joined
        people = max(people, int(bodies)) if np.isfinite(bodies) else people
        with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused
            joints = dense(clip, people, clip.frames, dtype)  # (M, T, V, C)
        if not np.isfinite(joints).all():
            raise OutputError(
                f"clip '{clip.name}' has a coordinate too large for {dtype}: give --dtype float32"
            )
        item: dict[str, Any] = {
            "frame_dir": clip.name,
            "label": clip.label,
            "total_frames": clip.frames,
            **_shapes(clip),
            "keypoint": np.ascontiguousarray(joints[..., :size]),
        }
        if scored:
            item["keypoint_score"] = np.ascontiguousarray(joints[..., size])
        yield item


def _shapes(clip: Clip) -> dict[str, tuple[int, int]]:
    """Return (height, width) of the picture, where it is known, and of the original."""
    shapes = {}
    for key, prefix in (("img_shape", ""), ("original_shape", "original_")):
        height, width = (clip.extras.get(f"{prefix}{side}", np.nan) for side in ("height", "width"))
        if np.isfinite(height) and np.isfinite(width):
            shapes[key] = (int(height), int(width))
    return shapes


PYSKL = Export(
    name="pyskl",
    summary="one pickle of annotations with splits, as PYSKL and MMAction2 read it",
    files=(),
    knows=("split", "dtype"),
    write=write_pyskl,
)
