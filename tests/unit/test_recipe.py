from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from kinegraph.backbones import BACKBONES, CTRGCNConfig, STGCNConfig
from kinegraph.errors import RecipeError
from kinegraph.recipe import load_recipe, override, parse_recipe
from kinegraph.recipe_files import read_yaml
from kinegraph.registry import Component, Config


def refusal(values: Any) -> str:
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_defaults() -> None:
    recipe = parse_recipe({})
    assert recipe.backbone == CTRGCNConfig()
    assert recipe.evaluation.selection == "last"
    assert not recipe.original
    assert parse_recipe({"quirks": "original"}).original


def test_yaml_has_everything_and_reads_back() -> None:
    recipe = parse_recipe(
        {
            "stream": "k-mode-2-motion",
            "backbone": {"name": "stgcn", "width": 8},
            "transforms": {"test": [{"name": "rotate", "limits": [0.1, 0.2, 0.3]}]},
            "schedule": {"steps": [3, 5]},
            "optim": {"lr": "1e-3"},
        }
    )
    assert recipe.backbone == STGCNConfig(width=8)
    assert recipe.optim.lr == 0.001
    text = recipe.to_yaml()
    assert "strategy: spatial" in text, "also what the recipe did not state"
    assert parse_recipe(read_yaml(text, where="x")) == recipe


# A recipe, and below it what is said about it.
WRONG = """
3
    recipe is not a mapping of keys to values
sed: 1
    recipe: sed: there is no such key; nearest: 'seed'
1: 2
    recipe: 1: found 1, expected a key that is text
seed: a
    recipe: seed: found 'a', expected a whole number
seed: 1.5
    recipe: seed: found 1.5, expected a whole number
seed: -1
    recipe: seed: found -1, expected a number of at least 0
seed: 2147483648
    recipe: seed: found 2147483648, expected a number below 2147483648
seed: null
    recipe: seed: found nothing, expected a whole number
seed: true
    recipe: 'seed' is true, but it is no key of yes or no
seed: {a: 1}
    recipe: seed: found keys with values, expected a whole number
stream: 3
    recipe: stream: found 3, expected text
stream: k-mode-0
    recipe: stream: stream 'k-mode-0' would make every input zero; k must be at least 1
quirks: orignal
    recipe: quirks: found 'orignal', expected 'none' or 'original'; nearest: 'original'
optim: 3
    recipe: optim: found 3, expected keys with values, such as optim.name
optim: {lr: 0}
    recipe: optim.lr: found 0, expected a number above 0
optim: {lr: .nan}
    recipe: optim.lr: found nan, expected a finite number
optim: {lr: [1]}
    recipe: optim.lr: found a list, expected a number
optim: {nesterov: ja}
    recipe: optim.nesterov: found 'ja', expected true or false
optim: {momentum: 1}
    recipe: optim.momentum: found 1, expected a number below 1
optim: {clip_norm: false}
    recipe: optim: 'clip_norm' is false, but it is no key of yes or no
training: {compile: true}
    recipe: training.compile: found true, expected 'auto', 'on' or 'off'
schedule: {steps: 3}
    recipe: schedule.steps: found 3, expected a list
schedule: {steps: [1, b]}
    recipe: schedule.steps.1: found 'b', expected a whole number
backbone: {width: 8}
    recipe: backbone: needs a name, one of ALL
backbone: {name: null}
    recipe: backbone: needs a name, one of ALL
backbone: {name: stgc}
    recipe: backbone: unknown name 'stgc'; nearest: 'stgcn' (known: SORTED)
backbone: stgcn
    recipe: backbone: found 'stgcn', expected keys with values, such as backbone.name
backbone: {name: stgcn, widht: 8}
    recipe: backbone.widht: there is no such key; nearest: 'width'
backbone: {name: ctrgcn, width: 6}
    recipe: backbone.width: found 6, expected a multiple of 4
backbone: {name: ctrgcn, strategy: uniform}
    recipe: backbone.strategy: there is no such key
objective: {name: classify, dropuot: 0}
    recipe: objective.dropuot: there is no such key; nearest: 'dropout'
transforms: []
    recipe: transforms: found a list, expected keys with values
transforms: {train: {name: rotate}}
    recipe: transforms.train: found keys with values, expected a list
transforms: {train: [{name: rotate, limits: [1]}]}
    recipe: transforms.train.0.limits.1: is missing
transforms: {a: [{name: crop_resize, proportion: x}]}
    recipe: transforms.a.0.proportion: found 'x', expected a number or a list
transforms: {a: [{name: crop_resize, proportion: [0.1, x]}]}
    recipe: transforms.a.0.proportion.1: found 'x', expected a number
"""


