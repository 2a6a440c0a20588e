"""One optimiser step: forward and backward over the batches of a group, update, averages.

The loop hands over batches and gets sums of losses back; it does not know how a step is carried
out: as it stands here, with a compiled forward pass, or as a recorded CUDA graph. Numbers stay on
the device: nothing here waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.console import remark
from kinegraph.errors import TrainingError
from kinegraph.kernels.dispatch import set_kernels
from kinegraph.recipe import Recipe
from kinegraph.training.compiling import Batches, CompiledForward, Parts
from kinegraph.training.distributed import ALONE, World, sum_step
from kinegraph.training.execution import Execution
from kinegraph.training.graphs import CudaRecorder, Group, Recorder, RecordingError, StepGraphs
from kinegraph.training.guards import FiniteGuard
from kinegraph.training.optim import align_gradients
from kinegraph.training.state import RunState

Watch = Callable[[Tensor, Tensor], None]


class Stepper:
    """Takes the optimiser steps of a run.

    Args:
        recipe: What is trained.
        state: What a step changes: weights, optimiser, loss scale, moving average.
        guard: Is shown every loss; before it changes a weight, unless steps are recorded.
        device: Where to compute.
        execution: How to compute.
        tell: Takes a line about what was compiled or cannot be used.
        world: The processes that share every batch.
        recorder: What records steps, instead of CUDA.
    """

    def __init__(
        self,
        recipe: Recipe,
        state: RunState,
        guard: FiniteGuard,
        device: torch.device,
        execution: Execution,
        *,
        tell: Callable[[str], None] = remark,
        world: World = ALONE,
        recorder: Recorder | None = None,
    ) -> None:
        self.state, self.guard, self.device, self.execution = state, guard, device, execution
        self.world = world
        self.clip_norm = recipe.optim.clip_norm
        self.sum_type = sum_type(device)
        self._tell = tell
        self._names: tuple[str, ...] = ()
        set_kernels(execution.kernels)
        self.compiled: CompiledForward | None = None
        if execution.compile:
            self.compiled = CompiledForward(state.objective, recipe.training.batch_size, self._tell)
        self.graphs: StepGraphs | None = None
        if execution.cuda_graphs:
            self.graphs = StepGraphs(self._numbers, recorder or CudaRecorder(device), device)

    def step(self, group: Group) -> dict[str, Tensor]:
        """Take one optimiser step.

        Returns:
            Loss and its named parts, summed over the batches of the group; scalars on the device.
            Over several processes, those of the whole batches, and the same in all.

        Raises:
            TrainingError: The guard found a loss that is not finite, or something that was asked
                for by name cannot be compiled or recorded.
        """
        if self.compiled is not None:
            self._compile(group)
        if self.graphs is not None:
            try:
                numbers = self.graphs.step(group)
            except RecordingError as error:
                self._give_up("cuda_graphs", "a step cannot be recorded", error)
                self.graphs = None
            else:
                return self._read(numbers, group)
        return self._take(group, self.guard.watch)

    def _take(self, group: Group, watch: Watch) -> dict[str, Tensor]:
        """Take a step with plain calls; ``watch`` is shown each loss and its batch's index."""
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for batches in group:
            parts = self._forward(batches)
            if len(batches[0]):
                watch(parts["loss"], batches[0].index)
            loss = part_of_whole(parts["loss"], batches[0])
            torch.autograd.backward(state.scaler.scale(loss / len(group)))
            for name, value in parts.items():
                value = part_of_whole(value.detach().to(self.sum_type), batches[0])
                value = value if len(batches[0]) else torch.zeros_like(value)  # a mean of nothing
                sums[name] = sums[name] + value if name in sums else value
        sums = sum_step(self.world, state.objective, sums)
        self._update()
        return sums

    def _forward(self, batches: Batches) -> Parts:
        autocast = self.execution.autocast
        with torch.autocast(self.device.type, dtype=autocast, enabled=autocast is not None):
            parts: Parts = (self.compiled or self.state.objective)(*batches)
        return parts

    def _differentiate(self, batches: Batches) -> None:
        torch.autograd.backward(self._forward(batches)["loss"])

    def _update(self) -> None:
        """Change the weights by their gradients, and what follows the weights."""
        state = self.state
        align_gradients(state.optimizer)
        if self.clip_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.objective.parameters(), self.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.objective.after_step()
        if state.average is not None:
            state.average.update(state.objective)

    def _numbers(self, group: Group) -> Tensor:
        """Take a step and return the losses of its batches, then the sums, as one tensor."""
        losses: list[Tensor] = []
        sums = self._take(group, lambda loss, _: losses.append(loss.detach().to(self.sum_type)))
        self._names = tuple(sums)
        return torch.stack([*losses, *sums.values()])

    def _read(self, numbers: Tensor, group: Sequence[Batches]) -> dict[str, Tensor]:
        """Take apart what `_numbers` returned; the guard sees the losses."""
        losses, sums = numbers[: len(group)], numbers[len(group) :]
        for loss, batches in zip(losses, group, strict=True):
            self.guard.watch(loss, batches[0].index)
        return dict(zip(self._names, sums, strict=True))

    def _compile(self, group: Group) -> None:
        """Compile the forward pass for batches that it has yet to be compiled for."""
        compiled = self.compiled
        for batches in group:
            if compiled is None or not compiled.lacks(batches):
                continue
            try:
                compiled.compile(batches, partial(self._differentiate, batches))
            except Exception as error:  # compilers fail in many ways
                self._give_up("compile", "the network cannot be compiled", error)
                self.compiled = compiled = None

    def _give_up(self, switch: str, what: str, error: Exception) -> None:
        """Say that the run goes on without a switch; or do not go on, if it was asked for."""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if switch in self.execution.insist:
            raise TrainingError(
                f"training.{switch} on: {what} ({reason}); choose auto or off"
            ) from error
        self._tell(f"going on without training.{switch}: {what} ({reason})")


def part_of_whole(mean: Tensor, batch: Batch) -> Tensor:
    """Return what the mean over a process's clips adds to that over the whole batch."""
    return mean if batch.whole is None else mean * (len(batch) / batch.whole)


def sum_type(device: torch.device) -> torch.dtype:
    """Return the type in which losses are summed: the most precise that the device has."""
    return torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
