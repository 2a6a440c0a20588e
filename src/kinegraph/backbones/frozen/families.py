"""How each network becomes a frozen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kinegraph.backbones import body as bodies
from kinegraph.backbones import stgcn, stgcn_v1
from kinegraph.backbones.aagcn import AdaptiveGraphConv, AttentiveUnit
from kinegraph.backbones.base import Backbone
from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.backbones.ctrgcn_baseline import LearnedGraphConv
from kinegraph.backbones.frozen.attention import (
    FrozenAdaptive,
    FrozenAttention,
    FrozenGate,
    FrozenWeighing,
)
from kinegraph.backbones.frozen.mixing import FrozenMixing
from kinegraph.backbones.frozen.network import FrozenBlock, FrozenNetwork
from kinegraph.backbones.frozen.spatial import FrozenRefined, FrozenRouted
from kinegraph.backbones.frozen.temporal import FrozenMultiScale, freeze_conv
from kinegraph.backbones.infogcn import ActiveTemporalConv, InfoGCN, SelfAttentionGraphConv
from kinegraph.backbones.tcagcn import AttentiveTemporalConv, RoutedGraphConv
from kinegraph.nn.folding import scale_and_shift, weight_and_bias
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv, TemporalConv


def freeze_body(network: bodies.BodyBackbone) -> FrozenNetwork:
    """Freeze a network that stands on a body."""
    body, blocks = network.body, []
    for block in body.blocks:
        assert isinstance(block, bodies.Block)
        unit = block.spatial
        assert isinstance(unit, bodies.SpatialUnit)
        temporal = _temporal(block.temporal)
        if isinstance(unit, AttentiveUnit):  # behind the unit's ReLU, so before what comes next
            temporal = nn.Sequential(FrozenWeighing(unit.attention), temporal)
        blocks.append(
            FrozenBlock(
                _graph_conv(unit),
                temporal,
                _residual(unit.residual),
                None if block.bare else _residual(block.residual),
            )
        )
    return _network(network, body.input_norm, blocks, body.plan.stages)


def freeze_stgcn(network: stgcn.STGCN) -> FrozenNetwork:
    """Freeze an ST-GCN."""
    blocks = []
    for i, block in enumerate(network.blocks):
        assert isinstance(block, stgcn.Block)
        adjacency = network.get_buffer("adjacency").double()  # (K, V, U)
        if len(network.edge_importance):
            adjacency = adjacency * network.edge_importance[i].detach().double()
        weight, bias = weight_and_bias(block.spatial.conv)
        weight = weight.view(len(adjacency), -1, weight.shape[1])  # (K, C, C_in)
        bias = bias.view(len(adjacency), -1).mT @ adjacency.sum(1)  # (C, U)
        blocks.append(
            FrozenBlock(
                FrozenMixing(adjacency, weight, bias, block.spatial_norm),
                freeze_conv(block.temporal),
                None,
                None if block.first else _residual(block.residual),
            )
        )
    return _network(network, network.input_norm, blocks, stgcn.STAGE_BLOCKS)


def freeze_first_release(network: stgcn_v1.STGCNFirstRelease) -> FrozenNetwork:
    """Freeze an ST-GCN of the first release.

    Both parts of its sums have ReLUs of their own, so that the one which ends a `FrozenBlock`
    changes nothing.
    """
    blocks = []
    for block in network.blocks:
        assert isinstance(block, stgcn_v1.Block)
        conv = block.spatial
        adjacency = (conv.adjacency * conv.mask.detach()).double()  # (K, V, U)
        weight, _ = weight_and_bias(conv.conv)
        weight = weight.view(len(adjacency), -1, weight.shape[1])  # (K, C, C_in)
        bias = conv.bias.detach().double().sum(0)[:, None].expand(-1, adjacency.shape[2])
        along = None if block.bare else _residual(block.residual)
        blocks.append(
            FrozenBlock(
                FrozenMixing(adjacency, weight, bias, conv.norm),
                _active(freeze_conv(block.temporal)),
                None,
                along if along is None or block.residual is None else _active(along),
            )
        )
    return _network(network, network.input_norm, blocks, stgcn_v1.STAGE_BLOCKS)


def _network(
    network: Backbone,
    norm: BatchNorm,
    blocks: Sequence[FrozenBlock],
    stage_blocks: Mapping[str, int],
) -> FrozenNetwork:
    """Put blocks together, with the norm of the input before them."""
    first: Any = blocks[0].spatial
    # M slots with norms of their own, or one for all: (M or 1, V, C)
    shape = (-1, first.joints, first.in_channels)
    scale, shift = scale_and_shift(norm)
    embedding = None
    scale, shift = scale.view(shape), shift.view(shape)
    if isinstance(network, InfoGCN):  # the norm is that of embedded joints
        before = network.embedding.bias.detach().double() + network.position.detach().double()
        embedding, shift = network.embedding.weight.detach(), shift + scale * before
    return FrozenNetwork(network, scale, shift, blocks, stage_blocks, embedding)


def _graph_conv(unit: bodies.SpatialUnit) -> nn.Module:
    conv = unit.conv
    if isinstance(conv, RoutedGraphConv):
        return FrozenRouted(conv, unit.norm)
    if isinstance(conv, RefinedGraphConv):
        return FrozenRefined(conv, unit.norm)
    if isinstance(conv, AdaptiveGraphConv):
        return FrozenAdaptive(conv, unit.norm)
    if isinstance(conv, SelfAttentionGraphConv):
        return FrozenAttention(conv, unit.norm)
    assert isinstance(conv, LearnedGraphConv)
    adjacency = conv.normalised().detach().double()  # (K, V, U)
    weight, _ = weight_and_bias(conv.conv)
    weight = weight.view(len(weight), conv.subsets, -1).transpose(0, 1)  # (K, C, C_in)
    bias = conv.bias.detach().double().sum(0)[:, None].expand(-1, adjacency.shape[2])  # (C, U)
    return FrozenMixing(adjacency, weight, bias, unit.norm)


def _temporal(module: nn.Module) -> nn.Module:
    if isinstance(module, AttentiveTemporalConv):
        return FrozenGate(module)
    if isinstance(module, ActiveTemporalConv):
        return _active(FrozenMultiScale(module))
    if isinstance(module, MultiScaleTemporalConv):
        return FrozenMultiScale(module)
    assert isinstance(module, TemporalConv)
    return freeze_conv(module)


def _active(module: nn.Module) -> nn.Module:
    return nn.Sequential(module, nn.ReLU(inplace=True))


def _residual(module: nn.Module | None) -> nn.Module:
    """Return what makes the residual: a convolution, or the identity where there is none."""
    if module is None:
        return nn.Identity()
    assert isinstance(module, TemporalConv)
    return freeze_conv(module)
