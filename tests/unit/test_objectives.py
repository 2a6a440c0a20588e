"""Supervised classification."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from kinegraph.backbones import CTRGCNConfig, build_backbone
from kinegraph.backbones.base import Backbone
from kinegraph.batch import Batch
from kinegraph.errors import RecipeError
from kinegraph.objectives import ClassifyConfig, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.objectives.classify import Classify
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout

SBU = load_layout("sbu15")


def classify(**options: object) -> Classify:
    torch.manual_seed(0)
    objective = build_objective(
        ClassifyConfig.model_validate(options),
        lambda: build_backbone(CTRGCNConfig(width=8), SBU),
        num_classes=7,
        skeleton=SBU,
    )
    assert isinstance(objective, Classify)
    return objective


def some_batch() -> Batch:
    x = torch.randn(3, 3, 9, 15, 2)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    return Batch(x, torch.tensor([1, 6, 0]), torch.arange(3), present)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_cross_entropy(smoothing: float) -> None:
    objective, batch = classify(label_smoothing=smoothing).eval(), some_batch()
    logits = objective.logits(batch.x, batch.present)
    parts = objective(batch)
    expected = functional.cross_entropy(logits, batch.label, label_smoothing=smoothing)
    torch.testing.assert_close(parts["loss"], expected)
    hits = (logits.argmax(1) == batch.label).float().mean()
    assert parts["accuracy"] == hits
    log_p = logits.log_softmax(1)
    right = -log_p[torch.arange(3), batch.label].mean()
    by_hand = (1 - smoothing) * right - smoothing * log_p.mean()
    torch.testing.assert_close(parts["loss"], by_hand)


def test_logits_are_linear_in_the_embedding() -> None:
    objective, batch = classify().eval(), some_batch()
    embedding = objective.embed(batch.x, batch.present)
    expected = embedding @ objective.head.weight.T + objective.head.bias
    torch.testing.assert_close(objective.logits(batch.x, batch.present), expected)


def test_dropout_works_in_training_only() -> None:
    objective, batch = classify(dropout=0.5), some_batch()
    objective.backbone.eval()
    objective.dropout.train()
    first = objective.logits(batch.x, batch.present)
    assert not torch.equal(objective.logits(batch.x, batch.present), first)
    objective.eval()
    first = objective.logits(batch.x, batch.present)
    assert torch.equal(objective.logits(batch.x, batch.present), first)


@torch.no_grad()
def test_the_head_starts_as_asked() -> None:
    spread = float(classify().head.weight.std())
    assert abs(spread / math.sqrt(2 / 7) - 1) < 0.1
    small = classify(head_deviation=0.02).head
    assert abs(float(small.weight.std()) / 0.02 - 1) < 0.1
    assert not small.bias.any()


def test_an_unknown_objective_is_refused() -> None:
    class Unknown(Config):
        name: str = "classifi"

    with pytest.raises(RecipeError, match="nearest: 'classify'"):
        build_objective(Unknown(), nn.Identity, num_classes=2, skeleton=SBU)


def test_base_classes_say_what_to_do() -> None:
    objective, backbone = Objective(), Backbone()
    x = torch.zeros(1)
    for call in (objective.forward, backbone.forward, objective.logits, objective.embed):
        with pytest.raises(TypeError, match="is a base class"):
            call(x)  # type: ignore[operator]
    objective.after_step()
