"""Backbones: what is particular to each, beyond what all of them promise."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from kinegraph.backbones import (
    CTRGCNBaselineConfig,
    CTRGCNConfig,
    STGCNConfig,
    STGCNFirstReleaseConfig,
    build_backbone,
)
from kinegraph.backbones.ctrgcn import CTRGCN, RefinedGraphConv, mean_over_time
from kinegraph.backbones.ctrgcn_baseline import CTRGCNBaseline, LearnedGraphConv
from kinegraph.backbones.stgcn import STGCN
from kinegraph.errors import RecipeError
from kinegraph.nn.graph import directed, first_release
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout

NTU, UCLA = load_layout("ntu25"), load_layout("ucla20")


@pytest.mark.parametrize(
    ("config", "layout", "persons", "published", "classes"),
    [
        (STGCNConfig(), "ntu25", 2, 3_098_832, 60),
        (STGCNConfig(edge_importance=False), "ntu25", 2, 3_080_082, 60),
        (STGCNConfig(), "openpose18", 2, 3_177_140, 400),
        (CTRGCNConfig(), "ntu25", 2, 1_446_672, 60),
        (CTRGCNConfig(), "ntu25", 2, 1_462_092, 120),
        (CTRGCNConfig(), "ucla20", 1, 1_426_892, 10),
        (CTRGCNBaselineConfig(), "ntu25", 2, 2_092_902, 60),
    ],
)
def test_number_of_parameters_is_the_published_one(
    config: Config, layout: str, persons: int, published: int, classes: int
) -> None:
    backbone = build_backbone(config, load_layout(layout), persons=persons)
    head = (backbone.out_channels + 1) * classes
    assert sum(parameter.numel() for parameter in backbone.parameters()) + head == published


@pytest.mark.parametrize(
    ("config", "kind"),
    [(STGCNConfig(), STGCN), (CTRGCNConfig(), CTRGCN), (CTRGCNBaselineConfig(), CTRGCNBaseline)],
)
def test_the_registry_builds_the_class(config: Config, kind: type) -> None:
    assert isinstance(build_backbone(config, UCLA, persons=1), kind)


def test_an_unknown_backbone_is_refused() -> None:
    class Unknown(Config):
        name: str = "ctr-gcn"

    with pytest.raises(RecipeError, match="unknown backbone 'ctr-gcn'; nearest: 'ctrgcn'"):
        build_backbone(Unknown(), NTU)


def test_widths_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 4"):
        CTRGCNConfig(width=10)


@pytest.mark.parametrize("strategy", ["uniform", "distance", "spatial"])
def test_stgcn_strategies(strategy: str) -> None:
    config = STGCNConfig(strategy=strategy, max_hop=2, width=8)  # type: ignore[arg-type]
    backbone = build_backbone(config, UCLA)
    partitions = {"uniform": 1, "distance": 3, "spatial": 5}[strategy]
    assert backbone.state_dict()["adjacency"].shape == (partitions, 20, 20)
    assert len([name for name in backbone.state_dict() if "edge_importance" in name]) == 10


@pytest.mark.parametrize(
    ("strategy", "subsets"),
    [("uniform", 1), ("distance*", 1), ("distance", 2), ("spatial", 3), ("DAD", 1), ("DLD", 1)],
)
def test_the_first_stgcn_has_the_graphs_of_its_release(strategy: str, subsets: int) -> None:
    config = STGCNFirstReleaseConfig(strategy=strategy, width=4, dropout=0.0)  # type: ignore[arg-type]
    backbone = build_backbone(config, UCLA, persons=1)
    for block in backbone.blocks:
        assert block.spatial.mask.shape == (subsets, 20, 20)
        chosen = torch.from_numpy(first_release(UCLA, strategy)).float()  # type: ignore[arg-type]
        assert torch.equal(block.spatial.adjacency, chosen)
    assert backbone(torch.randn(2, 3, 5, 20, 1)).pooled.shape == (2, 16)


def test_stgcn_without_edge_importance_has_no_such_parameters() -> None:
    backbone = build_backbone(STGCNConfig(edge_importance=False, width=8), UCLA)
    assert not [name for name in backbone.state_dict() if "edge_importance" in name]


def test_stgcn_drops_out_after_the_first_block_only() -> None:
    backbone = build_backbone(STGCNConfig(dropout=0.5, width=8), UCLA)
    rates = [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.0] + [0.5] * 9


@torch.no_grad()
def test_stgcn_starts_as_published() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(STGCNConfig(), NTU)
    assert isinstance(backbone, STGCN)
    convolution = backbone.blocks[5].temporal.conv
    assert abs(float(convolution.weight.std()) - 0.02) < 0.001
    assert not convolution.bias.any()
    assert abs(float(backbone.input_norm.weight.mean()) - 1) < 0.01
    assert all((edges == 1).all() for edges in backbone.edge_importance)


@torch.no_grad()
def test_ctrgcn_starts_as_published() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(CTRGCNConfig(), NTU)
    assert isinstance(backbone, CTRGCN)
    unit = backbone.body.blocks[5].spatial
    graph = torch.from_numpy(directed(NTU)).float()
    assert torch.equal(unit.conv.adjacency, graph)
    assert float(unit.conv.alpha) == 0
    assert (unit.norm.weight == 1e-6).all()
    for convolution, fan_out in ((unit.conv.query, 16), (unit.conv.value, 128)):
        expected = math.sqrt(2 / fan_out)
        assert abs(float(convolution.weight.std()) / expected - 1) < 0.05
    temporal = backbone.body.blocks[5].temporal
    for convolution, fan_out in ((temporal.dilated[0], 32 * 5), (temporal.reduce, 32)):
        assert abs(float(convolution.weight.std()) / math.sqrt(2 / fan_out) - 1) < 0.05
    assert abs(float(temporal.norm.weight.std()) - 0.02) < 0.01


def test_the_baseline_starts_without_a_graph() -> None:
    backbone = build_backbone(CTRGCNBaselineConfig(width=8), NTU)
    assert isinstance(backbone, CTRGCNBaseline)
    for block in backbone.body.blocks:
        assert torch.equal(block.spatial.conv.adjacency, torch.eye(25).expand(3, 25, 25))


def test_refined_graph_convolution_follows_its_equation() -> None:
    """Written out with loops over subsets, channels and joints."""
    torch.manual_seed(1)
    graph = torch.rand(3, 4, 4)
    conv = RefinedGraphConv(16, 6, graph)
    with torch.no_grad():
        conv.alpha.fill_(0.7)
        conv.adjacency.add_(torch.randn(3, 4, 4))
    x = torch.randn(2, 16, 5, 4)
    mean = x.mean(2)  # (R, C, V)
    expected = torch.zeros(2, 6, 5, 4)
    relation = conv.relation
    for k in range(3):
        part, out = slice(k * relation, (k + 1) * relation), slice(k * 6, (k + 1) * 6)
        query = _point(conv.query.weight[part], conv.query.bias[part], mean)
        key = _point(conv.key.weight[part], conv.key.bias[part], mean)
        value = _point(conv.value.weight[out], conv.value.bias[out], x)
        for u in range(4):
            for v in range(4):
                pair = torch.tanh(query[..., u] - key[..., v])  # (R, r)
                refined = pair @ conv.expand.weight[out, :, 0, 0].T + conv.expand.bias[out]
                edge = 0.7 * refined + conv.adjacency[k, u, v]  # (R, C)
                expected[..., u] += edge[..., None] * value[..., v]
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_mean_over_time_and_its_gradient_lie_in_memory_as_they_are_wanted(
    order: torch.memory_format,
) -> None:
    x = torch.randn(2, 6, 5, 4).contiguous(memory_format=order).requires_grad_()
    mean, arriving = mean_over_time(x), torch.randn(2, 6, 1, 4).contiguous(memory_format=order)
    torch.testing.assert_close(mean, x.mean(2, keepdim=True))
    (gradient,) = torch.autograd.grad(mean, x, arriving)
    torch.testing.assert_close(gradient, (arriving / 5).expand_as(gradient))
    for tensor in (mean, gradient):
        assert tensor.is_contiguous(memory_format=order)


def test_learned_graph_convolution_follows_its_equation() -> None:
    torch.manual_seed(1)
    conv = LearnedGraphConv(3, 6, joints=4)
    with torch.no_grad():
        conv.adjacency.add_(torch.randn(3, 4, 4))
        conv.bias.normal_()
    x = torch.randn(2, 3, 5, 4)
    expected = conv.bias.sum(0)[:, None, None].expand(2, 6, 5, 4).clone()
    for k in range(3):
        columns = conv.adjacency[k] / (conv.adjacency[k].square().sum(0).sqrt() + 1e-4)
        weight = conv.conv.weight[:, 3 * k : 3 * k + 3, 0, 0]
        for w in range(4):
            mixed = sum(x[..., v] * columns[v, w] for v in range(4))  # (R, C, T)
            expected[..., w] += torch.einsum("oc,rct->rot", weight, mixed)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)


def _point(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Apply a 1x1 convolution by hand."""
    y = torch.einsum("oc,rc...->ro...", weight[:, :, 0, 0], x)
    return y + bias.view(1, -1, *([1] * (x.ndim - 2)))


def test_attention_has_no_numbers_too_small_for_a_processor() -> None:
    """Subnormal numbers take a hundred times as long; those cut off are less than rounding."""
    from kinegraph.backbones.infogcn import SelfAttentionGraphConv

    torch.manual_seed(0)
    conv = SelfAttentionGraphConv(64, 8, 20, heads=3)
    frames = torch.randn(50, 20, 64)
    smallest = torch.finfo(torch.float32).tiny
    attention = conv.attention(frames)
    assert not ((attention > 0) & (attention < smallest)).any()
    assert (attention == 0).any(), "the case is one that would have them"
    exact = conv.double().attention(frames.double())
    assert (attention - exact).abs().max() < 1e-4
    query, key = (
        conv.query_key(conv.norm(frames.double())).view(50, 20, 2, 3, 8).permute(2, 0, 3, 1, 4)
    )
    whole = torch.softmax(query @ key.mT / 8**0.5, dim=-1)
    assert (exact - whole).abs().max() < 1e-9
