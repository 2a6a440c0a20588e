"""Weighted batch norm."""

from __future__ import annotations

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kinegraph.nn.norm import BatchNorm, normalise_clips
from kinegraph.nn.persons import rows_of


def norm_of(channels: int) -> BatchNorm:
    """Return a norm whose scale and shift are not trivial."""
    random = torch.Generator().manual_seed(3)  # of its own: threads make norms side by side
    norm = BatchNorm(channels)
    with torch.no_grad():
        norm.weight.normal_(generator=random)
        norm.bias.normal_(generator=random)
    return norm


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 3), st.integers(2, 5))
def test_weights_of_0_and_1_select_rows(seed: int, rows: int, channels: int, frames: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, channels, frames, generator=random)
    chosen = torch.rand(rows, generator=random) < 0.6
    chosen[0] = True
    plain, weighted = norm_of(channels), norm_of(channels)
    expected = plain(x[chosen])
    found = weighted(x, chosen.float())
    torch.testing.assert_close(found[chosen], expected, rtol=1e-4, atol=1e-5)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(weighted.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_weight_of_3_stands_for_three_rows() -> None:
    x = torch.randn(4, 2, 5)
    weight = torch.tensor([3.0, 1.0, 1.0, 1.0])
    plain, weighted = norm_of(2), norm_of(2)
    expected = plain(torch.cat((x, x[:1], x[:1])))
    found = weighted(x, weight)
    torch.testing.assert_close(found, expected[:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted.running_var, plain.running_var)


def test_gradients_equal_those_of_plain_norm() -> None:
    first = torch.randn(6, 3, 4, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    chosen = torch.tensor([True, True, False, True, False, True])
    factor = torch.randn(6, 3, 4)
    plain, weighted = norm_of(3), norm_of(3)
    (plain(first[chosen]) * factor[chosen]).sum().backward()
    found = weighted(second, chosen.float())
    (found * factor)[chosen].sum().backward()
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-3, atol=1e-5)
    assert plain.weight.grad is not None
    torch.testing.assert_close(weighted.weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-5)


def test_channels_without_weight_keep_their_statistics() -> None:
    norm = norm_of(2)
    weight = torch.tensor([1.0, 0.0]).expand(8, 2)
    output = norm(torch.randn(8, 2, 3) + 5, weight)
    assert norm.running_mean[0] != 0
    assert norm.running_mean[1] == 0
    assert norm.running_var[1] == 1
    assert output.isfinite().all()


def test_weights_do_not_matter_in_eval_mode() -> None:
    norm = norm_of(2).eval()
    x = torch.randn(4, 2, 3)
    assert torch.equal(norm(x, torch.rand(4)), norm(x))


@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_equals_torch_for_any_rank(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    classes = {2: torch.nn.BatchNorm1d, 3: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d}
    theirs = classes[len(shape)](3)
    ours = BatchNorm(3)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, torch.ones(len(x))), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_half_precision_is_summed_in_full() -> None:
    x = torch.full((4096, 1, 4), 300.0, dtype=torch.float16) + torch.rand(4096, 1, 4).half()
    norm = BatchNorm(1)
    output = norm(x, torch.ones(4096))
    assert output.dtype == torch.float16
    assert output.isfinite().all()


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("weighted", [False, True])
def test_compiled_sums_are_as_precise_as_plain_ones(weighted: bool) -> None:
    """Code that inductor makes for a CPU adds number after number; that must not show."""
    random = torch.Generator().manual_seed(5)
    x = torch.randn(64, 8, 32, 25, generator=random).contiguous(memory_format=torch.channels_last)
    x, weight = x + 3, torch.randint(1, 4, (64,), generator=random).float() if weighted else None
    factor = torch.rand(x.shape, generator=random) + 1  # their sums do not cancel

    def gradients(dtype: torch.dtype, *, compiled: bool) -> list[torch.Tensor]:
        norm = norm_of(8).to(dtype)
        taken = x.to(dtype).detach().requires_grad_()
        forward = torch.compile(norm) if compiled else norm
        y = forward(taken, None if weight is None else weight.to(dtype), relu=True)
        (y * factor.to(dtype)).sum().backward()
        parts = (taken.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var)
        return [part.double() for part in parts if part is not None]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor's own
        found = gradients(torch.float32, compiled=True)
    for one, other in zip(found, gradients(torch.float64, compiled=False), strict=True):
        assert float((one - other).norm() / other.norm()) < 3e-7


@pytest.mark.parametrize("sizes", [[1, 2], [2, 0, 1]])
def test_slots_are_counted_over_processes_also_where_everyone_is_there(sizes: list[int]) -> None:
    """The second slot has fewer people than the first, which only some processes see."""
    torch.manual_seed(1)
    x, factor = torch.randn(2, 3, 2, 5, 4, 2, dtype=torch.float64)  # (N, C, T, V, M) each
    present = torch.tensor([[True, True], [True, True], [True, False]])
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    barrier, slots = Barrier(len(sizes)), [torch.empty(0)] * len(sizes)

    def run(rank: int, begin: int, end: int, *, alone: bool) -> tuple[Tensor, Tensor]:
        def reduce(values: Tensor) -> Tensor:
            slots[rank] = values
            barrier.wait(10)
            total = sum(slots[1:], slots[0].clone())
            barrier.wait(10)
            return total

        norm = norm_of(2 * 4 * 2).double()
        norm.reduce = None if alone else reduce
        mine, part = x[begin:end].clone().requires_grad_(), present[begin:end]
        normalised = normalise_clips(norm, mine, rows_of(mine, part))
        kept = part[:, None, None, None].to(mine.dtype)
        (normalised * factor[begin:end] * kept).sum().backward()
        assert mine.grad is not None
        assert norm.running_var is not None
        return mine.grad, norm.running_var

    gradient, variance = run(0, 0, 3, alone=True)
    with ThreadPoolExecutor(len(sizes)) as pool:
        jobs = [
            pool.submit(run, rank, begin, begin + size, alone=False)
            for rank, (begin, size) in enumerate(zip(starts, sizes, strict=True))
        ]
        found = [job.result() for job in jobs]
    torch.testing.assert_close(torch.cat([own for own, _ in found]), gradient)
    for _, own in found:
        torch.testing.assert_close(own, variance)
