"""A recipe set up as a run would be, without a run folder: its steps and scores, to be timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import count, cycle, islice
from pathlib import Path

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.benchmarking.timing import PhaseClock, synchronise
from kinegraph.data.store import Store
from kinegraph.evaluation.scorer import Scorer
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.execution import Execution, resolve_execution
from kinegraph.training.guards import FiniteGuard
from kinegraph.training.loop import LOOK_INTERVAL
from kinegraph.training.optim import set_learning_rate
from kinegraph.training.setup import open_data
from kinegraph.training.state import RunState
from kinegraph.training.step import Stepper

RATE = 1e-6  # of learning: random labels teach nothing, and losses are to stay finite
PREPARED = 4  # batches that inference takes in turns
PHASES = ("forward", "backward", "optimiser")

Groups = Generator[list[tuple[Batch, ...]], None, None]


class MarkingGuard(FiniteGuard):
    """A guard that marks the end of the forward pass, since it is shown the loss there."""

    def __init__(self, store: Store, interval: int) -> None:
        super().__init__(store, interval)
        self.clock: PhaseClock | None = None

    def watch(self, loss: Tensor, index: Tensor) -> None:
        """Mark, and watch as usual."""
        if self.clock is not None:
            self.clock.mark("forward")
        super().watch(loss, index)


class Workbench:
    """Everything that a run of a recipe has, on a device.

    Args:
        recipe: The recipe; batches of other sizes than its own are left out.
        store: Its recordings.
        device: Where to compute.
        execution: How to compute; default: as a run of the recipe would.

    Attributes:
        notes: What was said meanwhile, such as how long a compilation took.
        execution: How it computes.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Path,
        device: torch.device,
        execution: Execution | None = None,
    ) -> None:
        self.recipe = with_whole_batches(recipe)
        self.device = device
        self.notes: list[str] = []
        torch.manual_seed(recipe.seed)
        self.data = open_data(self.recipe, store)
        objective = make_objective(
            recipe,
            self.data.skeleton,
            len(self.data.store.class_names),
            persons=self.data.persons,
        )
        self.state = RunState(self.recipe, objective.to(device), device)
        self.loader = self.data.training_loader(objective.views, device)
        self.execution = execution or resolve_execution(self.recipe, device, self.loader)
        interval = 1 if device.type == "cpu" else LOOK_INTERVAL
        self._guard = MarkingGuard(self.data.store, interval)
        self.stepper = Stepper(
            self.recipe, self.state, self._guard, device, self.execution, tell=self.notes.append
        )
        set_learning_rate(self.state.optimizer, RATE)
        objective.train()
        self._groups: Groups | None = None

    @property
    def objective(self) -> Objective:
        """The objective whose weights the steps change."""
        return self.state.objective

    @property
    def clips_per_step(self) -> int:
        """Clips whose gradients make one step."""
        return self.recipe.training.batch_size * self.recipe.training.accumulate

    def group(self) -> list[tuple[Batch, ...]]:
        """Make and return the batches of the next step; epoch follows epoch."""
        if self._groups is None:
            self._groups = self._endless()
        return next(self._groups)

    def step(self) -> None:
        """Take one step of training: make its batches, go forward and backward, update."""
        self.objective.train()
        self.stepper.step(self.group())

    def close(self) -> None:
        """Stop making batches."""
        groups, self._groups = self._groups, None
        if groups is not None:
            groups.close()

    def data_seconds(self) -> float:
        """Return the seconds that the batches of one step take, made alone and one after another.

        A whole epoch is made: several batches may be made at once.
        """
        self.close()
        synchronise(self.device)
        begin, made = time.perf_counter(), 0
        for _ in self.loader.epoch():
            made += 1
        synchronise(self.device)
        return (time.perf_counter() - begin) * self.recipe.training.accumulate / made

    def split(self, steps: int) -> dict[str, float]:
        """Return the mean seconds of each phase of a step, and take so many steps for it.

        The batches are not a phase but `data_seconds`: several may be made at once. Steps that are
        replayed as a whole have no phases: from here on none is, recorded ones are dropped.
        """
        self.stepper.graphs = None
        self.step()  # the first of another kind
        clock = self._guard.clock = PhaseClock(self.device)
        updating = self.state.optimizer.register_step_pre_hook(lambda *_: clock.mark("backward"))
        try:
            self.objective.train()
            for _ in range(steps):
                group = self.group()
                clock.begin()
                self.stepper.step(group)
                clock.mark("optimiser")
        finally:
            updating.remove()
            self._guard.clock = None
        found = clock.seconds()
        return {phase: found[phase] for phase in PHASES}

    def scoring(self, batch_size: int, objective: Objective) -> Callable[[], Tensor]:
        """Return what scores one batch of test clips that has been made, another each time."""
        loader = self.data.testing_loader("test", batch_size, self.device)
        made = [batch for (batch,) in islice(loader.epoch(), PREPARED) if len(batch) == batch_size]
        batches = cycle(made)
        execution = self.execution
        score = Scorer(
            objective,
            self.device,
            autocast=execution.autocast,
            graphs=execution.cuda_graphs,
            features=not objective.classifies,
        )
        return lambda: score(next(batches))

    def _endless(self) -> Groups:
        accumulate = self.recipe.training.accumulate
        for epoch in count():
            batches = self.loader.epoch(epoch)
            while len(group := list(islice(batches, accumulate))) == accumulate:
                yield group


def with_whole_batches(recipe: Recipe) -> Recipe:
    """Return the recipe without smaller last batches, so that every step is as long."""
    training = recipe.training.model_copy(update={"drop_last": True})
    return recipe.model_copy(update={"training": training})


@contextmanager
def set_up(
    recipe: Recipe, store: Path, device: torch.device, execution: Execution | None = None
) -> Iterator[Workbench]:
    """Yield a workbench, and end what makes its batches afterwards."""
    bench = Workbench(recipe, store, device, execution)
    try:
        yield bench
    finally:
        bench.close()
