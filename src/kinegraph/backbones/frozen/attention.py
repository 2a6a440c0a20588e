"""What attends, on rows (R, V, T, C), in frozen networks."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones.aagcn import AdaptiveGraphConv, Attention
from kinegraph.backbones.frozen.mixing import mix_channels
from kinegraph.backbones.frozen.products import convolve
from kinegraph.backbones.frozen.temporal import FrozenMultiScale
from kinegraph.backbones.infogcn import LARGEST_DIFFERENCE, SelfAttentionGraphConv
from kinegraph.backbones.tcagcn import AttentiveTemporalConv
from kinegraph.nn.folding import folded, scale_and_shift, weight_and_bias
from kinegraph.nn.norm import BatchNorm


class FrozenAttention(nn.Module):
    """InfoGCN's graph convolution, and the norm after it.

    The layer norm's scale and shift are part of the queries' and keys' weights, as is what
    divides their product. Joints are mixed before channels.
    """

    query_key: Tensor
    query_key_bias: Tensor
    topology: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, conv: SelfAttentionGraphConv, norm: BatchNorm) -> None:
        super().__init__()
        self.heads, self.width = conv.heads, conv.width
        self.joints, self.in_channels = conv.topology.shape[1], conv.value.in_channels
        self.epsilon = conv.norm.eps
        weight = conv.query_key.weight.detach().double()
        bias = conv.query_key.bias.detach().double() + weight @ conv.norm.bias.detach().double()
        weight = weight * conv.norm.weight.detach().double()
        queries = torch.ones_like(bias)
        queries[: len(bias) // 2] = 1 / math.sqrt(self.width)
        scale, shift = scale_and_shift(norm)
        value, _ = weight_and_bias(conv.value)
        value = value.view(self.heads, -1, self.in_channels) * scale[:, None]  # (H, C, C_in)
        tensors = {
            "query_key": weight * queries[:, None],  # (2*H*D, C_in)
            "query_key_bias": bias * queries,
            "topology": conv.topology.detach(),  # (H, V, V)
            "weight": value.transpose(0, 1).flatten(1)[..., None, None],  # (C, H*C_in, 1, 1)
            "bias": conv.bias.detach().double().sum(0) * scale + shift,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T, C)."""
        frames = x.transpose(1, 2).contiguous()  # (R, T, V, C_in)
        topology = self._attend(frames) * self.topology  # (R*T, H, V, V)
        mixed = x.new_empty(len(topology), self.joints, self.heads, self.in_channels)
        flat = frames.flatten(0, 1)  # (R*T, V, C_in)
        for head in range(self.heads):
            mixed[:, :, head] = torch.bmm(topology[:, head], flat)
        image = mixed.view(*frames.shape[:3], -1)  # (R, T, V, H*C_in)
        return convolve(image, self.weight, self.bias).transpose(1, 2).contiguous()

    def _attend(self, x: Tensor) -> Tensor:
        """(R, T, V, C_in) -> (R*T, H, V, V), how much each joint heeds the others."""
        normed = functional.layer_norm(x, x.shape[3:], eps=self.epsilon)
        both = functional.linear(normed, self.query_key, self.query_key_bias)
        both = both.view(-1, self.joints, 2, self.heads, self.width)
        query, key = both.permute(2, 0, 3, 1, 4)  # each (R*T, H, V, D)
        scores: Tensor = query @ key.mT
        scores -= scores.amax(-1, keepdim=True)
        # As in `infogcn`: no numbers that are too small for a processor to be quick with.
        functional.threshold(scores, -LARGEST_DIFFERENCE, -math.inf, inplace=True)
        return scores.softmax(-1)


