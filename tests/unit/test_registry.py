from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from kinegraph.backbones import BACKBONES
from kinegraph.errors import RecipeError
from kinegraph.registry import Config, load_plugin, look_up


def test_look_up_names_the_nearest() -> None:
    assert look_up("backbone", "stgcn", BACKBONES) is BACKBONES["stgcn"]
    with pytest.raises(RecipeError, match="unknown backbone 'stgnc'; nearest: 'stgcn'"):
        look_up("backbone", "stgnc", BACKBONES)


def test_plugin_is_imported_where_it_is_found_again(tmp_path: Path) -> None:
    file = tmp_path / "own_part.py"
    file.write_text("class Thing: ...\n")
    load_plugin(file)
    module = sys.modules.pop("kinegraph_plugin_own_part")
    assert module.Thing.__module__ == "kinegraph_plugin_own_part"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("no.py", None, r"plug-in '.*no\.py' does not exist"),
        ("odd.txt", "x = 1", "is no Python file"),
        ("fails.py", "1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("stops.py", "raise SystemExit(0)", "failed: SystemExit: 0"),
        ("wrong.py", "def (", "failed: SyntaxError: "),
        ("lacks.py", "import nothing_of_this_name", "failed: ModuleNotFoundError: "),
    ],
)
def test_plugins_that_do_not_load(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    before = set(sys.modules)
    with pytest.raises(RecipeError, match=message):
        load_plugin(tmp_path / name)
    assert not {module for module in set(sys.modules) - before if "plugin" in module}


class Example(Config):
    count: int | None = 3
    loud: bool = False
    either: bool | int = 2
    rate: float = Field(1.0, gt=0)


def test_configurations_are_strict() -> None:
    assert Example(loud=True, either=True).loud
    with pytest.raises(ValidationError, match="Extra inputs"):
        Example.model_validate({"cuont": 3})
    with pytest.raises(ValidationError, match="'count' is true, but it is no key of yes or no"):
        Example.model_validate({"count": True})
    with pytest.raises(ValidationError, match="finite"):
        Example.model_validate({"rate": float("inf")})
    with pytest.raises(ValidationError, match="frozen"):
        Example().count = 4  # type: ignore[misc]
