"""The command line: a dict from verb to the module that does it.

Each module in ``commands`` has a pydantic model of its arguments and a function that runs it. tyro
parses; this file makes every wrong word one clear line and exit code 2.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinegraph import __version__
from kinegraph.errors import KinegraphError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Verb:
    """Where a verb lives: a module, the model of its arguments and the function that runs it."""

    summary: str
    module: str
    arguments: str = "Arguments"
    run: str = "run"


VERBS: dict[str, Verb] = {
    "demo": Verb("make a data set, train, test and ensemble two streams", "demo"),
    "list": Verb("what there is: backbones, objectives, streams, layouts, recipes ...", "list"),
    "data import": Verb(
        "turn downloaded recordings into a store", "data", "ImportArguments", "run_import"
    ),
    "data info": Verb("what a store holds", "data", "InfoArguments", "run_info"),
    "data check": Verb(
        "whether a store or a file is whole and plausible", "data", "CheckArguments", "run_check"
    ),
    "train": Verb("train a recipe on a store", "train"),
    "test": Verb("score the test clips and write a report", "test"),
    "ensemble": Verb("add the scores of several streams", "ensemble"),
    "predict": Verb("recognise the action in recordings", "predict"),
    "show": Verb("draw a clip or a layout", "show"),
}

USAGE = """\
kinegraph {version}: recognise human actions from skeletons

usage: kinegraph VERB ...

{verbs}

kinegraph VERB --help explains one verb. --plugin FILE.py, with any verb, adds your own parts.

Try it:  kinegraph demo
Own data: kinegraph data import arrays MINE.npz --layout coco17 --out store
          kinegraph train ctrgcn --data.store store --out run && kinegraph test run
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 well, 1 a defect of kinegraph, 2 a user's error."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        return 0
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"kinegraph {__version__}\n")
        return 0
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    try:
        name, rest = find_verb(words)
        return run_verb(name, rest)
    except KinegraphError as error:
        sys.stderr.write(f"kinegraph {name}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"kinegraph {name}: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (a closed pager); there is nobody left to tell.
        sys.stderr.close()
        return 0


def usage() -> str:
    """Return the overview of all verbs."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{verb.summary}" for name, verb in VERBS.items())
    return USAGE.format(version=__version__, verbs=verbs)


class UsageError(KinegraphError):
    """The words of a command line do not fit its verb."""


def find_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split a command line into the verb and the rest.

    Raises:
        UsageError: There is no such verb.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name, list(words[length:])
    if any(verb.startswith(f"{words[0]} ") for verb in VERBS):
        members = [verb for verb in VERBS if verb.startswith(f"{words[0]} ")]
        asks_help = len(words) > 1 and words[1] in ("-h", "--help")
        if asks_help:
            return members[0], ["--help"]
        raise UsageError(f"needs one of: {', '.join(members)}")
    raise UsageError(f"unknown verb '{words[0]}'{nearest(words[0], VERBS)}; see kinegraph --help")


def run_verb(name: str, words: list[str]) -> int:
    """Load a verb's module and any plug-ins, parse its arguments and run it."""
    words = load_plugins(words)
    verb = VERBS[name]
    module = importlib.import_module(f"kinegraph.commands.{verb.module}")
    model: type[BaseModel] = getattr(module, verb.arguments)
    overrides: list[tuple[str, str]] = []
    if "overrides" in model.model_fields:
        from kinegraph.commands.overrides import show_recipe_help, split_overrides

        words, overrides = split_overrides(words, model)
        if show_recipe_help(name, words):
            return 0
    arguments = parse(name, verb.summary, model, words)
    if overrides:
        arguments = arguments.model_copy(update={"overrides": tuple(overrides)})
    code: int = getattr(module, verb.run)(arguments)
    return code


def load_plugins(words: list[str]) -> list[str]:
    """Import the files of every ``--plugin FILE`` and return the other words.

    Raises:
        UsageError: ``--plugin`` is the last word.
    """
    from kinegraph.registry import load_plugin

    rest: list[str] = []
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--plugin":
            if position + 1 == len(words):
                raise UsageError("--plugin needs a Python file")
            load_plugin(Path(words[position + 1]))
            position += 1
        elif word.startswith("--plugin="):
            load_plugin(Path(word.removeprefix("--plugin=")))
        else:
            rest.append(word)
        position += 1
    return rest


def parse(name: str, summary: str, model: type[BaseModel], words: list[str]) -> Any:
    """Parse the words of one verb with tyro.

    Raises:
        UsageError: They do not fit; the message is one line.
    """
    if not words and not any(field.is_required() for field in model.model_fields.values()):
        return model()  # nothing to parse: spare the time that tyro takes to start

    import tyro

    check_options(words, model)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(model, args=words, prog=f"kinegraph {name}", description=summary)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(_one_line(complaint.getvalue(), name)) from None


def options_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the options of a verb as they are typed, without the leading dashes."""
    from pydantic import BaseModel

    options = []
    for name, field in model.model_fields.items():
        # tyro.conf.arg(name=...) renames a field: a model cannot call one `json` or `class`.
        renamed = (getattr(extra, "name", None) for extra in field.metadata)
        shown = next((word for word in renamed if word), name).replace("_", "-")
        option = f"{prefix}{shown}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            options += options_of(field.annotation, f"{option}.")
        else:
            options += [option, f"{prefix}no-{shown}"]
    return options


def check_options(words: Sequence[str], model: type[BaseModel]) -> None:
    """Raise UsageError, naming the nearest right one, if an option is not one of the verb's."""
    known = [f"--{option}" for option in ["help", *options_of(model)]]
    for word in words:
        if word == "--":
            return
        option = word.split("=")[0].replace("_", "-")
        if option.startswith("--") and option not in known:
            raise UsageError(f"unknown option {option}{nearest(option, known)}")


def _one_line(text: str, name: str) -> str:
    """Take the sentence out of tyro's framed error."""
    lines = [line.strip(" │╭╰─╮╯|+-") for line in text.splitlines()]
    kept = [line for line in lines if line and "Parsing error" not in line]
    kept = [line for line in kept if not line.startswith(("For full helptext", "Required options"))]
    return f"{' '.join(kept) or 'the arguments do not fit'}; see kinegraph {name} --help"
