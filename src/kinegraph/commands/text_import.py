"""``kinegraph text import``: answers of a language model become descriptions of classes."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.errors import TextError
from kinegraph.files import refuse_existing, write_text
from kinegraph.text.checking import find_faults
from kinegraph.text.description import Descriptions, read_published, read_text, to_toml
from kinegraph.text.questions import read_answers


class Arguments(BaseModel):
    """Read the answers to `kinegraph text prompt`, or the published files of LST and GAP.

    The result is a .toml file of descriptions, to be read, improved by hand and checked.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    answers: tyro.conf.Positional[Path]
    """A text with a block for each class, or a published file of parts: a line for each class, the
    name and six fields between semicolons."""

    out: Path
    """The .toml file to write."""

    synonyms: Path | None = None
    """The published file of synonyms that belongs to a published file of parts."""

    verbatim: bool = False
    """Keep the original's own texts for the encoder of a published file, letter by letter. They
    join name and hand without a comma, and repeat prefixes such as `head:`."""

    force: bool = False
    """Replace a file that is there already."""


def run(arguments: Arguments) -> int:
    """Write the descriptions, and say what they lack."""
    if arguments.out.suffix != ".toml":
        raise TextError(f"descriptions are a .toml file, not '{arguments.out}'")
    refuse_existing(arguments.out, force=arguments.force)
    found = _read(arguments)
    heading = f"Imported from {arguments.answers.name}.\nCheck: kinegraph text check FILE"
    write_text(arguments.out, to_toml(found, heading))
    if faults := find_faults(found):
        remark(f"{len(faults)} faults, listed by: kinegraph text check {arguments.out}")
    say(f"{len(found)} classes in {arguments.out}")
    return 0


def _read(arguments: Arguments) -> Descriptions:
    """Read the answers in the form that their first line has."""
    text = read_text(arguments.answers)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if arguments.synonyms is not None or first.count(";") >= 2:
        return read_published(arguments.answers, arguments.synonyms, verbatim=arguments.verbatim)
    if arguments.verbatim:
        raise TextError(
            f"--verbatim is for published files, '{arguments.answers}' has blocks that begin with"
            " 'class:'"
        )
    return read_answers(text, where=str(arguments.answers))
