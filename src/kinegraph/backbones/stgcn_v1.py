"""The first release of ST-GCN: other graphs, masks in place of edge importance, other residuals.

Source: Yan et al., Spatial Temporal Graph Convolutional Networks (AAAI 2018), as released in
January 2018; `stgcn` is the network of today's releases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.kernels.aggregate import project_and_aggregate
from kinegraph.nn.graph import FirstStrategy, first_release
from kinegraph.nn.init import kaiming_fan_out
from kinegraph.nn.norm import BatchNorm, normalise_clips
from kinegraph.nn.persons import Rows, fold, pool, rows_of
from kinegraph.nn.temporal_conv import TemporalConv
from kinegraph.skeleton import Skeleton

WIDTHS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # times the width of the network
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
STAGE_BLOCKS = {"low": 0, "mid": 4, "high": 7, "final": 9}


class MaskedGraphConv(nn.Module):
    """relu(norm(graph convolution)) over K fixed graphs, each times a learned mask."""

    adjacency: Tensor

    def __init__(self, in_channels: int, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        subsets = len(adjacency)
        self.register_buffer("adjacency", adjacency, persistent=False)  # (K, V, V)
        self.mask = nn.Parameter(torch.ones_like(adjacency))
        self.conv = nn.Conv2d(in_channels, subsets * channels, 1, bias=False)
        # One bias per subset, though only their sum matters: it learns as fast as theirs does.
        self.bias = nn.Parameter(torch.zeros(subsets, channels))
        self.norm = BatchNorm(channels)
        kaiming_fan_out(self.conv, subsets=subsets)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, T, V)."""
        topology = (self.adjacency * self.mask).mT  # (K, U, V), from column to row
        y = project_and_aggregate(x, self.conv.weight, None, topology[None])
        y = y + self.bias.sum(0).to(y.dtype)[:, None, None]
        return self.norm(y, weight, relu=True)  # type: ignore[no-any-return]


class Block(nn.Module):
    """temporal(spatial(x)) + residual(x), each with a ReLU of its own and none behind the sum."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        adjacency: Tensor,
        *,
        dropout: float,
        bare: bool,
    ) -> None:
        super().__init__()
        self.spatial = MaskedGraphConv(in_channels, channels, adjacency)
        self.dropout = nn.Dropout(dropout)
        self.temporal = TemporalConv(channels, channels, kernel=9, stride=stride)
        self.bare = bare
        self.residual = None
        if not bare and (in_channels != channels or stride != 1):
            self.residual = TemporalConv(in_channels, channels, kernel=1, stride=stride)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, ceil(T / stride), V)."""
        y: Tensor = self.temporal(self.dropout(self.spatial(x, weight)), weight, relu=True)
        if self.bare:
            return y
        return y + (x if self.residual is None else self.residual(x, weight, relu=True))


class STGCNFirstRelease(Backbone):
    """Input norm, ten blocks, pooling.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        persons: M, person slots.
        width: Channels of the first four blocks (64 in the release), doubled twice later.
        strategy: Which of the release's graphs joins the joints, see `first_release`.
        dropout: Before the temporal convolution of every block but the first.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int = 64,
        *,
        strategy: FirstStrategy = "spatial",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        adjacency = torch.from_numpy(first_release(skeleton, strategy)).float()
        channels = [in_channels, *(width * factor for factor in WIDTHS)]
        self.input_norm = BatchNorm(persons * skeleton.joint_count * in_channels)
        self.blocks = nn.ModuleList(
            Block(
                channels[i],
                channels[i + 1],
                stride,
                adjacency,
                dropout=dropout if i else 0.0,
                bare=i == 0,
            )
            for i, stride in enumerate(STRIDES)
        )
        self.out_channels = channels[-1]
        self.stage_channels = {stage: channels[i + 1] for stage, i in STAGE_BLOCKS.items()}
        self.stage_strides = {"low": 1, "mid": 2, "high": 4, "final": 4}

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        rows = rows_of(x, present)
        x = fold(normalise_clips(self.input_norm, x, rows), rows)  # (R, C, T, V)
        maps = {}
        for i, block in enumerate(self.blocks):
            x = block(x, rows.weight)
            for stage in stages:
                if STAGE_BLOCKS[stage] == i:
                    maps[stage] = rows.unfold(x)  # (N, M, C, T', V)
        return Features(pool(x, rows), maps)

    def freeze(self) -> Backbone:
        """Return the network for inference alone, rearranged on CPUs: see `Backbone.freeze`."""
        if next(self.parameters()).device.type != "cpu":
            return super().freeze()
        from kinegraph.backbones.frozen.families import freeze_first_release

        return freeze_first_release(self)
