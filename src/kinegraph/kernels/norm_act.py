"""Batch norm, the addition of a residual and ReLU in one go, forward and backward.

Two passes over memory each way: one for sums, one that writes the result. The kernels are in
`norm_act_kernels`; the plain operations in `norm_act_plain` do the same on any device.

Source: Ioffe and Szegedy, Batch Normalization (ICML 2015). The weighted form follows from
replacing every sum over positions by a weighted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.kernels import norm_act_plain as plain
from kinegraph.kernels.dispatch import register_kernel, use_kernels

NAME = "batch norm"

Reduce = plain.Reduce


@dataclass(frozen=True)
class Running:
    """Statistics over all batches so far, updated in place.

    Attributes:
        mean: (C,).
        variance: (C,), the unbiased one.
        batches: () int64, how many batches were seen.
        momentum: Share of a new batch.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor
    momentum: float


@dataclass(frozen=True)
class Norm:
    """What a batch norm knows besides its input.

    Attributes:
        scale: (C,), learned.
        shift: (C,), learned.
        running: Updated while training, used otherwise. None forgets, and only while training.
        training: Whether to normalise by the statistics of this batch.
        epsilon: Added to variances.
        weight: (R,) or (R, C): for how many rows each row (and channel) counts in the statistics;
            None for ones. Weighs statistics alone: the gradient of a row that stands for several
            already is the sum of theirs.
        reduce: Returns the sum of a small tensor, float32 or float64, over all processes; or None.
    """

    scale: Tensor
    shift: Tensor
    running: Running | None = None
    training: bool = True
    epsilon: float = 1e-5
    weight: Tensor | None = None
    reduce: Reduce | None = None


@dataclass(frozen=True)
class Statistics:
    """What a batch is normalised by.

    Attributes:
        mean: (C,), in float32 or better.
        variance: (C,), the biased one.
        count: () or (C,), sum of weights over positions; None for fixed statistics, through
            which no gradient flows.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor | None


def norm_act(
    x: Tensor, norm: Norm, *, residual: Tensor | None = None, relu: bool = False
) -> Tensor:
    """Return ``relu(norm(x) + residual)``; gradients reach x, scale, shift and residual.

    Args:
        x: (R, C, ...). Kernels read channels-last memory; other layouts are copied first.
        norm: The norm; its statistics are taken from x while training.
        residual: (R, C, ...), added after the norm.
        relu: Whether negative results become 0.

    Returns:
        (R, C, ...) in x's dtype, channels-last where a kernel made it.
    """
    if not fused(x, norm) and _torch_is_best(x, norm):
        return _by_torch(x, norm, residual, relu)
    return normalise(x, batch_statistics(x, norm), norm, residual=residual, relu=relu)


def fused(x: Tensor, norm: Norm) -> bool:
    """Whether kernels do it; they know no weights of single channels."""
    simple = norm.weight is None or norm.weight.ndim == 1 or not norm.training
    return simple and use_kernels(NAME, x)


def _torch_is_best(x: Tensor, norm: Norm) -> bool:
    """Whether PyTorch's own norm can do it, and is no slower."""
    if x.numel() == 0:  # PyTorch's own divides by the number of positions
        return False
    if not norm.training:
        return norm.running is not None
    simple = norm.weight is None and norm.reduce is None and x.numel() > x.shape[1]
    if plain.compiled_for_cpu(x):
        return False
    # On CPUs its statistics of contiguous memory take several times as long as two sums.
    return simple and (x.device.type != "cpu" or not x.is_contiguous())


def _by_torch(x: Tensor, norm: Norm, residual: Tensor | None, relu: bool) -> Tensor:
    running = norm.running
    mean = None if running is None else running.mean
    variance = None if running is None else running.variance
    if norm.training and mean is not None and variance is not None:
        # As data: autograd would keep what it never reads, and complain once it has moved.
        mean, variance = mean.data, variance.data
    y = functional.batch_norm(
        x,
        mean,
        variance,
        norm.scale,
        norm.shift,
        norm.training,
        0.0 if running is None else running.momentum,
        norm.epsilon,
    )
    if norm.training and running is not None:
        running.batches.add_(1)
    return plain.finish(y, residual, relu)


def batch_statistics(x: Tensor, norm: Norm) -> Statistics:
    """Return what x (R, C, ...) is normalised by, and update the running statistics.

    Sums are taken in float32 or better, of differences from a mean, so that a mean far from zero
    does not spoil the variance. Over several processes the sums are combined in float64.
    """
    running = norm.running
    if not norm.training:
        assert running is not None, "a norm without running statistics can only train"
        return Statistics(running.mean, running.variance, None)
    x = x.detach()
    if fused(x, norm):
        from kinegraph.kernels import norm_act_operators as operators

        moved = running if norm.reduce is None else None  # else once all processes are counted
        mean, variance, count = operators.statistics(
            x,
            norm.weight,
            moved and moved.mean,
            moved and moved.variance,
            moved and moved.batches,
            moved.momentum if moved else 0.0,
        )
        if moved is not None:
            return Statistics(mean, variance, count)
    else:
        mean, variance, count = plain.statistics(x, norm.weight)
    if norm.reduce is not None:
        mean, variance, count = plain.over_processes(mean, variance, count, norm.reduce)
    if running is not None:
        _update(running, mean, variance, count)
    return Statistics(mean, variance, count)


