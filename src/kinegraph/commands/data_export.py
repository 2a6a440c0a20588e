"""``kinegraph data export``: a store becomes the files of the original programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import progress, say
from kinegraph.data.export import EXPORTS, ExportOptions, export_store
from kinegraph.data.store import open_store


class Arguments(BaseModel):
    """Write a store as files that the original programs read, to run and compare them.

    Every form can be imported again. What is not said is as the originals have it.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    store: tyro.conf.Positional[Path]
    """Folder made by `kinegraph data import`."""

    format: str
    """Form to write: ctrgcn-npz, stgcn-npy, aimclr-npy or pyskl."""

    out: Path
    """File (.npz, .pkl) or, for stgcn-npy and aimclr-npy, folder to be made."""

    split: str | None = None
    """Split whose clips are written; default: the store's, and for pyskl all published ones."""

    frames: int | None = Field(None, ge=1)
    """Length to which clips are padded; default: 300 for stgcn-npy, the longest for ctrgcn-npz."""

    people: int | None = Field(None, ge=1, le=32)
    """Places for people in ctrgcn-npz, stgcn-npy and aimclr-npy; default: 2."""

    dtype: Literal["float16", "float32"] | None = None
    """Type of the coordinates in pyskl; default: float16, as in the published files."""

    second_person: Literal["copy", "zeros"] | None = None
    """What ctrgcn-npz writes beside a single person; default: a copy if there are 120 classes."""

    force: bool = False
    """Replace files that are there already."""


def run(arguments: Arguments) -> int:
    """Write the files and say what is in them."""
    options = ExportOptions(
        split=arguments.split,
        frames=arguments.frames,
        people=arguments.people,
        dtype=arguments.dtype,
        second_person=arguments.second_person,
    )
    parts = export_store(
        open_store(arguments.store),
        arguments.format,
        arguments.out,
        options,
        force=arguments.force,
        progress=progress,
    )
    counts = ", ".join(f"{count} {part}" for part, count in parts.items())
    say(f"{EXPORTS[arguments.format].name}: {counts} in {arguments.out}")
    return 0
