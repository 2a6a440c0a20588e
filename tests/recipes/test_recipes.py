"""Every recipe that is shipped: it parses, builds, and takes a step on a small store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kinegraph.backbones import BACKBONES
from kinegraph.recipe import load_recipe, parse_recipe
from kinegraph.recipe_files import read_yaml, recipe_names
from kinegraph.training.loop import Training
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

SMALL = [("training.batch_size", "4"), ("training.accumulate", "1")]


def narrow(name: str) -> list[tuple[str, str]]:
    """Overrides that make a recipe's network as narrow as it can be."""
    config = BACKBONES[str(load_recipe(name).backbone.name)].config  # type: ignore[attr-defined]
    return [("backbone.width", "4")] if "width" in config.model_fields else []


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
    recipe = load_recipe(name, [("data.store", str(store)), *SMALL, *narrow(name)])
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