def pairs() -> list[tuple[str, str]]:
    lines = [line.strip() for line in WRONG.strip().splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


@pytest.mark.parametrize(("text", "message"), pairs())
def test_wrong_values_are_one_sentence(text: str, message: str) -> None:
    message = message.replace("ALL", ", ".join(BACKBONES))
    message = message.replace("SORTED", ", ".join(sorted(BACKBONES)))
    assert refusal(read_yaml(text, where="x")) == message


@pytest.mark.parametrize("entry", [{"name": "rotat"}, {"length": 3}])
def test_transforms_are_told_apart_by_name(entry: dict[str, Any]) -> None:
    message = refusal({"transforms": {"train": [entry]}})
    assert message.startswith("recipe: transforms.train.0: ")
    assert "nearest: 'rotate'" in message or "needs a name, one of centre, " in message


def test_long_values_are_shortened() -> None:
    assert len(refusal({"seed": "x" * 999})) < 150


def test_overrides_win_in_any_order() -> None:
    given = [("backbone.width", "8"), ("stream", "bone"), ("backbone.name", "stgcn")]
    for overrides in (given, given[::-1]):
        recipe = load_recipe("ctrgcn", overrides)
        assert recipe.backbone == STGCNConfig(width=8)
        assert recipe.stream == "bone"


def test_naming_another_component_drops_the_values_of_the_old() -> None:
    values = {"backbone": {"name": "stgcn", "strategy": "uniform", "width": 8}}
    override(values, "backbone.name", "ctrgcn")
    assert values == {"backbone": {"name": "ctrgcn"}}
    values = {"backbone": {"name": "stgcn", "strategy": "uniform"}}
    override(values, "backbone.name", "stgcn")
    assert values == {"backbone": {"name": "stgcn", "strategy": "uniform"}}
    values = {"optim": {"name": "sgd", "lr": 0.5}}  # one class, whose keys all its names share
    override(values, "optim.name", "adamw")
    assert values == {"optim": {"name": "adamw", "lr": 0.5}}


def test_section_that_the_recipe_leaves_out_is_that_of_the_default() -> None:
    values: dict[str, Any] = {}
    override(values, "backbone.width", 8)
    assert parse_recipe(values).backbone == CTRGCNConfig(width=8)


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("transforms.train.1.length", "32", 32),
        ("transforms.train.1.proportion", "[0.2, 0.4]", (0.2, 0.4)),
        ("transforms.train.1.proportion", "0.5", 0.5),
        ("transforms.train.0.joint", "3", 3),
        ("transforms.train.0.joint", "left_hip", "left_hip"),
        ("schedule.steps", "[]", ()),
        ("schedule.steps", "3", (3,)),
        ("schedule.steps", "[3, 5]", (3, 5)),
        ("optim.lr", "1e-3", 0.001),
        ("optim.nesterov", "no", False),
        ("training.ema", "none", None),
        ("quirks", "none", "none"),
        ("data.store", "2024", "2024"),  # text stays what was typed
        ("data.store", "007", "007"),
        ("data.store", "a: b", "a: b"),
        ("data.store", "null", None),
    ],
)
def test_values_of_overrides(path: str, text: str, found: object) -> None:
    value: Any = load_recipe("ctrgcn", [(path, text)])
    for step in path.split("."):
        if isinstance(value, tuple):
            value = value[int(step)]
        else:
            value = value[step] if isinstance(value, dict) else getattr(value, step)
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("schedule.steps", "x", "--schedule.steps.0: found 'x', expected a whole number"),
        ("transforms.train", "3", "--transforms.train.0: found 3, expected keys with values"),
        ("stream.x", "1", "--stream.x: 'stream' is a single value, it has no 'x'"),
        ("optim.lr.x", "1", "--optim.lr.x: 'optim.lr' is a single value, it has no 'x'"),
        ("transforms.train.9.length", "1", "'transforms.train' has entries 0 to 3, found '9'"),
        ("transforms.train.x.length", "1", "'transforms.train' has entries 0 to 3, found 'x'"),
        ("transforms.train.²", "1", "'transforms.train' has entries 0 to 3, found '²'"),
        ("transforms.trian.0.length", "1", "unknown key 'transforms.trian'; nearest: '"),
        ("transforms.train.0.lenght", "1", "--transforms.train.0.lenght: there is no such key"),
        ("optim.lr", "fast", "--optim.lr: found 'fast', expected a number"),
        ("backbone.name", "stgc", "backbone: unknown name 'stgc'; nearest: 'stgcn'"),
        ("optim.lr", "[", "--optim.lr is not valid YAML"),
    ],
)  # fmt: skip
def test_wrong_overrides_name_the_option(path: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("ctrgcn", [(path, text)])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("seed: 7\noptim: {lr: 1e-3}\n")
    assert load_recipe(str(file)).seed == 7
    assert load_recipe(str(file)).optim.lr == 0.001


def test_plugins_parts_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnConfig(Config):
        name: Literal["own"] = "own"
        size: int = 3
        loud: bool = False

    def build(*_: object) -> None: ...

    monkeypatch.setitem(BACKBONES, "own", Component("A test's.", OwnConfig, build))
    recipe = load_recipe("ctrgcn", [("backbone.name", "own"), ("backbone.loud", "true")])
    assert recipe.backbone == OwnConfig(loud=True)
    assert "loud: true" in recipe.to_yaml()
    with pytest.raises(RecipeError, match=r"backbone\.width: there is no such key"):
        load_recipe("ctrgcn", [("backbone.name", "own"), ("backbone.width", "8")])
    monkeypatch.undo()
    with pytest.raises(RecipeError, match="unknown name 'own'"):
        load_recipe("ctrgcn", [("backbone.name", "own")])
