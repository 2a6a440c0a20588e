"""Whole optimiser steps as CUDA graphs: recorded once for each shape, replayed ever after.

A replay runs the recorded kernels in their order, with the numbers that the buffers then hold, and
costs the host next to nothing. Nothing of Python runs in it: whatever changes from step to step
must be a tensor on the device. This module knows batches as tensors of some shape and steps as
functions; `kinegraph.training.step` says what a step is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.training.structure import shape_of, tensors_of, with_tensors

Group = Sequence[tuple[Batch, ...]]
Work = Callable[[], Tensor]

STEPS_BEFORE = 3  # of one shape, taken as usual: libraries choose and load their kernels in them
MOST_GRAPHS = 16  # a graph of several hundred kernels holds a few megabytes


class RecordingError(Exception):
    """A step could not be recorded; it has not been taken, and nothing has changed."""


class Recorder(Protocol):
    """Records work on a device; tests have one that needs none."""

    def run(self, work: Work) -> Tensor:
        """Do some work now, where `record` will record it later."""

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """Record work without doing it; return what does it, and where its result will then be."""


class CudaRecorder:
    """Records on a CUDA device. Not yet run on a GPU.

    All graphs share one pool of memory. A result may therefore be overwritten by the replay of
    another graph, and has to be copied before that.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def run(self, work: Work) -> Tensor:
        """Do work on the stream that records, between what the caller did and will do.

        What a backward pass leaves behind belongs to its stream, and no recording may touch the
        default one.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Work) -> tuple[Callable[[], None], Tensor]:
        """Record work on a stream of its own; other threads may use the device meanwhile."""
        current = torch.cuda.current_stream(self._device)
        random = torch.cuda.get_rng_state(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(
                    graph,
                    pool=self._pool,
                    stream=self._stream,
                    capture_error_mode="thread_local",
                ),
            ):
                result = work()
        except Exception as error:
            torch.cuda.set_stream(current)  # where recording cannot even be ended, it stays set
            torch.cuda.synchronize(self._device)
            self._recover()
            torch.cuda.set_stream(current)
            torch.cuda.set_rng_state(random, self._device)
            raise RecordingError(_first_line(error)) from error
        return graph.replay, result

    def _recover(self) -> None:
        """Undo what a recording that could not be ended leaves behind.

        PyTorch then takes allocator and random numbers to be recording still: freed memory would
        stay in use, and the next draw would fail. Another recording, ended properly, ends that.
        """
        with suppress(Exception):
            torch._C._cuda_endAllocateToPool(self._stream.device_index, self._pool)
        with (
            suppress(Exception),
            torch.cuda.device(self._device),
            torch.cuda.graph(torch.cuda.CUDAGraph(), stream=self._stream),
        ):
            torch.zeros((), device=self._device)


@dataclass(frozen=True)
class _Recorded:
    inputs: list[Tensor]
    replay: Callable[[], None]
    result: Tensor


class StepGraphs:
    """Takes steps; those of a shape that has come often enough are replayed.

    A shape is recorded after it has come ``STEPS_BEFORE`` times, and at most ``MOST_GRAPHS`` shapes
    are: rare ones, such as the last batch of a short run, are never worth it.

    Args:
        take: Takes one step with a group of batches and returns what is to be known of it as one
            tensor. May not wait for the device.
        recorder: What records.
        device: Where all tensors of the batches must lie.
    """

    def __init__(
        self, take: Callable[[Group], Tensor], recorder: Recorder, device: torch.device
    ) -> None:
        self._take, self._recorder, self._device = take, recorder, device
        self._seen: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, _Recorded] = {}

    @property
    def recorded(self) -> int:
        """How many graphs there are."""
        return len(self._recorded)

    def step(self, group: Group) -> Tensor:
        """Take one step and return what ``take`` returns; the tensor is the caller's own.

        Raises:
            RecordingError: The step could not be recorded, and has not been taken.
        """
        shape = self._shape(group)
        recorded = self._recorded.get(shape)
        if recorded is None:
            if self._seen[shape] < STEPS_BEFORE or len(self._recorded) >= MOST_GRAPHS:
                self._seen[shape] += 1
                return self._recorder.run(lambda: self._take(group))
            recorded = self._recorded[shape] = self._record(group)
        with torch.no_grad():
            torch._foreach_copy_(recorded.inputs, list(tensors_of(group)), non_blocking=True)
        recorded.replay()
        return recorded.result.clone()

    def _record(self, group: Group) -> _Recorded:
        """Record a step on buffers that lie like the tensors of these batches."""
        inputs = [tensor.clone() for tensor in tensors_of(group)]
        buffered = with_tensors(group, iter(inputs))
        replay, result = self._recorder.record(lambda: self._take(buffered))
        return _Recorded(inputs, replay, result)

    def _shape(self, group: Group) -> Hashable:
        for tensor in tensors_of(group):
            if tensor.device.type != self._device.type:
                raise RecordingError(f"a tensor of the batch is on '{tensor.device}'")
        try:
            return shape_of(group)
        except TypeError as error:
            raise RecordingError(str(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
