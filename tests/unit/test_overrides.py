from __future__ import annotations

import pytest

from kinegraph.arguments import UsageError
from kinegraph.cli import main
from kinegraph.commands.overrides import recipe_rows, split_overrides
from kinegraph.commands.train import Arguments
from kinegraph.recipe import load_recipe


def split(line: str) -> tuple[list[str], dict[str, str]]:
    own, overrides = split_overrides(line.split(), Arguments)
    return own, dict(overrides)


@pytest.mark.parametrize(
    ("line", "own", "overrides"),
    [
        ("demo --out run --force", "demo --out run --force", {}),
        ("demo --optim.lr 0.05", "demo", {"optim.lr": "0.05"}),
        ("--optim.lr 0.05 demo", "demo", {"optim.lr": "0.05"}),
        ("demo --optim.lr=0.05 --out run", "demo --out run", {"optim.lr": "0.05"}),
        ("demo --data.store=", "demo", {"data.store": ""}),
        ("--schedule.steps 3 5 demo", "demo", {"schedule.steps": "[3, 5]"}),
        ("--schedule.steps 3 demo", "demo", {"schedule.steps": "3"}),
        ("--transforms.a.2.limits .1 -0.2 3e-1", "", {"transforms.a.2.limits": "[.1, -0.2, 3e-1]"}),
        ("--transforms.a.1.proportion .5 1 x", "x", {"transforms.a.1.proportion": "[.5, 1]"}),
        ("--seed -3", "", {"seed": "-3"}),
        ("--training.balanced --out run", "--out run", {"training.balanced": "true"}),
        ("--training.balanced demo", "demo", {"training.balanced": "true"}),
        ("--training.balanced no demo", "demo", {"training.balanced": "no"}),
        ("--training.balanced", "", {"training.balanced": "true"}),
        ("--training.batch-size 4", "", {"training.batch_size": "4"}),
        ("--backbone.edge-importance false", "", {"backbone.edge_importance": "false"}),
        ("--other.key 3", "--other.key 3", {}),
    ],
)  # fmt: skip
def test_words_are_divided(line: str, own: str, overrides: dict[str, str]) -> None:
    assert split(line) == (own.split(), overrides)


@pytest.mark.parametrize("line", ["--seed", "--seed --force", "--optim.lr", "--schedule.steps"])
def test_a_key_needs_a_value(line: str) -> None:
    with pytest.raises(UsageError, match="needs a value"):
        split(line)


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_of_a_recipe_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["train", "ctrgcn", "--backbone.name", "stgcn", "--optim.lr", "0.25", "-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= max(columns, 78)
    assert "  --optim.lr 0.25" in lines, "with the values that were given"
    assert "  --backbone.strategy spatial" in lines, "of the component that was named"
    assert "  --schedule.steps []" in lines
    assert "(none | original)" in " ".join(" ".join(lines).split())
    keys = [line.split()[0] for line in lines if line.startswith("  --")]
    assert keys == [f"--{path}" for path, _, _ in rows()]


GIVEN = {"ctrgcn": ("backbone.name", "stgcn"), "aimclr": ("objective.name", "crossclr")}


def rows(name: str = "ctrgcn") -> list[tuple[str, str, str]]:
    return list(recipe_rows(load_recipe(name, [GIVEN[name]])))


@pytest.mark.parametrize("name", GIVEN)
def test_every_key_has_a_meaning_and_a_value_that_can_be_typed(name: str) -> None:
    words: list[str] = []
    for path, value, meaning in rows(name):
        assert meaning or path.endswith(".name"), path
        words += [f"--{path}", *value.split()]
    own, overrides = split_overrides(words, Arguments)
    assert own == []
    assert load_recipe(name, overrides) == load_recipe(name, [GIVEN[name]])
