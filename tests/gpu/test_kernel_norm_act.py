"""Norm, addition and ReLU on a CUDA device at the sizes of networks, and within a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.kernels.norm_act import Norm, Running, norm_act

pytestmark = pytest.mark.gpu

SHAPES = [(96, 64, 64, 25), (97, 128, 32, 25), (96, 256, 16, 25), (33, 64, 52, 20)]


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    before = chosen_kernels()
    yield
    set_kernels(before)


def problem(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Callable[[], list[Tensor]], Norm]:
    """Return a function that goes forward and backward, and the norm whose statistics move."""
    torch.manual_seed(1)
    channels = shape[1]
    x, added, arriving = (
        torch.randn(shape, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)
        for _ in range(3)
    )
    x = x * 3 + 1
    added = added + 20 * added.sign()  # no sum so near zero that rounding gives its sign
    scale, shift = torch.randn(2, channels, device="cuda").unbind()
    inputs = [each.requires_grad_() for each in (x, scale.clone(), shift.clone(), added)]
    zeros = torch.zeros(channels, device="cuda")
    running = Running(zeros, zeros + 1, torch.tensor(0, device="cuda"), 0.1)
    weight = torch.arange(len(x), device="cuda").remainder(3).float()
    norm = Norm(inputs[1], inputs[2], running, weight=weight)

    def both_ways() -> list[Tensor]:
        y = norm_act(inputs[0], norm, residual=inputs[3], relu=True)
        return [y.detach(), *torch.autograd.grad(y, inputs, arriving)]

    return both_ways, norm


def relative(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels_and_plain_operations_agree(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    results = []
    for choice in ("fused", "plain"):
        set_kernels(choice)  # type: ignore[arg-type]
        both_ways, norm = problem(shape, dtype)
        assert norm.running is not None
        results.append([*both_ways(), norm.running.mean, norm.running.variance])
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-2
    assert all(relative(one, other) < tolerance for one, other in zip(*results, strict=True))


def test_a_graph_replays_the_same_bits() -> None:
    set_kernels("fused")
    both_ways, norm = problem(SHAPES[0], torch.bfloat16)
    expected = both_ways()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = both_ways()
    assert norm.running is not None
    before = norm.running.batches.item()
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(recorded, expected, strict=True))
    assert norm.running.batches.item() == before + 2


def test_no_step_waits_for_the_device() -> None:
    set_kernels("fused")
    both_ways, _ = problem(SHAPES[0], torch.bfloat16)
    both_ways()
    torch.cuda.set_sync_debug_mode("error")
    try:
        both_ways()
    finally:
        torch.cuda.set_sync_debug_mode("default")
