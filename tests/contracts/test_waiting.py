"""No step asks for a number: on a device that would be waited for, and no step could be recorded.

Tensors without numbers, as PyTorch's fake mode has them, fail where one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.backbones.base import STAGES, Backbone, Features
from kinegraph.batch import Batch
from kinegraph.nn.persons import fold, plan_rows, pool, rows_of
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.objectives.contrast import Contrast, Version
from kinegraph.skeleton import load_layout
from kinegraph.training.structure import tensors_of, with_tensors

from .samples import CLASSES, small_config, some_batch

SKELETON = load_layout("ntu25")


class Simple(Backbone):
    """Has all stages and does next to nothing, so that objectives alone are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = 8
        self.stage_channels, self.stage_strides = dict.fromkeys(STAGES, 8), dict.fromkeys(STAGES, 1)
        self.conv = nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor, present: Any = None, stages: Any = ()) -> Features:
        rows = rows_of(x, present)
        y = self.conv(fold(x, rows))
        return Features(pool(y, rows), {stage: rows.unfold(y) for stage in stages})


@contextmanager
def numberless(module: nn.Module) -> Iterator[Batch]:
    """Take the numbers of a module away, and give a batch without any.

    Its rows are decided, as a loader does it on the host.
    """
    batch = some_batch()
    batch = replace(batch, rows=plan_rows(batch.present.numpy(), multiple=4))
    with FakeTensorMode() as mode:
        for part in module.modules():
            for store in (part._parameters, part._buffers):
                store |= {name: mode.from_tensor(t) for name, t in store.items() if t is not None}
        yield with_tensors(batch, map(mode.from_tensor, tensors_of(batch)))


def step(objective: Objective) -> None:
    """Go through a step of training."""
    objective.train()
    with numberless(objective) as batch:
        parts = objective(*(batch for _ in objective.views))
        parts["loss"].backward()
        objective.after_step()
    learning = [weight for weight in objective.parameters() if weight.requires_grad]
    assert learning
    reached = all(weight.grad is not None for weight in learning)
    assert reached, "a fake step that stops short proves nothing"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_asks_for_no_number(name: str) -> None:
    objective = build_objective(
        small_config(name, OBJECTIVES),
        Simple,
        num_classes=CLASSES,
        skeleton=SKELETON,
    )
    step(objective)


@pytest.mark.slow  # by their number
@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_asks_for_no_number(name: str) -> None:
    network = build_backbone(small_config(name, BACKBONES), SKELETON, persons=2).train()
    with numberless(network) as batch:
        features = network(batch.x, batch.rows, stages=tuple(network.stage_channels))
        loss = features.pooled.sum() + sum(found.sum() for found in features.stages.values())
        loss.backward()


@pytest.mark.parametrize("version", get_args(Version))
def test_no_version_of_a_contrast_asks_for_a_number(version: Version) -> None:
    contrast = Contrast(2, CLASSES, 8, version=version, threshold=0.3).train()
    with numberless(contrast):
        features = torch.empty(2, 4, 8, requires_grad=True)
        label = torch.zeros(4, dtype=torch.int64)
        contrast(features, torch.empty(4, CLASSES), label).sum().backward()


class Curious(Objective):
    """Asks for a number in one way or another."""

    def __init__(self, ask: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.ask = ask

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        loss = self.weight * batches[0].x.mean()
        self.ask(loss.detach())
        return {"loss": loss}


@pytest.mark.parametrize("ask", [Tensor.item, bool, float, Tensor.tolist, Tensor.nonzero])
def test_what_is_asked_for_is_noticed(ask: Callable[[Tensor], object]) -> None:
    with pytest.raises(RuntimeError, match=r"local_scalar_dense|nonzero|tolist"):
        step(Curious(ask))
