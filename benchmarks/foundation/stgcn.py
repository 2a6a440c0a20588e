"""ST-GCN: the first graph convolutional network over space and time for skeletons.

Source: Yan et al., Spatial Temporal Graph Convolutional Networks (AAAI 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foundation.base import Backbone, Features
from foundation.norm import BatchNorm
from foundation.persons import fold, pool
from kinegraph.nn.graph import Strategy, partition
from kinegraph.nn.init import normal
from kinegraph.skeleton import Skeleton

WIDTHS = (1, 1, 1, 1, 2, 2, 2, 4, 4, 4)  # times the width of the network
STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)  # over time
STAGE_BLOCKS = {"low": 0, "mid": 4, "high": 7, "final": 9}
TEMPORAL_KERNEL = 9


class GraphConv(nn.Module):
    """One 1x1 convolution for all K partitions, then a sum over each joint's neighbours."""

    def __init__(self, in_channels: int, channels: int, partitions: int) -> None:
        super().__init__()
        self.partitions = partitions
        self.conv = nn.Conv2d(in_channels, partitions * channels, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(R, C_in, T, V) with (K, V, V) -> (R, C, T, V)."""
        x = self.conv(x)  # (R, K*C, T, V)
        x = x.view(len(x), self.partitions, -1, *x.shape[2:])  # (R, K, C, T, V)
        return torch.einsum("rkctv,kvw->rctw", x, adjacency)


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
        self.temporal = nn.Sequential(
            BatchNorm(channels),
            nn.ReLU(),
            nn.Conv2d(
                channels,
                channels,
                (TEMPORAL_KERNEL, 1),
                stride=(stride, 1),
                padding=(TEMPORAL_KERNEL // 2, 0),
            ),
            BatchNorm(channels),
            nn.Dropout(0.0 if first else dropout),
        )
        self.first = first
        self.residual: nn.Module = nn.Identity()
        if not first and (in_channels != channels or stride != 1):
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=(stride, 1)), BatchNorm(channels)
            )

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, ceil(T / stride), V)."""
        y = self.temporal(self.spatial(x, adjacency))
        return torch.relu(y if self.first else y + self.residual(x))


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
        original: bool = False,
    ) -> None:
        super().__init__()
        matrices = partition(skeleton, strategy, max_hop, dilation, original=original)
        self.register_buffer("adjacency", torch.from_numpy(matrices).float())  # (K, V, V)
        self.input_norm = BatchNorm(skeleton.joint_count * in_channels)
        channels = [in_channels, *(width * factor for factor in WIDTHS)]
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
        self, x: Tensor, present: Tensor | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        x, rows = fold(x, present)  # (R, C, T, V)
        x = self.normalise(x)
        maps = {}
        for i, block in enumerate(self.blocks):
            adjacency = self.adjacency
            if len(self.edge_importance):
                adjacency = adjacency * self.edge_importance[i]
            x = block(x, adjacency)
            for stage in stages:
                if STAGE_BLOCKS[stage] == i:
                    maps[stage] = rows.unfold(x)  # (N, M, C, T', V)
        return Features(pool(x, rows), maps)

    def normalise(self, x: Tensor) -> Tensor:
        """Normalise every coordinate of every joint over rows and frames."""
        rows, channels, frames, joints = x.shape
        flat = x.permute(0, 3, 1, 2).reshape(rows, joints * channels, frames)
        normalised: Tensor = self.input_norm(flat)
        return normalised.view(rows, joints, channels, frames).permute(0, 2, 3, 1)
