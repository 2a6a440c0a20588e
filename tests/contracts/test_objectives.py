"""Every objective around every backbone, on every layout, stream and number of people."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES
from kinegraph.batch import Batch
from kinegraph.errors import RecipeError
from kinegraph.objectives import OBJECTIVES
from kinegraph.objectives.base import Objective
from kinegraph.skeleton import load_layout
from kinegraph.transforms import STREAMS
from kinegraph.transforms.streams import make_stream

from .samples import CLASSES, LAYOUTS, MADE, REFUSED, pairwise, settle, small_objective, some_batch

every_pair = pytest.mark.parametrize(
    ("name", "backbone"), [pair for pair in product(OBJECTIVES, BACKBONES) if pair not in REFUSED]
)


# What may have no gradient: of the four units that a narrow network has there, a ReLU may silence
# all; and a bias before a batch norm changes nothing.
SILENT = re.compile(r"attention\.(squeeze|expand\.weight)|over_\w+\.squeeze\.bias")
FRAMES = (13, 16)


def compositions() -> Iterator[Any]:
    """Yield rows that bring any two parts together; in place of a refused one, two others."""
    layouts = [*LAYOUTS, MADE]
    axes = (list(OBJECTIVES), list(BACKBONES), list(STREAMS), layouts, (1, 2), FRAMES)
    for name, backbone, *rest in pairwise(*axes):
        refused = (name, backbone) in REFUSED
        pairs = [("classify", backbone), (name, "ctrgcn")] if refused else [(name, backbone)]
        for pair in pairs:
            row = (*pair, *rest)
            yield pytest.param(*row, id="-".join(Path(str(part)).stem for part in row))


def one_step(objective: Objective, batch: Batch, rate: float = 0.05) -> dict[str, Tensor]:
    """Take a step of gradient descent."""
    objective.zero_grad()
    parts = objective(*(batch for _ in objective.views))
    parts["loss"].backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 10.0)
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter.sub_(rate * parameter.grad)
    objective.after_step()
    return parts


def check_gradients(objective: Objective) -> None:
    """Every parameter has a finite gradient that is not zero, except a listed few."""
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert SILENT.search(name) or parameter.grad.abs().max() > 0, name


@pytest.mark.slow  # by their number
@pytest.mark.parametrize(
    ("name", "backbone", "stream", "layout", "persons", "frames"), list(compositions())
)
def test_composes(
    name: str, backbone: str, stream: str, layout: str, persons: int, frames: int
) -> None:
    """Any two of objective, backbone, stream, layout, people and frames come together in a row."""
    objective = small_objective(name, backbone, layout, persons)
    batch = some_batch(layout, persons, frames=frames)
    joints = batch.x.permute(0, 4, 2, 3, 1)  # (N, C, T, V, M) -> (N, M, T, V, C)
    x = make_stream(joints, load_layout(layout), stream).permute(0, 4, 2, 3, 1)
    batch = Batch(x=x, label=batch.label, index=batch.index, present=batch.present)
    parts = one_step(objective.train(), batch)
    check_gradients(objective)
    assert parts["loss"].ndim == 0
    assert all(isinstance(part, Tensor) and part.isfinite().all() for part in parts.values())
    settle(objective, objective.embed, batch.x)
    logits = objective.eval().logits(batch.x, batch.present)
    assert logits.shape == (len(batch), CLASSES)
    assert logits.isfinite().all()
    embedding = objective.embed(batch.x, batch.present)
    assert embedding.ndim == 2
    assert len(embedding) == len(batch)


def test_pairs_are_all_there() -> None:
    axes: list[list[Any]] = [["a", "b", "c"], [1, 2], ["x", "y", "z", "w"]]
    rows = pairwise(*axes)
    assert len(rows) < 3 * 2 * 4
    for i, j in combinations(range(3), 2):
        assert {(row[i], row[j]) for row in rows} == set(product(axes[i], axes[j]))


@pytest.mark.parametrize(("name", "backbone"), sorted(REFUSED))
def test_what_cannot_work_is_refused(name: str, backbone: str) -> None:
    with pytest.raises(RecipeError, match="keeps the joints apart"):
        small_objective(name, backbone)


@every_pair
@pytest.mark.parametrize("original", [False, True])
def test_frozen_it_answers_the_same(name: str, backbone: str, original: bool) -> None:
    objective = small_objective(name, backbone, original=original).train()
    batch = some_batch()
    for module in objective.modules():
        if hasattr(module, "momentum"):
            module.momentum = 1.0  # statistics as after training
    objective(*(batch for _ in objective.views))
    frozen = objective.freeze()
    assert not frozen.training
    assert objective.training
    objective.eval()
    with torch.no_grad():
        for answer, expected in (
            (frozen.logits, objective.logits(batch.x, batch.present)),
            (frozen.embed, objective.embed(batch.x, batch.present)),
        ):
            found = answer(batch.x, batch.present)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@every_pair
def test_learns(name: str, backbone: str) -> None:
    objective = small_objective(name, backbone).train()
    batch = some_batch()
    first = one_step(objective, batch)["loss"].item()
    assert any(one_step(objective, batch)["loss"].item() < 0.7 * first for _ in range(11))


@every_pair
def test_clips_do_not_see_each_other_in_tests(name: str, backbone: str) -> None:
    objective = small_objective(name, backbone).eval()
    batch = some_batch()
    order = torch.tensor([3, 1, 0, 2])
    logits = objective.logits(batch.x, batch.present)
    assert torch.equal(objective.logits(batch.x, batch.present), logits)
    _close(objective.logits(batch.x[order], batch.present[order]), logits[order])
    _close(objective.logits(batch.x[:1], batch.present[:1]), logits[:1])


@every_pair
def test_quirks_count_absent_people(name: str, backbone: str) -> None:
    batch = some_batch()
    plain = small_objective(name, backbone).eval()
    original = small_objective(name, backbone, original=True).eval()
    original.load_state_dict(plain.state_dict())
    everyone = torch.ones_like(batch.present)
    logits = original.logits(batch.x, batch.present)
    found = original.logits(batch.x, everyone)
    # Untrained networks in eval mode grow rounding; what is left out of 4 people weighs far more.
    assert float((found - logits).detach().abs().max()) < 1e-3 * float(logits.abs().max().detach())
    assert not torch.allclose(plain.logits(batch.x, batch.present), logits)


@every_pair
def test_state_round_trip_and_copies(name: str, backbone: str) -> None:
    first, second = small_objective(name, backbone), small_objective(name, backbone)
    batch = some_batch()
    one_step(first.train(), batch)
    settle(first, first.embed, batch.x)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    expected = first.eval().logits(batch.x, batch.present)
    twins = (second.eval(), copy.deepcopy(first), pickle.loads(pickle.dumps(first)))
    for twin in twins:
        assert torch.equal(twin.logits(batch.x, batch.present), expected)


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