class FrozenAdaptive(nn.Module):
    """AAGCN's graph convolution, and the norm after it. Joints are mixed before channels."""

    query_key: Tensor
    query_key_bias: Tensor
    alpha: Tensor
    adjacency: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, conv: AdaptiveGraphConv, norm: BatchNorm) -> None:
        super().__init__()
        self.subsets, self.embedding = conv.subsets, conv.embedding
        self.joints, self.in_channels = conv.adjacency.shape[-1], conv.value.in_channels
        parts = [weight_and_bias(part) for part in (conv.query, conv.key)]
        scale, shift = scale_and_shift(norm)
        value, _ = weight_and_bias(conv.value)
        value = value.view(self.subsets, -1, self.in_channels) * scale[:, None]  # (K, C, C_in)
        tensors = {
            "query_key": torch.cat([weight for weight, _ in parts]),  # (2*K*E, C_in, 1, 1)
            "query_key_bias": torch.cat([bias for _, bias in parts]),
            "alpha": conv.alpha.detach(),
            "adjacency": conv.adjacency.detach().mT,  # (K, U, V)
            "weight": value.permute(1, 2, 0)[..., None],  # (C, C_in, K, 1)
            "bias": conv.bias.detach().double().sum(0) * scale + shift,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T, C)."""
        topology = torch.addcmul(self.adjacency, self._similarity(x), self.alpha)
        mixed = torch.bmm(topology.flatten(1, 2), x.flatten(2))  # (R, K*U, T*C_in)
        return mix_channels(mixed, x.shape, self.weight, self.bias)

    def _similarity(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, K, U, V): from joint v to joint u."""
        rows, joints, frames, _ = x.shape
        both = convolve(x, self.query_key, self.query_key_bias)  # (R, V, T, 2*K*E)
        both = both.view(rows, joints, frames, 2, self.subsets, self.embedding)
        both = both.permute(3, 0, 4, 1, 2, 5).flatten(4).flatten(1, 2)  # (2, R*K, V, T*E)
        related = torch.bmm(both[1], both[0].mT)  # key of u, query of v
        related = related.mul_(1 / (self.embedding * frames)).tanh_()
        return related.view(rows, self.subsets, joints, joints)


class FrozenWeighing(nn.Module):
    """AAGCN's attention to joints, frames and channels: two readings and one weighing of y."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        for name in ("joints", "frames", "squeeze", "expand"):
            module = getattr(attention, name)
            self.register_buffer(f"{name}_weight", module.weight.detach().clone())
            self.register_buffer(f"{name}_bias", module.bias.detach().clone())

    def forward(self, y: Tensor) -> Tensor:
        """(R, V, T, C) -> (R, V, T, C), in place."""
        rows, joints, frames, channels = y.shape
        of_joint = self._along("joints", y.mean(2).mT)  # (R, 1, V)
        by_frame = torch.bmm(of_joint / joints, y.flatten(2)).view(rows, frames, channels)
        of_frame = self._along("frames", by_frame.mT)  # (R, 1, T)
        mean = torch.bmm(of_frame / frames, by_frame)[:, 0]  # (R, C)
        of_channel = self._linear("expand", self._linear("squeeze", mean).relu_())
        of_channel = of_channel.sigmoid_().add_(1)
        of_place = of_joint.mT * of_frame  # (R, V, T)
        return y.mul_(of_place[..., None]).mul_(of_channel[:, None, None])

    def _along(self, name: str, x: Tensor) -> Tensor:
        """Weigh positions: (R, C, P) -> (R, 1, P)."""
        weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
        return functional.conv1d(x, weight, bias, padding=weight.shape[2] // 2).sigmoid_().add_(1)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
        return functional.linear(x, weight, bias)


class FrozenGate(nn.Module):
    """TCA-GCN's branches over time and the gate of them, the gate's norms folded in."""

    def __init__(self, module: AttentiveTemporalConv) -> None:
        super().__init__()
        self.branches = FrozenMultiScale(module.branches)
        for name in ("here1", "here2", "whole1", "whole2"):
            conv = cast(nn.Conv2d, module.attention.get_submodule(name))
            norm = cast(BatchNorm, module.attention.get_submodule(f"{name}_norm"))
            weight, bias = folded(conv, norm)
            self.register_buffer(f"{name}_weight", weight.float().contiguous())
            self.register_buffer(f"{name}_bias", bias.float())

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T', C)."""
        y: Tensor = self.branches(x)
        gate = self._gate("here", y)
        gate += self._gate("whole", y.mean((1, 2), keepdim=True))
        return y.mul_(gate.sigmoid_()).mul_(2)

    def _gate(self, name: str, y: Tensor) -> Tensor:
        for step in (1, 2):
            weight = self.get_buffer(f"{name}{step}_weight")
            y = convolve(y, weight, self.get_buffer(f"{name}{step}_bias"))
            y = y.relu_() if step == 1 else y
        return y
