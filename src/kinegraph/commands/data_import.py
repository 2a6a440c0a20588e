"""``kinegraph data import``: downloaded recordings, or a user's own arrays, become a store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import progress, remark, say
from kinegraph.data.formats import FORMATS, Options
from kinegraph.data.importing import import_data
from kinegraph.data.inspection import describe_store
from kinegraph.data.store import open_store


def _known_to(option: str, text: str) -> str:
    """Return the help of an option that only some formats know: what it means, and to which."""
    knowing = []
    for name, format_ in FORMATS.items():
        if option in format_.choices:
            values = ", ".join(format_.choices[option])
            knowing.append(f"{name} ({values})" if values else name)
    return f"{text} Known to: {', '.join(knowing) or 'no format'}."


class Arguments(BaseModel):
    """Turn downloaded recordings, or your own arrays, into a store.

    Recordings that cannot be used are named and nothing is written; --skip-bad leaves them out.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: tyro.conf.Positional[str]
    """Form of the recordings, such as nw-ucla or arrays (see `kinegraph list datasets`)."""

    source: tyro.conf.Positional[Path]
    """File, folder or zip archive that holds them."""

    out: Path
    """Folder to be made."""

    layout: str | None = None
    """Skeleton layout, or a .toml file of your own; for sources that do not name it."""

    cleaning: str | None = Field(
        None, description=_known_to("cleaning", "How the bodies of a sensor become people.")
    )
    labels: Path | None = Field(
        None, description=_known_to("labels", "File or folder that says what a clip shows.")
    )
    splits: Path | None = Field(
        None, description=_known_to("splits", "File or folder of published splits.")
    )
    people: int | None = Field(
        None, description=_known_to("people", "How many people of a clip are kept.")
    )
    matching: bool | None = Field(
        None, description=_known_to("matching", "Whether people are followed by their poses.")
    )
    part: str | None = Field(
        None, description=_known_to("part", "Which portion of a data set the source is.")
    )

    dtype: Literal["float32", "float16"] = "float32"
    """Type of the coordinates in the store."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used and list them in meta.json."""

    force: bool = False
    """Replace a store that is there already."""


def run(arguments: Arguments) -> int:
    """Import a data set and say what was read."""
    report = import_data(
        arguments.format,
        arguments.source,
        arguments.out,
        options=_options(arguments),
        skip_bad=arguments.skip_bad,
        force=arguments.force,
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


def _options(arguments: Arguments) -> Options:
    return Options(
        layout=arguments.layout,
        cleaning=arguments.cleaning,
        labels=arguments.labels,
        splits=arguments.splits,
        people=arguments.people,
        matching=arguments.matching,
        part=arguments.part,
    )
