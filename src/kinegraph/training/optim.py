"""Optimisers, and the learning rate of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from kinegraph.recipe import OptimConfig, ScheduleConfig


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimConfig
) -> torch.optim.Optimizer:
    """Make the optimiser; its learning rate is set anew in every epoch."""
    if config.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(
        parameters,
        lr=config.lr,
        betas=(config.momentum, 0.999),
        weight_decay=config.weight_decay,
    )


def learning_rate(epoch: int, epochs: int, base: float, schedule: ScheduleConfig) -> float:
    """Return the learning rate of an epoch, counted from 0.

    In the first ``warmup`` epochs it is base * (epoch + 1) / warmup. Afterwards it is multiplied by
    ``factor`` for each step that is at or before the epoch, or follows half a cosine from base to
    ``minimum``, reached after the last epoch.

    Source: the training loops of CTR-GCN, InfoGCN, FR-Head and LST (multi-step with warm-up);
    Loshchilov and Hutter, SGDR (2017), for the cosine.
    """
    if epoch < schedule.warmup:
        return base * (epoch + 1) / schedule.warmup
    if schedule.name == "multi-step":
        drops = sum(step <= epoch for step in schedule.steps)
        return float(base * schedule.factor**drops)
    if schedule.name == "cosine":
        done = (epoch - schedule.warmup) / max(epochs - schedule.warmup, 1)
        return schedule.minimum + (base - schedule.minimum) * (1 + math.cos(math.pi * done)) / 2
    return base


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class MovingAverage:
    """Exponential moving average of the floating tensors of a module's state.

    Args:
        module: The module; its state is copied.
        decay: Weight of the past in each step. In the first steps the past weighs less, so that
            the starting weights are soon forgotten: min(decay, (1 + steps) / (10 + steps)).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module as it is now."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in module.state_dict().items():
            if torch.is_floating_point(value):
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)
