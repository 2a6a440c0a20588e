"""Options of a training command, from its line or its settings file, as keys of a recipe.

Place in the flow: ``training_lines`` and ``contrast_lines`` ask; the tables are in
``original_flags``. What a line says wins over its settings file, as in the original programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kinegraph.compat.command_words import Line
from kinegraph.compat.conversion_lines import STORE
from kinegraph.compat.original_flags import (
    FILE_KEYS,
    FILE_PLACES,
    FILE_USUAL,
    HANDLED,
    LISTS,
    NEEDLESS,
    OWN_HANDLED,
    RECORDINGS,
    SWITCHES,
    TRANSFORM_KEYS,
)
from kinegraph.compat.original_lines import devices
from kinegraph.compat.original_settings import Settings
from kinegraph.errors import RecipeError, printable, shown
from kinegraph.recipe import load_recipe
from kinegraph.recipe_files import read_recipe

MOST_NAMED = 20  # options of a settings file in one remark
LONGEST_NAMED = 80  # characters of one and its value
_TRUTHS = ("True", "False")


def plain_options(line: Line, keys: Mapping[str, str], said: dict[str, str]) -> list[str]:
    """Translate options that keep their value; return why others are left out.

    Args:
        line: The command line.
        keys: Option -> key of the recipe.
        said: Key -> value; what the line says is added.

    Raises:
        RecipeError: It asks for an optimiser that there is not.
    """
    notes = []
    for flag, found in line.flags.items():
        if flag in keys:
            said[keys[flag]] = _value(keys[flag], found)
        elif flag in NEEDLESS:
            notes.append(f"--{flag}: {NEEDLESS[flag]}")
    if "half" in line.flags:
        if line.true("half"):
            notes.append("--half: arithmetic is chosen by the device (training.precision auto)")
        else:
            said["training.precision"] = "fp32"
    return notes


def file_options(
    line: Line,
    settings: Settings,
    keys: Mapping[str, str],
    recipe: str,
    names: Mapping[str, str],
) -> tuple[dict[str, str], list[str]]:
    """Translate the options in a settings file; return them and a note on what is left out.

    Args:
        line: The command line, whose own options the file's give way to.
        settings: What the file says.
        keys: Option -> key of the recipe.
        recipe: Name of the recipe.
        names: Key -> component that the command trains in place of the recipe's.

    Raises:
        RecipeError: It asks for an optimiser that there is not.
    """
    taken: dict[str, str] = {}
    left = []
    objective = load_recipe(recipe, list(names.items())).objective
    contrast = getattr(objective, "name", "") != "classify"
    if _is_false(settings.values.get("half")) and "half" not in line.flags:
        taken["training.precision"] = "fp32"
    for name, value in _flat(settings.values):
        if name in line.flags:
            continue
        if value is None or _is_known(name, value, keys) or _is_switched(name, value, recipe):
            continue
        texts = _texts(value)
        places = _places(name, keys, recipe, names)
        wanted = {place: _value(place, texts, isinstance(value, list)) for place in places}
        if not wanted and name.rpartition(".")[2] in TRANSFORM_KEYS and _is_off(value):
            continue  # what is switched off there is not in the recipe
        if FILE_KEYS.get(name, "").startswith("objective.") and not contrast:
            continue  # heads and queues, of which such a recipe begins with none
        if texts and wanted and _loads(recipe, {**names, **wanted}):
            taken |= wanted
        else:
            text = printable(f"{name} {' '.join(texts) or shown(value)}")
            left.append(text if len(text) <= LONGEST_NAMED else f"{text[:LONGEST_NAMED]}...")
    if len(left) > MOST_NAMED:
        left = [*left[:MOST_NAMED], f"and {len(left) - MOST_NAMED} more"]
    return taken, [f"not taken over from the file: {', '.join(left)}"] if left else []


def departures(
    recipe: str, values: Mapping[str, str], names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the values that the recipe, with other components if named, does not have already."""
    base = list((names or {}).items())
    own = load_recipe(recipe, base)
    return {
        key: text
        for key, text in values.items()
        if load_recipe(recipe, [*base, (key, text)]) != own
    }


