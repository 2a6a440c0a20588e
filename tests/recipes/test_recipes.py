"""Every recipe that is shipped: it parses, builds, and takes a step on a small store."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from kinegraph.backbones import BACKBONES, InfoGCNConfig
from kinegraph.cli import main
from kinegraph.data.export import export_store
from kinegraph.data.store import open_store
from kinegraph.objectives.aimclr import AimCLR
from kinegraph.recipe import Recipe, load_recipe, parse_recipe
from kinegraph.recipe_files import read_yaml, recipe_names
from kinegraph.training.loop import Training
from kinegraph.training.run import start
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
    if getattr(recipe.backbone, "last_width", None):
        overrides.append(("backbone.last_width", "8"))
    for view, transforms in recipe.transforms.items():
        for number, transform in enumerate(transforms):
            if getattr(transform, "length", 0) > LONGEST:
                overrides.append((f"transforms.{view}.{number}.length", str(LONGEST)))
    return overrides


def views(recipe: Recipe) -> tuple[str, ...]:
    """The views of a clip that a recipe's objective learns from."""
    name = str(recipe.objective.name)  # type: ignore[attr-defined]
    return {"aimclr": AimCLR.views}.get(name, ("train",))


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
        found = [(key, value.rstrip(".,:;)").strip('"')) for key, value in OPTION.findall(line)]
        load_recipe(name, [option for option in found if option[0] != "data.store"])


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert 10 < len(recipe.summary) <= 100
    assert recipe.data.store is None, "whose store is the user's affair"
    assert {*views(recipe), "test"} == recipe.transforms.keys()
    assert parse_recipe(read_yaml(recipe.to_yaml(), where=name)) == recipe
    if recipe.evaluation.selection == "test":
        assert recipe.original, "only recipes of published runs select on the test clips"


def test_draws_repeat_where_an_original_is_known_to_repeat_them() -> None:
    """Workers of the first are seeded alike in every epoch; of the others nobody says so."""
    originals = [name for name in recipe_names() if load_recipe(name).original]
    repeating = [name for name in originals if load_recipe(name).training.repeat_draws]
    systems = {name.removesuffix("-linear").split("-")[-1] for name in repeating}
    assert systems == {"aimclr", "ctrgcn", "frhead", "lst", "infogcn"}
    others = set(originals) - set(repeating)
    assert all("stgcn" in name or "tcn" in name for name in others), others
    ours = [name for name in recipe_names() if name not in originals]
    assert not any(load_recipe(name).training.repeat_draws for name in ours)


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_takes_a_step(name: str, tmp_path: Path, make_store: Callable[..., Path]) -> None:
    layout = load_recipe(name).data.layout or "coco17"
    store = make_store(layout=layout)
    overrides = [("data.store", str(store)), *small(name)]
    if name.endswith("-linear"):  # on the encoder of the recipe that it is named after
        before = load_recipe(name.removesuffix("-linear"), [*overrides, ("training.epochs", "1")])
        start(before, RunFolder(tmp_path / "before"), device="cpu")
        overrides.append(("start.run", str(tmp_path / "before")))
    recipe = load_recipe(name, overrides)
    training = Training(recipe, open_data(recipe), RunFolder(tmp_path / "run"), torch.device("cpu"))
    objective = training.state.objective
    before_step = {k: v.clone() for k, v in objective.named_parameters()}
    parts = training.stepper.step(next(training._groups()))
    assert torch.isfinite(parts["loss"])
    after = dict(objective.named_parameters())
    assert all(torch.isfinite(value).all() for value in after.values())
    moved = [key for key, value in after.items() if not torch.equal(value, before_step[key])]
    if recipe.start.learns == "head":
        assert moved == ["head.weight", "head.bias"]
    else:
        assert len(moved) > len(after) / 2
    (batch,) = next(training.data.testing_loader("test", 4, torch.device("cpu")).epoch())
    with torch.no_grad():
        if objective.classifies:
            found = objective.eval().logits(batch.x, batch.present)
            assert found.shape == (len(batch.index), 2)
        else:
            found = objective.eval().embed(batch.x, batch.present)
            assert len(found) == len(batch.index)
    assert torch.isfinite(found).all()


def test_aimclr_sees_the_clips_that_its_authors_prepare(
    tmp_path: Path, make_store: Callable[..., Path]
) -> None:
    """By the three commands at the head of the recipe, the first of which a made store replaces."""
    whole = open_store(make_store(layout="ntu25"))
    frames, again = tmp_path / "frame50" / "subjects", tmp_path / "again"
    export_store(whole, "aimclr-npy", frames)
    words = ["data", "import", "aimclr-npy", str(frames), "--out", str(again)]
    assert main(words) == 0
    recipe = load_recipe("ntu-aimclr", [("data.store", str(again)), ("data.split", "own")])
    data = open_data(recipe)
    (batch,) = next(data.testing_loader("train", 64, torch.device("cpu")).epoch())
    expected = np.load(frames / "train_position.npy")
    assert expected.shape[2:] == (50, 25, 2)
    assert np.ptp(expected) > 1
    np.testing.assert_array_equal(batch.x[..., 0], expected[..., 0])
    assert batch.x.shape[4] == 1 or not batch.x[..., 1].any()


def test_an_option_changes_one_of_the_views_that_stand_once_in_a_recipe() -> None:
    changed = load_recipe("ntu-aimclr", [("transforms.key.2.amplitude", "0.1")]).transforms
    amplitudes = {view: changed[view][2].model_dump()["amplitude"] for view in ("query", "key")}
    assert amplitudes == {"query": 0.5, "key": 0.1}
