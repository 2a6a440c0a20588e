"""The temporal branches on a CUDA device at the sizes of networks, and within a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.kernels.norm_act import Norm
from kinegraph.kernels.temporal_branches import temporal_branches

pytestmark = pytest.mark.gpu

# Rows, width of a branch, frames, joints, stride.
SIZES = [(96, 16, 64, 25, 1), (97, 32, 64, 25, 2), (96, 64, 16, 25, 1), (33, 64, 27, 20, 2)]


@pytest.fixture(autouse=True)
def _exact(precise: None) -> Iterator[None]:
    before = chosen_kernels()
    yield
    set_kernels(before)


def problem(size: tuple[int, ...], dtype: torch.dtype) -> Callable[[], list[Tensor]]:
    """Return a function that goes forward and backward."""
    torch.manual_seed(1)
    rows, width, frames, joints, stride = size
    z = torch.randn(rows, 4 * width, frames, joints, device="cuda", dtype=dtype)
    z = z.contiguous(memory_format=torch.channels_last)
    scale, shift = torch.randn(2, 3 * width, device="cuda").unbind()
    weights = torch.randn(2, width, width, 5, 1, device="cuda").unbind()
    biases = torch.randn(2, width, device="cuda").unbind()
    inputs = [
        each.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        for each in (z, scale, shift, *weights, *biases)
    ]
    shape = (rows, 4 * width, (frames - 1) // stride + 1, joints)
    arriving = torch.randn(shape, device="cuda", dtype=dtype)

    def both_ways() -> list[Tensor]:
        norm = Norm(inputs[1], inputs[2])
        y = temporal_branches(inputs[0], norm, inputs[3:5], inputs[5:], stride, (1, 2))
        return [y.detach(), *torch.autograd.grad(y, inputs, arriving)]

    return both_ways


def relative(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other.double()).norm() / other.double().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_kernels_and_plain_operations_agree(size: tuple[int, ...], dtype: torch.dtype) -> None:
    results = []
    for choice in ("fused", "plain"):
        set_kernels(choice)  # type: ignore[arg-type]
        results.append(problem(size, dtype)())
    # A ReLU that opens in one and not in the other changes a few gradients altogether.
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2
    assert all(relative(one, other) < tolerance for one, other in zip(*results, strict=True))


def test_a_graph_replays_the_same_bits() -> None:
    set_kernels("fused")
    both_ways = problem(SIZES[1], torch.bfloat16)
    expected = both_ways()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = both_ways()
    for _ in range(2):
        graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(one, other) for one, other in zip(recorded, expected, strict=True))


def test_the_rectified_channels_are_never_stored() -> None:
    """Forward, no more memory is taken than for the result and what every batch needs."""
    set_kernels("fused")
    z = torch.randn(200, 64, 64, 25, device="cuda", dtype=torch.bfloat16)
    z = z.contiguous(memory_format=torch.channels_last)
    norm = Norm(torch.ones(48, device="cuda"), torch.zeros(48, device="cuda"))
    weights = [torch.randn(16, 16, 5, 1, device="cuda") for _ in range(2)]
    biases = [torch.randn(16, device="cuda") for _ in range(2)]
    for _ in range(2):  # the second time everything is compiled
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        y = temporal_branches(z, norm, weights, biases, 1, (1, 2))
        taken = torch.cuda.max_memory_allocated() - before
        result = y.numel() * y.element_size()
        del y
    assert taken < 1.1 * result
