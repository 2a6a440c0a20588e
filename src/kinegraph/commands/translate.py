"""``kinegraph translate``: a command line of an original program in our words."""

from __future__ import annotations

from typing import Annotated

import orjson
import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import say


class Arguments(BaseModel):
    """Translate a command line of InfoGCN, FR-Head, LST, CTR-GCN, ST-GCN, AimCLR or CrosSCLR.

    Prints what to type here, and remarks after a # sign. Nothing is run. Quote the line.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    line: Annotated[str, tyro.conf.Positional]
    """The command line in quotes, such as "python main.py --config ..."."""

    program: str | None = None
    """infogcn, frhead, lst, ctrgcn, stgcn or aimclr (CrosSCLR, too), where the line does not
    tell."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON."""


def run(arguments: Arguments) -> int:
    """Translate and print.

    Raises:
        RecipeError: The line cannot be translated.
    """
    from kinegraph.compat.translate import translate

    found = translate(arguments.line, arguments.program)
    if arguments.as_json:
        facts = {"commands": found.lines(), "notes": list(found.notes)}
        say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return 0
    for text in found.lines():
        say(text)
    for note in found.notes:
        say(f"# {note}")
    return 0
