"""Stores that follow each other become one: parts of an import, shards, whole stores.

What is joined must have one layout, one list of classes and one type of coordinates; whoever calls
has made sure of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.store import Store
from kinegraph.data.store_writer import StoreWriter, repeated
from kinegraph.errors import StoreError


def join_stores(writer: StoreWriter, stores: Iterable[Store]) -> None:
    """Append stores to a writer, with their splits and the recordings they left out.

    Of clips with the same name the first is kept. The others are left out, as they would be in one
    import of everything; their numbers in the source are known where a store is a share of it.

    Raises:
        StoreError: A store is damaged.
    """
    splits: dict[str, list[NDArray[Any]]] = {}
    for store in stores:
        new = writer.append(store)
        left_out = list(store.meta["left_out"])
        if not new.all():
            left_out += _repeated(store, np.flatnonzero(~new))
            if store.shard is not None:
                left_out.sort(key=itemgetter("recording"))
        for entry in left_out:
            writer.leave_out(entry["clip"], entry["reason"], entry.get("recording"))
        for name, rows in store.stored_splits.items():
            splits.setdefault(name, []).append(rows[new])
    for name, columns in splits.items():
        column = np.concatenate(columns)
        if len(column) == len(writer):  # a split that only some of the stores have is none
            writer.splits[name] = column


def _repeated(store: Store, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return the entries in ``left_out`` of clips whose names were used before."""
    names: list[str] = store.clips["name"][rows].tolist()
    entries: list[dict[str, Any]] = [{"clip": name, "reason": repeated(name)} for name in names]
    if store.shard is not None:
        numbers = _numbers(store)[rows].tolist()
        entries = [{"recording": n} | entry for n, entry in zip(numbers, entries, strict=True)]
    return entries


def _numbers(store: Store) -> NDArray[np.int64]:
    """Return (clips,) numbers in the source: those of its share that were not left out."""
    assert store.shard is not None
    left = [entry.get("recording", -1) for entry in store.meta["left_out"]]
    every = np.arange(store.shard["begin"], store.shard["end"])
    numbers = np.setdiff1d(every, np.array(left, dtype=np.int64), assume_unique=True)
    if len(numbers) != len(store):
        raise StoreError(
            f"store '{store.path}' is damaged: of {len(every)} recordings it left out {len(left)},"
            f" but it has {len(store)} clips; import the recordings again"
        )
    return numbers
