"""How parts are named: plain dicts ``name -> Component``, filled where the parts live.

A Component's configuration is a pydantic model that needs no torch; its builder imports torch
inside. A plug-in adds entries to the same dicts before the recipe is parsed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator

from kinegraph.errors import RecipeError, unknown


class Config(BaseModel):
    """Base of all configurations: unknown keys are errors, values do not change.

    The text under a field says what it means; ``kinegraph train RECIPE --help`` shows it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,  # listing parts needs no validators
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_no_flags(cls, values: Any) -> Any:
        """Refuse yes and no where a number is wanted; pydantic would take them for 1 and 0."""
        for key, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(key) if isinstance(value, bool) else None
            if field is None or get_origin(field.annotation) is Literal:
                continue  # words are no numbers: pydantic names those that are meant
            if bool not in (field.annotation, *get_args(field.annotation)):
                raise ValueError(f"'{key}' is {str(value).lower()}, but it is no key of yes or no")
        return values


@dataclass(frozen=True)
class Component:
    """One named part.

    Attributes:
        summary: One line for ``kinegraph list``.
        config: Its configuration, a `Config` with a ``name`` field of one literal value.
        build: Makes the part from its configuration; the registry's module states the arguments.
        build_bare: The same without what only training needs; None: there is no such thing.
    """

    summary: str
    config: type[Config]
    build: Callable[..., Any]
    build_bare: Callable[..., Any] | None = None


def look_up(kind: str, name: str, registry: Mapping[str, Component]) -> Component:
    """Return a registered part.

    Raises:
        RecipeError: There is none of this name.
    """
    if name not in registry:
        raise RecipeError(unknown(kind, name, registry))
    return registry[name]


def load_plugin(path: Path) -> None:
    """Import a user's Python file, which registers its parts while it is imported.

    Raises:
        RecipeError: The file does not exist or fails while it is imported.
    """
    if not path.is_file():
        raise RecipeError(f"plug-in '{path}' does not exist")
    name = f"kinegraph_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"plug-in '{path}' is no Python file (expected a name ending in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise RecipeError(f"plug-in '{path}' failed: {type(error).__name__}: {error}") from error