def _update(running: Running, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Move the running statistics of channels that were seen at all."""
    unbiased = variance * count / (count - 1).clamp(min=1)
    step = (count > 0).to(mean.dtype) * running.momentum  # in its precision, not float32
    running.mean.lerp_(mean.to(running.mean.dtype), step.to(running.mean.dtype))
    running.variance.lerp_(unbiased.to(running.mean.dtype), step.to(running.mean.dtype))
    running.batches.add_(1)


def normalise(
    x: Tensor,
    statistics: Statistics,
    norm: Norm,
    *,
    residual: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    """Return ``relu(norm(x) + residual)`` by statistics of x, or by fixed ones.

    Gradients take into account that statistics with a count depend on x.
    """
    function = _Fused if fused(x, norm) else plain.PlainNorm
    y = function.apply(  # type: ignore[no-untyped-call]
        x,
        norm.scale,
        norm.shift,
        residual,
        statistics.mean,
        statistics.variance,
        statistics.count,
        norm.weight,
        norm.epsilon,
        relu,
        norm.reduce,
    )
    return cast(Tensor, y)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        residual: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor | None,
        weight: Tensor | None,
        epsilon: float,
        relu: bool,
        reduce: Reduce | None,
    ) -> Tensor:
        from kinegraph.kernels import norm_act_operators as operators

        y = operators.apply(x, mean, variance, scale, shift, residual, epsilon, relu)
        # Without a residual, the kernels find the sign of y again from x.
        kept = y if relu and residual is not None else None
        ctx.save_for_backward(x, kept, mean, variance, scale, shift, count, weight)
        ctx.settings = epsilon, relu, reduce, residual is not None
        return cast(Tensor, y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from kinegraph.kernels import norm_act_operators as operators

        x, y, mean, variance, scale, shift, count, weight = ctx.saved_tensors
        epsilon, relu, reduce, residual = ctx.settings
        (arrived,) = gradients
        given = (arrived, x, y, mean, variance, scale, shift)
        sums = operators.backward_sums(*given, epsilon, relu)
        totals = sums if reduce is None or count is None else reduce(sums.clone())
        dx, dresidual = operators.backward(
            *given, totals, count, weight, epsilon, relu, residual and relu
        )
        # Without ReLU, the residual gets the gradient as it arrived.
        dresidual = dresidual if relu else arrived
        return (
            dx, sums[1].to(scale.dtype), sums[0].to(shift.dtype),
            dresidual if residual else None, None, None, None, None, None, None, None,
        )  # fmt: skip


def check_norm(device: torch.device) -> float:
    """Compare kernels and plain operations on a device: statistics, values and all gradients.

    Returns:
        The largest difference as a share of the numbers; of bfloat16, which is rounded more, only
        a part counts.
    """
    return max(_difference(device, torch.float32), _difference(device, torch.bfloat16) / 64)


def _difference(device: torch.device, dtype: torch.dtype) -> float:
    from kinegraph.kernels import norm_act_operators as operators

    random = torch.Generator().manual_seed(0)
    x, residual, arriving = torch.randn(3, 3, 24, 5, 7, generator=random).to(device, dtype)
    residual = residual + 12 * residual.sign()  # no sum so near zero that rounding gives its sign
    scale, shift, before, spread = torch.randn(4, 24, generator=random).to(device)
    weight = torch.tensor([1.0, 0.0, 3.0], device=device)
    inputs = [each.clone().requires_grad_() for each in (x, scale, shift, residual)]
    results = []
    for function in (_Fused, plain.PlainNorm):
        seen = torch.zeros((), device=device, dtype=torch.int64)
        running = Running(before.clone(), spread.clone(), seen, 0.3)
        if function is _Fused:
            moved = (running.mean, running.variance, running.batches, running.momentum)
            statistics = operators.statistics(x, weight, *moved)
        else:
            statistics = plain.statistics(x, weight)
            _update(running, *statistics)
        y = function.apply(*inputs, *statistics, weight, 1e-5, True, None)  # type: ignore[no-untyped-call]
        gradients = torch.autograd.grad(y, inputs, arriving)
        results.append([*statistics, running.mean, running.variance, y.detach(), *gradients])
    pairs = zip(*results, strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


register_kernel(NAME, check_norm)