def train_words(
    line: Line, recipe: str, values: Mapping[str, str], keys: Mapping[str, str]
) -> list[str]:
    """Return the words of ``kinegraph train``, which takes them.

    Args:
        line: The command line.
        recipe: Name of the recipe.
        values: Key -> value, other than the recipe's.
        keys: Option -> key of the recipe, for messages.

    Raises:
        RecipeError: The recipe does not take the values; the message names the option of theirs.
    """
    try:
        load_recipe(recipe, list(values.items()))
    except RecipeError as error:
        # A value of a list is named by its key and a number: --schedule.steps.1
        named = [f"{word}." for word in re.split(r"[:\s]", str(error))]
        wrong = (
            flag
            for flag, key in keys.items()
            if flag in line.flags and any(word.startswith(f"--{key}.") for word in named)
        )
        flag = next(wrong, "")
        typed = f"--{flag} {line.one(flag)}" if flag else "the command"
        raise RecipeError(f"{typed} cannot be translated: {error}") from error
    words = ["kinegraph", "train", recipe, "--data.store", STORE]
    # A component is named first; its values follow.
    for key in sorted(values, key=lambda key: not key.endswith(".name")):
        words += [f"--{key}", values[key]]
    return words


def place(line: Line, ending: str = "") -> list[str]:
    """Return where results go, a folder whose name ends so, and on which devices."""
    words = []
    if "work_dir" in line.flags:
        folder = line.one("work_dir")
        words += ["--out", folder.rstrip("/") + ending if ending else folder]
    return [*words, *devices(line)]


def _value(key: str, found: tuple[str, ...], listed: bool = False) -> str:
    """Return the value of a key, of the words that theirs has; ``listed``: as a list."""
    several = key in LISTS or (listed and len(found) > 1)
    text = f"[{', '.join(found)}]" if several else " ".join(found)
    if key == "optim.name" and text.lower() == "adam":
        raise RecipeError(
            f"optimizer {text}: it adds the weight decay to the gradient, which no optimiser here"
            " does; there are SGD and AdamW"
        )
    return text.lower() if key == "optim.name" or text in _TRUTHS else text


def _flat(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of nested settings."""
    for key, value in values.items():
        name = f"{start}{key}"
        if isinstance(value, dict) and name.count(".") < 2:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _texts(value: Any) -> tuple[str, ...]:
    """Return a plain value, or those of a list, as words; nothing for anything else."""
    found = value if isinstance(value, list) else [value]
    plain = all(isinstance(one, bool | int | float | str) for one in found)
    return tuple(map(str, found)) if plain else ()


def _is_known(name: str, value: Any, keys: Mapping[str, str]) -> bool:
    """Whether an option of a settings file is read elsewhere, or says what is always so here."""
    if name in keys:
        return False
    section = name.partition(".")[0]
    handled = (*HANDLED, *RECORDINGS, *(option for own in OWN_HANDLED.values() for option in own))
    others = (*NEEDLESS, *handled, *FILE_PLACES, "test_feeder_args")
    return name in others or section in others or FILE_USUAL.get(name) == value


def _places(name: str, keys: Mapping[str, str], recipe: str, names: Mapping[str, str]) -> list[str]:
    """Return the keys of a recipe that an option of a settings file is for."""
    if key := keys.get(name) or FILE_KEYS.get(name):
        return [key]
    section, _, last = name.rpartition(".")
    if section != "train_feeder_args" or last not in TRANSFORM_KEYS:
        return []
    kinds, entry = TRANSFORM_KEYS[last]
    views: Mapping[str, list[dict[str, Any]]] = read_recipe(recipe)["transforms"]
    return [
        f"transforms.{view}.{at}.{entry}"
        for view, steps in views.items()
        # Extreme views are AimCLR's alone.
        if view != "test" and (view != "extreme" or "objective.name" not in names)
        for at, step in enumerate(steps)
        if step["name"] in kinds
    ]


def _is_switched(name: str, value: Any, recipe: str) -> bool:
    """Whether an option switches a transform on or off, and the recipe has it so."""
    section, _, last = name.rpartition(".")
    if section != "train_feeder_args" or last not in SWITCHES or not isinstance(value, bool):
        return False
    transform, entry = SWITCHES[last]
    views: Mapping[str, list[dict[str, Any]]] = read_recipe(recipe)["transforms"]
    steps = (step for view, steps in views.items() if view != "test" for step in steps)
    has = any(step["name"] == transform and step.get(entry, not entry) for step in steps)
    return has == value


def _is_false(value: Any) -> bool:
    return value is False or str(value).lower() == "false"


def _is_off(value: Any) -> bool:
    return isinstance(value, int | float) and value <= 0


def _loads(recipe: str, values: Mapping[str, str]) -> bool:
    try:
        load_recipe(recipe, list(values.items()))
    except RecipeError:
        return False
    return True
