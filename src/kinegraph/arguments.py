"""From the words of a verb to its pydantic model: tyro parses, and complaints are one sentence.

Where tyro refuses, the words are looked at once more, to say what is wrong in terms of what was
typed. This module knows neither verbs nor recipes.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from kinegraph.errors import KinegraphError, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound="BaseModel")
WIDEST = 100


class UsageError(KinegraphError):
    """The words of a command line do not fit its verb."""


@dataclass(frozen=True)
class Word:
    """What may stand on the command line of a verb: an option, or a word in its place.

    Attributes:
        name: As it is typed, without leading dashes.
        field: The field of the model.
        positional: Whether it is known by its place.
        flag: Whether it takes no value.
        several: Whether it takes more than one value.
    """

    name: str
    field: FieldInfo
    positional: bool
    flag: bool
    several: bool


def parse(
    name: str,
    summary: str,
    model: type[Model],
    words: Sequence[str],
    further: Sequence[str] = (),
) -> Model:
    """Parse the words of one verb.

    Args:
        name: The verb.
        summary: What it does, if its model does not say.
        model: Its arguments.
        words: What was typed after the verb.
        further: Options of the verb that its model does not know, for hints.

    Raises:
        UsageError: They do not fit; the message is one line.
        SystemExit: Help was asked for and has been printed.
    """
    known = list(words_of(model))
    if not words and not any(word.field.is_required() for word in known):
        return model()  # nothing to parse: spare the time that tyro takes to start
    check_options(words, known, further)
    _check_values(words, known)

    import tyro

    complaint = io.StringIO()
    config = (
        tyro.conf.DisallowNone,
        tyro.conf.FlagCreatePairsOff,
        tyro.conf.PositionalMetavarFromFieldName,
    )
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                model,
                args=words,
                prog=f"kinegraph {name}",
                description=_description(model, summary),
                config=config,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
    reason = _diagnose(words, known) or _sentence(complaint.getvalue())
    raise UsageError(f"{reason}; see kinegraph {name} --help")


def words_of(model: type[BaseModel], prefix: str = "") -> Iterator[Word]:
    """Yield everything that may stand on the command line of a verb."""
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        markers = [str(extra) for extra in field.metadata]
        if any("Suppress" in marker for marker in markers):
            continue
        # tyro.conf.arg(name=...) renames a field: a model cannot call one `json` or `class`.
        renamed = (getattr(extra, "name", None) for extra in field.metadata)
        typed = f"{prefix}{next(filter(None, renamed), name).replace('_', '-')}"
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from words_of(annotation, f"{typed}.")
            continue
        yield Word(
            name=typed,
            field=field,
            positional=any("Positional" in marker for marker in markers),
            flag=annotation is bool,
            several=any(get_origin(part) is tuple for part in (annotation, *get_args(annotation))),
        )


def check_options(words: Sequence[str], known: Sequence[Word], further: Sequence[str] = ()) -> None:
    """Raise UsageError, naming the nearest right one, if an option is not one of the verb's."""
    options = [f"--{word.name}" for word in known if not word.positional]
    right = [*options, *(f"--{name}" for name in further)]
    for typed in words:
        if typed == "--":
            return
        option = typed.split("=")[0].replace("_", "-")
        if option.startswith("--") and option not in (*options, "--help"):
            raise UsageError(f"unknown option {option}{nearest(option, right)}")


def _check_values(words: Sequence[str], known: Sequence[Word]) -> None:
    """Raise UsageError if an option lacks its value; tyro takes none for an empty list."""
    options = {f"--{word.name}": word for word in known if not word.positional}
    for option, values in _divide(words, options)[0].items():
        if not values and not options[option].flag:
            raise UsageError(f"{option} needs a value")


def _diagnose(words: Sequence[str], known: Sequence[Word]) -> str:
    """Say what is wrong with words that tyro refused, or nothing if that cannot be seen here."""
    options = {f"--{word.name}": word for word in known if not word.positional}
    given, loose = _divide(words, options)
    for option, values in given.items():
        word = options[option]
        if word.flag and values:
            return f"{option} takes no value, found '{values[0]}'"
        for text in values:
            if complaint := _complaint(word, text):
                return f"{option}: {complaint}"
    for option, word in options.items():
        if word.field.is_required() and option not in given:
            return f"{option} is missing{_meaning(word)}"
    return _diagnose_places(loose, [word for word in known if word.positional])


def _divide(
    words: Sequence[str], options: Mapping[str, Word]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the values of each option that was given, and the words that belong to none."""
    given: dict[str, list[str]] = {}
    loose: list[str] = []
    rest = list(words)
    while rest:
        option, sign, value = rest[0].partition("=")
        option = option.replace("_", "-")
        first = rest.pop(0)
        if option not in options:
            loose.append(first)
            continue
        given[option] = [value] if sign else []
        limit = 0 if sign or options[option].flag else len(rest) if options[option].several else 1
        while rest and len(given[option]) < limit and not rest[0].startswith("--"):
            given[option].append(rest.pop(0))
    return given, loose


def _diagnose_places(loose: Sequence[str], places: Sequence[Word]) -> str:
    """Say what is wrong with the words that are known by their place."""
    for text in loose:
        if text.startswith("-") and not text[1:2].isdigit():
            return f"unknown option {text}"
    for word in places[len(loose) :]:
        if word.field.is_required():
            return f"{word.name.upper()} is missing{_meaning(word)}"
    if len(loose) > len(places) and not any(word.several for word in places):
        return f"one word too many: '{loose[len(places)]}'"
    for position, text in enumerate(loose):
        word = places[min(position, len(places) - 1)]
        if complaint := _complaint(word, text):
            return f"{word.name.upper()}: {complaint}"
    return ""


def _meaning(word: Word) -> str:
    meaning = " ".join((word.field.description or "").split()).rstrip(".")
    return f": {meaning}" if meaning else ""


def _complaint(word: Word, text: str) -> str:
    """Say why a value does not fit, or nothing."""
    from pydantic import TypeAdapter, ValidationError, create_model

    from kinegraph.explain import explain

    annotation: Any = word.field.annotation
    if word.several:
        parts = [part for part in (annotation, *get_args(annotation)) if get_origin(part) is tuple]
        annotation = get_args(parts[0])[0]
    limits = [extra for extra in word.field.metadata if type(extra).__module__ == "annotated_types"]
    for limit in limits:
        annotation = Annotated[annotation, limit]
    try:
        TypeAdapter(annotation).validate_python(text)
    except ValidationError as error:
        return explain(error, text, create_model("Value"))[1]
    return ""


def _description(model: type[BaseModel], summary: str) -> str:
    """Return the model's docstring, wrapped for the terminal.

    Lines are indented because tyro joins those that begin with a letter, and wraps none.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    wrapper = textwrap.TextWrapper(width, subsequent_indent="  ")
    paragraphs = inspect.cleandoc(model.__doc__ or summary).split("\n\n")
    return "\n\n".join(map(wrapper.fill, paragraphs))


def _sentence(text: str) -> str:
    """Take the first sentence out of tyro's framed complaint."""
    lines = [line.strip(" │╭╰─╮╯|+-") for line in text.splitlines()]
    return next((line for line in lines[1:] if line), "the arguments do not fit")
