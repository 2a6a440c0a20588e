"""``kinegraph data merge``: the shards of a source, or several stores, become one store."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.data.merging import merge_stores


class Arguments(BaseModel):
    """Make one store of several.

    Shards made by `data import --shard i/n` may be named in any order; all n must be there, and the
    result is the store that one import gives. Whole stores of one layout with the same classes are
    joined in the order in which they are named.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    stores: tyro.conf.Positional[tuple[Path, ...]]
    """Shards, or whole stores."""

    out: Path
    """Folder to be made."""

    force: bool = False
    """Replace a store that is there already."""


def run(arguments: Arguments) -> int:
    """Merge stores and say what became of them."""
    store = merge_stores(arguments.stores, arguments.out, force=arguments.force)
    if left_out := len(store.meta["left_out"]):
        remark(f"{left_out} recordings were left out; meta.json lists them")
    say(
        f"{len(store)} clips of {store.num_classes} classes from {len(arguments.stores)} stores,"
        f" in {arguments.out}"
    )
    return 0
