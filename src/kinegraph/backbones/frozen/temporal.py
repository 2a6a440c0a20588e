"""What a frozen block does over time, on rows (R, V, T, C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinegraph.backbones.frozen.products import convolve
from kinegraph.nn.folding import folded, scale_and_shift, weight_and_bias
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv, TemporalConv


class FrozenConv(nn.Module):
    """One convolution over time, its norm folded in.

    Args:
        conv: The convolution, whose kernel is 1 over joints.
        weight: Its (C', C, 1, k) weight with time last, in place of its own.
        bias: Its (C',) bias.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.stride = conv.stride[0]
        self.padding = int(conv.padding[0])
        self.dilation = conv.dilation[0]
        self.register_buffer("weight", weight.mT.float().contiguous())  # (C', C, 1, k)
        self.register_buffer("bias", bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C) -> (R, V, T', C')."""
        return convolve(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


def freeze_conv(module: TemporalConv) -> FrozenConv:
    """Return a convolution over time and its norm as one convolution."""
    return FrozenConv(module.conv, *folded(module.conv, module.norm))


class FrozenMultiScale(nn.Module):
    """The four branches of a multi-scale temporal convolution, their norms folded in.

    Only the maximum keeps a scale and a shift of its own: its scale may be negative.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, module: MultiScaleTemporalConv) -> None:
        super().__init__()
        width = self.width = module.width
        self.stride = module.stride
        end_scale, end_shift = scale_and_shift(module.norm)
        scale, shift = scale_and_shift(module.reduce_norm)
        # The last branch is a convolution alone; the norm that ends it can be moved to its begin.
        scale = torch.cat((scale, end_scale[-width:]))
        shift = torch.cat((shift, end_shift[-width:]))
        weight, bias = weight_and_bias(module.reduce)
        weight = weight * scale[:, None, None, None]
        self.reduce = FrozenConv(module.reduce, weight, bias * scale + shift)
        self.dilated = nn.ModuleList()
        for i, conv in enumerate(module.dilated):
            assert isinstance(conv, nn.Conv2d)
            part = slice(i * width, (i + 1) * width)
            weight, bias = weight_and_bias(conv)
            weight = weight * end_scale[part, None, None, None]
            self.dilated.append(FrozenConv(conv, weight, bias * end_scale[part] + end_shift[part]))
        maximum = slice(-2 * width, -width)
        self.register_buffer("scale", end_scale[maximum].float())
        self.register_buffer("shift", end_shift[maximum].float())

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T', C)."""
        reduced = self.reduce(x)  # (R, V, T, 4*W)
        reduced[..., : -self.width].relu_()
        *dilated, maximum, point = reduced.split(self.width, dim=3)
        largest = torch.addcmul(self.shift, self._maximum(maximum), self.scale)
        convolved = [conv(part) for conv, part in zip(self.dilated, dilated, strict=True)]
        return torch.cat((*convolved, largest, point[:, :, :: self.stride]), dim=3)

    def _maximum(self, x: Tensor) -> Tensor:
        """Maximum of each frame and its neighbours: (R, V, T, W) -> (R, V, T', W)."""
        step = self.stride
        here = x[:, :, ::step].clone(memory_format=torch.contiguous_format)
        after = x[:, :, 1::step]
        first = here[:, :, : after.shape[2]]
        torch.maximum(first, after, out=first)
        later = here[:, :, 1:]
        before = x[:, :, step - 1 :: step][:, :, : later.shape[2]]
        torch.maximum(later, before, out=later)
        return here
