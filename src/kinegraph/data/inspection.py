"""Looking at what a store holds: counts for people. ``kinegraph data info`` shows them.

What is odd about clips is the doctor's matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN
from kinegraph.data.splits import working_splits
from kinegraph.data.store import Store

LENGTH_QUANTILES = (0, 10, 50, 90, 100)


def describe_store(store: Store) -> dict[str, Any]:
    """Return counts of a store's clips as plain data, ready for JSON."""
    clips, tracks = store.clips, store.tracks
    labels = np.bincount(clips["label"] + 1, minlength=store.num_classes + 1)
    persons = np.bincount(np.bincount(tracks["clip"], minlength=len(store)))
    # A shard may be without a clip.
    frames = clips["frames"] if len(store) else np.zeros(1, np.int32)
    lengths = np.percentile(frames, LENGTH_QUANTILES).round().astype(int)
    return {
        "store": str(store.path),
        "source": store.meta["source"],
        "layout": store.skeleton.name,
        "joints": store.skeleton.joint_count,
        "axes": list(store.skeleton.coordinates.axes),
        "unit": store.skeleton.coordinates.unit,
        "dtype": store.joints.dtype.name,
        "bytes": sum(file.stat().st_size for file in store.path.iterdir() if file.is_file()),
        "clips": len(store),
        "frames": int(clips["frames"].sum()),
        "classes": {n: int(c) for n, c in zip(store.class_names, labels[1:], strict=True)},
        "unlabelled": int(labels[0]),
        "subjects": _values(clips["subject"]),
        "cameras": _values(clips["camera"]),
        "setups": _values(clips["setup"]),
        "clips_by_persons": {str(m): int(n) for m, n in enumerate(persons) if n},
        "length_percentiles": {
            f"{q}%": int(n) for q, n in zip(LENGTH_QUANTILES, lengths, strict=True)
        },
        "default_split": store.default_split,
        "splits": {
            name: {"train": train, "test": test}
            for name, (train, test) in working_splits(store).items()
        },
        "left_out": store.meta["left_out"],
        "missing": store.meta["missing"],
        "shard": store.shard,
        "provenance": store.meta["provenance"],
    }


def _values(column: NDArray[Any]) -> dict[str, int]:
    """Count the known values of a column of ``clips.npy``."""
    values, counts = np.unique(column[column != UNKNOWN], return_counts=True)
    return {str(v): int(n) for v, n in zip(values, counts, strict=True)}
