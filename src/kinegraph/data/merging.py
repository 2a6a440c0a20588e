"""One store out of several: the shards of a source, or whole stores with the same classes.

Shards that were read on several machines give, byte for byte, the store that one import of
everything gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinegraph.data.importing.joining import join_stores
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import StoreWriter, create_store
from kinegraph.errors import StoreError

NAMED_AT_ONCE = 5
# What all shards of one import agree on, and what a message calls it.
SHARED = {
    "source": "the source",
    "provenance": "the source, the options or the version",
    "default_split": "the default split",
    "splits": "the splits",
    "missing": "the recordings that a published list leaves out",
}


def merge_stores(paths: Sequence[Path], out: Path, *, force: bool = False) -> Store:
    """Write one store with the clips of several.

    Shards may come in any order, and must be all shards of one import. Whole stores are joined in
    their order; a split is kept where all of them have it.

    Args:
        paths: The stores.
        out: The store to be made.
        force: Replace a store that stands at ``out``.

    Raises:
        StoreError: A store is damaged, shards are missing or of different imports, layouts or
            classes differ, or two stores have clips of one name.
        OutputError: ``out`` exists and may not be replaced, or the disk refuses.
    """
    stores = [open_store(path) for path in paths]
    if not stores:
        raise StoreError("there is nothing to merge; name the stores")
    for path in paths:
        if Path(path).absolute().resolve() == Path(out).absolute().resolve():
            raise StoreError(f"'{out}' is merged itself and cannot be replaced; choose another out")
    for other in stores[1:]:
        _check_alike(stores[0], other)
    sharded = [store for store in stores if store.shard is not None]
    if sharded and len(sharded) < len(stores):
        whole = next(store for store in stores if store.shard is None)
        raise StoreError(
            f"'{sharded[0].path}' is a shard and '{whole.path}' is a whole store; merge all shards"
            " first"
        )
    if sharded:
        stores = _in_order(stores)
    first = stores[0]
    source = str(first.meta["source"]) if sharded else _sources(stores)
    with create_store(
        out,
        first.skeleton,
        first.class_names,
        source=source,
        dtype=first.joints.dtype.name,
        force=force,
    ) as writer:
        (_merge_shards if sharded else _merge_whole)(writer, stores)
    return open_store(out)


def _merge_shards(writer: StoreWriter, stores: list[Store]) -> None:
    meta = stores[0].meta
    writer.provenance = dict(meta["provenance"])
    writer.default_split = meta["default_split"]
    writer.missing = list(meta["missing"])
    join_stores(writer, stores)


def _merge_whole(writer: StoreWriter, stores: list[Store]) -> None:
    join_stores(writer, stores)
    clips = sum(map(len, stores))
    if len(writer) < clips:
        repeated = [entry["clip"] for entry in writer.left_out if "occurs twice" in entry["reason"]]
        names = ", ".join(repr(name) for name in repeated[-(clips - len(writer)) :][:NAMED_AT_ONCE])
        raise StoreError(
            f"{clips - len(writer)} clip names occur in more than one of these stores, the first"
            f" of them {names}; nothing was written"
        )
    defaults = {store.default_split for store in stores}
    if len(defaults) == 1:
        writer.default_split = defaults.pop()
    for store in stores:
        writer.missing += store.meta["missing"]
    writer.provenance = {"merged": [_summary(store) for store in stores]}


def _summary(store: Store) -> dict[str, Any]:
    """Return what a merged store says of one that it was made of."""
    names = ("source", "clips", "provenance", "checksums")
    return {name: store.meta[name] for name in names}


def _sources(stores: Sequence[Store]) -> str:
    return " + ".join(str(store.meta["source"]) for store in stores)


def _check_alike(first: Store, other: Store) -> None:
    pair = f"'{first.path}' and '{other.path}' cannot be merged"
    if other.skeleton != first.skeleton:
        raise StoreError(
            f"{pair}: their layouts '{first.skeleton.name}' and '{other.skeleton.name}' differ"
        )
    if other.class_names != first.class_names:
        raise StoreError(
            f"{pair}: their classes differ ({len(first.class_names)} and"
            f" {len(other.class_names)}, or other names)"
        )
    types = first.joints.dtype, other.joints.dtype
    if types[0] != types[1]:
        raise StoreError(f"{pair}: one holds {types[0]}, the other {types[1]}; use one --dtype")


def _in_order(stores: Sequence[Store]) -> list[Store]:
    """Return shards by number.

    Raises:
        StoreError: They are not all shards of one import, each of them once.
    """
    found: dict[int, Store] = {}
    for store in stores:
        number = _shard(store)["number"]
        if number in found:
            raise StoreError(
                f"shard {number} is there twice: '{found[number].path}' and '{store.path}'"
            )
        _check_siblings(stores[0], store)
        found[number] = store
    of = _shard(stores[0])["of"]
    absent = [str(number) for number in range(1, of + 1) if number not in found]
    if absent:
        more = " and more" if len(absent) > NAMED_AT_ONCE else ""
        verb = "is" if len(absent) == 1 else "are"
        raise StoreError(
            f"of {of} shards, {', '.join(absent[:NAMED_AT_ONCE])}{more} {verb} missing; a store"
            " needs all of them"
        )
    ordered = [found[number] for number in sorted(found)]
    end = 0
    for store in ordered:
        if _shard(store)["begin"] != end:
            raise StoreError(f"'{store.path}' does not begin where the shard before it ends")
        end = _shard(store)["end"]
    return ordered


def _check_siblings(first: Store, other: Store) -> None:
    pair = f"'{first.path}' and '{other.path}' are no shards of one import"
    for name, what in SHARED.items():
        if other.meta[name] != first.meta[name]:
            raise StoreError(f"{pair}: {what} differ ('{name}' in meta.json)")
    own, others = _shard(first), _shard(other)
    for name in ("of", "recordings"):
        if own[name] != others[name]:
            raise StoreError(
                f"{pair}: one is of {own['of']} shards of {own['recordings']} recordings, the"
                f" other of {others['of']} of {others['recordings']}"
            )


def _shard(store: Store) -> dict[str, int]:
    assert store.shard is not None
    return store.shard
