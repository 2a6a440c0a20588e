"""YAML without surprises, for recipes and for values given on the command line.

A key may stand once in a block, and plain words mean what they do in YAML 1.2: ``1e-3`` is a
number; ``no``, ``on``, ``007``, ``12:30`` and ``2024-01-01`` are text. Nothing here knows recipes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from kinegraph.errors import RecipeError


class Loader(yaml.SafeLoader):
    """A safe loader of YAML 1.2's core types that refuses repeated keys.

    Not the faster loader written in C, which deeply nested text makes crash the whole program.
    """

    # The base class would take `no` for a flag and `12:30` for 750.
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own pattern

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse keys that stand twice."""
        seen = set()
        for key, _ in node.value:
            word = (key.tag, str(key.value))
            if word in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"key '{key.value}' stands twice, in line {line} again")
            seen.add(word)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
     r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+0123456789."),
    ("merge", r"<<", "<"),
):  # fmt: skip
    Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def read_yaml(text: str, *, where: str) -> Any:
    """Parse YAML.

    Raises:
        RecipeError: It is no YAML, is nested too deeply, or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a SafeLoader
    except RecursionError as error:
        raise RecipeError(f"{where} is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{where} is not valid YAML: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Take the problem and its line out of PyYAML's picture of the place."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem is None or mark is None:
        return " ".join(str(error).split())
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})"
