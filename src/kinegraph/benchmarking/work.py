"""What a network has to do for a clip: arithmetic, and the least that memory has to move.

Both are counted on the CPU, on the plain path, with one random batch; kernels do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kinegraph.batch import Batch
from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.nn.norm import BatchNorm
from kinegraph.objectives.base import Objective


@dataclass(frozen=True)
class Work:
    """What a clip costs.

    Attributes:
        flops: Operations in products of matrices and convolutions; a multiplication and an
            addition are two. What is computed again in the backward pass to save memory, and
            operations on single numbers, do not count.
        bytes: What memory has to move if every layer reads its inputs and weights once and writes
            its output once, and nothing else is ever moved.
    """

    flops: float
    bytes: float

    def floor(self, flops: float, bandwidth: float) -> float:
        """Return the seconds that a clip takes at least on a device with these ceilings."""
        return max(self.flops / flops, self.bytes / bandwidth)


@dataclass
class Layer:
    """What a layer moves, in numbers: it reads ``given`` and ``weights`` and writes ``made``."""

    given: int
    made: int
    weights: int

    def numbers(self, *, training: bool) -> int:
        """Return how many numbers are moved forward, and backward as well."""
        forward = self.given + self.made + self.weights
        if not training:
            return forward
        return forward + 2 * self.given + self.made + 2 * self.weights


def count_work(objective: Objective, batches: tuple[Batch, ...], *, width: int) -> dict[str, Work]:
    """Count the work for a clip, by ``inference`` and ``training``.

    Args:
        objective: What is counted; a copy is used.
        batches: One batch for each view, on any device; the fewer clips the quicker.
        width: Bytes of a number in memory: 4, or 2 where the forward pass is in half precision.
    """
    counted = deepcopy(objective).cpu().float()
    views = tuple(batch.to("cpu") for batch in batches)
    clips = len(views[0])

    def score() -> None:
        with torch.no_grad():
            answer = counted.logits if counted.classifies else counted.embed
            answer(views[0].x, views[0].people)

    def learn() -> None:
        torch.autograd.backward(counted(*views)["loss"])

    works = {}
    with _plain():
        for name, run in (("inference", score), ("training", learn)):
            training = name == "training"
            counted.train(training)
            layers, flops = _layers(counted, run, norms=training)
            numbers = sum(layer.numbers(training=training) for layer in layers)
            works[name] = Work(flops / clips, width * numbers / clips)
    return works


def _layers(module: nn.Module, run: Callable[[], None], *, norms: bool) -> tuple[list[Layer], int]:
    """Run something and return the layers that were used, and the operations in it.

    A layer is a module with weights of its own, or one around such modules that were not called.
    Without ``norms`` those are left out, as if they had been folded into their neighbours.
    """
    stack: list[list[Layer]] = [[]]

    def enter(module: nn.Module, given: Any) -> None:
        stack.append([])

    def leave(module: nn.Module, given: Any, named: dict[str, Any], made: Any) -> None:
        inside = stack.pop()
        weights = sum(weight.numel() for weight in module.parameters())
        own = bool(list(module.parameters(recurse=False)))
        if isinstance(module, BatchNorm) and not norms:
            return
        if own or (weights and not inside):
            numbers = _numel((given, list(named.values())))
            inside = [Layer(numbers, _numel(made), weights)]
        stack[-1].extend(inside)

    handles: list[Any] = []
    try:
        for each in module.modules():
            handles.append(each.register_forward_pre_hook(enter))
            handles.append(each.register_forward_hook(leave, with_kwargs=True))
        with FlopCounterMode(display=False) as counter:
            run()
    finally:
        for handle in handles:
            handle.remove()
    return stack[0], counter.get_total_flops()


def _numel(value: object) -> int:
    """Return how many floating numbers the tensors in a value have."""
    if isinstance(value, Tensor):
        return value.numel() if value.is_floating_point() else 0
    if isinstance(value, tuple | list):
        return sum(_numel(part) for part in value)
    return 0


@contextmanager
def _plain() -> Iterator[None]:
    """Let computations take the plain path, whose operations can be counted."""
    before = chosen_kernels()
    set_kernels("plain")
    try:
        yield
    finally:
        set_kernels(before)
