"""Everything that changes while a run goes on, and its way into a checkpoint and back.

The loop changes it; ``checkpoint`` writes it. What is missing here is lost when a run is resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from kinegraph.errors import CheckpointError
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe
from kinegraph.training.checkpoint import Checkpoint, load_weights
from kinegraph.training.optim import MovingAverage, build_optimizer, like


@dataclass
class Progress:
    """Where a run is; kept in checkpoints as plain values.

    Attributes:
        epoch: Finished epochs.
        batches: Batches that the current epoch has behind it, 0 between epochs.
        sums: Loss and its parts, summed over those batches.
        seconds: Time spent in those batches.
        best: Best value of the selection so far.
        best_epoch: The epoch that reached it.
        waited: Evaluations since then.
        stopped: Whether the run has ended before its last epoch, see ``evaluation.patience``.
    """

    epoch: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    waited: int = 0
    stopped: bool = False


YOUNGER = ("waited", "stopped")  # what checkpoints of the first runs do not have


class RunState:
    """Weights, optimiser, moving average, loss scale, random numbers and progress of a run.

    Args:
        recipe: What is trained.
        objective: On the device where it is trained.
        device: That device.
    """

    def __init__(self, recipe: Recipe, objective: Objective, device: torch.device) -> None:
        self.objective = objective
        self.optimizer = build_optimizer(objective.parameters(), recipe.optim)
        decay = recipe.training.ema
        self.average = None if decay is None else MovingAverage(objective, decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.training.precision == "fp16")
        self.progress = Progress()
        self.device = device

    def weights(self) -> dict[str, Tensor]:
        """Return what testing needs: the weights, and their moving average where there is one."""
        return self._weights(self.objective.training_only)

    def _weights(self, without: tuple[str, ...] = ()) -> dict[str, Tensor]:
        groups = {"model": self.objective.state_dict()}
        if self.average is not None:
            groups["ema"] = self.average.state
        return {
            f"{group}/{name}": tensor
            for group, state in groups.items()
            for name, tensor in state.items()
            if not name.startswith(without)
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that going on needs."""
        tensors = self._weights()
        for number, slots in self.optimizer.state_dict()["state"].items():
            for name, value in slots.items():
                if value is not None:
                    tensors[f"optimizer/{number}/{name}"] = value
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def values(self) -> dict[str, Any]:
        """Return all plain values that going on needs."""
        steps = 0 if self.average is None else int(self.average.steps)
        return vars(self.progress) | {"scaler": self.scaler.state_dict(), "ema_steps": steps}

    def restore(self, saved: Checkpoint) -> None:
        """Go back to where a checkpoint was written.

        Raises:
            CheckpointError: It does not hold everything that going on needs.
        """
        load_weights(self.objective, saved.group("model"))
        try:
            self._restore_average(saved)
            self._restore_optimizer(saved)
            torch.set_rng_state(saved.tensors["random/cpu"])
            if self.device.type == "cuda" and "random/cuda" in saved.tensors:
                torch.cuda.set_rng_state(saved.tensors["random/cuda"], self.device)
            self.scaler.load_state_dict(saved.progress["scaler"])
            names = [part.name for part in fields(Progress)]
            names = [n for n in names if n in saved.progress or n not in YOUNGER]
            self.progress = Progress(**{name: saved.progress[name] for name in names})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the checkpoint cannot be gone on from, something is missing or damaged: {error}"
            ) from error

    def _restore_average(self, saved: Checkpoint) -> None:
        if self.average is not None:
            self.average.steps.fill_(int(saved.progress["ema_steps"]))
            for name, value in self.average.state.items():
                value.copy_(saved.tensors[f"ema/{name}"])

    def _restore_optimizer(self, saved: Checkpoint) -> None:
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.group("optimizer").items():
            number, slot = name.split("/", 1)
            slots.setdefault(int(number), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        for weight, state in self.optimizer.state.items():
            for name, value in state.items():  # a checkpoint forgets in what order memory lay
                if value.shape == weight.shape and value.stride() != weight.stride():
                    state[name] = like(value, weight)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the objective the weights of its moving average, if there is one."""
        if self.average is None:
            yield
            return
        own = {name: value.clone() for name, value in self.objective.state_dict().items()}
        self.objective.load_state_dict(self.average.state)
        try:
            yield
        finally:
            self.objective.load_state_dict(own)
