"""One batch norm for every network, which can leave people out of its statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over axis 1 of a tensor of any rank, optionally weighted.

    Parameters and buffers have the names of ``torch.nn.BatchNorm1d``. With weights, mean and
    variance of a training batch are weighted ones, so that an absent person (weight 0) has no
    part in them and one row can stand for several (weight 2, 3, ...).
    """

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Normalise (N, C, ...); ``weight`` is broadcastable to x, or None for ones."""
        if weight is None or not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1, *([1] * (x.ndim - 2))]
        precise = x.float()  # sums of half-precision numbers would lose too much
        weight = weight.float().expand_as(x)
        total = weight.sum(axes)  # (C,)
        divisor = total.clamp(min=1e-12)
        mean = (precise * weight).sum(axes) / divisor
        centred = precise - mean.view(shape)
        variance = (centred.square() * weight).sum(axes) / divisor
        with torch.no_grad():
            self._update(mean, variance, total)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _update(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        """Move the running statistics of channels that were seen at all."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        unbiased = variance * total / (total - 1).clamp(min=1)
        step = self.momentum * (total > 0)
        self.running_mean.lerp_(mean, step.to(mean.dtype))
        self.running_var.lerp_(unbiased, step.to(mean.dtype))

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2, "batch norm needs a channel axis"
