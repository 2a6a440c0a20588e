"""Temporal Conv: residual convolutions over time on all coordinates of all people at once.

It has no axis of joints, so nothing can be asked of its stages.

Source: Kim and Reiter, Interpretable 3D Human Action Analysis with Temporal Convolutional Networks
(CVPR workshops 2017), as the first release of ST-GCN ships it for its baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.errors import RecipeError
from kinegraph.nn.init import normal
from kinegraph.nn.norm import BatchNorm, normalise_clips
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.skeleton import Skeleton

WIDTHS = (1, 1, 1, 2, 2, 2, 4, 4, 4)  # times the width of the network
STRIDES = (1, 1, 1, 2, 1, 1, 2, 1, 1)
KERNEL = 9


class NormedConv(nn.Module):
    """Norm, ReLU, dropout, then a convolution over time: (N, C_in, T) -> (N, C, T')."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = BatchNorm(in_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv = convolution(in_channels, channels, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, T) -> (N, C, ceil(T / stride))."""
        y: Tensor = self.conv(self.dropout(self.norm(x, relu=True)))
        return y


class Unit(nn.Module):
    """A normed convolution beside the input, which a second one fits where widths change."""

    def __init__(self, in_channels: int, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.main = NormedConv(in_channels, channels, KERNEL, stride, dropout)
        self.residual = None
        if in_channels != channels or stride != 1:
            self.residual = NormedConv(in_channels, channels, 1, stride, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, T) -> (N, C, ceil(T / stride))."""
        residual = x if self.residual is None else self.residual(x)
        y: Tensor = self.main(x) + residual
        return y


def convolution(in_channels: int, channels: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    """Return a convolution over time that keeps ceil(T / stride) frames."""
    conv = nn.Conv1d(in_channels, channels, kernel, stride=stride, padding=(kernel - 1) // 2)
    normal(conv.weight, math.sqrt(2 / (channels * kernel)))
    return conv


class TCN(Backbone):
    """Input norm, a convolution, nine residual units, and the mean over time.

    Absent people are zeros behind the norm, and a clip without anybody has a feature of zeros.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        persons: M, person slots, which share no weights.
        width: Channels of the first four layers (64 in the release), doubled twice later.
        dropout: Inside the units.
        normalise: Whether coordinates are normalised first.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int = 64,
        *,
        dropout: float = 0.5,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        size = persons * skeleton.joint_count * in_channels
        self.input_norm = BatchNorm(size) if normalise else None
        self.opening = convolution(size, width, KERNEL)
        channels = [width, *(width * factor for factor in WIDTHS)]
        self.units = nn.ModuleList(
            Unit(channels[i], channels[i + 1], stride, dropout) for i, stride in enumerate(STRIDES)
        )
        self.norm = BatchNorm(channels[-1])
        self.out_channels = channels[-1]
        self.stage_channels = {}
        self.stage_strides = {}

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        rows = rows_of(x, present)
        if self.input_norm is not None:
            x = normalise_clips(self.input_norm, x, rows)
        if rows.counted is not None:
            x = torch.where(rows.counted[:, None, None, None, :], x, 0)
        # (N, C, T, V, M) -> (N, M, V, C, T) -> (N, M*V*C, T)
        y = self.opening(x.permute(0, 4, 3, 1, 2).flatten(1, 3))
        for unit in self.units:
            y = unit(y)
        pooled = self.norm(y, relu=True).mean(2)  # (N, F)
        if rows.counted is not None:
            pooled = pooled * rows.counted.any(1, keepdim=True)
        return Features(pooled)

    def check_stages(self, stages: Sequence[str]) -> None:
        """Raise RecipeError if any stage is asked for."""
        if stages:
            raise RecipeError(
                f"unknown stage '{stages[0]}': backbone tcn has no axis of joints, and so no"
                " stages; choose another backbone"
            )
