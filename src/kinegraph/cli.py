"""The command line: a dict from verb to the module that does it.

Each module in ``commands`` has a pydantic model of its arguments and a function that runs it. Here
the verb and plug-ins are found, and every user's error ends as one line and exit code 2.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kinegraph import __version__
from kinegraph.arguments import UsageError, parse
from kinegraph.console import complain, remark, say
from kinegraph.errors import KinegraphError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Verb:
    """Where a verb lives: a module, the model of its arguments and the function that runs it.

    ``bare`` runs it when no word follows, and spares the time that the parser takes to start.
    """

    summary: str
    module: str
    arguments: str = "Arguments"
    run: str = "run"
    bare: Callable[[], int] | None = None


def list_all() -> int:
    """Print everything there is."""
    from kinegraph.catalogue import show

    return show()


VERBS: dict[str, Verb] = {
    "demo": Verb("make a data set, train, test and ensemble two streams", "demo"),
    "list": Verb(
        "what there is: backbones, objectives, streams, layouts, recipes ...",
        "list",
        bare=list_all,
    ),
    "data fetch": Verb("download a data set, or say where to ask for it", "data_fetch"),
    "data import": Verb("turn downloaded recordings into a store", "data_import"),
    "data export": Verb("write a store as files of the original programs", "data_export"),
    "data merge": Verb("make one store of shards, or of several stores", "data_merge"),
    "data diff": Verb("how two stores differ", "data_diff"),
    "data info": Verb("what a store holds", "data_info"),
    "data check": Verb("whether a store or a file is whole and plausible", "data_check"),
    "text prompt": Verb("questions about classes, for a language model", "text_prompt"),
    "text import": Verb("read its answers, or published descriptions", "text_import"),
    "text check": Verb("what descriptions lack or repeat", "text_check"),
    "text encode": Verb("turn descriptions into the features that LST trains with", "text_encode"),
    "train": Verb("train a recipe on a store", "train"),
    "test": Verb("score the test clips and write a report", "test"),
    "probe": Verb("what the features of an encoder are worth", "probe"),
    "ensemble": Verb("add the scores of several streams", "ensemble"),
    "predict": Verb("recognise the action in recordings", "predict"),
    "convert": Verb("weights of an original program as a checkpoint, and back", "convert"),
    "translate": Verb("a command line of an original program in ours", "translate"),
    "show": Verb("draw a clip or a layout", "show"),
    "reproduce": Verb("repeat a published result: its runs, its ensemble, a verdict", "reproduce"),
    "bench": Verb("how fast a recipe trains and scores here, and what holds it back", "bench"),
}

USAGE = """\
kinegraph {version}: recognise human actions from skeletons

usage: kinegraph VERB ...

{verbs}

kinegraph VERB --help explains one verb. --plugin FILE.py, with any verb, adds your own parts.

Try it:  kinegraph demo
Own data: kinegraph data import arrays MINE.npz --layout coco17 --out store
          kinegraph train ctrgcn --data.store store --data.split subjects --out run
          kinegraph test run
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 well, 1 a defect of kinegraph, 2 a user's error."""
    words = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no error
            stream.reconfigure(errors="backslashreplace")
    name = "kinegraph"
    try:
        if text := overview(words):
            say(text)
            return 0
        verb, rest = find_verb(words)
        name = f"kinegraph {verb}"
        code = run_verb(verb, rest)
        sys.stdout.flush()
        return code
    except KinegraphError as error:
        complain(name, str(error))
        return 2
    except KeyboardInterrupt:
        remark(f"{name}: interrupted")
        return 130
    except BrokenPipeError:
        _drop_output()  # the reader has gone, a closed pager: there is nobody left to tell
        return 0
    except OSError as error:
        _drop_output()
        where = f" '{error.filename}'" if error.filename else ""
        complain(name, f"cannot read or write{where}: {error.strerror or error}")
        return 2


def _drop_output() -> None:
    """Let what could not be written go, so that it is not complained about again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def overview(words: Sequence[str]) -> str:
    """Return what was asked for if it was no verb but the version or an overview of verbs."""
    first = words[0] if words else "--help"
    if first in ("-V", "--version"):
        return f"kinegraph {__version__}"
    if first in ("-h", "--help", "help"):
        return usage()
    if words[1:] in (["-h"], ["--help"]) and first not in VERBS and members(first):
        return usage(members(first))
    return ""


def usage(names: Sequence[str] = tuple(VERBS)) -> str:
    """Return the overview of verbs."""
    width = max(map(len, names)) + 2
    verbs = "\n".join(f"  {name:<{width}}{VERBS[name].summary}" for name in names)
    return USAGE.format(version=__version__, verbs=verbs)


def members(group: str) -> list[str]:
    """Return the verbs of two words that begin with ``group``."""
    return [verb for verb in VERBS if verb.startswith(f"{group} ")]


def find_verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Split a command line into the verb and the rest.

    Raises:
        UsageError: There is no such verb.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in VERBS:
            return name, list(words[length:])
    group = members(words[0])
    if group and (len(words) == 1 or words[1].startswith("-")):
        raise UsageError(f"{words[0]} needs one more word: {', '.join(group)}")
    wrong = " ".join(words[:2]) if group else words[0]
    hint = nearest(wrong, group or VERBS)
    raise UsageError(f"unknown verb '{wrong}'{hint}; see kinegraph --help")


def run_verb(name: str, words: list[str]) -> int:
    """Load a verb's module and any plug-ins, parse its arguments and run it."""
    typed = (*name.split(), *words)
    words = load_plugins(words)
    verb = VERBS[name]
    if verb.bare is not None and not words:
        return verb.bare()
    module = importlib.import_module(f"kinegraph.commands.{verb.module}")
    model: type[BaseModel] = getattr(module, verb.arguments)
    if "typed" in model.model_fields:  # the verb can start processes for several devices
        from kinegraph.training.launch import join_devices

        words = join_devices(words)
    if "overrides" in model.model_fields:
        from kinegraph.commands.overrides import override_keys, show_recipe_help, split_overrides

        words, overrides = split_overrides(words, model)
        if "recipe" in model.model_fields and show_recipe_help(name, words, overrides):
            return 0
        arguments = parse(name, verb.summary, model, words, further=override_keys(model))
        arguments = arguments.model_copy(update={"overrides": tuple(overrides)})
    else:
        arguments = parse(name, verb.summary, model, words)
    if "typed" in model.model_fields:
        arguments = arguments.model_copy(update={"typed": typed})
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
