"""Scoring batches, also by recorded graphs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.evaluation.scorer import Scorer
from kinegraph.nn.persons import Rows
from kinegraph.objectives.base import Objective
from kinegraph.training.graphs import STEPS_BEFORE, RecordingError, Work


class Linear(Objective):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.calls = 0

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        self.calls += 1
        scores: Tensor = self.layer(x.mean((2, 3, 4)))
        return scores


class Again:
    """Records by remembering the work, which reads its buffers anew when it is repeated."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def run(self, work: Work) -> Tensor:
        return work()

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        if self.fails:
            raise RecordingError("not here")
        result = work().fill_(float("nan"))

        def replay() -> None:
            result.copy_(work())

        return replay, result


def batch_of(clips: int, number: int) -> Batch:
    draws = torch.Generator().manual_seed(number)
    return Batch(
        x=torch.randn(clips, 3, 4, 5, 1, generator=draws),
        label=torch.zeros(clips, dtype=torch.int64),
        index=torch.arange(clips),
        present=torch.ones(clips, 1, dtype=torch.bool),
    )


def test_recorded_scores_are_those_of_plain_calls() -> None:
    objective = Linear().eval()
    device = torch.device("cpu")
    plain, recorded = Scorer(objective, device), Scorer(objective, device, recorder=Again())
    kept = []
    for number, clips in enumerate([4] * (STEPS_BEFORE + 3) + [2]):
        batch = batch_of(clips, number)
        expected, found = plain(batch), recorded(batch)
        assert torch.equal(found, expected)
        assert not found.requires_grad
        kept.append((found, expected))
    assert recorded.recorded == 1
    assert plain.recorded == 0
    for found, expected in kept:  # a later replay leaves them alone
        assert torch.equal(found, expected)


def test_what_cannot_be_recorded_is_scored_by_plain_calls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    objective = Linear().eval()
    scorer = Scorer(objective, torch.device("cpu"), recorder=Again(fails=True))
    for number in range(STEPS_BEFORE + 3):
        batch = batch_of(4, number)
        assert torch.equal(scorer(batch), objective.logits(batch.x).detach())
    assert capsys.readouterr().err.count("scoring without CUDA graphs: not here") == 1


def test_graphs_are_for_cuda_devices() -> None:
    scorer = Scorer(Linear(), torch.device("cpu"), graphs=True)
    for number in range(STEPS_BEFORE + 2):
        scorer(batch_of(4, number))
    assert scorer.recorded == 0


def test_scores_are_float32_whatever_they_were_computed_in() -> None:
    objective = Linear().eval()
    batch = batch_of(4, 0)
    rough = Scorer(objective, torch.device("cpu"), autocast=torch.bfloat16)(batch)
    exact = objective.logits(batch.x).detach()
    assert rough.dtype == torch.float32
    assert 0 < float((rough - exact).abs().max()) < 0.05
