"""``kinegraph data import``, ``data info`` and ``data check``: recordings become stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import console, progress, remark, say
from kinegraph.data.clip import check_clip
from kinegraph.data.formats import open_recordings
from kinegraph.data.importing import import_data
from kinegraph.data.inspection import describe_store, doubts
from kinegraph.data.store import Store, open_store
from kinegraph.errors import ClipError

DOUBTS_SHOWN = 20


class ImportArguments(BaseModel):
    """Turn downloaded recordings, or your own arrays, into a store.

    Recordings that cannot be used are named and nothing is written; --skip-bad leaves them out.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: tyro.conf.Positional[str]
    """Form of the recordings: nw-ucla or arrays (see `kinegraph list datasets`)."""

    source: tyro.conf.Positional[Path]
    """File, folder or zip archive that holds them."""

    out: Path
    """Folder to be made."""

    layout: str | None = None
    """Skeleton layout, or a .toml file of your own; for arrays that do not name it."""

    dtype: Literal["float32", "float16"] = "float32"
    """Type of the coordinates in the store."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used and list them in meta.json."""

    force: bool = False
    """Replace a store that is there already."""


class InfoArguments(BaseModel):
    """Show what a store holds: classes, subjects, cameras, people, lengths, splits."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    store: tyro.conf.Positional[Path]
    """Folder made by `kinegraph data import`."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON."""


class CheckArguments(BaseModel):
    """Read everything and list doubtful clips; damage ends with exit code 2."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: tyro.conf.Positional[Path]
    """A store, or recordings as `data import` and `predict` read them."""

    layout: str | None = None
    """Skeleton layout of recordings that do not name it."""

    all: bool = False
    """List every doubtful clip, not only the first ones."""


def run_import(arguments: ImportArguments) -> int:
    """Import a data set and say what was read."""
    report = import_data(
        arguments.format,
        arguments.source,
        arguments.out,
        skip_bad=arguments.skip_bad,
        force=arguments.force,
        layout=arguments.layout,
        dtype=arguments.dtype,
        progress=progress,
    )
    store = open_store(report.store)
    for name, reason in report.left_out:
        remark(f"left out {name}: {reason}")
    if report.empty_classes:
        remark(f"no clip shows: {', '.join(report.empty_classes)} (labels count from 0)")
    say(
        f"{report.clips} clips of {store.num_classes} classes, layout {store.skeleton.name},"
        f" in {report.store} ({report.seconds:.1f} s)"
    )
    if store.default_split:
        sizes = describe_store(store)["splits"].get(store.default_split)
        if sizes:
            say(f"split {store.default_split}: {sizes['train']} train, {sizes['test']} test")
    return 0


def run_info(arguments: InfoArguments) -> int:
    """Describe a store."""
    facts = describe_store(open_store(arguments.store))
    if arguments.as_json:
        say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(facts)
    return 0


def run_check(arguments: CheckArguments) -> int:
    """Verify a store or recordings and list what is doubtful."""
    if arguments.path.is_dir() and (arguments.path / "meta.json").exists():
        count, odd = _check_store(open_store(arguments.path))
    else:
        count, odd = _check_recordings(arguments.path, arguments.layout)
    shown = odd if arguments.all else odd[:DOUBTS_SHOWN]
    for name, doubt in shown:
        say(f"doubtful {name}: {doubt}")
    if len(odd) > len(shown):
        say(f"... and {len(odd) - len(shown)} more; --all lists them")
    clips = "1 clip" if count == 1 else f"{count} clips"
    doubtful = len({name for name, _ in odd})
    say(f"{arguments.path} is whole: {clips}, {doubtful or 'none'} doubtful")
    return 0


def _check_store(store: Store) -> tuple[int, list[tuple[str, str]]]:
    """Compare checksums, then look at every clip.

    Raises:
        StoreError: The store is damaged.
        ClipError: A clip in it is not what a store may hold.
    """
    store.verify()
    odd = []
    for row in progress(range(len(store)), "checking", len(store)):
        clip = store.clip(row)
        check_clip(clip, store.skeleton, store.num_classes)
        odd += [(clip.name, doubt) for doubt in doubts(clip, store.skeleton)]
    return len(store), odd


def _check_recordings(path: Path, layout: str | None) -> tuple[int, list[tuple[str, str]]]:
    """Read recordings without storing them.

    Raises:
        ClipError: Some cannot be used.
    """
    odd, bad = [], []
    with open_recordings(path, layout=layout) as recordings:
        classes = len(recordings.class_names)
        for item in progress(recordings.items, "checking", recordings.count):
            try:
                clip = item.read()
                check_clip(clip, recordings.skeleton, classes or None)
            except ClipError as error:
                bad.append(str(error))
                continue
            odd += [(clip.name, doubt) for doubt in doubts(clip, recordings.skeleton)]
        if bad:
            for reason in bad[1:]:
                remark(reason)
            verb = "is" if len(bad) == 1 else "are"
            raise ClipError(f"{len(bad)} of {recordings.count} recordings {verb} bad: {bad[0]}")
        return recordings.count, odd


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
    for left in facts["left_out"]:
        say(f"left out {left['clip']}: {left['reason']}")


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
    return rows
