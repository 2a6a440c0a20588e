"""TCA-GCN: CTR-GCN whose values are routed over time, and whose branches attend to themselves.

Source: Wang et al., Skeleton-based Action Recognition via Temporal-Channel Aggregation (2022), in
the variant that FR-Head trains.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from kinegraph.backbones.body import Body, BodyBackbone, SpatialUnit
from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.kernels.aggregate import aggregate
from kinegraph.nn.graph import directed
from kinegraph.nn.init import kaiming_fan_out
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv
from kinegraph.skeleton import Skeleton


class TemporalRoute(nn.Module):
    """A factor for every channel and frame of each of K subsets, from what the joints do together.

    ``expand(relu(norm(context(mean over joints + whole(mean over joints and frames))))) + 1``, both
    convolutions over three frames.
    """

    def __init__(self, in_channels: int, channels: int, subsets: int, *, original: bool) -> None:
        super().__init__()
        self.subsets = subsets
        inner = max(1, in_channels // 2)
        self.whole = nn.Conv2d(in_channels, subsets * in_channels, 1)
        self.context = nn.Conv2d(
            subsets * in_channels, subsets * inner, (3, 1), padding=(1, 0), groups=subsets
        )
        self.norm = BatchNorm(subsets * inner)
        self.expand = nn.Conv2d(
            subsets * inner, subsets * channels, (3, 1), padding=(1, 0), groups=subsets, bias=False
        )
        kaiming_fan_out(self.whole, subsets=subsets)
        kaiming_fan_out(self.context, subsets=subsets)
        if original:  # meant to start at zero, but drawn anew afterwards
            kaiming_fan_out(self.expand, subsets=subsets)
        else:
            nn.init.zeros_(self.expand.weight)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, K, C, T, 1)."""
        joints = x.mean(3, keepdim=True)  # (R, C_in, T, 1)
        whole = self.whole(joints.mean(2, keepdim=True))  # (R, K*C_in, 1, 1)
        y = self.context(joints.repeat(1, self.subsets, 1, 1) + whole)
        y = self.expand(self.norm(y, weight, relu=True))  # (R, K*C, T, 1)
        return (y + 1).unflatten(1, (self.subsets, -1))  # type: ignore[no-any-return]


class RoutedGraphConv(RefinedGraphConv):
    """The graph convolution of CTR-GCN with values that are weighed over time."""

    def __init__(
        self, in_channels: int, channels: int, adjacency: Tensor, *, original: bool
    ) -> None:
        super().__init__(in_channels, channels, adjacency)
        self.value = nn.Conv2d(in_channels, self.subsets * channels, 1, bias=False)
        nn.init.kaiming_uniform_(self.value.weight, a=math.sqrt(5))
        self.route = TemporalRoute(in_channels, channels, self.subsets, original=original)

    def forward(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, T, V)."""
        value = self.value(x).unflatten(1, (self.subsets, self.channels))  # (R, K, C, T, V)
        return aggregate(value * self.route(x, weight), self.adjacency[None], self.refinement(x))


class SelfAttention(nn.Module):
    """Twice the input times a gate between 0 and 1, from each position and from the whole row.

    Source: Dai et al., Attentional Feature Fusion (WACV 2021), of one input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("here", "whole"):
            for step in (1, 2):
                self.add_module(f"{name}{step}", nn.Conv2d(channels, channels, 1))
                self.add_module(f"{name}{step}_norm", BatchNorm(channels))

    def forward(self, y: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C, T, V) and weights of rows -> (R, C, T, V)."""
        whole = y.mean((2, 3), keepdim=True)  # (R, C, 1, 1)
        gate = self._gate("here", y, weight) + self._gate("whole", whole, weight)
        return 2 * y * torch.sigmoid(gate)

    def _gate(self, name: str, y: Tensor, weight: Tensor | None) -> Tensor:
        inner = self.get_submodule(f"{name}1_norm")(
            self.get_submodule(f"{name}1")(y), weight, relu=True
        )
        gate: Tensor = self.get_submodule(f"{name}2_norm")(
            self.get_submodule(f"{name}2")(inner), weight
        )
        return gate


class AttentiveTemporalConv(nn.Module):
    """Multi-scale temporal convolution, then self-attention."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branches = MultiScaleTemporalConv(in_channels, channels, stride)
        self.attention = SelfAttention(channels)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(R, C_in, T, V), weights and residual as in `BatchNorm` -> (R, C, T', V)."""
        y: Tensor = self.attention(self.branches(x, weight), weight)
        y = y if residual is None else y + residual
        return torch.relu(y) if relu else y


class TCAGCN(BodyBackbone):
    """Ten blocks of routed graph convolution and attentive multi-scale temporal convolution.

    Differs from the original: routes start at one, as their authors meant; there, a later
    initialisation overwrites that (``quirks: original`` restores it). A convolution that they
    carry along without ever using it is left out.

    Args: as `ctrgcn.CTRGCN`, and
        original: Whether ``quirks: original`` is set.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int = 64,
        *,
        original: bool = False,
    ) -> None:
        super().__init__()
        adjacency = torch.from_numpy(directed(skeleton)).float()
        routed = partial(RoutedGraphConv, adjacency=adjacency, original=original)

        def spatial(in_channels: int, channels: int, _: int) -> nn.Module:
            return SpatialUnit(routed(in_channels, channels), in_channels, channels)

        self.stand_on(Body(skeleton, in_channels, persons, width, spatial, AttentiveTemporalConv))
