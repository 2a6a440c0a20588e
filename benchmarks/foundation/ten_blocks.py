"""The body that CTR-GCN and its relatives share: input norm, ten blocks, pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from foundation.base import Features
from foundation.norm import BatchNorm
from foundation.persons import fold, pool
from foundation.temporal_conv import TemporalConv
from kinegraph.nn.init import kaiming_fan_out
from kinegraph.skeleton import Skeleton

WIDTHS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # times the width of the network
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)  # over time
STAGE_BLOCKS = {"low": 0, "mid": 4, "high": 7, "final": 9}

MakeUnit = Callable[[int, int, int], nn.Module]  # in_channels, channels, stride


class SpatialUnit(nn.Module):
    """relu(norm(graph convolution) + residual), whatever the graph convolution is."""

    def __init__(self, conv: nn.Module, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(channels)
        nn.init.constant_(self.norm.weight, 1e-6)  # the unit starts as its residual
        self.residual: nn.Module = nn.Identity()
        if in_channels != channels:
            point = nn.Conv2d(in_channels, channels, 1)
            kaiming_fan_out(point)
            self.residual = nn.Sequential(point, BatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        return torch.relu(self.norm(self.conv(x)) + self.residual(x))


class Block(nn.Module):
    """relu(temporal(spatial(x)) + residual(x)); the first block has no residual."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        spatial: nn.Module,
        temporal: nn.Module,
        *,
        first: bool,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self.first = first
        same = in_channels == channels and stride == 1
        self.residual = (
            nn.Identity()
            if same or first
            else TemporalConv(in_channels, channels, kernel=1, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, ceil(T / stride), V)."""
        y = self.temporal(self.spatial(x))
        return torch.relu(y if self.first else y + self.residual(x))


class TenBlocks(nn.Module):
    """Input norm, ten blocks and pooling; what a block does in space and time is given.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        persons: M; the input norm has channels of its own for each slot.
        width: Channels of the first four blocks, doubled twice later.
        spatial: Makes the unit over joints from (in_channels, channels, 1).
        temporal: Makes the unit over time from (channels, channels, stride).
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int,
        spatial: MakeUnit,
        temporal: MakeUnit,
    ) -> None:
        super().__init__()
        self.input_norm = BatchNorm(persons * skeleton.joint_count * in_channels)
        channels = [in_channels, *(width * factor for factor in WIDTHS)]
        self.blocks = nn.ModuleList(
            Block(
                channels[i],
                channels[i + 1],
                STRIDES[i],
                spatial(channels[i], channels[i + 1], 1),
                temporal(channels[i + 1], channels[i + 1], STRIDES[i]),
                first=i == 0,
            )
            for i in range(len(WIDTHS))
        )
        self.out_channels = channels[-1]
        self.stage_channels = {stage: channels[i + 1] for stage, i in STAGE_BLOCKS.items()}
        self.stage_strides = {"low": 1, "mid": 2, "high": 4, "final": 4}

    def forward(self, x: Tensor, present: Tensor | None, stages: Sequence[str]) -> Features:
        """(N, C, T, V, M) clips -> features."""
        x, rows = fold(self.normalise(x, present), present)  # (R, C, T, V)
        maps = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            for stage in stages:
                if STAGE_BLOCKS[stage] == i:
                    maps[stage] = rows.unfold(x)  # (N, M, C, T', V)
        return Features(pool(x, rows), maps)

    def normalise(self, x: Tensor, present: Tensor | None) -> Tensor:
        """Normalise every coordinate of every joint and slot over clips and frames."""
        clips, channels, frames, joints, persons = x.shape
        flat = x.permute(0, 4, 3, 1, 2).reshape(clips, persons * joints * channels, frames)
        weight = None
        if present is not None:  # (N, M) -> (N, M*V*C, 1)
            weight = present.to(x.dtype).repeat_interleave(joints * channels, dim=1)[:, :, None]
        normalised: Tensor = self.input_norm(flat, weight)
        return normalised.view(clips, persons, joints, channels, frames).permute(0, 3, 4, 2, 1)
