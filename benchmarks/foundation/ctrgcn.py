"""CTR-GCN: graph convolutions whose topology is refined for every channel of every clip.

Source: Chen et al., Channel-wise Topology Refinement Graph Convolution (ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foundation.base import Backbone, Features
from foundation.temporal_conv import MultiScaleTemporalConv
from foundation.ten_blocks import SpatialUnit, TenBlocks
from kinegraph.nn.graph import directed
from kinegraph.nn.init import kaiming_fan_out
from kinegraph.skeleton import Skeleton


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

    def forward(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        rows, _, frames, joints = x.shape
        mean = x.mean(2, keepdim=True)  # over time, before the convolutions: they are linear
        query = self.query(mean).transpose(2, 3)  # (R, K*r, V, 1)
        key = self.key(mean)  # (R, K*r, 1, V)
        topology = self.expand(torch.tanh(query - key))  # (R, K*C, V, V)
        shape = (rows, self.subsets, self.channels, joints)
        topology = topology.view(*shape, joints) * self.alpha + self.adjacency[:, None]
        value = self.value(x).view(*shape[:3], frames, joints)  # (R, K, C, T, V)
        return torch.einsum("rkctv,rkcuv->rctu", value, topology)


class CTRGCN(Backbone):
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

        self.body = TenBlocks(
            skeleton, in_channels, persons, width, spatial, MultiScaleTemporalConv
        )
        self.out_channels = self.body.out_channels
        self.stage_channels = self.body.stage_channels
        self.stage_strides = self.body.stage_strides

    def forward(
        self, x: Tensor, present: Tensor | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        return self.body(x, present, stages)  # type: ignore[no-any-return]
