"""On a CUDA device: the same draws, the same scores within float32, and a run from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.backbones import BACKBONES
from kinegraph.evaluation.testing import score_run
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder
from kinegraph.transforms.random import ClipRandom

pytestmark = pytest.mark.gpu

MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]


def test_draws_do_not_depend_on_the_device() -> None:
    index = torch.arange(1000)
    here = ClipRandom(seed=3, epoch=5, index=index).uniform(16)
    there = ClipRandom(seed=3, epoch=5, index=index.cuda()).uniform(16).cpu()
    assert torch.equal(here, there)


@pytest.mark.parametrize("name", BACKBONES)
def test_networks_score_alike_on_both_devices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    recipe = parse_recipe({"backbone": {"name": name}})
    objective = make_objective(recipe, load_layout("ntu25"), 7, persons=2).eval()
    x = torch.randn(5, 3, 33, 25, 2)
    present = torch.tensor([[True, True], [True, False], [True, False], [True, True], [True, True]])
    with torch.no_grad():
        here = objective.logits(x, present)
        there = objective.cuda().logits(x.cuda(), present.cuda()).cpu()
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_trains_and_is_tested(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe, precision: str
) -> None:
    store = make_store(per_class=12)
    values = tiny_recipe(training={"precision": precision}) | {"data": {"store": str(store)}}
    run = RunFolder(tmp_path / "run")
    start(parse_recipe(values), run, device="cuda")
    rows = run.read_metrics()
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in rows)
    there, here = score_run(run.path, device="cuda"), score_run(run.path, device="cpu")
    np.testing.assert_allclose(there.scores.logits, here.scores.logits, atol=5e-2)
