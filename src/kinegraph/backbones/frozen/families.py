"""How each network becomes a frozen one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from kinegraph.backbones import body as bodies
from kinegraph.backbones import stgcn
from kinegraph.backbones.base import Backbone
from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.backbones.ctrgcn_baseline import LearnedGraphConv
from kinegraph.backbones.frozen.mixing import FrozenMixing
from kinegraph.backbones.frozen.network import FrozenBlock, FrozenNetwork
from kinegraph.backbones.frozen.spatial import FrozenRefined
from kinegraph.backbones.frozen.temporal import FrozenMultiScale, freeze_conv
from kinegraph.nn.folding import scale_and_shift, weight_and_bias
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv, TemporalConv


def freeze_body(network: Backbone, body: bodies.Body) -> FrozenNetwork:
    """Freeze CTR-GCN or its baseline, of which ``body`` is the body."""
    blocks = []
    for block in body.blocks:
        assert isinstance(block, bodies.Block)
        unit = block.spatial
        assert isinstance(unit, bodies.SpatialUnit)
        blocks.append(
            FrozenBlock(
                _graph_conv(unit),
                _temporal(block.temporal),
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


def _network(
    network: Backbone,
    norm: BatchNorm,
    blocks: Sequence[FrozenBlock],
    stage_blocks: Mapping[str, int],
) -> FrozenNetwork:
    """Put blocks together, with the norm of the input before them."""
    first = blocks[0].spatial
    assert isinstance(first, FrozenRefined | FrozenMixing)
    # M slots with norms of their own, or one for all: (M or 1, V, C)
    shape = (-1, first.joints, first.in_channels)
    scale, shift = scale_and_shift(norm)
    return FrozenNetwork(network, scale.view(shape), shift.view(shape), blocks, stage_blocks)


def _graph_conv(unit: bodies.SpatialUnit) -> nn.Module:
    conv = unit.conv
    if isinstance(conv, RefinedGraphConv):
        return FrozenRefined(conv, unit.norm)
    assert isinstance(conv, LearnedGraphConv)
    adjacency = conv.normalised().detach().double()  # (K, V, U)
    weight, _ = weight_and_bias(conv.conv)
    weight = weight.view(len(weight), conv.subsets, -1).transpose(0, 1)  # (K, C, C_in)
    bias = conv.bias.detach().double().sum(0)[:, None].expand(-1, adjacency.shape[2])  # (C, U)
    return FrozenMixing(adjacency, weight, bias, unit.norm)


def _temporal(module: nn.Module) -> nn.Module:
    if isinstance(module, MultiScaleTemporalConv):
        return FrozenMultiScale(module)
    assert isinstance(module, TemporalConv)
    return freeze_conv(module)


def _residual(module: nn.Module | None) -> nn.Module:
    """Return what makes the residual: a convolution, or the identity where there is none."""
    if module is None:
        return nn.Identity()
    assert isinstance(module, TemporalConv)
    return freeze_conv(module)
