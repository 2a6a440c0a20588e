"""Norms whose statistics no longer change, as part of the convolution before them.

In eval mode a batch norm is ``scale * x + shift`` for each channel, so a convolution and the norm
after it are one convolution with other weights. Everything is computed in float64 and rounded
once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinegraph.nn.norm import BatchNorm


def scale_and_shift(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return what a norm multiplies by and adds in eval mode, two (C,) in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


def weight_and_bias(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the (C', C, ...) weight and (C',) bias of a convolution in float64."""
    weight = conv.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach().double()
    return weight, bias


def folded(conv: nn.Conv2d, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that is this one and its norm, in float64."""
    scale, shift = scale_and_shift(norm)
    weight, bias = weight_and_bias(conv)
    return weight * scale[:, None, None, None], bias * scale + shift
