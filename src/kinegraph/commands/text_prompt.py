"""``kinegraph text prompt``: the questions about classes, to be put to a language model."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.files import refuse_existing, write_text
from kinegraph.text.questions import questions, read_classes


class Arguments(BaseModel):
    """Write the questions about classes that a language model is to answer.

    Give what is printed to any language model and save its answer as a text file; `kinegraph text
    import` reads that. Nothing is sent anywhere.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    classes: tyro.conf.Positional[Path]
    """A store, or a text file with the name of a class on each line, in the order of the labels."""

    out: Path | None = None
    """File to write; default: print."""

    force: bool = False
    """Replace a file that is there already."""


def run(arguments: Arguments) -> int:
    """Print the questions, or write them to a file."""
    classes = read_classes(arguments.classes)
    text = questions(classes)
    if arguments.out is None:
        say(text.rstrip("\n"))
        return 0
    refuse_existing(arguments.out, force=arguments.force)
    write_text(arguments.out, text)
    remark(f"questions about {len(classes)} classes in {arguments.out}")
    return 0
