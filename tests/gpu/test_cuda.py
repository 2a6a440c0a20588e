"""On a CUDA device: the same draws, the same scores within float32, and a run from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.backbones import BACKBONES
from kinegraph.data.loader import ClipLoader
from kinegraph.data.reader import TrackReader
from kinegraph.data.resident import choose_reader
from kinegraph.data.store import open_store
from kinegraph.evaluation.testing import score_run
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.random import ClipRandom

pytestmark = pytest.mark.gpu

MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]


def test_draws_do_not_depend_on_the_device() -> None:
    index = torch.arange(1000)
    here = ClipRandom(seed=3, epoch=5, index=index).uniform(16)
    there = ClipRandom(seed=3, epoch=5, index=index.cuda()).uniform(16).cpu()
    assert torch.equal(here, there)


CROP = {"name": "crop_resize", "length": 16, "proportion": [0.5, 1.0], "minimum": 4}
PICK = {"name": "pick_frames", "length": 12, "random": True}
LISTS: list[list[dict[str, Any]]] = [
    [{"name": "centre"}, CROP, {"name": "rotate"}, {"name": "scale"}, {"name": "mirror"}],
    [{"name": "centre"}, {"name": "min_max"}, PICK, {"name": "noise"}],
    [{"name": "min_max"}, PICK, {"name": "scale_bones"}, {"name": "mask_frames"}],
    [{"name": "window", "length": 20, "random": True}, {"name": "random_move"}],
    [
        PICK,
        {"name": "mirror_crop"},
        {"name": "shear"},
        {"name": "rotate_about_axis"},
        {"name": "noise", "probability": 0.5},
        {"name": "blur"},
        {"name": "mask_axis"},
        {"name": "reverse_time"},
        {"name": "mirror", "exchange_only": True},
    ],
]


def loader_on(
    device: str, store: Path, configs: list[dict[str, Any]], *, place: str = "device",
    stream: str = "bone-motion", original: bool = False, half: bool = False,
) -> ClipLoader:  # fmt: skip
    opened = open_store(store)
    transforms = parse_recipe({"transforms": {"train": configs}}).transforms["train"]
    pipeline = Pipeline(transforms, stream, opened.skeleton, original=original, half=half)
    reader = choose_reader(TrackReader(opened, 2), [pipeline], torch.device(device), place)
    return ClipLoader(
        reader, opened.clips["label"], np.arange(len(opened)), {"train": pipeline},
        views=("train",), batch_size=8, shuffle=True, device=device, count_absent=original,
        ahead=2 if place == "host" else 0,
    )  # fmt: skip


@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("configs", LISTS)
def test_batches_are_those_of_the_host(
    make_store: MakeStore, place: str, original: bool, configs: list[dict[str, Any]]
) -> None:
    store = make_store(per_class=20)
    here = loader_on("cpu", store, configs, original=original)
    there = loader_on("cuda", store, configs, original=original, place=place)
    assert there.reader.joints.is_cuda == (place == "device")
    for (one,), (two,) in zip(here.epoch(1), there.epoch(1), strict=True):
        assert {t.device.type for t in (two.x, two.label, two.index, two.present)} == {"cuda"}
        torch.testing.assert_close(two.x.cpu(), one.x, rtol=1e-4, atol=1e-5)
        assert one.x.stride() == two.x.stride()
        assert torch.equal(two.label.cpu(), one.label)
        assert torch.equal(two.index.cpu(), one.index)
        assert torch.equal(two.present.cpu(), one.present)
        assert one.rows is not None
        assert two.rows is not None
        assert len(one.rows) == len(two.rows)


@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize("configs", LISTS)
def test_batches_are_made_without_waiting(
    make_store: MakeStore, place: str, configs: list[dict[str, Any]]
) -> None:
    for stream in ("bone-motion", "k-mode-2"):
        loader = loader_on("cuda", make_store(stream), configs, place=place, stream=stream)
        assert len(list(loader.epoch(0))) > 1  # constants are copied once
        torch.cuda.set_sync_debug_mode("error")
        try:
            assert len(list(loader.epoch(1))) > 1
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_half_precision_recordings_are_alike_on_both_sides(make_store: MakeStore) -> None:
    store = make_store(per_class=20)
    here = loader_on("cpu", store, LISTS[0], stream="joint", half=True)
    there = loader_on("cuda", store, LISTS[0], stream="joint", half=True)
    assert there.reader.joints.dtype == torch.float16
    for (one,), (two,) in zip(here.epoch(1), there.epoch(1), strict=True):
        torch.testing.assert_close(two.x.cpu(), one.x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_networks_score_alike_on_both_devices(name: str, precise: None) -> None:
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
