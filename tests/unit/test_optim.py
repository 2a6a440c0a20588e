from __future__ import annotations

import math

import pytest
import torch

from kinegraph.recipe import OptimConfig, ScheduleConfig
from kinegraph.training.optim import (
    MovingAverage,
    align_gradients,
    build_optimizer,
    learning_rate,
    like,
    set_learning_rate,
)


def rates(epochs: int, base: float = 0.1, **schedule: object) -> list[float]:
    config = ScheduleConfig.model_validate(schedule)
    return [learning_rate(epoch, epochs, base, config) for epoch in range(epochs)]


def test_multi_step_with_warm_up() -> None:
    # CTR-GCN on NTU: 0.1, warm-up 5, drops at 35 and 55 of 65.
    found = rates(65, name="multi-step", warmup=5, steps=(35, 55))
    assert found[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert found[34:36] == pytest.approx([0.1, 0.01])
    assert found[54:56] == pytest.approx([0.01, 0.001])


def test_constant_has_warm_up_too() -> None:
    assert rates(4, 1.0, name="constant", warmup=2) == [0.5, 1.0, 1.0, 1.0]


def test_cosine_falls_from_base_towards_minimum() -> None:
    found = rates(6, 1.0, name="cosine", warmup=2, minimum=0.2)
    expected = [0.2 + 0.8 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert found == pytest.approx([0.5, 1.0, *expected])
    end = learning_rate(6, 6, 1.0, ScheduleConfig(name="cosine", warmup=2, minimum=0.2))
    assert end == pytest.approx(0.2)  # reached after the last epoch
    assert rates(2, 1.0, name="cosine", warmup=2) == [0.5, 1.0]  # all of it is warm-up


def test_optimisers_are_what_the_recipe_says() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    sgd = build_optimizer([weight], OptimConfig(lr=0.3, momentum=0.8, weight_decay=0.01))
    assert isinstance(sgd, torch.optim.SGD)
    group = sgd.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.8, 0.01)
    assert group["nesterov"]
    plain = build_optimizer([weight], OptimConfig(momentum=0))
    assert not plain.param_groups[0]["nesterov"]  # which torch would refuse
    adamw = build_optimizer([weight], OptimConfig(name="adamw", momentum=0.8))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.param_groups[0]["betas"] == (0.8, 0.999)
    set_learning_rate(adamw, 0.5)
    assert adamw.param_groups[0]["lr"] == 0.5


def test_moving_average_by_hand() -> None:
    module = torch.nn.BatchNorm1d(1)
    average = MovingAverage(module, 0.25)
    expected = 1.0
    for step, value in enumerate((5.0, -3.0, 2.0), start=1):
        with torch.no_grad():
            module.weight.fill_(value)
        module.num_batches_tracked.fill_(step)
        average.update(module)
        keep = min(0.25, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert average.state["weight"].item() == pytest.approx(expected)
    assert average.state["num_batches_tracked"].item() == 3
    assert average.steps == 3
    assert module.weight.item() == 2.0
    assert not average.state["weight"].requires_grad


def test_fused_optimisers_keep_their_rate_in_one_tensor() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    for name in ("sgd", "adamw"):
        config = OptimConfig.model_validate({"name": name, "lr": 0.3})
        optimizer = build_optimizer([weight], config, fused=True)
        rate = optimizer.param_groups[0]["lr"]
        set_learning_rate(optimizer, 0.25)
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate.item() == 0.25
        assert optimizer.param_groups[0]["fused"]


@pytest.mark.parametrize("fused", [True, False])
def test_gradients_take_the_strides_of_their_weights(fused: bool) -> None:
    point = torch.nn.Parameter(torch.randn(4, 3, 1, 1))
    wide = torch.nn.Parameter(torch.randn(4, 3, 5, 1))
    optimizer = build_optimizer([point, wide], OptimConfig(), fused=fused)
    for weight in (point, wide):
        grad = torch.randn_like(weight, memory_format=torch.channels_last)
        assert grad.stride() != weight.stride()
        weight.grad = grad
    before = [point.grad.clone(), wide.grad.clone()]  # type: ignore[union-attr]
    memory = point.grad.data_ptr()  # type: ignore[union-attr]
    align_gradients(optimizer)
    for weight, grad in zip((point, wide), before, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, grad)
        assert (weight.grad.stride() == weight.stride()) == fused
    assert point.grad is not None
    assert point.grad.data_ptr() == memory  # only seen differently


def test_like_keeps_numbers_and_type() -> None:
    tensor = torch.arange(24, dtype=torch.float64).view(2, 3, 4, 1)
    model = torch.empty(2, 3, 4, 1).contiguous(memory_format=torch.channels_last)
    taken = like(tensor, model)
    assert torch.equal(taken, tensor)
    assert taken.stride() == model.stride()
    assert taken.dtype == torch.float64
