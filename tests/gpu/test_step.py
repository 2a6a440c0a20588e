"""Steps on a CUDA device: recorded, compiled and in half precision they train as plain ones do.

None of these tests has been run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kinegraph.recipe import OptimConfig, parse_recipe
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.graphs import CudaRecorder, RecordingError
from kinegraph.training.loop import Training
from kinegraph.training.optim import MovingAverage, align_gradients, build_optimizer
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

pytestmark = pytest.mark.gpu

MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]
PLAIN = {"precision": "fp32", "kernels": "plain", "compile": "off", "cuda_graphs": "off"}


@pytest.fixture
def values(make_store: MakeStore, tiny_recipe: TinyRecipe, precise: None) -> Any:
    store = make_store(per_class=16)

    def make(**training: Any) -> dict[str, Any]:
        switches = PLAIN | {"epochs": 3, "batch_size": 4, "ema": 0.9, "repeat": 3}
        return tiny_recipe(
            backbone={"name": "ctrgcn", "width": 8},
            objective={"name": "classify", "dropout": 0.3},
            optim={"lr": 0.005},
            training=switches | training,
            data={"store": str(store)},
        )

    return make


def trained(values: dict[str, Any], run: RunFolder) -> tuple[dict[str, Tensor], list[float], str]:
    start(parse_recipe(values), run, device="cuda")
    losses = [row["loss"] for row in run.read_metrics()]
    last = load_checkpoint(run.last)
    return last.group("ema") or last.group("model"), losses, (run.path / "log.txt").read_text()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_replayed_runs_equal_plain_ones(tmp_path: Path, values: Any, accumulate: int) -> None:
    plain, expected, _ = trained(values(accumulate=accumulate), RunFolder(tmp_path / "plain"))
    asked = values(accumulate=accumulate, cuda_graphs="on")
    recorded, found, log = trained(asked, RunFolder(tmp_path / "recorded"))
    assert "fp32, plain kernels, CUDA graphs" in log
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for name, value in plain.items():
        torch.testing.assert_close(recorded[name], value, rtol=1e-3, atol=1e-4)


def without_labels(values: Any, name: str, **training: Any) -> dict[str, Any]:
    made: dict[str, Any] = values(ema=None, **training)
    made["transforms"] |= dict.fromkeys(("extreme", "query", "key"), made["transforms"]["train"])
    later = {"aimclr": "mining_epoch", "crossclr": "cross_epoch"}.get(name)
    made["objective"] = {"name": name, "queue": 7} | ({later: 1} if later else {})
    return made


@pytest.mark.parametrize("name", ["skeletonclr", "aimclr", "crossclr"])
def test_replayed_runs_without_labels_equal_plain_ones(
    tmp_path: Path, values: Any, name: str
) -> None:
    plain, expected, _ = trained(without_labels(values, name), RunFolder(tmp_path / "plain"))
    asked = without_labels(values, name, cuda_graphs="on")
    recorded, found, log = trained(asked, RunFolder(tmp_path / "recorded"))
    assert "fp32, plain kernels, CUDA graphs" in log
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    for part, value in plain.items():  # keys, queue and its place as well
        torch.testing.assert_close(recorded[part], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cuda_graphs", ["off", "on"])
def test_a_frozen_encoder_stays_frozen(tmp_path: Path, values: Any, cuda_graphs: str) -> None:
    before = RunFolder(tmp_path / "before")
    trained(without_labels(values, "skeletonclr"), before)
    asked = values(ema=None, cuda_graphs=cuda_graphs)
    asked["start"] = {"run": str(before.path), "learns": "head"}
    after, _, _ = trained(asked, RunFolder(tmp_path / "after"))
    encoder = load_checkpoint(before.last).group("model")
    for name, value in after.items():
        if name.startswith("backbone."):
            assert torch.equal(value, encoder[f"query.clips.{name}"]), name


@pytest.mark.parametrize(
    "switches",
    [
        {"precision": "auto", "kernels": "auto", "compile": "auto", "cuda_graphs": "auto"},
        {"precision": "bf16", "cuda_graphs": "on"},
        {"precision": "bf16", "kernels": "fused", "cuda_graphs": "on"},
        {"kernels": "fused", "cuda_graphs": "on"},
        {"compile": "on", "cuda_graphs": "on"},
        {"precision": "bf16", "kernels": "fused", "compile": "on", "cuda_graphs": "on"},
        {"precision": "fp16"},
    ],
)
def test_switches_change_no_more_than_rounding(
    tmp_path: Path, values: Any, switches: dict[str, Any]
) -> None:
    _, expected, _ = trained(values(), RunFolder(tmp_path / "plain"))
    _, found, log = trained(values(**switches), RunFolder(tmp_path / "other"))
    assert "going on without" not in log
    # Compiled code draws other random numbers for dropout.
    np.testing.assert_allclose(found, expected, rtol=0.2 if "compile" in switches else 0.05)


def test_a_recorded_run_goes_on(
    tmp_path: Path, values: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = values(cuda_graphs="on")
    whole, expected, _ = trained(asked, RunFolder(tmp_path / "whole"))
    finish, cut = Training._finish_epoch, RunFolder(tmp_path / "cut")

    def stop_after_one(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish_epoch", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            start(parse_recipe(asked), cut, device="cuda")
    resume(cut, device="cuda")
    np.testing.assert_allclose([r["loss"] for r in cut.read_metrics()], expected, rtol=1e-4)
    for name, value in load_checkpoint(cut.last).group("ema").items():
        torch.testing.assert_close(value, whole[name], rtol=1e-3, atol=1e-4)


def test_replayed_steps_do_not_wait(tmp_path: Path, values: Any) -> None:
    recipe = parse_recipe(values(cuda_graphs="on"))
    run = RunFolder(tmp_path / "run")
    training = Training(recipe, open_data(recipe), run, torch.device("cuda"))
    training.state.objective.train()
    groups = list(training._groups())
    for group in groups[:6]:
        training.stepper.step(group)
    assert training.stepper.graphs is not None
    assert training.stepper.graphs.recorded == 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        for group in groups[6:10]:
            training.stepper.step(group)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_recording_that_fails_leaves_nothing_behind() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    recorder, x = CudaRecorder(device), torch.ones(1000, device=device)
    stream = torch.cuda.current_stream(device)

    def waits() -> Tensor:
        return nn.functional.dropout(x, 0.5) * float(x.sum())

    assert recorder.run(waits).shape == x.shape
    before = torch.cuda.get_rng_state(device)
    with pytest.raises(RecordingError):
        recorder.record(waits)
    assert torch.equal(torch.cuda.get_rng_state(device), before)
    assert torch.cuda.current_stream(device) == stream
    assert 0 < int((nn.functional.dropout(x, 0.5) == 0).sum()) < 1000  # draws as usual
    replay, result = recorder.record(lambda: nn.functional.dropout(x, 0.5))  # and records again
    replay()
    assert 0 < int((result == 0).sum()) < 1000


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_fused_optimisers_do_as_plain_ones(name: str) -> None:
    def ends(device: str) -> list[Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 4, (3, 1)))
        network.to(device)
        config = OptimConfig.model_validate({"name": name, "lr": 0.05, "weight_decay": 0.01})
        optimizer = build_optimizer(network.parameters(), config)
        average = MovingAverage(network, 0.9)
        x = torch.randn(6, 8, 9, 5).to(device).contiguous(memory_format=torch.channels_last)
        for _ in range(5):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            align_gradients(optimizer)
            optimizer.step()
            average.update(network)
        kept = [*network.parameters(), *average.state.values()]
        return [value.detach().cpu() for value in kept]

    for there, here in zip(ends("cuda"), ends("cpu"), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)
