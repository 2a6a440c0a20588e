"""Graph convolution by refined topologies, on rows (R, V, T, C), in frozen networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.backbones.frozen.products import project
from kinegraph.backbones.tcagcn import RoutedGraphConv
from kinegraph.nn.folding import folded, scale_and_shift, weight_and_bias
from kinegraph.nn.norm import BatchNorm

LARGEST_EXPONENT = 40.0


class FrozenRefined(nn.Module):
    """Graph convolution by a topology refined for every channel, and its norm.

    The topology of a row, from joint v to joint u, is one product of what is learned for each
    channel and K * (Q + 2) matrices: the Q relations of the row, the shared topology and ones, by
    which the bias counts. The norm's scale is part of the values' weights.

    The relation tanh(query_u - key_v) is 1 - 2 / (1 + exp(2 query_u) * exp(-2 key_v)): as many
    exponentials as there are joints, not pairs of them. Weights take the 1, the 2 and the signs.
    """

    query_key: Tensor
    query_key_bias: Tensor
    expand: Tensor
    fixed: Tensor
    value: Tensor
    value_bias: Tensor
    shift: Tensor

    def __init__(self, conv: RefinedGraphConv, norm: BatchNorm) -> None:
        super().__init__()
        subsets, channels, relation = conv.subsets, conv.channels, conv.relation
        self.subsets, self.relation = subsets, relation
        self.joints, self.in_channels = conv.adjacency.shape[-1], conv.value.in_channels
        scale, shift = scale_and_shift(norm)
        query, query_bias = weight_and_bias(conv.query)
        key, key_bias = weight_and_bias(conv.key)
        weight, bias = weight_and_bias(conv.expand)
        alpha = conv.alpha.detach().double()
        weight, bias = weight.view(subsets, channels, relation), bias.view(subsets, channels, 1)
        of_ones = alpha * (bias + weight.sum(2, keepdim=True))
        expand = torch.cat((-2 * alpha * weight, torch.ones_like(of_ones), of_ones), dim=2)
        adjacency = conv.adjacency.detach().double().mT  # (K, V, U)
        value, value_bias = weight_and_bias(conv.value)
        value = value.view(subsets, channels, -1) * scale[:, None]  # (K, C, C_in)
        value_bias = value_bias.view(subsets, channels, 1) * scale[:, None] * expand
        tensors = {
            "query_key": torch.cat((2 * query, -2 * key)).flatten(1),  # (2*K*Q, C_in)
            "query_key_bias": torch.cat((2 * query_bias, -2 * key_bias))[:, None],
            "expand": expand,  # (K, C, Q+2)
            "fixed": torch.stack((adjacency, torch.ones_like(adjacency)), dim=1),  # (K, 2, V, U)
            "value": value.transpose(0, 1).flatten(0, 1),  # (C*K, C_in)
            "value_bias": value_bias.transpose(0, 1).flatten(1),  # (C, K*(Q+2))
            "shift": shift[:, None],
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())
        # (C*K, C_in) -> (1, C_in, 1, C*K): the image of `project`
        self.value = self.value[None, None].permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T, C)."""
        rows, joints, frames, _ = x.shape
        related = self._related(x)  # (R, K, Q+2, V, U)
        from_bias = self.value_bias @ related.sum(3).flatten(1, 2) + self.shift  # (R, C, U)
        channels, both = len(self.shift), self.subsets * joints
        y = x.new_empty(rows, joints * frames, channels)
        topology = x.new_empty(channels, self.subsets, joints * joints)
        by_subset = topology.transpose(0, 1)  # (K, C, V*U)
        topology = topology.view(channels, both, joints).mT  # (C, U, K*V)
        weight, expand = self.value, self.expand
        kernels, factors = x.view(rows, joints * frames, -1, 1, 1), self._factors(x)
        parts = zip(kernels, related.flatten(3), from_bias[..., None], factors, y, strict=True)
        for kernel, matrices, bias, factor, result in parts:
            torch.bmm(expand, matrices, out=by_subset)  # from (K, Q+2, V*U)
            value = project(weight, kernel).view(channels, both, frames)
            if factor is not None:  # (C, K, 1, T)
                value.view(channels, self.subsets, joints, frames).mul_(factor)
            mixed = torch.baddbmm(bias, topology, value)  # (C, U, T)
            result.copy_(mixed.view(channels, -1).mT)
        return y.view(rows, joints, frames, channels)

    def _factors(self, x: Tensor) -> Sequence[Tensor | None]:
        """What values are multiplied by, for each row: nothing here."""
        return [None] * len(x)

    def _related(self, x: Tensor) -> Tensor:
        """Compare all pairs of joints: (R, V, T, C_in) -> (R, K, Q + 2, V, U)."""
        rows, joints = x.shape[:2]
        both = torch.matmul(self.query_key, x.mean(2).mT) + self.query_key_bias  # (R, 2*K*Q, V)
        # Products of larger ones could overflow.
        simple = bool(both.abs().amax() <= LARGEST_EXPONENT)
        both = both.view(rows, 2, self.subsets, self.relation, joints)
        query, key = (both.exp() if simple else both).unbind(1)
        query, key = query[..., None, :], key[..., :, None]
        related = x.new_empty(rows, self.subsets, self.relation + 2, joints, joints)
        inferred = related[:, :, : self.relation]
        if simple:
            torch.mul(query, key, out=inferred).add_(1).reciprocal_()
        else:
            torch.add(query, key, out=inferred).neg_().sigmoid_()
        related[:, :, self.relation :] = self.fixed
        return related


class FrozenRouted(FrozenRefined):
    """`FrozenRefined` with a factor for every channel, subset and frame: TCA-GCN's."""

    whole: Tensor
    whole_bias: Tensor
    context: Tensor
    context_bias: Tensor
    spread: Tensor

    def __init__(self, conv: RoutedGraphConv, norm: BatchNorm) -> None:
        super().__init__(conv, norm)
        route = conv.route
        weight, bias = weight_and_bias(route.whole)
        context, context_bias = folded(route.context, route.norm)
        tensors = {
            "whole": weight.flatten(1),  # (K*C_in, C_in)
            "whole_bias": bias,
            "context": context.flatten(2),  # (K*I, C_in, 3)
            "context_bias": context_bias,
            "spread": route.expand.weight.detach().flatten(2),  # (K*C, I, 3)
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.float().contiguous())

    def _factors(self, x: Tensor) -> Sequence[Tensor | None]:
        """(R, V, T, C_in) -> (R, C, K, 1, T)."""
        joints = x.mean(1)  # (R, T, C_in)
        whole = functional.linear(joints.mean(1), self.whole, self.whole_bias)  # (R, K*C_in)
        y = joints.mT.repeat(1, self.subsets, 1) + whole[..., None]  # (R, K*C_in, T)
        for weight, bias in ((self.context, self.context_bias), (self.spread, None)):
            y = functional.conv1d(y, weight, bias, padding=1, groups=self.subsets)
            y = y.relu_() if bias is not None else y
        y = y.add_(1).view(len(x), self.subsets, -1, x.shape[2])  # (R, K, C, T)
        return cast(Sequence[Tensor], y.transpose(1, 2)[:, :, :, None])
