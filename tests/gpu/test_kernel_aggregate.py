"""The kernels of `aggregate` on a CUDA device, compiled, at the sizes of real networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.kernels.aggregate import (
    Refinement,
    check_aggregation,
    project_and_aggregate,
)
from kinegraph.kernels.dispatch import TOLERANCE, chosen_kernels, set_kernels

pytestmark = pytest.mark.gpu

# Channels, frames, and channels of the relation of CTR-GCN's three stages; then without one.
STAGES = [(64, 64, 8), (128, 32, 16), (256, 16, 32), (64, 64, 0)]


@pytest.fixture(autouse=True)
def _fused(precise: None) -> Iterator[None]:
    before = chosen_kernels()
    set_kernels("fused")
    yield
    set_kernels(before)


def problem(channels: int, frames: int, relation: int, rows: int = 6) -> list[Tensor]:
    """Return x, weight, bias, base and, if there is a relation, what the refinement is made of."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda") / shape[-1] ** 0.5

    parts = [
        draw(rows, frames, 25, channels).permute(0, 3, 1, 2) * channels**0.5,
        draw(3 * channels, channels),
        draw(3 * channels),
        draw(1, 3, 25, 25),
    ]
    if relation:
        joints = (rows, 3, relation, 25)
        parts += [draw(*joints), draw(*joints), draw(3, channels, relation)]
        parts += [draw(3, channels), torch.ones(1, device="cuda")]
    return [part.detach().requires_grad_() for part in parts]


def mixed(parts: list[Tensor]) -> Tensor:
    x, weight, bias, base, *made_of = parts
    return project_and_aggregate(x, weight, bias, base, Refinement(*made_of) if made_of else None)


def exactly(parts: list[Tensor]) -> Tensor:
    return mixed([part.double() for part in parts])  # float64 goes by plain operations


def test_the_check_passes() -> None:
    assert check_aggregation(torch.device("cuda")) < TOLERANCE


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-5), (torch.bfloat16, 3e-2), (torch.float16, 5e-3)],
    ids=str,
)
@pytest.mark.parametrize(("channels", "frames", "relation"), STAGES)
def test_values_and_gradients(
    channels: int, frames: int, relation: int, dtype: torch.dtype, tolerance: float
) -> None:
    parts = problem(channels, frames, relation)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        ours = mixed(parts)
    assert ours.dtype == dtype
    assert ours.stride(1) == 1
    theirs = exactly(parts)
    gradient = torch.randn_like(ours)
    pairs = zip(
        (ours, *torch.autograd.grad(ours, parts, gradient)),
        (theirs, *torch.autograd.grad(theirs, parts, gradient.double())),
        strict=True,
    )
    for one, other in pairs:
        difference = (one - other).detach().abs().max() / other.detach().abs().max()
        assert float(difference) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_same_bits_each_time(dtype: torch.dtype) -> None:
    parts = problem(64, 64, 8, rows=130)
    runs = []
    for _ in range(2):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            runs.append(torch.autograd.grad(mixed(parts).float().square().mean(), parts))
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


def test_the_topology_is_never_stored() -> None:
    parts = problem(256, 8, 32, rows=128)
    stored = 128 * 3 * 256 * 25 * 25 * 4  # bytes of (R, K, C, V, V); the values have a third
    with torch.no_grad():
        mixed(parts)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        mixed(parts)
    assert torch.cuda.max_memory_allocated() - before < stored


def test_a_cuda_graph_repeats_a_step() -> None:
    parts = problem(64, 64, 8)
    expected = torch.autograd.grad(mixed(parts).square().mean(), parts)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.autograd.grad(mixed(parts).square().mean(), parts)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = torch.autograd.grad(mixed(parts).square().mean(), parts)
    for tensor in captured:
        tensor.zero_()
    graph.replay()
    for one, other in zip(captured, expected, strict=True):
        assert torch.equal(one, other)


def test_torch_compile_keeps_one_graph() -> None:
    parts = problem(64, 64, 8)

    def loss(*parts: Tensor) -> Tensor:
        return mixed(list(parts)).square().mean()

    compiled: Any = torch.compile(loss, fullgraph=True)
    expected = torch.autograd.grad(loss(*parts), parts)
    for one, other in zip(torch.autograd.grad(compiled(*parts), parts), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
