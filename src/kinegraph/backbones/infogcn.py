"""InfoGCN: joints are embedded, and attention in every frame says which of them exchange features.

The information bottleneck that gave the network its name is an objective
(``objectives/bottleneck.py``), its k-mode representation a stream.

Source: Chi et al., InfoGCN: Representation Learning for Human Skeleton-based Action Recognition
(CVPR 2022), section 3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kinegraph.backbones.body import NINE_BLOCKS, Body, BodyBackbone, SpatialUnit
from kinegraph.kernels.aggregate import project_and_aggregate
from kinegraph.nn.init import normal
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv
from kinegraph.skeleton import Skeleton

LARGEST_DIFFERENCE = 25.0  # of scores: exp(-25) is 1e-11


class SelfAttentionGraphConv(nn.Module):
    """Graph convolution with H heads: attention between the joints of a frame times a topology.

    The topologies are learned, shared by all frames, and start as identities (equation 7).
    """

    def __init__(self, in_channels: int, channels: int, joints: int, heads: int) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        self.width = max(1, in_channels // 8)  # of a head
        self.norm = nn.LayerNorm(in_channels)
        self.query_key = nn.Linear(in_channels, 2 * heads * self.width)
        self.topology = nn.Parameter(torch.eye(joints).repeat(heads, 1, 1))  # (H, V, V)
        self.value = nn.Conv2d(in_channels, heads * channels, 1, bias=False)
        # One bias per head, though only their sum matters: it learns as fast as theirs does.
        self.bias = nn.Parameter(torch.zeros(heads, channels))
        normal(self.query_key.weight, 1.0)
        normal(self.value.weight, math.sqrt(2 / (channels * in_channels * heads)))

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        rows, channels, frames, joints = x.shape
        by_frame = x.permute(0, 2, 3, 1).reshape(rows * frames, joints, channels)  # (R*T, V, C_in)
        topology = self.attention(by_frame) * self.topology  # (R*T, H, V, V)
        # Every frame is a row of its own with one frame: (R*T, C_in, 1, V).
        y = project_and_aggregate(by_frame.mT.unsqueeze(2), self.value.weight, None, topology)
        y = y.squeeze(2) + self.bias.sum(0).to(y.dtype)[:, None]  # (R*T, C, V)
        # -> (R, T, V, C) in memory, seen as (R, C, T, V)
        return y.mT.reshape(rows, frames, joints, self.channels).permute(0, 3, 1, 2)

    def attention(self, frames: Tensor) -> Tensor:
        """Return how much each joint heeds the others: (F, V, C_in) -> (F, H, V, V)."""
        count, joints, _ = frames.shape
        both = self.query_key(self.norm(frames))
        both = both.view(count, joints, 2, self.heads, self.width)
        query, key = both.permute(2, 0, 3, 1, 4)  # each (F, H, V, D)
        scores = query @ key.mT / math.sqrt(self.width)
        if scores.device.type == "cpu":
            # Some would come out below 1e-38, forward or backward, and most processors take a
            # hundred times as long for such numbers. Those cut off here are less than rounding.
            low = scores.detach().amax(-1, keepdim=True) - LARGEST_DIFFERENCE
            scores = scores.masked_fill(scores < low, -math.inf)
        return torch.softmax(scores, dim=-1)


class ActiveTemporalConv(MultiScaleTemporalConv):
    """Multi-scale temporal convolution with a ReLU of its own, before the residual is added."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, stride)
        for module in self.modules():  # PyTorch's own start
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        for norm in (self.reduce_norm, self.norm):
            nn.init.ones_(norm.weight)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(R, C_in, T, V), weights and residual as in `BatchNorm` -> (R, C, T', V)."""
        y = super().forward(x, weight, relu=True)
        y = y if residual is None else y + residual
        return torch.relu(y) if relu else y


class InfoGCN(BodyBackbone):
    """Embedding of joints, nine blocks of self-attention graph convolution, pooling.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        persons: M, person slots.
        width: Channels of the embedding and the first three blocks (64 in the paper).
        heads: Attention maps in every frame.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int = 64,
        heads: int = 3,
    ) -> None:
        super().__init__()
        joints = skeleton.joint_count
        self.embedding = nn.Linear(in_channels, width)
        self.position = nn.Parameter(torch.randn(1, joints, width))  # (1, V, C)

        def spatial(in_channels: int, channels: int, _: int) -> nn.Module:
            conv = SelfAttentionGraphConv(in_channels, channels, joints, heads)
            return SpatialUnit(conv, in_channels, channels)

        self.stand_on(
            Body(skeleton, width, persons, width, spatial, ActiveTemporalConv, plan=NINE_BLOCKS)
        )

    def embed(self, x: Tensor) -> Tensor:
        """Embed every joint of every frame: (N, 3, T, V, M) -> (N, C, T, V, M)."""
        embedded = self.embedding(x.permute(0, 4, 2, 3, 1)) + self.position  # (N, M, T, V, C)
        return embedded.permute(0, 4, 2, 3, 1)  # type: ignore[no-any-return]
