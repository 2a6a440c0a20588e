"""Optimisers, and the learning rate of each epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kinegraph.recipe import OptimConfig, ScheduleConfig


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimConfig, *, fused: bool | None = None
) -> torch.optim.Optimizer:
    """Make the optimiser; its learning rate is set anew in every epoch.

    Args:
        parameters: The weights.
        config: Which optimiser.
        fused: One kernel for all weights, with the learning rate in the device's memory, so that
            steps can be recorded as a CUDA graph; None: on CUDA devices.
    """
    weights = list(parameters)
    device = weights[0].device
    fused = (device.type == "cuda" if fused is None else fused) or None  # None: torch's choice
    rate = torch.tensor(config.lr, device=device) if fused else config.lr
    if config.name == "sgd":
        return torch.optim.SGD(
            weights,
            lr=rate,
            momentum=config.momentum,
            nesterov=config.nesterov and config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    return torch.optim.AdamW(
        weights,
        lr=rate,
        betas=(config.momentum, 0.999),
        weight_decay=config.weight_decay,
        fused=fused,
        capturable=device.type == "cuda",
    )


def align_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Give the gradients of a fused optimiser the strides of their weights, which it insists on.

    Gradients of 1x1 convolutions often differ from their weights in the strides of axes of length
    1, where a stride means nothing; they are then seen with other strides, not copied.
    """
    for group in optimizer.param_groups:
        if group.get("fused"):
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.stride() != weight.stride():
                    weight.grad = like(weight.grad, weight)


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """Return a tensor's numbers with the strides of another tensor of its shape, copied if need be.

    Args:
        tensor: The numbers, without gaps in memory.
        model: Has the strides.
    """
    strides = zip(tensor.shape, tensor.stride(), model.stride(), strict=True)
    if all(own == wanted for length, own, wanted in strides if length > 1):
        return tensor.as_strided(model.shape, model.stride())
    return torch.empty_like(model, dtype=tensor.dtype).copy_(tensor)


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
    """Give every group of parameters the same learning rate, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class MovingAverage:
    """Exponential moving average of the floating tensors of a module's state.

    Args:
        module: The module; its state is copied.
        decay: Weight of the past in each step. In the first steps the past weighs less, so that
            the starting weights are soon forgotten: min(decay, (1 + steps) / (10 + steps)).

    Attributes:
        steps: () int64, on the module's device: updates so far.
        state: Name -> averaged tensor.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}
        self.steps = next(iter(self.state.values())).new_zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module as it is now."""
        self.steps += 1
        # What the present weighs: 1 - min(decay, (1 + steps) / (10 + steps)), on the device.
        weight = torch.clamp(9 / (10 + self.steps), min=1 - self.decay)
        values, averages = [], []
        for name, value in module.state_dict().items():
            if torch.is_floating_point(value):
                values.append(value)
                averages.append(self.state[name])
            else:
                self.state[name].copy_(value)
        changes = torch._foreach_sub(values, averages)
        torch._foreach_mul_(changes, weight)
        torch._foreach_add_(averages, changes)
