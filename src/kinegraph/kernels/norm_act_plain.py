"""Batch norm by plain PyTorch operations: what kernels are compared with, and what CPUs do.

On a CPU the statistics come from two sums, which take a fraction of the time of PyTorch's own.
Code that is compiled for a CPU adds number after number where PyTorch adds in a tree; its sums are
therefore taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PART = 2**17  # numbers that a processor's cache holds a few times
LEAST = 1e-12  # stands in for a sum of weights that is zero

Reduce = Callable[[Tensor], Tensor]


def statistics(x: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, biased variance and count of x (R, C, ...), in float32 or better."""
    result = torch.promote_types(x.dtype, torch.float32)
    dtype = torch.float64 if compiled_for_cpu(x) else result
    axes = [axis for axis in range(x.ndim) if axis != 1]
    positions = x[:, :1].numel()
    if weight is None:
        count = torch.full((), positions, dtype=dtype, device=x.device)
        divisor = count.clamp(min=LEAST)
        mean = x.sum(axes, dtype=dtype) / divisor
        parts = [_centred(x[rows], mean).square_().sum(axes) for rows in _parts(x)]
        variance = sum(parts, torch.zeros_like(mean)) / divisor
        return mean.to(result), variance.to(result), count.to(result)
    weight = _per_row(weight).to(dtype)  # (R, C or 1)
    count = weight.sum(0) * (positions // max(1, len(x)))
    divisor = count.clamp(min=LEAST)
    mean = (_row_sums(x, dtype) * weight).sum(0) / divisor
    parts = [
        (_row_sums(_centred(x[rows], mean).square_(), dtype) * weight[rows]).sum(0)
        for rows in _parts(x)
    ]
    variance = sum(parts, torch.zeros_like(mean)) / divisor
    count = count.squeeze(0) if weight.shape[1] == 1 else count
    return mean.to(result), variance.to(result), count.to(result)


def compiled_for_cpu(x: Tensor) -> bool:
    """Whether the code that computes with x is being compiled, for a CPU."""
    return x.device.type == "cpu" and torch.compiler.is_compiling()


def _parts(x: Tensor) -> list[slice]:
    """Cut rows (R, C, ...) into parts whose intermediate results stay in a processor's cache."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(None)]  # compiled code takes any number of rows, but no loop over them
    rows = max(1, PART * len(x) // max(1, x.numel()))
    return [slice(start, start + rows) for start in range(0, len(x), rows)]


def _centred(x: Tensor, mean: Tensor) -> Tensor:
    """Subtract the mean (C,) from (R, C, ...), in the mean's precision."""
    return x.to(mean.dtype) - _column(mean, x)


def _row_sums(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, C, ...) -> (R, C)."""
    return x.sum(list(range(2, x.ndim)), dtype=dtype) if x.ndim > 2 else x.to(dtype)


def _column(values: Tensor, x: Tensor) -> Tensor:
    """See (C,) or (R, C) as broadcastable to x (R, C, ...)."""
    return values.view(*values.shape, *([1] * (x.ndim - 2)))


def _per_row(weight: Tensor) -> Tensor:
    """See weights (R,) or (R, C) as (R, 1 or C)."""
    return weight[:, None] if weight.ndim == 1 else weight


def over_processes(
    mean: Tensor, variance: Tensor, count: Tensor, reduce: Reduce
) -> tuple[Tensor, Tensor, Tensor]:
    """Combine statistics of all processes with one exchange, in float64 for its differences."""
    shape, dtype = count.shape, mean.dtype
    count, mean, variance = count.double().expand_as(mean), mean.double(), variance.double()
    sums = reduce(torch.stack((count, count * mean, count * (variance + mean.square()))))
    count, divisor = sums[0], sums[0].clamp(min=LEAST)
    mean = sums[1] / divisor
    variance = (sums[2] / divisor - mean.square()).clamp(min=0)
    return mean.to(dtype), variance.to(dtype), (count if shape else count[0]).to(dtype)


def finish(y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """Add the residual and apply ReLU in the memory of y."""
    y = y if residual is None else y.add_(residual)
    return y.relu_() if relu else y


class PlainNorm(torch.autograd.Function):
    """relu(norm(x) + residual), and gradients that reach x through its statistics."""

    @staticmethod
    def forward(  # noqa: D102
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
        y = functional.batch_norm(x, mean, variance, scale, shift, False, 0.0, epsilon)
        y = finish(y, residual, relu)
        ctx.save_for_backward(x, y if relu else None, mean, variance, scale, count, weight)
        ctx.settings = epsilon, reduce, residual is not None
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        x, y, mean, variance, scale, count, weight = ctx.saved_tensors
        epsilon, reduce, residual = ctx.settings
        (arrived,) = gradients
        if y is not None:
            arrived = torch.ops.aten.threshold_backward(arrived, y, 0)
        rate = torch.rsqrt(variance + epsilon)
        # Statistics of everything that is here and of nothing else: PyTorch's own formula.
        own = count is not None and weight is None and reduce is None
        own = own and not compiled_for_cpu(x)
        if compiled_for_cpu(x):
            dx, dscale, dshift = _backward_by_sums(arrived, x, mean, rate, scale)
        elif x.numel() == 0:  # the formula would divide by the number of positions
            dx, dscale, dshift = arrived, torch.zeros_like(scale), torch.zeros_like(scale)
        else:
            dx, dscale, dshift = torch.ops.aten.native_batch_norm_backward(
                arrived, x, scale, mean, variance, mean, rate, own, epsilon, (True, True, True)
            )
        if count is not None and not own:
            sums = torch.stack((dshift, dscale)).to(mean.dtype)
            sums = sums if reduce is None else reduce(sums)
            _add_through_statistics(dx, x, mean, rate, scale, sums, count, weight)
        return (
            dx, dscale, dshift, arrived if residual else None,
            None, None, None, None, None, None, None,
        )  # fmt: skip


def _backward_by_sums(
    arrived: Tensor, x: Tensor, mean: Tensor, rate: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x through a fixed norm, of scale and of shift."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    gradient, spread = arrived.double(), _centred(x, mean).double()
    dshift, dscale = gradient.sum(axes), (gradient * spread).sum(axes) * rate
    dx = arrived * _column((scale * rate).to(arrived.dtype), x)
    return dx, dscale.to(scale.dtype), dshift.to(scale.dtype)


def _add_through_statistics(
    dx: Tensor,
    x: Tensor,
    mean: Tensor,
    rate: Tensor,
    scale: Tensor,
    sums: Tensor,
    count: Tensor,
    weight: Tensor | None,
) -> None:
    """Subtract scale * rate * weight * (S1 + standardised x * S2) / count from the gradient."""
    addend, slope = -scale.to(mean.dtype) * rate * sums / count.clamp(min=LEAST)
    slope = slope * rate
    if weight is not None:
        weight = _per_row(weight).to(mean.dtype)
        addend, slope = weight * addend, weight * slope  # (R, C)
    for rows in _parts(x):
        here = rows if weight is not None else slice(None)
        change = _centred(x[rows], mean).mul_(_column(slope[here], x))
        dx[rows] += change.add_(_column(addend[here], x)).to(dx.dtype)
