"""``kinegraph text check``: what is missing in descriptions of classes, or repeated."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import say
from kinegraph.text.checking import find_faults
from kinegraph.text.description import load_descriptions
from kinegraph.text.questions import read_classes


class Arguments(BaseModel):
    """Say what is missing in descriptions of classes, or repeated.

    Head, hand and arm are to be told apart in every class; a few classes may share what hips, legs
    and feet do. The exit code is 1 if anything is wrong.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    descriptions: tyro.conf.Positional[str]
    """A .toml file, or ntu120, nw-ucla, pku-mmd, utd-mhad or sbu."""

    classes: Path | None = None
    """What must be described: a store, or a text file with a class on each line."""


def run(arguments: Arguments) -> int:
    """Print the faults, and return 1 if there are any."""
    found = load_descriptions(arguments.descriptions)
    classes = None if arguments.classes is None else read_classes(arguments.classes)
    faults = find_faults(found, classes)
    for fault in faults:
        say(fault)
    say(f"{len(found)} classes, {len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'}")
    return int(bool(faults))
