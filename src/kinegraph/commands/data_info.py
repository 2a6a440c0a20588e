"""``kinegraph data info``: what a store holds and how it came to be, as tables or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import console, say, to_json
from kinegraph.data.inspection import describe_store
from kinegraph.data.store import open_store
from kinegraph.data.verifying import verify_store

LEFT_OUT_SHOWN = 20
LONGEST_VALUE = 60


class Arguments(BaseModel):
    """Show what a store holds: classes, subjects, cameras, people, lengths, splits."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    store: tyro.conf.Positional[Path]
    """Folder made by `kinegraph data import`."""

    verify: bool = False
    """First read every file and compare it with its checksum; damage ends with exit code 2."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON."""


def run(arguments: Arguments) -> int:
    """Describe a store."""
    if arguments.verify:
        verify_store(arguments.store)
    facts = describe_store(open_store(arguments.store))
    if arguments.as_json:
        say(to_json(facts))
    else:
        _show(facts)
        if arguments.verify:
            say("every file is what was written")
    return 0


def _show(facts: dict[str, Any]) -> None:
    """Print the facts of `describe_store` as tables."""
    from rich.markup import escape
    from rich.table import Table

    overview = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    overview.add_column(style="bold")
    overview.add_column()
    for name, text in _overview(facts).items():
        overview.add_row(name, escape(text))
    classes = Table(box=None, padding=(0, 2, 0, 0))
    classes.add_column("label", justify="right")
    classes.add_column("class")
    classes.add_column("clips", justify="right")
    for label, (name, count) in enumerate(facts["classes"].items()):
        classes.add_row(str(label), escape(name), str(count))
    splits = Table(box=None, padding=(0, 2, 0, 0))
    splits.add_column("split that works")
    splits.add_column("train", justify="right")
    splits.add_column("test", justify="right")
    for name, sizes in facts["splits"].items():
        marked = f"{name} (default)" if name == facts["default_split"] else name
        splits.add_row(escape(marked), str(sizes["train"]), str(sizes["test"]))
    for table in (overview, classes, splits):
        console().print(table)
        console().print()
    for left in facts["left_out"][:LEFT_OUT_SHOWN]:
        say(f"left out {left['clip']}: {left['reason']}")
    if len(facts["left_out"]) > LEFT_OUT_SHOWN:
        say(f"... and {len(facts['left_out']) - LEFT_OUT_SHOWN} more, all of them in meta.json")


def _overview(facts: dict[str, Any]) -> dict[str, str]:
    lengths = ", ".join(f"{q} {n}" for q, n in facts["length_percentiles"].items())
    persons = ", ".join(
        f"{n} with {m} {'person' if m == '1' else 'people'}"
        for m, n in facts["clips_by_persons"].items()
    )
    rows = {
        "store": facts["store"],
        "source": facts["source"],
        "size": f"{facts['bytes'] / 1e6:.1f} MB, {facts['dtype']}",
        "layout": f"{facts['layout']}: {facts['joints']} joints,"
        f" {', '.join(facts['axes'])} in {facts['unit']}",
        "clips": f"{facts['clips']} ({persons}), {facts['frames']} frames",
        "lengths": f"{lengths} frames",
    }
    for kind in ("subjects", "cameras", "setups"):
        if facts[kind]:
            rows[kind] = f"{len(facts[kind])}: {', '.join(facts[kind])}"
    if facts["unlabelled"]:
        rows["unlabelled"] = f"{facts['unlabelled']} clips"
    if facts["left_out"]:
        rows["left out"] = f"{len(facts['left_out'])} recordings"
    if facts["missing"]:
        rows["missing"] = f"{len(facts['missing'])} recordings of a published list"
    if shard := facts["shard"]:
        rows["shard"] = (
            f"{shard['number']} of {shard['of']}: recordings {shard['begin']} to"
            f" {shard['end'] - 1} of {shard['recordings']}; data merge makes a store of all shards"
        )
    return rows | _made(facts["provenance"])


def _made(provenance: dict[str, Any]) -> dict[str, str]:
    """Return how a store came to be."""
    rows = {"made by": f"kinegraph {provenance.get('kinegraph', '?')}"}
    if "merged" in provenance:
        rows["made by"] += f", merged from {len(provenance['merged'])} stores"
    for kind in ("options", "notes"):
        values = provenance.get(kind) or {}
        if values:
            rows[kind] = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
    return rows


def _short(value: Any) -> str:
    """Return a value in a few words; a file goes by its name."""
    if isinstance(value, dict) and "name" in value:
        value = value["name"]
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
