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

from .samples import (
    CLASSES,
    ENCODERS,
    LAYOUTS,
    MADE,
    REFUSED,
    pairwise,
    settle,
    small_objective,
    some_batch,
)

every_pair = pytest.mark.parametrize(
    ("name", "backbone"),
    [
        (name, backbone)
        for name, backbone in product(OBJECTIVES, BACKBONES)
        if (name, backbone) not in REFUSED and backbone in ENCODERS.get(name, BACKBONES)
    ],
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


def answer(objective: Objective, x: Tensor, present: Tensor) -> Tensor:
    """Return what tests use of an objective: logits, or features where there are no classes."""
    return objective.logits(x, present) if objective.classifies else objective.embed(x, present)


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
    if objective.eval().classifies:
        logits = objective.logits(batch.x, batch.present)
        assert logits.shape == (len(batch), CLASSES)
        assert logits.isfinite().all()
    else:
        with pytest.raises(RecipeError, match="knows no classes yet"):
            objective.logits(batch.x, batch.present)
    embedding = objective.embed(batch.x, batch.present)
    assert embedding.ndim == 2
    assert len(embedding) == len(batch)
    assert embedding.isfinite().all()


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
        answers = [
            (answer(one, batch.x, batch.present), one.embed(batch.x, batch.present))
            for one in (frozen, objective)
        ]
        for found, expected in zip(*answers, strict=True):
            # Numbers close to zero are differences of large ones, and so is their rounding.
            bound = 1e-4 * float(expected.abs().max())
            torch.testing.assert_close(found, expected, rtol=0, atol=bound)


@every_pair
def test_learns(name: str, backbone: str) -> None:
    objective = small_objective(name, backbone).train()
    if not objective.classifies:  # a queue of nothing but this batch's clips cannot be learned from
        objective.enqueue = lambda *_: None  # type: ignore[method-assign, assignment]
    batch = some_batch()
    first = one_step(objective, batch)["loss"].item()
    assert any(one_step(objective, batch)["loss"].item() < 0.7 * first for _ in range(11))


@every_pair
def test_clips_do_not_see_each_other_in_tests(name: str, backbone: str) -> None:
    objective = small_objective(name, backbone).eval()
    batch = some_batch()
    order = torch.tensor([3, 1, 0, 2])
    found = answer(objective, batch.x, batch.present)
    assert torch.equal(answer(objective, batch.x, batch.present), found)
    _close(answer(objective, batch.x[order], batch.present[order]), found[order])
    _close(answer(objective, batch.x[:1], batch.present[:1]), found[:1])


@every_pair
def test_quirks_count_absent_people(name: str, backbone: str) -> None:
    batch = some_batch()
    plain = small_objective(name, backbone).eval()
    original = small_objective(name, backbone, original=True).eval()
    # Without classes, heads may differ, of which features know nothing.
    original.load_state_dict(plain.state_dict(), strict=plain.classifies)
    everyone = torch.ones_like(batch.present)
    answered = answer(original, batch.x, batch.present)
    found = answer(original, batch.x, everyone)
    # Untrained networks in eval mode grow rounding; what is left out of 4 people weighs far more.
    difference, size = (found - answered).detach().abs().max(), answered.detach().abs().max()
    assert float(difference) < 1e-3 * float(size)
    assert not torch.allclose(answer(plain, batch.x, batch.present), answered)


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
    expected = answer(first.eval(), batch.x, batch.present)
    twins = (second.eval(), copy.deepcopy(first), pickle.loads(pickle.dumps(first)))
    for twin in twins:
        assert torch.equal(answer(twin, batch.x, batch.present), expected)


def _close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
