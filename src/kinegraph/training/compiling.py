"""The objective's forward pass through ``torch.compile``: once for all full batches.

How many people they hold may differ: the code takes any number of rows. Smaller batches, such as
the last one of an epoch, are not worth a compilation and take the plain path. Compilation happens
before the first step and leaves no trace in the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.console import remark
from kinegraph.nn.persons import Rows
from kinegraph.objectives.base import Objective
from kinegraph.training.structure import shape_of

Batches = tuple[Batch, ...]
Parts = dict[str, Tensor]

MOST_KINDS = 4  # below the limit at which torch.compile gives up on a function
ROW_AXES = {"index": 0, "share": 1, "weight": 0}  # of the tensors of Rows


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
    """The forward pass of an objective, compiled for the kinds of batches that `compile` has seen.

    Args:
        objective: On its device.
        batch_size: Clips of a full batch.
        tell: Takes a line about what a compilation cost.
    """

    def __init__(
        self, objective: Objective, batch_size: int, tell: Callable[[str], None] = remark
    ) -> None:
        self._objective = objective
        self._batch_size = batch_size
        self._tell = tell
        self._compiled: Callable[..., Parts] = torch.compile(objective, dynamic=False)
        self._kinds: set[Hashable] = set()
        self._compiling = False

    def __call__(self, *batches: Batch) -> Parts:
        """Return what ``objective(*batches)`` returns."""
        if kind_of(batches) in self._kinds:
            return self._run(batches)
        parts: Parts = self._objective(*batches)
        return parts

    def _run(self, batches: Batches) -> Parts:
        """Run compiled code, which torch may choose to make anew for, say, many more people."""
        for batch in batches:
            _leave_rows_open(batch)
        before, began = _counts(), time.monotonic()
        parts = self._compiled(*batches)
        if not self._compiling and _counts() != before:
            self._tell(f"{_report(before, began).describe()}, for another number of people")
        return parts

    def lacks(self, batches: Batches) -> bool:
        """Whether these batches are full ones of a kind that has yet to be compiled."""
        full = len(batches[0]) == self._batch_size
        return full and len(self._kinds) < MOST_KINDS and kind_of(batches) not in self._kinds

    def compile(self, batches: Batches, run: Callable[[], None]) -> None:
        """Compile for batches like these, and tell what it cost.

        Args:
            batches: The batches.
            run: Goes forward through this object and backward, with nothing else changed by it
                than buffers, gradients and torch's random numbers, which are put back.

        Raises:
            Exception: Whatever torch.compile fails with; such batches are then not compiled.
        """
        before, began = _counts(), time.monotonic()
        kind = kind_of(batches)
        self._kinds.add(kind)
        self._compiling = True
        self._tell("compiling the forward pass; the first time this takes a minute or more")
        try:
            with unchanged(self._objective):
                run()
        except BaseException:
            self._kinds.discard(kind)
            raise
        finally:
            self._compiling = False
        self._tell(_report(before, began).describe())


def kind_of(batches: Batches) -> Hashable:
    """Return the shape of batches but for their number of rows, which compiled code leaves open."""
    rows = tuple(tuple(tensors_in(batch.rows)) for batch in batches)
    return shape_of(tuple(replace(batch, rows=None) for batch in batches)), rows


def tensors_in(rows: Rows | None) -> list[str]:
    """Return the names of the tensors that rows have."""
    return [] if rows is None else [name for name, value in vars(rows).items() if value is not None]


def _leave_rows_open(batch: Batch) -> None:
    """Tell torch.compile that the number of rows differs from batch to batch."""
    rows = batch.rows
    if rows is None or rows.persons == 1:  # one row for each clip, always
        return
    for name, axis in ROW_AXES.items():
        tensor = getattr(rows, name)
        if tensor is not None:
            torch._dynamo.mark_dynamic(tensor, axis)


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


def _report(before: tuple[int, int, int], began: float) -> CompileReport:
    cached, made, breaks = (now - then for now, then in zip(_counts(), before, strict=True))
    return CompileReport(time.monotonic() - began, cached, made, breaks)


def _counts() -> tuple[int, int, int]:
    """Return how many pieces torch.compile has found, made, and graphs it has broken so far."""
    from torch._dynamo.utils import counters

    inductor = counters["inductor"]
    breaks = sum(counters["graph_break"].values())
    return inductor["fxgraph_cache_hit"], inductor["fxgraph_cache_miss"], breaks
