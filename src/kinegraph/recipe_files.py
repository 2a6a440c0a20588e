"""Recipes as files: their names and their YAML, as plain values.

``recipe`` checks and completes what is read here. This module knows no schema, so that listing
recipes costs nothing but reading them.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from kinegraph.errors import RecipeError, unknown
from kinegraph.yaml_text import Loader, read_yaml


def recipe_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with kinegraph, sorted."""
    folder = resources.files("kinegraph") / "recipes"
    names = (file.name for file in folder.iterdir())
    return tuple(sorted(name[: -len(".yaml")] for name in names if name.endswith(".yaml")))


def recipe_summary(name: str) -> str:
    """Return what a recipe that comes with kinegraph says of itself.

    These recipes begin with their summary, and no more than that is parsed: listing them is quick.
    """
    file = resources.files("kinegraph") / "recipes" / f"{name}.yaml"
    events = yaml.parse(file.read_text(encoding="utf-8"), Loader=Loader)
    scalars = (event.value for event in events if isinstance(event, yaml.ScalarEvent))
    if next(scalars, "") == "summary":
        return str(next(scalars))
    return str(read_recipe(name).get("summary", ""))


def read_recipe(name: str) -> dict[str, Any]:
    """Return a recipe's values by its name, or from a YAML file of your own.

    Raises:
        RecipeError: There is no such recipe, or its file is no YAML mapping.
    """
    path = Path(name)
    if name in recipe_names():
        file = resources.files("kinegraph") / "recipes" / f"{name}.yaml"
        text = file.read_text(encoding="utf-8")
    elif path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RecipeError(f"recipe file '{name}' does not exist")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise RecipeError(f"recipe file '{name}' cannot be read: {why}") from error
    else:
        raise RecipeError(unknown("recipe", name, recipe_names()) + "; or name a .yaml file")
    values = read_yaml(text, where=f"recipe '{name}'")
    if not isinstance(values, dict):
        raise RecipeError(f"recipe '{name}' is not a mapping of keys to values")
    return values
