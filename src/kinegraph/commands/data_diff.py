"""``kinegraph data diff``: how two stores differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import meter, say, to_json
from kinegraph.data.diffing import compare_stores
from kinegraph.data.store import open_store


class Arguments(BaseModel):
    """Say how two stores differ; the exit code is 0 if they are equal and 1 if they are not."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    first: tyro.conf.Positional[Path]
    """A store."""

    second: tyro.conf.Positional[Path]
    """Another store."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON."""


def run(arguments: Arguments) -> int:
    """Compare two stores."""
    first, second = open_store(arguments.first), open_store(arguments.second)
    with meter("comparing", min(len(first), len(second))) as shown:
        found = compare_stores(first, second, done=shown.update)
    if arguments.as_json:
        say(to_json(found))
    else:
        for line in _lines(found):
            say(line)
        if not found:
            say(f"the stores are equal: {len(first)} clips")
    return 1 if found else 0


def _lines(found: dict[str, Any]) -> list[str]:
    """Return the differences, a line for each, what matters most first."""
    lines = [f"layout: {text}" for text in _both(found.get("layout", {}))]
    if "classes" in found:
        names = found["classes"]
        lines.append(
            f"classes: {names['lengths'][0]} and {names['lengths'][1]}, {names['differing']} differ"
            f"{_some('only in the first: ', names['only_first'])}"
            f"{_some('only in the second: ', names['only_second'])}"
        )
    for side, where in (("only_first", "first"), ("only_second", "second")):
        only = found.get("clips", {}).get(side, {"count": 0})
        if only["count"]:
            lines.append(f"clips only in the {where}: {only['count']}{_some('', only['first'])}")
    if "order" in found:
        lines.append(f"order: {found['order']}")
    for kind in ("fields", "extras", "splits"):
        lines += [_of_clips(kind, name, value) for name, value in found.get(kind, {}).items()]
    if "people" in found:
        people = found["people"]
        lines.append(
            f"people: {people['clips']} clips have other people, or at other times"
            f"{_some('', people['first'])}"
        )
    if "joints" in found:
        joints = found["joints"]
        lines.append(
            f"joints: {joints['clips']} clips differ, by {joints['largest']:.6g} at the most (in"
            f" {joints['largest_in']}){_some('', joints['first'])}"
        )
    return lines + [f"meta: {text}" for text in _both(found.get("meta", {}))]


def _of_clips(kind: str, name: str, value: dict[str, Any]) -> str:
    if "only" in value:
        return f"{kind}: {name} is only in the {value['only']}"
    shown = [f"{one['clip']}: {one['first']} and {one['second']}" for one in value["first_ones"]]
    return f"{kind}: {name} differs in {value['clips']} clips{_some('', shown)}"


def _some(label: str, names: list[str]) -> str:
    return f" ({label}{', '.join(names)})" if names else ""


def _both(differing: dict[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each value of nested ones that differs."""
    lines = []
    for name, value in differing.items():
        if "lengths" in value:
            lengths = value["lengths"]
            lines.append(
                f"{prefix}{name} has {lengths[0]} and {lengths[1]} entries, {value['differing']}"
                " differ"
            )
        elif set(value) == {"first", "second"}:
            lines.append(f"{prefix}{name} is {value['first']} and {value['second']}")
        else:
            lines += _both(value, f"{prefix}{name}, ")
    return lines
