"""``kinegraph list``: what there is, by name, with one line each. Imports no torch."""

from __future__ import annotations

from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.catalogue import show


class Arguments(BaseModel):
    """Print what there is: backbones, objectives, streams, layouts, splits, data sets and more."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Annotated[str | None, tyro.conf.Positional] = None
    """One of backbones, objectives, streams, transforms, layouts, splits, datasets, checks,
    recipes, presets; by default all."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON: kind -> name -> summary."""


def run(arguments: Arguments) -> int:
    """Print the entries of one kind or of all.

    Raises:
        RecipeError: There is no such kind.
    """
    return show(arguments.kind, as_json=arguments.as_json)
