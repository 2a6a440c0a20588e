"""AAGCN: graph convolutions whose topology is inferred from every clip, and three attentions.

Source: Shi et al., Skeleton-Based Action Recognition with Multi-Stream Adaptive Graph
Convolutional Networks (TIP 2020), in the variant that FR-Head trains: the similarity of joints goes
through tanh, is scaled by a learned factor and added to a learned topology (the paper has softmax).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kinegraph.backbones.body import Body, BodyBackbone, SpatialUnit
from kinegraph.backbones.ctrgcn import mean_over_time
from kinegraph.kernels.aggregate import project_and_aggregate
from kinegraph.nn.graph import directed
from kinegraph.nn.init import kaiming_fan_out, normal
from kinegraph.nn.temporal_conv import TemporalConv
from kinegraph.skeleton import Skeleton


class AdaptiveGraphConv(nn.Module):
    """Graph convolution over K subsets with a learned topology and one inferred from each row.

    The adjacency from joint v to joint u is ``adjacency[k, v, u] + alpha * similarity[k, v, u]``,
    where the similarity compares two embeddings of the joints over all frames.
    """

    def __init__(self, in_channels: int, channels: int, adjacency: Tensor) -> None:
        super().__init__()
        self.subsets = len(adjacency)
        self.embedding = max(1, channels // 4)
        self.adjacency = nn.Parameter(adjacency.clone())  # (K, V, V), from row to column
        self.alpha = nn.Parameter(torch.zeros(1))
        self.query = nn.Conv2d(in_channels, self.subsets * self.embedding, 1)
        self.key = nn.Conv2d(in_channels, self.subsets * self.embedding, 1)
        self.value = nn.Conv2d(in_channels, self.subsets * channels, 1, bias=False)
        # One bias per subset, though only their sum matters: it learns as fast as theirs does.
        self.bias = nn.Parameter(torch.zeros(self.subsets, channels))
        for convolution in (self.query, self.key):
            kaiming_fan_out(convolution, subsets=self.subsets)
        normal(self.value.weight, math.sqrt(2 / (channels * in_channels * self.subsets)))

    def forward(self, x: Tensor, _: Tensor | None = None) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T, V)."""
        topology = self.adjacency + self.alpha * self.similarity(x)  # (R, K, V, U)
        y = project_and_aggregate(x, self.value.weight, None, topology.mT)
        # The bias comes after the joints were mixed: it is not weighted by the topology.
        return y + self.bias.sum(0).to(y.dtype)[:, None, None]

    def similarity(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, K, V, V), between -1 and 1."""
        rows, _, frames, joints = x.shape
        shape = (rows, self.subsets, self.embedding, frames, joints)
        # Divided before the product, which float16 could not hold.
        query = self.query(x).view(shape) / (self.embedding * frames)
        return torch.tanh(torch.einsum("rkctv,rkctu->rkvu", query, self.key(x).view(shape)))


class Attention(nn.Module):
    """Weighs joints, then frames, then channels by what the rows themselves say (section III-C)."""

    def __init__(self, channels: int, joints: int, frames: int = 9) -> None:
        super().__init__()
        width = joints if joints % 2 else joints - 1
        self.joints = nn.Conv1d(channels, 1, width, padding=(width - 1) // 2)
        self.frames = nn.Conv1d(channels, 1, frames, padding=(frames - 1) // 2)
        self.squeeze = nn.Linear(channels, channels // 2)
        self.expand = nn.Linear(channels // 2, channels)
        nn.init.xavier_normal_(self.joints.weight)
        nn.init.kaiming_normal_(self.squeeze.weight)
        for zero in (self.frames.weight, self.expand.weight):
            nn.init.zeros_(zero)
        for module in (self.joints, self.frames, self.squeeze, self.expand):
            assert module.bias is not None
            nn.init.zeros_(module.bias)

    def forward(self, y: Tensor) -> Tensor:
        """(R, C, T, V) -> (R, C, T, V)."""
        # Means of weighed features are weighed means: y is read twice and weighed once for all.
        of_joint = 1 + torch.sigmoid(self.joints(mean_over_time(y).squeeze(2)))  # (R, 1, V)
        by_frame = self._over_joints(y, of_joint)  # (R, C, T)
        of_frame = 1 + torch.sigmoid(self.frames(by_frame))  # (R, 1, T)
        mean = (by_frame * of_frame).mean(2)  # (R, C)
        of_channel = 1 + torch.sigmoid(self.expand(torch.relu(self.squeeze(mean))))
        of_place = (of_frame.mT * of_joint)[:, None]  # (R, 1, T, V)
        return y * of_place * of_channel[..., None, None]

    @staticmethod
    def _over_joints(y: Tensor, factor: Tensor) -> Tensor:
        """Mean over joints, weighed by factors (R, 1, V): (R, C, T, V) -> (R, C, T)."""
        frames = y.permute(0, 2, 3, 1)  # (R, T, V, C)
        factor = (factor / factor.shape[2]).to(y.dtype)
        return torch.matmul(factor[:, None], frames).squeeze(2).mT


class AttentiveUnit(SpatialUnit):
    """A spatial unit and, after it, attention."""

    def __init__(
        self, conv: nn.Module, in_channels: int, channels: int, attention: Attention
    ) -> None:
        super().__init__(conv, in_channels, channels)
        self.attention = attention

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, T, V)."""
        y: Tensor = self.attention(super().forward(x, weight))
        return y


class AAGCN(BodyBackbone):
    """Ten blocks of adaptive graph convolution, attention and a temporal convolution of kernel 9.

    Args:
        skeleton: Layout of the joints; its tree is the starting topology.
        in_channels: C of the input.
        persons: M, person slots.
        width: Channels of the first four blocks (64 in the paper).
        attention: Whether joints, frames and channels are weighed after each graph convolution.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int = 64,
        *,
        attention: bool = True,
    ) -> None:
        super().__init__()
        adjacency = torch.from_numpy(directed(skeleton)).float()

        def spatial(in_channels: int, channels: int, _: int) -> nn.Module:
            conv = AdaptiveGraphConv(in_channels, channels, adjacency)
            if not attention:
                return SpatialUnit(conv, in_channels, channels)
            weighing = Attention(channels, skeleton.joint_count)
            return AttentiveUnit(conv, in_channels, channels, weighing)

        def temporal(in_channels: int, channels: int, stride: int) -> nn.Module:
            return TemporalConv(in_channels, channels, kernel=9, stride=stride)

        self.stand_on(Body(skeleton, in_channels, persons, width, spatial, temporal))
