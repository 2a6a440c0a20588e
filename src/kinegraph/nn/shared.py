"""Sums over the processes that share a batch, through which gradients flow."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from kinegraph.kernels.norm_act_plain import Reduce


def sum_over_processes(values: Tensor, reduce: Reduce | None) -> Tensor:
    """Return the sum of a tensor over all processes; the gradient is summed over them as well.

    Args:
        values: Of the same shape in all of them.
        reduce: Sums a tensor over all processes; None where there is one.
    """
    if reduce is None:
        return values
    return cast(Tensor, _Sum.apply(values, reduce))  # type: ignore[no-untyped-call]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, reduce: Reduce) -> Tensor:
        ctx.reduce = reduce
        return reduce(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.reduce(gradients[0].clone()), None


def gather_over_processes(values: Tensor, reduce: Reduce | None, before: int, whole: int) -> Tensor:
    """Return the rows of all processes below each other; gradients flow back to their owners.

    Args:
        values: (n, ...) rows of this process; n may differ from process to process, and be 0.
        reduce: Sums a tensor over all processes; None where there is one.
        before: How many rows the processes before this one have.
        whole: N, how many rows all of them have.
    """
    if reduce is None:
        return values
    after = whole - before - len(values)
    rows = (
        values.new_zeros(before, *values.shape[1:]),
        values,
        values.new_zeros(after, *values.shape[1:]),
    )
    return sum_over_processes(torch.cat(rows), reduce)  # (N, ...)
