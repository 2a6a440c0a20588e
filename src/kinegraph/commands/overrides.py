"""Options of a verb that are keys of its recipe: ``--optim.lr 0.05 --stream bone``.

They are told apart from the verb's own options here; ``recipe`` reads and checks their values.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kinegraph.arguments import UsageError
from kinegraph.console import say
from kinegraph.explain import accepts, annotations_at
from kinegraph.recipe import Recipe, load_recipe, recipe_class
from kinegraph.registry import Config

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FLAGS = ("true", "false", "yes", "no", "on", "off")
MEANING_COLUMN = 6


def split_overrides(
    words: Sequence[str], model: type[BaseModel]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Divide words into those of the verb itself and the recipe's keys with their values.

    An option belongs to the recipe if its part before the first dot is one of the recipe's keys and
    no field of the verb; one of the model's ``stages`` may stand in front of it. A key of yes or no
    may stand alone, which means yes; a key that takes a list may have several numbers, and
    everything else has one value.

    Raises:
        UsageError: A key has no value.
    """
    keys = set(Recipe.model_fields) - set(model.model_fields)
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        option, sign, value = word.partition("=")
        stage, path = _divide_stage(option.removeprefix("--").replace("-", "_"), model)
        if not option.startswith("--") or path.split(".")[0] not in keys:
            own.append(word)
        elif sign:
            overrides.append((stage + path, value))
        else:
            overrides.append((stage + path, _take_value(path, rest, option)))
    return own, overrides


def _divide_stage(path: str, model: type[BaseModel]) -> tuple[str, str]:
    """Return the stage that a key is meant for, with its dot, and the key."""
    stage, _, key = path.partition(".")
    return (f"{stage}.", key) if stage in stages_of(model) else ("", path)


def stages_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return what may stand in front of a key, for a verb that trains by several recipes."""
    found: tuple[str, ...] = getattr(model, "stages", ())
    return found


def _take_value(path: str, rest: list[str], option: str) -> str:
    """Take the value of a key from the words that follow it, as YAML."""
    wanted = annotations_at(recipe_class(), path.split("."))
    following = rest[0] if rest and not rest[0].startswith("--") else None
    if accepts(wanted, bool) and following not in FLAGS:
        return "true"
    if following is None:
        raise UsageError(f"{option} needs a value")
    values = [rest.pop(0)]
    while accepts(wanted, tuple) and rest and NUMBER.fullmatch(rest[0]):
        values.append(rest.pop(0))
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def override_keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of every recipe, dotted, for hints; then those of the verb's stages."""
    schema = recipe_class()
    keys = []
    for name in schema.model_fields:
        parts = annotations_at(schema, (name,))
        inner = {key for part in parts for key in getattr(part, "model_fields", {})}
        keys += [f"{name}.{key}" for key in sorted(inner)] or [name]
    return keys + [f"{stage}.{key}" for stage in stages_of(model) for key in keys]


def show_recipe_help(
    name: str, words: Sequence[str], overrides: Sequence[tuple[str, str]] = ()
) -> bool:
    """Print the keys of a recipe with values and meaning, if help was asked for one.

    Args:
        name: The verb.
        words: Its own words; the recipe is the first.
        overrides: Keys that were given, whose values are shown.
    """
    asked = any(word in ("-h", "--help") for word in words)
    if not asked or words[0].startswith("-"):
        return False
    recipe = load_recipe(words[0], overrides)
    say(f"usage: kinegraph {name} {words[0]} [--KEY VALUE ...]\n")
    if recipe.summary:
        say(f"{recipe.summary}\n")
    say("Each key of the recipe may be given as an option, as it stands here:\n")
    width = min(shutil.get_terminal_size().columns, 100)
    section = ""
    for path, value, meaning in recipe_rows(recipe):
        if path.split(".")[0] != section and "." in path:
            say("")
        section = path.split(".")[0]
        say(f"  --{path} {value}".rstrip())
        if meaning:
            indent = " " * MEANING_COLUMN
            say(textwrap.fill(meaning, width, initial_indent=indent, subsequent_indent=indent))
    return True


def recipe_rows(config: Config, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (dotted key, value, meaning) for everything in a configuration."""
    for name, field in type(config).model_fields.items():
        value, path = getattr(config, name), f"{prefix}{name}"
        if isinstance(value, Config):
            yield from recipe_rows(value, f"{path}.")
        elif isinstance(value, dict):
            for view, transforms in value.items():
                for position, transform in enumerate(transforms):
                    yield from recipe_rows(transform, f"{path}.{view}.{position}.")
        elif path != "summary":
            yield path, _as_typed(value), f"{_meaning(field)} {_choices(path)}".strip()


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _choices(path: str) -> str:
    """Return the words that a key may have, unless it is a transform's name: those are many."""
    types = () if path.startswith("transforms") else annotations_at(recipe_class(), path.split("."))
    words = [word for part in types if get_origin(part) is Literal for word in get_args(part)]
    return f"({' | '.join(words)})" if len(words) > 1 else ""


def _as_typed(value: object) -> str:
    """Return a value as it may be typed after its key."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        texts = [str(one) for one in value]
        numbers = texts and all(NUMBER.fullmatch(text) for text in texts)
        return " ".join(texts) if numbers else f"[{','.join(texts)}]"  # see `split_overrides`
    return str(value)
