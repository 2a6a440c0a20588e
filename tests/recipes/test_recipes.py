"""Every recipe that is shipped: it parses, builds, and takes a step on a small store."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch

from kinegraph.backbones import BACKBONES, InfoGCNConfig
from kinegraph.recipe import load_recipe, parse_recipe
from kinegraph.recipe_files import read_yaml, recipe_names
from kinegraph.training.loop import Training
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

SMALL = [("training.batch_size", "4"), ("training.accumulate", "1")]
OPTION = re.compile(r"--((?:stream|seed|[a-z]+\.\w+)) (\S+)")  # a key of the recipe, in a comment
LONGEST = 64  # frames, so that recipes of whole clips take no longer than others


def small(name: str) -> list[tuple[str, str]]:
    """Overrides that make a recipe's network narrow and its clips short."""
    recipe = load_recipe(name)
    config = BACKBONES[str(recipe.backbone.name)].config  # type: ignore[attr-defined]
    overrides = [*SMALL]
    if (recipe.data.split or "").startswith("fold"):  # which stores bring along
        overrides.append(("data.split", "subjects"))
    if "width" in config.model_fields:
        overrides.append(("backbone.width", "8" if config is InfoGCNConfig else "4"))
    for view, transforms in recipe.transforms.items():
        for number, transform in enumerate(transforms):
            if getattr(transform, "length", 0) > LONGEST:
                overrides.append((f"transforms.{view}.{number}.length", str(LONGEST)))
    return overrides


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_is_headed_by_what_a_user_has_to_know(name: str) -> None:
    file = resources.files("kinegraph") / "recipes" / f"{name}.yaml"
    head = file.read_text("utf-8").partition("\nsummary:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    text = " ".join(line.removeprefix("#").strip() for line in head.splitlines())
    if load_recipe(name).original:
        assert "ublished" in text, "the accuracy that is expected"
        assert "Every value is published" in text or "guess" in text or "are the published" in text
        assert f"kinegraph train {name} --data.store" in text
    else:
        assert "kinegraph " in text
    for line in head.replace("\\\n#", " ").splitlines():  # what is typed together is tried together
        found = [(key, value.rstrip(".,:;)")) for key, value in OPTION.findall(line)]
        load_recipe(name, [option for option in found if option[0] != "data.store"])


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert 10 < len(recipe.summary) <= 100
    assert recipe.data.store is None, "whose store is the user's affair"
    assert {"train", "test"} <= recipe.transforms.keys()
    assert parse_recipe(read_yaml(recipe.to_yaml(), where=name)) == recipe
    if recipe.evaluation.selection == "test":
        assert recipe.original, "only recipes of published runs select on the test clips"


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_takes_a_step(name: str, tmp_path: Path, make_store: Callable[..., Path]) -> None:
    layout = load_recipe(name).data.layout or "coco17"
    store = make_store(layout=layout)
    recipe = load_recipe(name, [("data.store", str(store)), *small(name)])
    training = Training(recipe, open_data(recipe), RunFolder(tmp_path / "run"), torch.device("cpu"))
    before = {k: v.clone() for k, v in training.state.objective.named_parameters()}
    parts = training.stepper.step(next(training._groups()))
    assert torch.isfinite(parts["loss"])
    after = dict(training.state.objective.named_parameters())
    assert all(torch.isfinite(value).all() for value in after.values())
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    assert len(moved) > len(after) / 2
    (batch,) = next(training.data.testing_loader("test", 4, torch.device("cpu")).epoch())
    with torch.no_grad():
        logits = training.state.objective.eval().logits(batch.x, batch.present)
    assert logits.shape == (len(batch.index), 2)
    assert torch.isfinite(logits).all()
