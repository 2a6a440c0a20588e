"""One optimiser step: forward and backward over the batches of a group, update, averages.

The loop hands over batches and gets sums of losses back; it does not know how a step is carried
out. Numbers stay on the device: nothing here waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.recipe import Recipe
from kinegraph.training.guards import FiniteGuard
from kinegraph.training.setup import autocast_type
from kinegraph.training.state import RunState

Group = Sequence[tuple[Batch, ...]]
"""The batches of one optimiser step, each of them in the views that the objective wants."""


class Stepper:
    """Takes the optimiser steps of a run.

    Args:
        recipe: What is trained.
        state: What a step changes: weights, optimiser, loss scale, moving average.
        guard: Is shown every loss, before the weights are changed by it where that costs nothing.
        device: Where to compute.
    """

    def __init__(
        self, recipe: Recipe, state: RunState, guard: FiniteGuard, device: torch.device
    ) -> None:
        self.state, self.guard, self.device = state, guard, device
        self.autocast = autocast_type(recipe.training.precision)
        self.clip_norm = recipe.optim.clip_norm
        self.sum_type = sum_type(device)

    def step(self, group: Group) -> dict[str, Tensor]:
        """Take one optimiser step.

        Returns:
            Loss and its named parts, summed over the batches of the group; scalars on the device.

        Raises:
            TrainingError: The guard found a loss that is not finite.
        """
        state = self.state
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for batches in group:
            with torch.autocast(
                self.device.type, dtype=self.autocast, enabled=self.autocast is not None
            ):
                parts = state.objective(*batches)
            self.guard.watch(parts["loss"], batches[0].index)
            state.scaler.scale(parts["loss"] / len(group)).backward()
            for name, value in parts.items():
                value = value.detach().to(self.sum_type)
                sums[name] = sums[name] + value if name in sums else value
        self._update()
        return sums

    def _update(self) -> None:
        """Change the weights by their gradients, and what follows the weights."""
        state = self.state
        if self.clip_norm is not None:
            state.scaler.unscale_(state.optimizer)
            torch.nn.utils.clip_grad_norm_(state.objective.parameters(), self.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.objective.after_step()
        if state.average is not None:
            state.average.update(state.objective)


def sum_type(device: torch.device) -> torch.dtype:
    """Return the type in which losses are summed: the most precise that the device has."""
    return torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
