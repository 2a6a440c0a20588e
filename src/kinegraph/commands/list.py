"""``kinegraph list``: what there is, by name, with one line each. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from textwrap import shorten
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import say
from kinegraph.errors import RecipeError, unknown

SUMMARY_WIDTH = 100


class Arguments(BaseModel):
    """Print what there is: backbones, objectives, streams, layouts, splits, data sets and more."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Annotated[str | None, tyro.conf.Positional] = None
    """One of backbones, objectives, streams, transforms, layouts, splits, datasets, recipes,
    presets; by default all."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON: kind -> name -> summary."""


def run(arguments: Arguments) -> int:
    """Print the entries of one kind or of all.

    Raises:
        RecipeError: There is no such kind.
    """
    chosen = KINDS if arguments.kind is None else {arguments.kind: find_kind(arguments.kind)}
    entries = {kind: collect() for kind, collect in chosen.items()}
    if arguments.as_json:
        say(json.dumps(entries, indent=2, ensure_ascii=False))
        return 0
    width = max((len(name) for names in entries.values() for name in names), default=0) + 2
    blocks = []
    for kind, names in entries.items():
        lines = [
            f"  {name:<{width}}{shorten(summary.rstrip('.'), SUMMARY_WIDTH, placeholder=' ...')}"
            for name, summary in names.items()
        ]
        blocks.append("\n".join([TITLES.get(kind, kind), *lines]))
    say("\n\n".join(blocks))
    return 0


def find_kind(kind: str) -> Callable[[], dict[str, str]]:
    """Return what collects the entries of a kind.

    Raises:
        RecipeError: There is no such kind.
    """
    if kind not in KINDS:
        raise RecipeError(unknown("kind", kind, KINDS))
    return KINDS[kind]


def backbones() -> dict[str, str]:
    """Networks: name -> summary."""
    from kinegraph.backbones import BACKBONES

    return {name: component.summary for name, component in BACKBONES.items()}


def objectives() -> dict[str, str]:
    """What a network is trained for: name -> summary."""
    from kinegraph.objectives import OBJECTIVES

    return {name: component.summary for name, component in OBJECTIVES.items()}


def streams() -> dict[str, str]:
    """What of the joints a network sees: name -> summary."""
    from kinegraph.transforms import STREAMS

    return dict(STREAMS)


def transforms() -> dict[str, str]:
    """Sampling, normalisation and augmentation: name -> summary."""
    from kinegraph.transforms import TRANSFORMS

    return {name: component.summary for name, component in TRANSFORMS.items()}


def layouts() -> dict[str, str]:
    """Layouts of joints: name -> title."""
    from kinegraph.skeleton import layout_names, load_layout

    return {name: load_layout(name).title for name in layout_names()}


def splits() -> dict[str, str]:
    """Rules that divide clips into training and test clips: name -> summary."""
    from kinegraph.data.splits import SPLITS

    return {name: split.summary for name, split in SPLITS.items()}


def datasets() -> dict[str, str]:
    """Data sets and formats that ``kinegraph data import`` reads: name -> summary."""
    from kinegraph.data.formats import FORMATS

    return {name: format_.summary for name, format_ in FORMATS.items()}


def recipes() -> dict[str, str]:
    """Recipes that come with kinegraph: name -> summary."""
    from kinegraph.recipe_files import recipe_names, recipe_summary

    return {name: recipe_summary(name) for name in recipe_names()}


def presets() -> dict[str, str]:
    """Published ensemble weights: name -> streams and weights."""
    from kinegraph.evaluation.presets import PRESETS

    return {
        name: f"{preset.source}: "
        + ", ".join(
            f"{weight:g} {stream}"
            for weight, stream in zip(preset.weights, preset.streams, strict=True)
        )
        for name, preset in PRESETS.items()
    }


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "backbones": backbones,
    "objectives": objectives,
    "streams": streams,
    "transforms": transforms,
    "layouts": layouts,
    "splits": splits,
    "datasets": datasets,
    "recipes": recipes,
    "presets": presets,
}
TITLES = {
    "streams": "streams (--stream)",
    "splits": "splits (--data.split)",
    "datasets": "data sets and formats (kinegraph data import)",
    "recipes": "recipes (kinegraph train)",
    "presets": "ensemble presets (kinegraph ensemble --preset)",
}
