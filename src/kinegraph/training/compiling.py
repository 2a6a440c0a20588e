"""The objective's forward pass through ``torch.compile``: once for each shape of a full batch.

Batches of other shapes, such as a smaller last one, are not worth a compilation and take the plain
path. Compilation happens before the first step with that shape, and leaves no trace in the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.objectives.base import Objective
from kinegraph.training.structure import shape_of

Batches = tuple[Batch, ...]
Parts = dict[str, Tensor]

MOST_SHAPES = 4  # below the limit at which torch.compile gives up on a function


@dataclass(frozen=True)
class CompileReport:
    """What a compilation cost.

    Attributes:
        seconds: Until the first forward and backward pass were done.
        cached: Pieces of code that were found in torch's cache of earlier compilations.
        made: Pieces of code that were made anew.
        breaks: Places at which the forward pass falls apart into separately compiled pieces.
    """

    seconds: float
    cached: int
    made: int
    breaks: int

    def describe(self) -> str:
        """Return a few words for the log, such as ``compiled in 14.2 s, cache hit``."""
        if self.made == 0:
            cache = "cache hit"
        elif self.cached == 0:
            cache = "not in the cache"
        else:
            cache = f"{self.cached} of {self.cached + self.made} parts in the cache"
        broken = f", {self.breaks} graph breaks" if self.breaks else ""
        return f"compiled in {self.seconds:.1f} s, {cache}{broken}"


class CompiledForward:
    """The forward pass of an objective, compiled for the shapes that `compile` was called with.

    Args:
        objective: On its device.
        batch_size: Clips of a full batch.
    """

    def __init__(self, objective: Objective, batch_size: int) -> None:
        self._objective = objective
        self._batch_size = batch_size
        self._compiled: Callable[..., Parts] = torch.compile(objective, dynamic=False)
        self._shapes: set[Hashable] = set()

    def __call__(self, *batches: Batch) -> Parts:
        """Return what ``objective(*batches)`` returns."""
        if self._shapes and shape_of(batches) in self._shapes:
            return self._compiled(*batches)
        parts: Parts = self._objective(*batches)
        return parts

    def lacks(self, batches: Batches) -> bool:
        """Whether these batches are full ones of a shape that has yet to be compiled."""
        full = len(batches[0]) == self._batch_size
        return full and len(self._shapes) < MOST_SHAPES and shape_of(batches) not in self._shapes

    def compile(self, batches: Batches, run: Callable[[], None]) -> CompileReport:
        """Compile for the shape of these batches.

        Args:
            batches: The batches.
            run: Goes forward through this object and backward, with nothing else changed by it
                than buffers, gradients and torch's random numbers, which are put back.

        Raises:
            Exception: Whatever torch.compile fails with; the shape is then not compiled.
        """
        before, began = _counts(), time.monotonic()
        shape = shape_of(batches)
        self._shapes.add(shape)
        try:
            with unchanged(self._objective):
                run()
        except BaseException:
            self._shapes.discard(shape)
            raise
        cached, made, breaks = (now - then for now, then in zip(_counts(), before, strict=True))
        return CompileReport(time.monotonic() - began, cached, made, breaks)


@contextmanager
def unchanged(objective: Objective) -> Iterator[None]:
    """Put buffers and random numbers back afterwards, and drop gradients."""
    buffers = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    devices = {tensor.device for tensor in objective.parameters() if tensor.is_cuda}
    try:
        with torch.random.fork_rng(sorted(devices, key=str)):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in objective.named_buffers():
                buffer.copy_(buffers[name])
        objective.zero_grad(set_to_none=True)


def _counts() -> tuple[int, int, int]:
    """Return how many pieces torch.compile has found, made, and graphs it has broken so far."""
    from torch._dynamo.utils import counters

    inductor = counters["inductor"]
    breaks = sum(counters["graph_break"].values())
    return inductor["fxgraph_cache_hit"], inductor["fxgraph_cache_miss"], breaks
