from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kinegraph.errors import RecipeError
from kinegraph.kernels import dispatch
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training import execution
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.execution import Execution, resolve_execution, scoring_type
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


def resolve(device: torch.device, batches: int = 100, **training: Any) -> Execution:
    recipe = parse_recipe({"training": training})
    return resolve_execution(recipe, device, range(batches))  # type: ignore[arg-type]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that there is a CUDA device, of the capability that the function is called with."""

    def pretend(capability: tuple[int, int] = (9, 0), *, triton: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(execution, "_has_triton", lambda: triton)

    pretend()
    return pretend


@pytest.mark.parametrize("device", [CPU, MPS])
def test_auto_is_plain_where_there_is_no_cuda(device: torch.device) -> None:
    assert resolve(device, epochs=10**6) == Execution()
    assert resolve(device).describe() == "fp32, plain kernels"


def test_auto_takes_all_that_a_gpu_has(gpu: Callable[..., None]) -> None:
    expected = Execution(precision="bf16", cuda_graphs=True, fused=True)
    assert resolve(CUDA, epochs=1) == expected
    assert expected.describe() == "bf16, fused kernels, CUDA graphs"
    gpu((7, 5))
    assert resolve(CUDA, epochs=1) == Execution(cuda_graphs=True)
    gpu(triton=False)
    assert resolve(CUDA, epochs=1) == Execution(precision="bf16", cuda_graphs=True)


@pytest.mark.usefixtures("gpu")
def test_what_is_asked_for_wins() -> None:
    asked = resolve(CUDA, precision="fp32", kernels="plain", compile="on", cuda_graphs="off")
    assert asked == Execution(kernels="plain", compile=True, insist=frozenset({"compile"}))
    assert asked.describe() == "fp32, plain kernels, compiled"
    assert resolve(CUDA, precision="fp16") == Execution(precision="fp16", fused=True)
    assert resolve(CUDA, cuda_graphs="on").insist == {"cuda_graphs"}


def test_auto_compiles_where_it_pays(gpu: Callable[..., None]) -> None:
    long = {"kernels": "plain", "epochs": 50}
    assert resolve(CUDA, **long).compile
    assert not resolve(CUDA, **(long | {"epochs": 49})).compile  # of 100 steps each
    assert not resolve(CUDA, **(long | {"compile": "off"})).compile
    assert not resolve(CUDA, **(long | {"kernels": "auto"})).compile
    gpu(triton=False)
    assert not resolve(CUDA, **long).compile


@pytest.mark.parametrize(
    ("device", "training", "words"),
    [
        (CPU, {"cuda_graphs": "on"}, "training.cuda_graphs on: needs a CUDA device, .* 'cpu'"),
        (CUDA, {"cuda_graphs": "on", "precision": "fp16"}, "does not go with .*precision fp16"),
        (CPU, {"kernels": "fused"}, "training.kernels fused: needs a CUDA device"),
        (CPU, {"compile": "on"}, "needs a C.. compiler on 'cpu', found no 'no-such-compiler'"),
        (CUDA, {"compile": "on"}, "training.compile on: needs Triton"),
    ],
)
def test_what_cannot_work_is_refused(
    gpu: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    device: torch.device,
    training: dict[str, Any],
    words: str,
) -> None:
    gpu(triton=False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(execution, "interpreted", lambda: False)
    with pytest.raises(RecipeError, match=words):
        resolve(device, **training)


def test_a_run_says_how_it_computes_and_keeps_it(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    training = {"epochs": 1, "precision": "bf16", "kernels": "plain"}
    values = tiny_recipe(data={"store": str(make_store())}, training=training)
    run = RunFolder(tmp_path / "run")
    try:
        start(parse_recipe(values), run, device="cpu")
        assert dispatch.chosen_kernels() == "plain"
    finally:
        dispatch.set_kernels("auto")
    assert "computing in bf16, plain kernels" in (run.path / "log.txt").read_text()
    assert load_checkpoint(run.last).progress["precision"] == "bf16"


def checkpoint_of(recipe: Recipe, **progress: Any) -> Checkpoint:
    return Checkpoint(recipe, load_layout("coco17"), ("a",), 1, 1, progress=json.loads(
        json.dumps(progress)))  # fmt: skip


@pytest.mark.usefixtures("gpu")
def test_clips_are_scored_as_the_run_was_trained() -> None:
    asked = checkpoint_of(parse_recipe({"training": {"precision": "bf16"}}), precision="bf16")
    assert scoring_type(asked, CPU) == scoring_type(asked, CUDA) == torch.bfloat16
    half = checkpoint_of(parse_recipe({"training": {"precision": "fp16"}}))
    assert scoring_type(half, CPU) == torch.float16
    chosen = checkpoint_of(parse_recipe({}), precision="bf16")
    assert scoring_type(chosen, CUDA) == torch.bfloat16
    assert scoring_type(chosen, CPU) is None
    assert scoring_type(replace(chosen, progress={"precision": "fp32"}), CUDA) is None
    assert scoring_type(replace(chosen, progress={}), CUDA) is None
