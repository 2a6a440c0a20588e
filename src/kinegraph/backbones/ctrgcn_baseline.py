"""The baseline of CTR-GCN: ten blocks with one freely learned topology per subset.

FR-Head calls this network ``stgcn``; it is not the published ST-GCN, see ``stgcn.py``.

Source: Chen et al., CTR-GCN (ICCV 2021), the baseline of section 4.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kinegraph.backbones.body import Body, BodyBackbone, SpatialUnit
from kinegraph.nn.init import normal
from kinegraph.nn.temporal_conv import TemporalConv
from kinegraph.skeleton import Skeleton


class LearnedGraphConv(nn.Module):
    """Graph convolution with K learned topologies, column-normalised in every forward pass.

    The topologies start as identities, whatever the layout. Their orientation is from row to
    column, the transpose of `ctrgcn.RefinedGraphConv`.
    """

    def __init__(self, in_channels: int, channels: int, joints: int, subsets: int = 3) -> None:
        super().__init__()
        self.subsets = subsets
        self.adjacency = nn.Parameter(torch.eye(joints).repeat(subsets, 1, 1))  # (K, V, V)
        self.conv = nn.Conv2d(subsets * in_channels, channels, 1, bias=False)
        # One bias per subset, though only their sum matters: it learns as fast as theirs does.
        self.bias = nn.Parameter(torch.zeros(subsets, channels))
        normal(self.conv.weight, math.sqrt(2 / (channels * in_channels * subsets)))

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        adjacency = self.normalised()
        mixed = [x @ adjacency[k] for k in range(self.subsets)]  # each (R, C_in, T, V)
        y: Tensor = self.conv(torch.cat(mixed, dim=1))
        return y + self.bias.sum(0)[:, None, None]

    def normalised(self) -> Tensor:
        """Return the topologies that are used, (K, V, V)."""
        total: Tensor = self.adjacency.norm(dim=1, keepdim=True)
        return self.adjacency / (total + 1e-4)


class CTRGCNBaseline(BodyBackbone):
    """Ten blocks of learned graph convolution and one temporal convolution of kernel 5.

    Args: as `ctrgcn.CTRGCN`.
    """

    def __init__(self, skeleton: Skeleton, in_channels: int, persons: int, width: int = 64) -> None:
        super().__init__()

        def spatial(in_channels: int, channels: int, _: int) -> nn.Module:
            conv = LearnedGraphConv(in_channels, channels, skeleton.joint_count)
            return SpatialUnit(conv, in_channels, channels)

        def temporal(in_channels: int, channels: int, stride: int) -> nn.Module:
            return TemporalConv(in_channels, channels, kernel=5, stride=stride)

        self.stand_on(Body(skeleton, in_channels, persons, width, spatial, temporal))
