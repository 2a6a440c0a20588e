"""Batch norm with addition and ReLU: interpreted kernels and plain operations against float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.kernels.norm_act import Norm, Running, check_norm, norm_act

pytest.importorskip("triton")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPSILON = 1e-5
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "contiguous": lambda x: x.contiguous(),
    "slice of channels": lambda x: torch.cat((x, x, x), 1).contiguous(
        memory_format=torch.channels_last
    )[:, x.shape[1] : 2 * x.shape[1]],
    "every second frame": lambda x: x.repeat_interleave(2, 2).contiguous(
        memory_format=torch.channels_last
    )[:, :, ::2],
}


@pytest.fixture(params=["plain", "fused"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let each test run by plain operations and by kernels, on a GPU where there is one."""
    before = chosen_kernels()
    set_kernels(request.param)
    with DEVICE:
        yield request.param
    set_kernels(before)


def reference(
    x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor | None, residual: Tensor | None,
    relu: bool,
) -> Tensor:  # fmt: skip
    """What it should be, from the definition; autograd differentiates it."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = (1, -1, *([1] * (x.ndim - 2)))
    if weight is None:
        weight = x.new_ones(len(x))
    weight = weight.to(x.dtype).view(*weight.shape, *([1] * (x.ndim - weight.ndim)))
    weight = weight.expand_as(x)
    mean = ((x * weight).sum(axes) / weight.sum(axes)).view(shape)
    variance = (((x - mean).square() * weight).sum(axes) / weight.sum(axes)).view(shape)
    y = (x - mean) / (variance + EPSILON).sqrt() * scale.view(shape) + shift.view(shape)
    y = y if residual is None else y + residual
    return y.relu() if relu else y


def compare(
    x: Tensor, weight: Tensor | None, residual: Tensor | None, relu: bool, tolerance: float = 2e-5
) -> None:
    """Compare value and all gradients with the reference; gradients have any memory layout."""
    random = torch.Generator(DEVICE).manual_seed(x.numel())
    scale, shift = torch.randn(2, x.shape[1], generator=random)
    given = [x, scale, shift, *([] if residual is None else [residual])]
    inputs = [each.detach().requires_grad_() for each in given]
    exact = [each.detach().double().requires_grad_() for each in given]
    added = [None, None] if residual is None else [inputs[3], exact[3]]
    found = norm_act(inputs[0], Norm(inputs[1], inputs[2], weight=weight), residual=added[0],
                     relu=relu)  # fmt: skip
    expected = reference(exact[0], exact[1], exact[2], weight, added[1], relu)
    assert found.dtype == x.dtype
    assert found.shape == x.shape
    arriving = torch.randn(x.shape, generator=random)
    if relu:  # numbers beside zero may lie on either side of it
        arriving = arriving * (expected.detach().abs() > 10 * tolerance)
    close(found, expected, tolerance)
    for one, other in zip(
        torch.autograd.grad(found, inputs, arriving.to(found.dtype)),
        torch.autograd.grad(expected, exact, arriving.double()),
        strict=True,
    ):
        close(one, other, 5 * tolerance)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    size = max(1.0, float(expected.detach().abs().max())) if expected.numel() else 1.0
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_value_and_gradients(weighted: bool, added: bool, relu: bool) -> None:
    x = LAYOUTS["channels last"](torch.randn(3, 12, 9, 5) * 3 + 2)
    weight = torch.tensor([1.0, 0.0, 3.0]) if weighted else None
    compare(x, weight, torch.randn_like(x) if added else None, relu)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("joints", [5, 17, 20, 25])
def test_layouts_of_memory(layout: str, joints: int) -> None:
    x = LAYOUTS[layout](torch.randn(2, 7, 5, joints))
    compare(x, torch.tensor([2.0, 1.0]), torch.randn(2, 7, 5, joints), relu=True)


@pytest.mark.parametrize(
    "shape", [(1, 3, 2, 5), (4, 70, 3, 2), (1, 130, 1, 9), (7, 1, 3, 5), (30, 6), (5, 40, 8)]
)
def test_shapes_and_ranks(shape: tuple[int, ...]) -> None:
    compare(torch.randn(shape), None, torch.randn(shape), relu=True)


def test_weights_of_rows_and_channels() -> None:
    weight = torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 1.0]])
    compare(torch.randn(2, 3, 30), weight, None, relu=False)


def test_many_chunks_of_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    from kinegraph.kernels import norm_act_operators, norm_act_plain

    monkeypatch.setattr(norm_act_plain, "PART", 2 * 20 * 13 * 5)  # two rows, then one
    monkeypatch.setattr(norm_act_operators, "TILE", 64)
    monkeypatch.setattr(norm_act_operators, "PROGRAMS", 6)
    x = LAYOUTS["channels last"](torch.randn(3, 20, 13, 5) + 4)
    pieces, span = norm_act_operators.chunks(3 * 13 * 5, 20)
    assert (pieces - 1) * span < 3 * 13 * 5 <= pieces * span
    assert 1 < pieces <= 6
    compare(x, torch.tensor([2.0, 1.0, 0.0]), None, relu=True)
    compare(x.contiguous(), None, None, relu=True)


def test_large_mean_and_small_variance() -> None:
    x = 1000 + 0.01 * torch.randn(4, 6, 25, 25)
    norm = Norm(torch.ones(6), torch.zeros(6), weight=torch.tensor([1.0, 2.0, 1.0, 1.0]))
    found = norm_act(x, norm)
    expected = reference(x.double(), norm.scale.double(), norm.shift.double(), norm.weight, None,
                         False)  # fmt: skip
    # The float32 mean may be off by half of its last digit, 3e-5, the hundredth of a deviation.
    torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=2e-2)
    torch.testing.assert_close(found.std(), expected.std().float(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    x, residual = torch.randn(2, 3, 10, 9, 5)
    compare(x.to(dtype), None, residual.to(dtype), relu=True, tolerance=2e-2)


def test_half_precision_is_summed_in_full() -> None:
    x = torch.full((512, 1, 4), 300.0, dtype=torch.float16) + torch.rand(512, 1, 4).half()
    running = Running(torch.zeros(1), torch.zeros(1), torch.tensor(0), 1.0)
    y = norm_act(x, Norm(torch.ones(1), torch.zeros(1), running))
    assert y.isfinite().all()
    torch.testing.assert_close(running.mean, x.float().mean().view(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(running.variance, x.float().var().view(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_running_statistics(weighted: bool) -> None:
    x = torch.randn(3, 4, 5, 2)
    weight = torch.tensor([1.0, 0.0, 3.0]) if weighted else None
    theirs = torch.nn.BatchNorm2d(4, momentum=0.3)
    theirs(torch.cat((x[:1], x[2:], x[2:], x[2:])) if weighted else x)
    running = Running(torch.zeros(4), torch.ones(4), torch.tensor(0), 0.3)
    norm_act(x, Norm(torch.ones(4), torch.zeros(4), running, weight=weight))
    torch.testing.assert_close(running.mean, theirs.running_mean)
    torch.testing.assert_close(running.variance, theirs.running_var)
    assert running.batches == 1


def test_nothing_counted_moves_nothing() -> None:
    for x, weight in (
        (torch.randn(2, 3, 4, 5), torch.zeros(2)),
        (torch.randn(0, 3, 4, 5), None),
        (torch.randn(0, 3, 4, 5), torch.zeros(0)),
    ):
        x.requires_grad_()
        running = Running(torch.zeros(3), torch.ones(3), torch.tensor(0), 0.5)
        scale = torch.ones(3, requires_grad=True)
        y = norm_act(x, Norm(scale, torch.zeros(3), running, weight=weight), relu=True)
        y.sum().backward()
        assert y.shape == x.shape
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert scale.grad is not None
        assert torch.equal(running.mean, torch.zeros(3))
        assert torch.equal(running.variance, torch.ones(3))


def test_no_rows_with_fixed_statistics() -> None:
    x = torch.randn(0, 3, 4, 5, requires_grad=True)
    running = Running(torch.zeros(3), torch.ones(3), torch.tensor(0), 0.5)
    norm = Norm(torch.ones(3), torch.zeros(3), running, training=False)
    norm_act(x, norm, relu=True).sum().backward()
    assert x.grad is not None


def test_two_batches_before_one_backward() -> None:
    """As contrastive learning has them; one weighted, or otherwise laid out."""
    running = Running(torch.zeros(3), torch.ones(3), torch.tensor(0), 0.5)
    norm = Norm(torch.ones(3), torch.zeros(3), running)
    x = torch.randn(2, 3, 4, 5, requires_grad=True)
    first = norm_act(LAYOUTS["channels last"](x), norm)
    second = norm_act(x, dataclasses.replace(norm, weight=torch.tensor([1.0, 2.0])))
    third = norm_act(x, norm)
    (first.square() + second + third).sum().backward()
    assert x.grad is not None
    assert running.batches == 3


def test_fixed_statistics() -> None:
    x, residual = torch.randn(2, 3, 6, 5, 4, requires_grad=True).unbind()
    scale, shift, mean = torch.randn(3, 6)
    running = Running(mean, torch.rand(6) + 0.5, torch.tensor(7), 0.1)
    before = running.mean.clone()
    found = norm_act(x, Norm(scale, shift, running, training=False), residual=residual, relu=True)
    plain = torch.nn.functional.batch_norm(x, mean, running.variance, scale, shift)
    expected = (plain + residual).relu()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), [x, residual])[0]
                                 for y in (found, expected)))  # fmt: skip
    assert torch.equal(running.mean, before)
    assert running.batches == 7


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_a_batch_over_two_processes(weighted: bool) -> None:
    """Half of the rows here, half there: the sums of both are exchanged."""
    x = torch.randn(4, 3, 5, 2) + 10
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0]) if weighted else None
    scale, shift = torch.randn(2, 3)
    arriving = torch.randn_like(x)

    exact = x.double().requires_grad_()
    expected = reference(exact, scale.double(), shift.double(), weight, None, True)
    (exact_gradient,) = torch.autograd.grad(expected, exact, arriving.double())

    here, there = slice(0, 2), slice(2, 4)
    other_sums: list[Tensor] = []  # what the other process would send, recorded by a first look

    def record(sums: Tensor) -> Tensor:
        other_sums.append(sums.clone())
        return sums

    # Both looks go through the same exchanges; the backward sums need the common statistics.
    def share(rows: slice, reduce: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Running]:
        running = Running(torch.zeros(3), torch.ones(3), torch.tensor(0), 1.0)
        part = x[rows].clone().requires_grad_()
        norm = Norm(scale, shift, running, reduce=reduce,
                    weight=None if weight is None else weight[rows])  # fmt: skip
        y = norm_act(part, norm, relu=True)
        (gradient,) = torch.autograd.grad(y, part, arriving[rows])
        return y, gradient, running

    share(there, record)
    forward = other_sums[0]
    other_sums.clear()
    own: list[Tensor] = []

    def with_first(sums: Tensor) -> Tensor:
        own.append(sums.clone())
        return sums + forward if len(own) == 1 else sums

    share(here, with_first)
    calls = iter((own[0], None))

    def back(sums: Tensor) -> Tensor:
        mine = next(calls)
        if mine is not None:
            return sums + mine
        other_sums.append(sums.clone())
        return sums

    share(there, back)
    received = iter((forward, other_sums[0]))
    y, gradient, running = share(here, lambda sums: sums + next(received))
    torch.testing.assert_close(y.double(), expected[here], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient.double(), exact_gradient[here], rtol=1e-4, atol=1e-4)
    counted = x if weight is None else torch.cat((x[:2], x[1:2], x[3:]))
    torch.testing.assert_close(running.mean, counted.mean((0, 2, 3)))
    torch.testing.assert_close(running.variance, counted.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_not_a_number_is_not_hidden() -> None:
    x = torch.randn(2, 3, 4, 5)
    x[1, 2, 3, 4] = float("nan")
    y = norm_act(x, Norm(torch.ones(3), torch.zeros(3)), relu=True)
    assert y[:, 2].isnan().all()
    assert y[:, :2].isfinite().all()


def test_the_same_input_gives_the_same_bits() -> None:
    x = torch.randn(3, 5, 20, 25, requires_grad=True)
    norm = Norm(torch.randn(5), torch.randn(5))
    ys = [norm_act(x, norm, relu=True) for _ in range(2)]
    gradients = [torch.autograd.grad(y.square().sum(), x)[0] for y in ys]
    assert torch.equal(*ys)
    assert torch.equal(*gradients)


# PyTorch's own tracer makes the object that PyTorch warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_break() -> None:
    x = LAYOUTS["channels last"](torch.randn(3, 4, 5, 2)).requires_grad_()
    scale, shift = torch.randn(2, 4)
    weight = torch.tensor([1.0, 0.0, 2.0])

    def step(running: Running) -> Tensor:
        norm = Norm(scale, shift, running, weight=weight)
        y = norm_act(x, norm, residual=x.flip(0), relu=True)
        return norm_act(y * 2, Norm(scale, shift), relu=True)

    results = []
    torch._dynamo.reset()
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        running = Running(torch.zeros(4), torch.ones(4), torch.tensor(0), 0.3)
        y = function(running)
        results.append((y, *torch.autograd.grad(y.square().sum(), x), running.mean))
    torch.testing.assert_close(*results)


def test_the_check_accepts_the_kernels_and_finds_wrong_ones(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "plain":
        pytest.skip("checks kernels")
    from kinegraph.kernels import norm_act_operators

    assert check_norm(DEVICE) < 1e-4
    monkeypatch.setattr(norm_act_operators, "_mask", lambda y, relu: 0)
    assert check_norm(DEVICE) > 1e-3
