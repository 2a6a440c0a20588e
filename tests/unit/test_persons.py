"""People as rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.backbones import CTRGCNBaselineConfig, CTRGCNConfig, STGCNConfig, build_backbone
from kinegraph.nn.persons import Rows, fold, plan_rows, pool, rows_of
from kinegraph.objectives.classify import Classify
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout

SOMEBODY = np.array([[True, False], [True, True], [True, False], [False, True]])


def test_rows_are_the_people_who_are_there() -> None:
    x = torch.arange(2 * 1 * 3 * 2 * 2, dtype=torch.float32).view(2, 1, 3, 2, 2)
    layout = rows_of(x, torch.tensor([[True, False], [True, True]]))
    rows = fold(x, layout)
    assert rows.shape == (3, 1, 3, 2)
    assert torch.equal(rows[0], x[0, ..., 0])
    assert torch.equal(rows[1], x[1, ..., 0])
    assert torch.equal(rows[2], x[1, ..., 1])
    back = layout.unfold(rows)  # (N, M, C, T, V)
    assert torch.equal(back[1], x[1].permute(3, 0, 1, 2))
    assert not back[0, 1].any()


def test_pooling_is_the_mean_of_people_not_of_rows() -> None:
    x = torch.randn(3, 2, 4, 5, 2)
    layout = rows_of(x, torch.tensor([[True, True], [False, True], [True, False]]))
    pooled = pool(fold(x, layout), layout)
    torch.testing.assert_close(pooled[0], x[0].mean((1, 2, 3)))
    torch.testing.assert_close(pooled[1], x[1, ..., 1].mean((1, 2)))
    torch.testing.assert_close(pooled[2], x[2, ..., 0].mean((1, 2)))


def test_pooling_is_the_same_in_any_memory_and_its_gradient_lies_as_the_features_do() -> None:
    layout = Rows(clips=2, persons=2)
    features = torch.randn(4, 3, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    pooled = pool(features, layout)
    torch.testing.assert_close(pooled, pool(features.detach().contiguous(), layout))
    (gradient,) = torch.autograd.grad(pooled, features, torch.randn(2, 3))
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_without_present_empty_slots_count() -> None:
    x = torch.randn(2, 3, 4, 5, 2)
    x[..., 1] = 0
    layout = rows_of(x, None)
    rows = fold(x, layout)
    torch.testing.assert_close(pool(rows, layout), x[..., 0].mean((2, 3)) / 2)
    assert torch.equal(layout.unfold(rows), x.permute(0, 4, 1, 2, 3))


def test_a_clip_without_anyone_pools_to_zero() -> None:
    x = torch.randn(2, 3, 4, 5, 1)
    layout = rows_of(x, torch.tensor([[False], [True]]))
    assert not pool(fold(x, layout), layout)[0].any()


def test_absent_people_share_a_row_for_each_slot() -> None:
    rows = plan_rows(SOMEBODY, share_absent=True)
    assert rows.index is not None
    assert rows.weight is not None
    assert rows.source is not None
    assert rows.index.tolist() == [0, 2, 3, 4, 7, 6, 1]  # 5 present, then slot 0's and slot 1's
    assert rows.weight.tolist() == [1, 1, 1, 1, 1, 1, 2]
    assert rows.source.tolist() == [0, 6, 1, 2, 3, 6, 5, 4]
    assert rows.counted is None


def test_filling_rows_count_nowhere() -> None:
    rows = plan_rows(SOMEBODY, multiple=4)
    assert len(rows) == 8
    assert rows.weight is not None
    assert rows.weight.tolist() == [1] * 5 + [0] * 3
    x = torch.randn(4, 3, 4, 5, 2)
    bare = plan_rows(SOMEBODY)
    torch.testing.assert_close(pool(fold(x, rows), rows), pool(fold(x, bare), bare))
    assert torch.equal(rows.unfold(fold(x, rows)), bare.unfold(fold(x, bare)))


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.integers(1, 4))
def test_any_plan_pools_like_the_mean_of_its_people(
    seed: int, clips: int, persons: int, multiple: int
) -> None:
    random = np.random.default_rng(seed)
    present = random.random((clips, persons)) < 0.6
    x = torch.from_numpy(random.normal(size=(clips, 2, 3, 4, persons)).astype(np.float32))
    x *= torch.from_numpy(present)[:, None, None, None, :]
    people = x.mean((2, 3))  # (N, C, M)
    shared = plan_rows(present, share_absent=True, multiple=multiple)
    torch.testing.assert_close(pool(fold(x, shared), shared), people.mean(2))
    own = plan_rows(present, multiple=multiple)
    count = torch.from_numpy(present).sum(1).clamp(min=1)[:, None]
    torch.testing.assert_close(pool(fold(x, own), own), people.sum(2) / count)


def test_absent_people_that_are_not_zero_have_rows_of_their_own() -> None:
    x = torch.randn(4, 3, 4, 5, 2)
    assert len(rows_of(x, torch.from_numpy(SOMEBODY), count_absent=True)) == 8
    x *= torch.from_numpy(SOMEBODY)[:, None, None, None, :]
    assert len(rows_of(x, torch.from_numpy(SOMEBODY), count_absent=True)) == 7


def test_decided_rows_are_taken_as_they_are() -> None:
    rows = plan_rows(SOMEBODY)
    assert rows_of(torch.zeros(4, 3, 4, 5, 2), rows) is rows


NETWORKS = [CTRGCNConfig(width=16), CTRGCNBaselineConfig(width=8), STGCNConfig(width=8)]


def crowd(seed: int, frames: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clips of which four in five have one person, in float64, and who is there."""
    random = torch.Generator().manual_seed(seed)
    present = torch.ones(10, 2, dtype=torch.bool)
    present[torch.randperm(10, generator=random)[:8], 1] = False
    x = torch.randn(10, 3, frames, 20, 2, dtype=torch.float64, generator=random)
    return x * present[:, None, None, None, :], present


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: str(config.name))
def test_shared_rows_train_like_the_full_computation(config: Config) -> None:
    x, present = crowd(0)
    labels = torch.arange(10) % 4
    results = []
    for share in (False, True):
        torch.manual_seed(1)
        network = build_backbone(config, load_layout("ucla20"))
        objective = Classify(network, 4, count_absent=True).double()
        rows = rows_of(x, present, count_absent=True) if share else Rows(clips=10, persons=2)
        assert len(rows) == (13 if share else 20)
        torch.nn.functional.cross_entropy(objective.logits(x, rows), labels).backward()
        results.append((objective.state_dict(), dict(objective.named_parameters())))
    (full_state, full), (shared_state, shared) = results
    for name, value in full_state.items():  # running statistics among them
        torch.testing.assert_close(shared_state[name], value, rtol=1e-9, atol=1e-12)
    for name, parameter in full.items():
        assert parameter.grad is not None
        torch.testing.assert_close(shared[name].grad, parameter.grad, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: str(config.name))
def test_shared_rows_infer_like_the_full_computation(config: Config) -> None:
    x, present = crowd(1)
    network = build_backbone(config, load_layout("ucla20")).eval()
    rows = plan_rows(present.numpy(), share_absent=True, multiple=8)
    with torch.no_grad():
        full, shared = network(x.float(), None, ("low",)), network(x.float(), rows, ("low",))
    torch.testing.assert_close(shared.pooled, full.pooled)
    torch.testing.assert_close(shared.stages["low"], full.stages["low"])
