"""Options of a verb that are keys of its recipe: ``--optim.lr 0.05 --stream bone``."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from kinegraph.console import console, say
from kinegraph.recipe import Recipe, load_recipe
from kinegraph.registry import Config


def split_overrides(
    words: Sequence[str], model: type[BaseModel]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Divide words into those of the verb itself and the recipe's keys with their values.

    An option belongs to the recipe if its part before the first dot is one of the recipe's keys
    and no field of the verb. Its value is the words up to the next option, read as YAML.
    """
    keys = set(Recipe.model_fields) - set(model.model_fields)
    own: list[str] = []
    overrides: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        option, given, value = words[position].partition("=")
        position += 1
        path = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or path.split(".")[0] not in keys:
            own.append(words[position - 1])
            continue
        values = [value] if given else []
        while not given and position < len(words) and not words[position].startswith("--"):
            values.append(words[position])
            position += 1
            if len(values) == 1 and not _takes_several(path):
                break
        overrides.append((path, _as_yaml(values)))
    return own, overrides


def _takes_several(path: str) -> bool:
    return path.rsplit(".", 1)[-1] in ("steps", "limits", "proportion")


def _as_yaml(values: Sequence[str]) -> str:
    """One word as it is; several as a list; none is yes."""
    if not values:
        return "true"
    return values[0] if len(values) == 1 else f"[{', '.join(values)}]"


def show_recipe_help(name: str, words: Sequence[str]) -> bool:
    """Print the keys of a recipe with values and meaning if help was asked for one."""
    asked = any(word in ("-h", "--help") for word in words)
    recipes = [word for word in words if not word.startswith("-")]
    if not asked or len(recipes) != 1:
        return False
    recipe = load_recipe(recipes[0])
    say(f"usage: kinegraph {name} {recipes[0]} --out RUN [--KEY VALUE ...]\n")
    if recipe.summary:
        say(f"{recipe.summary}\n")
    say("The recipe's keys, their values, and what they mean; each may be given as an option:\n")
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for path, value, meaning in recipe_rows(recipe):
        table.add_row(f"--{path}", value, meaning)
    console().print(table, markup=False)
    return True


def recipe_rows(config: Config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (dotted key, value, meaning) for everything in a configuration."""
    rows: list[tuple[str, str, str]] = []
    for name, field in type(config).model_fields.items():
        value, path = getattr(config, name), f"{prefix}{name}"
        if isinstance(value, Config):
            rows += recipe_rows(value, f"{path}.")
        elif isinstance(value, dict):
            for view, transforms in value.items():
                for position, transform in enumerate(transforms):
                    rows += recipe_rows(transform, f"{path}.{view}.{position}.")
        else:
            meaning = " ".join((field.description or "").split())
            rows.append((path, "" if value is None else _short(value), meaning))
    return rows


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)
