"""Convolutions over time, on rows (R, C, T, V)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foundation.norm import BatchNorm
from kinegraph.nn.init import kaiming_fan_out, normal


class TemporalConv(nn.Module):
    """One convolution over time and its batch norm; T becomes ceil(T / stride)."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            (kernel, 1),
            stride=(stride, 1),
            padding=((kernel - 1) * dilation // 2, 0),
            dilation=(dilation, 1),
        )
        self.norm = BatchNorm(channels)
        kaiming_fan_out(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T', V)."""
        y: Tensor = self.norm(self.conv(x))
        return y


class MultiScaleTemporalConv(nn.Module):
    """Four branches side by side: two dilated convolutions, a maximum, and a 1x1 convolution.

    Source: Chen et al., CTR-GCN (ICCV 2021), section 3.4, after MS-G3D (CVPR 2020).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        width = channels // (len(dilations) + 2)
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(in_channels, width, 1), BatchNorm(width), nn.ReLU())
            for _ in range(len(dilations) + 1)
        )
        self.dilated = nn.ModuleList(
            TemporalConv(width, width, kernel, stride, dilation) for dilation in dilations
        )
        self.maximum = nn.Sequential(
            nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0)), BatchNorm(width)
        )
        self.point = nn.Sequential(
            nn.Conv2d(in_channels, width, 1, stride=(stride, 1)), BatchNorm(width)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kaiming_fan_out(module)
            elif isinstance(module, BatchNorm):
                normal(module.weight, 0.02, mean=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, ceil(T / stride), V)."""
        branches = [*self.dilated, self.maximum]
        reduced = [branch(reduce(x)) for reduce, branch in zip(self.reduce, branches, strict=True)]
        return torch.cat((*reduced, self.point(x)), dim=1)
