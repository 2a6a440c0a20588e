"""ST-GCN: the first graph convolutional network over space and time for skeletons.

Source: Yan et al., Spatial Temporal Graph Convolutional Networks (AAAI 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.kernels.aggregate import project_and_aggregate
from kinegraph.nn.graph import Strategy, partition
from kinegraph.nn.init import normal
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.persons import Rows, fold, pool, rows_of
from kinegraph.nn.temporal_conv import TemporalConv
from kinegraph.skeleton import Skeleton

WIDTHS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # times the width of the network
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)  # over time
STAGE_BLOCKS = {"low": 0, "mid": 4, "high": 7, "final": 9}
TEMPORAL_KERNEL = 9


class GraphConv(nn.Module):
    """One 1x1 convolution for all K partitions, then a sum over each joint's neighbours."""

    def __init__(self, in_channels: int, channels: int, partitions: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, partitions * channels, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(R, C_in, T, V) with (K, V, V) from row to column -> (R, C, T, V)."""
        return project_and_aggregate(x, self.conv.weight, self.conv.bias, adjacency.mT[None])


class Block(nn.Module):
    """relu(temporal(graph convolution) + residual); the first block has no residual."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        partitions: int,
        stride: int,
        dropout: float,
        *,
        first: bool,
    ) -> None:
        super().__init__()
        self.spatial = GraphConv(in_channels, channels, partitions)
        self.spatial_norm = BatchNorm(channels)
        self.temporal = TemporalConv(channels, channels, TEMPORAL_KERNEL, stride)
        self.dropout = nn.Dropout(0.0 if first else dropout)
        self.first = first
        self.residual = None
        if not first and (in_channels != channels or stride != 1):
            self.residual = TemporalConv(in_channels, channels, kernel=1, stride=stride)

    def forward(self, x: Tensor, adjacency: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, ceil(T / stride), V)."""
        residual = None if self.first else x
        if self.residual is not None:
            residual = self.residual(x, weight)
        y = self.spatial_norm(self.spatial(x, adjacency), weight, relu=True)
        if not (self.dropout.p and self.training):
            return self.temporal(y, weight, residual=residual, relu=True)  # type: ignore[no-any-return]
        y = self.dropout(self.temporal(y, weight))
        return torch.relu(y if residual is None else y + residual)


class STGCN(Backbone):
    """Ten blocks of partitioned graph convolution and a temporal convolution of kernel 9.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        strategy: How neighbourhoods are partitioned, see `nn.graph.partition`.
        max_hop: Farthest neighbour in bones.
        dilation: Step between neighbours in bones.
        edge_importance: Whether each block learns a factor for each edge.
        dropout: After the temporal convolution, in all blocks but the first.
        width: Channels of the first four blocks (64 in the paper).
        last_width: Channels of the last block; default: as the two before it.
        original: Partitions as the original program has them, see `nn.graph.partition`.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        *,
        strategy: Strategy = "spatial",
        max_hop: int = 1,
        dilation: int = 1,
        edge_importance: bool = True,
        dropout: float = 0.0,
        width: int = 64,
        last_width: int | None = None,
        original: bool = False,
    ) -> None:
        super().__init__()
        matrices = partition(skeleton, strategy, max_hop, dilation, original=original)
        self.register_buffer("adjacency", torch.from_numpy(matrices).float())  # (K, V, V)
        self.input_norm = BatchNorm(skeleton.joint_count * in_channels)
        channels = [in_channels, *(width * factor for factor in WIDTHS)]
        channels[-1] = last_width or channels[-1]
        self.blocks = nn.ModuleList(
            Block(channels[i], channels[i + 1], len(matrices), STRIDES[i], dropout, first=i == 0)
            for i in range(len(WIDTHS))
        )
        self.edge_importance = nn.ParameterList(
            nn.Parameter(torch.ones(matrices.shape)) for _ in self.blocks if edge_importance
        )
        self.out_channels = channels[-1]
        self.stage_channels = {stage: channels[i + 1] for stage, i in STAGE_BLOCKS.items()}
        self.stage_strides = {"low": 1, "mid": 2, "high": 4, "final": 4}
        self._initialise()

    def _initialise(self) -> None:
        # As the original training program does after construction.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                normal(module.weight, 0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, BatchNorm):
                normal(module.weight, 0.02, mean=1.0)

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        rows = rows_of(x, present)
        x = self.normalise(fold(x, rows), rows.weight)  # (R, C, T, V)
        maps = {}
        for i, block in enumerate(self.blocks):
            adjacency = self.adjacency
            if len(self.edge_importance):
                adjacency = adjacency * self.edge_importance[i]
            x = block(x, adjacency, rows.weight)
            for stage in stages:
                if STAGE_BLOCKS[stage] == i:
                    maps[stage] = rows.unfold(x)  # (N, M, C, T', V)
        return Features(pool(x, rows), maps)

    def freeze(self) -> Backbone:
        """Return the network for inference alone, rearranged on CPUs: see `Backbone.freeze`."""
        if next(self.parameters()).device.type != "cpu":
            return super().freeze()
        from kinegraph.backbones.frozen.families import freeze_stgcn

        return freeze_stgcn(self)

    def normalise(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """Normalise every coordinate of every joint over rows and frames."""
        rows, channels, frames, joints = x.shape
        flat = x.permute(0, 3, 1, 2).reshape(rows, joints * channels, frames)
        normalised: Tensor = self.input_norm(flat, weight)
        return normalised.view(rows, joints, channels, frames).permute(0, 2, 3, 1)
