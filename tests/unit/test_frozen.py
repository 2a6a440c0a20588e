"""Frozen networks answer as the networks they were made from do in eval mode."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.backbones.base import Backbone, Features
from kinegraph.backbones.ctrgcn import RefinedGraphConv
from kinegraph.backbones.frozen import network as frozen_network
from kinegraph.backbones.frozen import products
from kinegraph.backbones.frozen import spatial as frozen_spatial
from kinegraph.backbones.frozen.mixing import Dense, FewNeighbours
from kinegraph.backbones.frozen.network import FrozenNetwork
from kinegraph.backbones.frozen.products import convolve, project
from kinegraph.backbones.frozen.spatial import FrozenRefined
from kinegraph.backbones.frozen.temporal import FrozenMultiScale, freeze_conv
from kinegraph.nn.folding import folded
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.persons import plan_rows
from kinegraph.nn.temporal_conv import MultiScaleTemporalConv, TemporalConv
from kinegraph.objectives.base import Objective
from kinegraph.objectives.classify import Classify
from kinegraph.skeleton import load_layout

NTU = load_layout("ntu25")
NAMES_OF_FIXED = {"stgcn": FewNeighbours, "ctrgcn-baseline": Dense}
STIRRED_LESS = {"tcagcn": 0.1, "infogcn": 0.05}  # gates that are saturated multiply rounding


@torch.no_grad()
def stir(module: nn.Module, size: float = 0.3) -> None:
    """Give every parameter and statistic a value of its own, of either sign."""
    random = torch.Generator().manual_seed(3)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
        elif tensor.is_floating_point() and name != "adjacency":  # ST-GCN's is no parameter
            tensor.add_(size * torch.randn(tensor.shape, generator=random))


@torch.no_grad()
def make(name: str, **options: Any) -> Backbone:
    torch.manual_seed(0)
    config = BACKBONES[name].config.model_validate({"name": name, "width": 12, **options})
    backbone = build_backbone(config, NTU, persons=2)
    stir(backbone, STIRRED_LESS.get(name, 0.3))
    for module in backbone.modules():
        if isinstance(module, BatchNorm):
            module.momentum = 1.0
    backbone.train()(clips(8))  # statistics as after training
    return backbone.eval()


# Networks that a CPU has quicker forms of; others are frozen as they are.
REARRANGED = ("stgcn", "stgcn-v1", "ctrgcn", "ctrgcn-baseline", "aagcn", "tcagcn", "infogcn")


def clips(count: int = 3, *, frames: int = 13) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, frames, 25, 2, generator=random)


def exact(backbone: Backbone, x: Tensor, *rest: Any, **named: Any) -> Features:
    """What a network answers in float64."""
    with torch.no_grad():
        return copy.deepcopy(backbone).double()(x.double(), *rest, **named)  # type: ignore[no-any-return]


def close(found: Tensor, expected: Tensor, *, tolerance: float = 1e-5) -> None:
    """Compare by what rounding can do: relative to the largest number."""
    assert found.shape == expected.shape
    difference = (found - expected).abs().max()
    assert difference <= tolerance * expected.abs().max(), f"{difference:.2g}"


@contextmanager
def counted_rows() -> Iterator[list[int]]:
    """Note the number of rows of every chunk that goes through a frozen network."""
    rows: list[int] = []
    run = frozen_network._run

    def spy(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
        rows.append(len(x))
        return run(blocks, x)

    frozen_network._run = spy
    try:
        yield rows
    finally:
        frozen_network._run = run


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ctrgcn", {}),
        ("ctrgcn", {"width": 64}),
        ("ctrgcn-baseline", {}),
        ("stgcn", {}),
        ("stgcn", {"width": 32}),
        ("stgcn", {"strategy": "uniform", "edge_importance": False}),
        ("stgcn", {"strategy": "distance", "max_hop": 2, "dropout": 0.5}),
        ("stgcn-v1", {}),
        ("aagcn", {}),
        ("aagcn", {"attention": False}),
        ("tcagcn", {}),
        ("infogcn", {"heads": 2}),
        ("infogcn", {"width": 32}),
    ],
)
@pytest.mark.parametrize("frames", [1, 2, 9, 50])
def test_equals_the_network(name: str, options: dict[str, Any], frames: int) -> None:
    backbone = make(name, **options)
    frozen = backbone.freeze()
    assert isinstance(frozen, FrozenNetwork)
    x, stages = clips(frames=frames), tuple(backbone.stage_channels)
    expected = exact(backbone, x, stages=stages)
    close(frozen(x).pooled, expected.pooled)
    found = frozen(x, stages=stages)
    close(found.pooled, expected.pooled)
    for stage in stages:
        close(found.stages[stage], expected.stages[stage])


def test_changes_of_the_network_do_not_reach_it() -> None:
    backbone, x = make("ctrgcn"), clips()
    frozen = backbone.freeze()
    before = frozen(x).pooled
    stir(backbone)
    backbone.train()
    assert torch.equal(frozen(x).pooled, before)
    assert not frozen.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not torch.equal(backbone.freeze()(x).pooled, before)


def test_the_answer_is_an_ordinary_tensor() -> None:
    """It may go into a computation that has gradients, although nothing flows back."""
    backbone, x = make("stgcn"), clips().requires_grad_()
    found = backbone.freeze()(x, stages=("low",))
    head = nn.Linear(backbone.out_channels, 2)
    (head(found.pooled).sum() + (head.weight.sum() * found.stages["low"]).sum()).backward()
    assert head.weight.grad is not None


@pytest.mark.parametrize("name", REARRANGED)
def test_nobody_is_computed_once(name: str) -> None:
    backbone = make(name)
    frozen = backbone.freeze()
    x = clips(4)
    x[0, ..., 1] = x[2, ..., 1] = x[3, ..., 0] = 0
    expected = exact(backbone, x).pooled
    with counted_rows() as rows:
        first = frozen(x).pooled
        assert sum(rows) == 5 + 2, "five people, and nobody once for each slot"
        rows.clear()
        again = frozen(x).pooled
        assert sum(rows) == 5, "five people"
        rows.clear()
        alone = frozen(x[:1, :, :7]).pooled
        assert sum(rows) == 2, "another number of frames is another nobody"
    close(first, expected)
    close(again, expected)
    close(alone, exact(backbone, x[:1, :, :7]).pooled)


def test_all_rows_known_needs_no_computation() -> None:
    frozen = make("ctrgcn").freeze()
    nobody = torch.zeros(2, 3, 9, 25, 2)
    first = frozen(nobody).pooled
    with counted_rows() as rows:
        assert torch.equal(frozen(nobody).pooled, first)
    assert rows == []


@pytest.mark.parametrize("share_absent", [False, True])
def test_rows_of_a_loader(share_absent: bool) -> None:
    backbone, x = make("ctrgcn"), clips(4)
    present = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 1]]).bool()
    x = x * present[:, None, None, None, :]
    rows = plan_rows(present.numpy(), share_absent=share_absent, multiple=4)
    frozen = backbone.freeze()
    for _ in range(2):
        close(frozen(x, rows).pooled, exact(backbone, x, rows).pooled)


def test_small_input_is_somebody() -> None:
    backbone, x = make("ctrgcn"), torch.zeros(1, 3, 9, 25, 2)
    frozen = backbone.freeze()
    of_nobody = frozen(x).pooled
    x[0, 1, 4, 7, 0] = 3.0
    found = frozen(x).pooled
    close(found, exact(backbone, x).pooled)
    assert not torch.equal(found, of_nobody)


def test_nothing_is_remembered_of_other_weights() -> None:
    frozen, x = make("stgcn").freeze(), torch.zeros(1, 3, 9, 25, 2)
    before = frozen(x).pooled
    with torch.no_grad():
        frozen.get_buffer("shift").add_(1)
    assert not torch.equal(frozen.to("cpu")(x).pooled, before)


@pytest.mark.parametrize("size", [1, 500, 10_000])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    backbone, x = make("ctrgcn"), clips(5)
    monkeypatch.setattr(frozen_network, "POSITIONS_AT_ONCE", size)
    with counted_rows() as rows:
        found = backbone.freeze()(x).pooled
    assert max(rows) == {1: 1, 500: 1, 10_000: 10}[size]
    close(found, exact(backbone, x).pooled)


def test_relations_that_saturate() -> None:
    """Exponentials of large numbers overflow; another way is taken there."""
    torch.manual_seed(0)
    conv, norm = RefinedGraphConv(8, 8, torch.rand(3, 25, 25)), BatchNorm(8).eval()
    stir(conv)
    nn.init.constant_(conv.alpha, 0.5)
    x = torch.randn(2, 8, 5, 25)
    for size in (1e-3, 1.0, 30.0, 1e3, 1e6):
        for part in (conv.query, conv.key):
            nn.init.normal_(part.weight, std=size)
        with torch.no_grad():
            expected = norm.double()(conv.double()(x.double()))
            found = FrozenRefined(conv.float(), norm.float())(x.permute(0, 3, 2, 1).contiguous())
        close(found.permute(0, 3, 2, 1), expected, tolerance=2e-5)


def test_both_ways_to_relations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, x = make("ctrgcn"), clips()
    found = []
    for limit in (0.0, frozen_spatial.LARGEST_EXPONENT):
        monkeypatch.setattr(frozen_spatial, "LARGEST_EXPONENT", limit)
        found.append(backbone.freeze()(x).pooled)
    assert not torch.equal(*found)
    close(*found)


@pytest.mark.parametrize("frames", [1, 4, 30])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (9, 1, 1), (5, 2, 2)])
def test_convolutions_over_time(kernel: int, stride: int, dilation: int, frames: int) -> None:
    torch.manual_seed(0)
    module = TemporalConv(40, 5, kernel, stride, dilation).eval()
    stir(module)
    x = torch.randn(2, 40, frames, 3)
    with torch.no_grad():
        found = freeze_conv(module)(x.permute(0, 3, 2, 1).contiguous())
        assert found.is_contiguous()
        close(found.permute(0, 3, 2, 1), module.double()(x.double()))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_branches_over_time(stride: int, frames: int) -> None:
    torch.manual_seed(0)
    module = MultiScaleTemporalConv(6, 8, stride).eval()
    stir(module)
    with torch.no_grad():
        module.norm.weight[::2] *= -1  # turns a maximum into a minimum
    x = torch.randn(2, 6, frames, 5)
    with torch.no_grad():
        found = FrozenMultiScale(module)(x.permute(0, 3, 2, 1).contiguous())
        close(found.permute(0, 3, 2, 1), module.double()(x.double()))


@pytest.mark.parametrize("density", [0.0, 0.05, 0.3, 1.0])
def test_few_neighbours_are_a_product(density: float) -> None:
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(30, 10, generator=random)
    mixing *= torch.rand(30, 10, generator=random) < density
    x = torch.randn(2, 10, 7, generator=random)
    close(FewNeighbours(mixing)(x), mixing.double() @ x.double())


def test_topologies_choose_how_they_mix() -> None:
    kinds = {name: type(make(name).freeze().blocks[1].spatial.mixing) for name in NAMES_OF_FIXED}  # type: ignore[index,union-attr]
    assert kinds == NAMES_OF_FIXED


def test_a_folded_norm_is_the_norm() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 6, (3, 1), bias=False), BatchNorm(6).eval()
    stir(norm)
    x = torch.randn(2, 4, 7, 5)
    weight, bias = folded(conv, norm)
    found = nn.functional.conv2d(x.double(), weight, bias)
    with torch.no_grad():
        torch.testing.assert_close(found, norm.double()(conv.double()(x.double())))


def test_products_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = torch.randn(2, 5, 9, 8), torch.randn(6, 8, 1, 3), torch.randn(6)
    image, kernel = torch.randn(1, 1, 7, 8).permute(0, 3, 1, 2), torch.randn(45, 8, 1, 1)

    def both() -> tuple[Tensor, Tensor]:
        return convolve(x, weight, bias, stride=2, padding=1), project(image, kernel)

    quick = both()
    monkeypatch.setattr(products, "ONEDNN_TYPES", ())
    plain = both()
    assert quick[0].shape == (2, 5, 5, 6)
    assert quick[1].shape == (1, 1, 7, 45)
    for one, other in zip(quick, plain, strict=True):
        assert one.is_contiguous()
        assert other.is_contiguous()
        close(one, other)


def test_a_network_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, x = make("ctrgcn"), clips()
    monkeypatch.setattr(products, "ONEDNN_TYPES", ())
    close(backbone.freeze()(x).pooled, exact(backbone, x).pooled)


@pytest.mark.parametrize("name", REARRANGED)
def test_half_precision(name: str) -> None:
    backbone = make(name)
    frozen, x = backbone.freeze(), clips()
    x[0, ..., 1] = 0
    expected = exact(backbone, x).pooled
    precise = frozen(x).pooled
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = frozen(x).pooled
        assert rough.dtype == torch.bfloat16
    close(rough, expected, tolerance=0.1)
    assert torch.equal(frozen(x).pooled, precise), "what was converted is another copy"


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_after_use(twin: Callable[[Backbone], Backbone]) -> None:
    frozen, x = make("ctrgcn").freeze(), clips()
    x[0, ..., 1] = 0
    expected = frozen(x).pooled
    assert torch.equal(twin(frozen)(x).pooled, expected)
    assert torch.equal(frozen.freeze()(x).pooled, expected)


def test_classify_freezes_its_backbone() -> None:
    objective, x = Classify(make("ctrgcn"), 4, dropout=0.5, count_absent=True), clips()
    present = torch.tensor([[1, 1], [1, 0], [1, 0]]).bool()
    x = x * present[:, None, None, None, :]
    frozen = objective.train().freeze()
    assert isinstance(frozen.backbone, FrozenNetwork)
    assert objective.training
    assert objective.dropout.training
    with torch.no_grad():
        expected = copy.deepcopy(objective).eval().double().logits(x.double(), present)
    with counted_rows() as rows:
        close(frozen.logits(x, present).detach(), expected)
        close(frozen.logits(x, present).detach(), expected)
    assert rows == [1, 4, 4], "nobody counts, but is computed once"


class Halved(Objective):
    """What a plug-in may be: it reaches into its backbone."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(0.5)

    def logits(self, x: Tensor, present: Any = None) -> Tensor:
        normalised = self.backbone.normalise(x.mean(4), None)  # type: ignore[operator]
        return self.dropout(normalised.mean((1, 2)))  # type: ignore[no-any-return]


def test_an_unknown_objective_is_copied() -> None:
    objective, x = Halved(make("stgcn")).train(), clips()
    frozen = objective.freeze()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.training
    assert objective.training
    assert all(parameter.requires_grad for parameter in objective.parameters())
    assert torch.equal(frozen.logits(x), copy.deepcopy(objective).eval().logits(x))


class Doubled(Backbone):
    """What a plug-in may be."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels, self.stage_channels, self.stage_strides = 3, {}, {}
        self.norm = BatchNorm(3)

    def forward(self, x: Tensor, present: Any = None, stages: Any = ()) -> Features:
        return Features(2 * self.norm(x).mean((2, 3, 4)))


def test_an_unknown_backbone_is_copied() -> None:
    backbone, x = Doubled().train(), clips()
    backbone(x)
    frozen = backbone.freeze()
    assert not frozen.training
    assert torch.equal(frozen(x).pooled, backbone.eval()(x).pooled)
    assert not frozen(x).pooled.requires_grad
