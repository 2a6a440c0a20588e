"""What there is, by kind and name, with one line each: read from the registries, plug-ins included.

``kinegraph list`` prints it. Nothing here imports torch or a parser of command lines, and each kind
imports only what it needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from textwrap import shorten

from kinegraph.console import say
from kinegraph.errors import RecipeError, unknown

SUMMARY_WIDTH = 100


def show(kind: str | None = None, *, as_json: bool = False) -> int:
    """Print the entries of one kind or of all, and return the exit code.

    Raises:
        RecipeError: There is no such kind.
    """
    chosen = KINDS if kind is None else {kind: find_kind(kind)}
    entries = {name: collect() for name, collect in chosen.items()}
    if as_json:
        say(json.dumps(entries, indent=2, ensure_ascii=False))
        return 0
    width = max((len(name) for names in entries.values() for name in names), default=0) + 2
    blocks = []
    for title, names in entries.items():
        lines = [
            f"  {name:<{width}}{shorten(summary.rstrip('.'), SUMMARY_WIDTH, placeholder=' ...')}"
            for name, summary in names.items()
        ]
        blocks.append("\n".join([TITLES.get(title, title), *lines]))
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


def checks() -> dict[str, str]:
    """What ``kinegraph data check`` looks for: group -> summary."""
    from kinegraph.data.doctor import CHECKS

    return {name: group.summary for name, group in CHECKS.items()}


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
    "checks": checks,
    "recipes": recipes,
    "presets": presets,
}
TITLES = {
    "streams": "streams (--stream)",
    "splits": "splits (--data.split)",
    "datasets": "data sets and formats (kinegraph data import; to get them: kinegraph data fetch)",
    "checks": "checks (kinegraph data check)",
    "recipes": "recipes (kinegraph train)",
    "presets": "ensemble presets (kinegraph ensemble --preset)",
}
