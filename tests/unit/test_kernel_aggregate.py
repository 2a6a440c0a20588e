"""The kernels of `aggregate`, interpreted on the CPU or, where there is one, on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.kernels import aggregate as module
from kinegraph.kernels import aggregate_launch, dispatch
from kinegraph.kernels.aggregate import (
    Refinement,
    aggregate,
    aggregate_reference,
    project_and_aggregate,
)
from kinegraph.kernels.dispatch import chosen_kernels, set_kernels

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _fused() -> Iterator[None]:
    """Insist on kernels."""
    pytest.importorskip("triton")
    before = chosen_kernels()
    set_kernels("fused")
    yield
    set_kernels(before)


@dataclass(frozen=True)
class Case:
    """Sizes of one problem; a relation of 0 stands for no refinement."""

    rows: int = 2
    subsets: int = 2
    channels: int = 16
    frames: int = 6
    joints: int = 25
    relation: int = 8
    base_per_row: bool = False
    in_channels: int = 5


# Odd numbers everywhere; blocks of channels and of frames that are full, partly full, several.
CASES = [
    Case(),
    Case(rows=1, subsets=1, channels=1, frames=1, joints=5, relation=8),
    Case(rows=3, subsets=3, channels=19, frames=17, joints=17, relation=16),
    Case(rows=1, channels=37, frames=33, joints=20, relation=32),
    Case(rows=2, channels=8, frames=70, joints=5, relation=9),
    Case(rows=3, channels=17, frames=5, joints=7, relation=3, base_per_row=True),
    Case(relation=0),
    Case(rows=3, subsets=1, channels=37, frames=19, joints=5, relation=0, base_per_row=True),
    Case(rows=2, subsets=3, channels=3, frames=34, joints=40, relation=0),
]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, device=DEVICE, requires_grad=True)


def made_of(case: Case) -> tuple[Tensor, Refinement | None]:
    base = random(case.rows if case.base_per_row else 1, case.subsets, case.joints, case.joints)
    if case.relation == 0:
        return base, None
    joints = (case.rows, case.subsets, case.relation, case.joints)
    weights = (case.subsets, case.channels, case.relation)
    return base, Refinement(
        random(*joints), random(*joints), random(*weights), random(*weights[:2]), random(1)
    )


def leaves(base: Tensor, refinement: Refinement | None) -> list[Tensor]:
    return [base, *(refinement.tensors() if refinement else ())]


def doubled(refinement: Refinement | None) -> Refinement | None:
    return Refinement(*(part.double() for part in refinement.tensors())) if refinement else None


def agree(fused: Tensor, precise: Tensor, inputs: list[Tensor], tolerance: float = 2e-5) -> None:
    """Compare an output, and the gradients of all inputs, with the same in float64."""
    gradient = torch.randn(fused.shape, device=DEVICE).to(fused.dtype)
    # A gradient that is contiguous in no order, as one that comes from a slice.
    gradient = torch.stack([gradient, gradient], -1)[..., 0]
    ours = torch.autograd.grad(fused, inputs, gradient)
    theirs = torch.autograd.grad(precise, inputs, gradient.double())
    for one, other, tensor in zip(
        (fused, *ours), (precise, *theirs), (fused, *inputs), strict=True
    ):
        assert one.shape == other.shape
        assert one.dtype == tensor.dtype
        largest = float(other.detach().abs().max())
        assert float((one - other).detach().abs().max()) <= tolerance * max(largest, 1e-6)


@pytest.mark.parametrize(
    ("case", "layout"),
    [
        *((case, "channels last") for case in CASES),
        *itertools.product((CASES[2], CASES[7]), ("plain", "sliced")),
    ],
    ids=str,
)
def test_values_and_gradients(case: Case, layout: str) -> None:
    if layout == "plain":
        value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
        seen = value
    elif layout == "channels last":
        value = random(case.rows, case.frames, case.joints, case.subsets * case.channels)
        seen = value.unflatten(3, (case.subsets, case.channels)).permute(0, 3, 4, 1, 2)
    else:
        value = random(case.rows, case.subsets + 1, case.frames, case.channels, case.joints + 2)
        seen = value[:, 1:, :, :, 1:-1].transpose(2, 3)
    base, refinement = made_of(case)
    fused = aggregate(seen, base, refinement)
    precise = aggregate_reference(seen.double(), base.double(), doubled(refinement))
    assert fused.stride(1) == 1 or layout != "channels last" or case.channels == 1
    agree(fused, precise, [value, *leaves(base, refinement)])


@pytest.mark.parametrize(
    ("case", "biased"), [(CASES[2], True), (CASES[4], False), (CASES[7], False)], ids=str
)
def test_projected_values_and_gradients(case: Case, biased: bool) -> None:
    x = random(case.rows, case.frames, case.joints, case.in_channels)
    weight = random(case.subsets * case.channels, case.in_channels, 1, 1)
    bias = random(case.subsets * case.channels) if biased else None
    base, refinement = made_of(case)
    fused = project_and_aggregate(x.permute(0, 3, 1, 2), weight, bias, base, refinement)
    precise = project_and_aggregate(
        x.permute(0, 3, 1, 2).double(),
        weight.double(),
        bias.double() if bias is not None else None,
        base.double(),
        doubled(refinement),
    )  # float64 goes by plain operations
    given = [x, weight, *([] if bias is None else [bias])]
    agree(fused, precise, [*given, *leaves(base, refinement)])


def test_the_reference_is_the_formula() -> None:
    """Sum by sum, with no more than scalars."""
    rows, subsets, channels, frames, joints, relation = 2, 2, 3, 2, 3, 4
    value = torch.randn(rows, subsets, channels, frames, joints)
    base = torch.randn(1, subsets, joints, joints)
    query, key = torch.randn(2, rows, subsets, relation, joints)
    expand, bias = torch.randn(subsets, channels, relation), torch.randn(subsets, channels)
    alpha = torch.tensor([0.7])
    expected = torch.zeros(rows, channels, frames, joints)
    places = (rows, subsets, channels, frames, joints, joints)
    for r, k, c, t, u, v in itertools.product(*map(range, places)):
        related = torch.tanh(query[r, k, :, u] - key[r, k, :, v])
        refined = (expand[k, c] * related).sum() + bias[k, c]
        expected[r, c, t, u] += value[r, k, c, t, v] * (base[0, k, u, v] + alpha[0] * refined)
    out = aggregate_reference(value, base, Refinement(query, key, expand, bias, alpha))
    torch.testing.assert_close(out, expected)


def test_source_and_target_joints_may_differ_in_number() -> None:
    case = Case(channels=5, joints=11)
    value = random(case.rows, case.subsets, case.channels, case.frames, 11)
    base = random(1, case.subsets, 6, 11)
    refinement = Refinement(
        random(case.rows, case.subsets, 8, 6),
        random(case.rows, case.subsets, 8, 11),
        random(case.subsets, case.channels, 8),
        random(case.subsets, case.channels),
        random(),
    )
    fused = aggregate(value, base, refinement)
    precise = aggregate_reference(value.double(), base.double(), doubled(refinement))
    agree(fused, precise, [value, *leaves(base, refinement)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("relation", [0, 8])
def test_half_precision(dtype: torch.dtype, relation: int) -> None:
    case = Case(channels=21, frames=18, relation=relation)
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    value = value.detach().to(dtype).requires_grad_()
    base, refinement = made_of(case)
    fused = aggregate(value, base, refinement)
    assert fused.dtype == dtype
    precise = aggregate_reference(value.double(), base.double(), doubled(refinement))
    tolerance = 2e-2 if dtype == torch.bfloat16 else 3e-3
    agree(fused, precise, [value, *leaves(base, refinement)], tolerance)


def test_autocast_projects_in_half_precision() -> None:
    case = Case(channels=10)
    x = random(case.rows, case.in_channels, case.frames, case.joints)
    weight, bias = random(20, case.in_channels), random(20)
    base, refinement = made_of(case)
    with torch.autocast(DEVICE.type, torch.bfloat16):
        fused = project_and_aggregate(x, weight, bias, base, refinement)
    assert fused.dtype == torch.bfloat16
    precise = project_and_aggregate(
        x.double(), weight.double(), bias.double(), base.double(), doubled(refinement)
    )
    agree(fused, precise, [x, weight, bias, *leaves(base, refinement)], 4e-2)


def test_an_alpha_of_zero_leaves_the_base_and_learns() -> None:
    case = Case()
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    base, refinement = made_of(case)
    assert refinement is not None
    zero = Refinement(*refinement.tensors()[:4], torch.zeros(1, device=DEVICE, requires_grad=True))
    fused = aggregate(value, base, zero)
    torch.testing.assert_close(fused, aggregate_reference(value, base), rtol=1e-4, atol=1e-4)
    fused.square().sum().backward()
    assert zero.alpha.grad is not None
    assert float(zero.alpha.grad.abs()) > 1
    assert float(zero.query.grad.abs().max()) == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("through", ["function", "operator"])
@pytest.mark.parametrize("relation", [0, 8])
@pytest.mark.parametrize(("rows", "frames"), [(0, 6), (2, 0)])
def test_nothing_in_nothing_out(rows: int, frames: int, relation: int, through: str) -> None:
    from kinegraph.kernels import aggregate_operators as operators

    case = Case(rows=rows, frames=frames, relation=relation)
    x = random(rows, case.in_channels, frames, case.joints)
    weight, bias = random(32, case.in_channels), random(32)
    base, refinement = made_of(case)
    if through == "function":
        out = project_and_aggregate(x, weight, bias, base, refinement)
    else:
        parts = refinement.tensors() if refinement else module.NONE
        out = operators.project_and_aggregate(x, weight, bias, base, *parts)
    assert out.shape == (rows, 16, frames, case.joints)
    out.sum().backward()
    for tensor in (x, weight, *leaves(base, refinement)):
        assert tensor.grad is not None
        assert tensor.grad.shape == tensor.shape
        assert float(tensor.grad.abs().sum()) == 0


def test_gradients_that_nobody_wants_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(channels=3, joints=5)
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    base, refinement = made_of(case)
    assert refinement is not None
    still = Refinement(*(part.detach() for part in refinement.tensors()))
    monkeypatch.setattr(aggregate_launch, "topology_gradient", None)
    fused = aggregate(value, base.detach(), still)
    precise = aggregate_reference(value.double(), base.detach().double(), doubled(still))
    agree(fused, precise, [value])


def test_the_same_bits_each_time() -> None:
    case = Case(rows=5, joints=7, channels=19)
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    base, refinement = made_of(case)
    runs = []
    for _ in range(2):
        out = aggregate(value, base, refinement)
        runs.append(torch.autograd.grad(out.square().sum(), [value, *leaves(base, refinement)]))
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("case", "programs"),  # by which the rows go two and two, and the last alone
    [
        (Case(rows=5, channels=19, joints=17), 20),
        (Case(rows=5, joints=17, relation=0), 10),
        (Case(rows=5, joints=17, relation=0, base_per_row=True), 10),
    ],
    ids=str,
)
def test_programs_may_take_several_rows(
    case: Case, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate_launch, "PROGRAMS", programs)
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    base, refinement = made_of(case)
    fused = aggregate(value, base, refinement)
    precise = aggregate_reference(value.double(), base.double(), doubled(refinement))
    agree(fused, precise, leaves(base, refinement))


@pytest.mark.parametrize(
    "case",
    [
        Case(joints=65, relation=0, channels=2),
        Case(joints=33, relation=8, channels=2),
        Case(joints=17, relation=33, channels=2),
    ],
    ids=str,
)
def test_sizes_without_a_kernel_go_by_plain_operations(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregate_launch, "mix", None)
    value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
    base, refinement = made_of(case)
    out = aggregate(value, base, refinement)
    assert torch.equal(out, aggregate_reference(value, base, refinement))


def test_plain_and_fused_agree_under_autocast() -> None:
    case = Case(channels=10)
    x = random(case.rows, case.in_channels, case.frames, case.joints)
    weight, bias = random(20, case.in_channels), random(20)
    base, refinement = made_of(case)
    outs = []
    for choice in ("fused", "plain"):
        set_kernels(choice)  # type: ignore[arg-type]
        with torch.autocast(DEVICE.type, torch.bfloat16):
            outs.append(project_and_aggregate(x, weight, bias, base, refinement))
    assert outs[0].dtype == outs[1].dtype == torch.bfloat16
    largest = float(outs[0].detach().abs().max())
    assert float((outs[0] - outs[1]).detach().abs().max()) < 3e-2 * largest


def test_a_compiled_graph_has_the_operators_in_it() -> None:
    case = Case(channels=3, joints=5)
    x = random(case.rows, case.in_channels, case.frames, case.joints)
    weight, bias = random(6, case.in_channels), random(6)
    base, refinement = made_of(case)
    assert refinement is not None
    parts = (x, weight, bias, base, *refinement.tensors())

    def loss(x: Tensor, weight: Tensor, bias: Tensor, base: Tensor, *parts: Tensor) -> Tensor:
        return project_and_aggregate(x, weight, bias, base, Refinement(*parts)).square().sum()

    compiled: Any = torch.compile(loss, backend="aot_eager", fullgraph=True)
    dispatch.forget_verdicts()  # so that the kernels are checked while the graph is traced
    gradients = torch.autograd.grad(compiled(*parts), parts)
    expected = torch.autograd.grad(loss(*parts), parts)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_the_operators_are_what_they_say() -> None:
    from kinegraph.kernels import aggregate_operators as operators

    case = Case(channels=3, joints=5, frames=2, relation=2)
    for relation in (0, 2):
        base, refinement = made_of(Case(channels=3, joints=5, frames=2, relation=relation))
        parts = refinement.tensors() if refinement else module.NONE
        value = random(case.rows, case.subsets, case.channels, case.frames, case.joints)
        last = random(2, 2, 5, 2, 3).detach().permute(0, 3, 4, 1, 2).requires_grad_()
        x, weight, bias = random(2, 4, 2, 5), random(6, 4), random(6)
        # Schemas, fake tensors (shapes and strides), and how they are differentiated.
        torch.library.opcheck(operators.aggregate, (value, base, *parts))
        torch.library.opcheck(operators.aggregate, (last, base, *parts))
        torch.library.opcheck(operators.project_and_aggregate, (x, weight, bias, base, *parts))


def test_a_wrong_kernel_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.check_aggregation(DEVICE) < dispatch.TOLERANCE
    right = aggregate_launch.mix

    def wrong(values: Tensor, mixed: Tensor, *rest: Any, **named: Any) -> None:
        right(values, mixed, *rest, **named)
        if mixed.shape[1] > 1:
            mixed[..., -1] *= 1.1  # the last joint, backward only

    monkeypatch.setattr(aggregate_launch, "mix", wrong)
    assert module.check_aggregation(DEVICE) > dispatch.TOLERANCE
