"""CTR-GCN: graph convolutions whose topology is refined for every channel of every clip.

Source: Chen et al., Channel-wise Topology Refinement Graph Convolution (ICCV 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinegraph.backbones.body import Body, BodyBackbone, SpatialUnit
from kinegraph.kernels.aggregate import Refinement, project_and_aggregate
from kinegraph.nn.graph import directed
from kinegraph.nn.init import kaiming_fan_out
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv
from kinegraph.skeleton import Skeleton


def mean_over_time(x: Tensor) -> Tensor:
    """(R, C, T, V) -> (R, C, 1, V); the mean, and the gradient of x, lie in memory as x does.

    PyTorch's own mean gives memory in the order of the axes. Where channels are last, it reads
    them one by one (seven to thirty times as long on a CPU), and its gradient then has to be added
    to others in another order.
    """
    if x.stride(1) != 1:
        return x.mean(2, keepdim=True)
    # (R, T, V, C) -> (R, V, C) -> (R, C, 1, V)
    return x.permute(0, 2, 3, 1).mean(1).permute(0, 2, 1).unsqueeze(2)


class RefinedGraphConv(nn.Module):
    """Graph convolution over K subsets with a shared, learned and a channel-wise, inferred part.

    The adjacency from joint v to joint u, for output channel o of subset k, is
    ``alpha * expand(tanh(query_u - key_v))_o + adjacency[k, u, v]`` (equations 4 to 6 of the
    paper). The three subsets' convolutions are kept in one tensor each.
    """

    def __init__(self, in_channels: int, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.subsets = len(adjacency)
        self.channels = channels
        # An eighth of the channels, but no fewer than the eight that raw coordinates get.
        self.relation = max(8, in_channels // 8)
        self.adjacency = nn.Parameter(adjacency.clone())  # (K, V, V)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(in_channels, self.subsets * self.relation, 1)
        self.key = nn.Conv2d(in_channels, self.subsets * self.relation, 1)
        self.value = nn.Conv2d(in_channels, self.subsets * channels, 1)
        self.expand = nn.Conv2d(
            self.subsets * self.relation, self.subsets * channels, 1, groups=self.subsets
        )
        for convolution in (self.query, self.key, self.value, self.expand):
            kaiming_fan_out(convolution, subsets=self.subsets)

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        return project_and_aggregate(
            x, self.value.weight, self.value.bias, self.adjacency[None], self.refinement(x)
        )

    def refinement(self, x: Tensor) -> Refinement:
        """Return what the inferred part of the topology of x (R, C_in, T, V) is made of."""
        assert self.expand.bias is not None
        mean = mean_over_time(x)  # before the convolutions: they are linear
        relation = (len(x), self.subsets, self.relation, x.shape[3])
        return Refinement(
            # In the order in which kernels read them, once for all kernels: (R, K, Q, V).
            query=self.query(mean).view(relation).contiguous(),
            key=self.key(mean).view(relation).contiguous(),
            expand=self.expand.weight.view(self.subsets, self.channels, self.relation),
            bias=self.expand.bias.view(self.subsets, self.channels),
            alpha=self.alpha,
        )


class CTRGCN(BodyBackbone):
    """Ten blocks of refined graph convolution and multi-scale temporal convolution.

    Args:
        skeleton: Layout of the joints; its tree is the starting topology.
        in_channels: C of the input.
        persons: M, person slots.
        width: Channels of the first four blocks (64 in the paper), a multiple of 4.
    """

    def __init__(self, skeleton: Skeleton, in_channels: int, persons: int, width: int = 64) -> None:
        super().__init__()
        adjacency = torch.from_numpy(directed(skeleton)).float()

        def spatial(in_channels: int, channels: int, _: int) -> nn.Module:
            conv = RefinedGraphConv(in_channels, channels, adjacency)
            return SpatialUnit(conv, in_channels, channels)

        self.stand_on(Body(skeleton, in_channels, persons, width, spatial, MultiScaleTemporalConv))
