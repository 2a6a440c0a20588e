"""The training loop: epochs, steps, evaluation, checkpoints, in the order in which they happen.

It knows no method: an objective turns batches into a loss, and that is all the loop asks of it.
A run that is resumed from any checkpoint ends with the same bits as one that was never stopped.

Several processes may go through it together, each with its part of every batch. They know the same
numbers at the same time; the first of them writes and speaks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kinegraph import memory
from kinegraph.batch import Batch
from kinegraph.console import meter, remark
from kinegraph.errors import RecipeError
from kinegraph.evaluation.curves import ALIGNMENT, KNN, UNIFORMITY
from kinegraph.evaluation.metrics import top_k
from kinegraph.evaluation.monitor import Monitor
from kinegraph.evaluation.scoring import score_clips
from kinegraph.recipe import Recipe
from kinegraph.training.beginning import begin_from, check_start, draws_for_rows, hold
from kinegraph.training.checkpoint import Checkpoint, make_objective, save_checkpoint
from kinegraph.training.distributed import ALONE, World, prepare
from kinegraph.training.execution import resolve_execution
from kinegraph.training.guards import FiniteGuard, Interrupted, Interruption
from kinegraph.training.optim import learning_rate, set_learning_rate
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import RunData
from kinegraph.training.state import RunState
from kinegraph.training.step import Stepper
from kinegraph.training.tracking import Tracker

LOOK_INTERVAL = 25  # batches between looks at the loss on a device that is not waited for


class Training:
    """One run and the loop that drives it. Nothing is written before `fit` or `save`.

    Args:
        recipe: What to train.
        data: The recordings.
        run: Where results go; the caller holds its lock.
        device: Where to compute.
        resume: A checkpoint of the same run to go on from.
        world: The processes that train together.

    Raises:
        RecipeError: The recipe does not fit the recordings.
        CheckpointError: The checkpoint cannot be gone on from.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        run: RunFolder,
        device: torch.device,
        resume: Checkpoint | None = None,
        world: World = ALONE,
    ) -> None:
        self.world = world
        self.recipe, self.data, self.run, self.device = recipe, data, run, device
        self.monitor = "validation" if "validation" in data.rows else "test"
        self.interval = 1 if device.type == "cpu" else LOOK_INTERVAL
        if device.type == "cpu":
            memory.keep_memory()
        self.guard = FiniteGuard(data.store, self.interval)
        self.interruption = Interruption(world.greatest)
        torch.manual_seed(recipe.seed)
        objective = make_objective(
            recipe, data.skeleton, len(data.store.class_names), persons=data.persons
        )
        objective.check_classes(data.store.class_names)
        check_start(recipe, objective)
        if objective.makes_streams and recipe.stream != "joint":
            raise RecipeError(
                f"objective {recipe.objective.name} makes its streams itself, of joints, but the"  # type: ignore[attr-defined]
                f" recipe's stream is {recipe.stream}: give --stream joint, and --objective.streams"
            )
        self.watcher = None
        if not objective.classifies:
            self.watcher = Monitor(data, self.monitor, device, world)
        self._check_selection()
        begun = None
        if resume is None:
            begun = begin_from(objective, recipe, data.skeleton, world)
        self.begun = begun.words if begun else None
        before = resume.progress if resume else {}
        self.begun_from = begun.weights if begun else before.get("begun_from")
        hold(objective, recipe.start)
        prepare(objective.to(device), world)
        self.state = RunState(recipe, objective, device)
        self.loader = data.training_loader(
            objective.views, device, world, share_absent=not draws_for_rows(objective, recipe.start)
        )
        data.try_transforms(objective.views, device)
        self.execution = resolve_execution(recipe, device, self.loader, processes=world.size)
        self.stepper = Stepper(
            recipe, self.state, self.guard, device, self.execution, tell=self.tell, world=world
        )
        if resume is not None:
            self.state.restore(resume)
        self.progress = self.state.progress
        self.sums = self._tensors(self.progress.sums)
        self.begin = self.saved = time.monotonic()

    def fit(self) -> None:
        """Train until the last epoch, or until `evaluation.patience` is at its end.

        Raises:
            Interrupted: A signal came; the run has been saved.
            TrainingError: The loss or the weights are not finite.
            OutputError: The disk refuses.
        """
        if self.world.first:
            self.run.truncate_metrics(self.progress.epoch)
        self.run.logger.info("computing in %s", self.execution.describe())
        with self.interruption, self._tracker() as tracker:
            try:
                epochs = self.recipe.training.epochs
                while self.progress.epoch < epochs and not self.progress.stopped:
                    self.interruption.check()
                    row = self._train_epoch() | self._evaluate()
                    self._finish_epoch(row)
                    if tracker is not None:
                        tracker.write(row)
            except Interrupted as stop:
                self.save()
                self.run.logger.info("%s", stop)
                raise

    def _tracker(self) -> AbstractContextManager[Tracker | None]:
        return Tracker(self.run, self.progress.epoch) if self.world.first else nullcontext()

    def _train_epoch(self) -> dict[str, Any]:
        """Go through the rest of an epoch and return its row of metrics."""
        epoch, training = self.progress.epoch, self.recipe.training
        rate = learning_rate(epoch, training.epochs, self.recipe.optim.lr, self.recipe.schedule)
        set_learning_rate(self.state.optimizer, rate)
        hold(self.state.objective.train(), self.recipe.start)
        self.state.objective.begin_epoch(epoch)
        self.begin = time.monotonic() - self.progress.seconds
        text = ""
        with meter(f"epoch {epoch + 1}/{training.epochs}", len(self.loader)) as shown:
            for group in self._groups():
                self.world.seed(self.recipe.seed, epoch, self.progress.batches)
                for name, value in self.stepper.step(group).items():
                    self.sums[name] = self.sums[name] + value if name in self.sums else value
                self.progress.batches += len(group)
                if self.progress.batches % self.interval == 0:
                    text = f"loss {float(self.sums['loss']) / self.progress.batches:.3f}"
                shown.update(self.progress.batches, text)
                self.interruption.check()
                if time.monotonic() - self.saved > 60 * training.checkpoint_minutes:
                    self.save()
        self.guard.look_at(self.state.objective)
        means = {name: float(value) / self.progress.batches for name, value in self.sums.items()}
        seconds = round(time.monotonic() - self.begin, 3)
        return {"epoch": epoch + 1, "lr": rate, **means, "seconds": seconds}

    def _groups(self) -> Iterator[list[tuple[Batch, ...]]]:
        """Yield the batches that make one optimiser step together, where the epoch left off."""
        group: list[tuple[Batch, ...]] = []
        for batches in self.loader.epoch(self.progress.epoch, skip=self.progress.batches):
            group.append(batches)
            if len(group) == self.recipe.training.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _check_selection(self) -> None:
        selection = self.recipe.evaluation.selection
        if selection != "last" and self.watcher is not None and not self.watcher.knows_classes:
            raise RecipeError(
                f"evaluation.selection {selection} chooses an epoch by the nearest neighbours of"
                f" {self.monitor} clips, for which labels are needed, and there are none: choose"
                " last"
            )

    def _evaluate(self) -> dict[str, float]:
        """Measure the monitored clips if this epoch is due, and keep the best epoch if asked to."""
        epoch, evaluation = self.progress.epoch + 1, self.recipe.evaluation
        selecting = evaluation.selection != "last"
        # The original programs choose on the test clips, among the epochs that they evaluate.
        # Watching takes a pass over the training clips as well: too much for every epoch.
        always = evaluation.selection == "validation" and self.watcher is None
        due = always or epoch % evaluation.every == 0
        if not due and epoch != self.recipe.training.epochs:
            return {}
        with self.state.averaged():
            if self.watcher is None:
                numbers = self._accuracy()
            else:
                numbers = self.watcher.look(
                    self.state.objective,
                    autocast=self.execution.autocast,
                    after_batch=self.interruption.check,
                )
        if selecting:
            self._select(next(iter(numbers.values())))
        return numbers

    def _accuracy(self) -> dict[str, float]:
        """Score the monitored clips."""
        logits = score_clips(
            self.state.objective,
            self.data.testing_loader(
                self.monitor, self.recipe.evaluation.batch_size, self.device, self.world
            ),
            autocast=self.execution.autocast,
            description=self.monitor,
            after_batch=self.interruption.check,
            world=self.world,
        )
        labels = self.data.store.clips["label"][self.data.rows[self.monitor]]
        return {f"{self.monitor}_top1": top_k(logits, labels, 1)}

    def _select(self, value: float) -> None:
        """Keep this epoch if it is the best so far; end the run if none was for too long."""
        progress, epoch = self.progress, self.progress.epoch + 1
        if value > progress.best:
            progress.best, progress.best_epoch, progress.waited = value, epoch, 0
            best = replace(self._checkpoint(), epoch=epoch, step=0, tensors=self.state.weights())
            if self.world.first:
                save_checkpoint(self.run.best, best)
        else:
            progress.waited += 1
        patience, epochs = self.recipe.evaluation.patience, self.recipe.training.epochs
        progress.stopped = patience is not None and progress.waited >= patience and epoch < epochs

    def _finish_epoch(self, row: dict[str, Any]) -> None:
        """Keep what an epoch gave: first its metrics, then the checkpoint that counts it.

        A run that is killed between the two repeats the epoch, and its row is written anew.
        """
        if self.world.first:
            self.run.append_metrics(row)
        self.progress.epoch += 1
        self.progress.batches, self.progress.seconds, self.sums = 0, 0.0, {}
        self.save()
        words = [f"epoch {row['epoch']}/{self.recipe.training.epochs}", f"loss {row['loss']:.3f}"]
        if "accuracy" in row:
            words.append(f"train {100 * row['accuracy']:.1f} %")
        if f"{self.monitor}_top1" in row:
            words.append(f"{self.monitor} {100 * row[f'{self.monitor}_top1']:.2f} %")
        if f"{self.monitor}{KNN}" in row:
            words.append(f"{self.monitor} k-NN {100 * row[f'{self.monitor}{KNN}']:.2f} %")
        if ALIGNMENT in row:
            words.append(f"alignment {row[ALIGNMENT]:.3g}  uniformity {row[UNIFORMITY]:.3g}")
        words += [f"lr {row['lr']:.4g}", f"{row['seconds']:.1f} s"]
        self.tell("  ".join(words))
        if self.progress.stopped:
            waited, best = self.progress.waited, 100 * self.progress.best
            self.tell(
                f"no better epoch in {waited} evaluations: training ends, and epoch"
                f" {self.progress.best_epoch} with {best:.2f} % counts"
            )

    def save(self) -> None:
        """Write the checkpoint from which the run can go on; never one with broken weights.

        Raises:
            TrainingError: The loss or the weights are not finite.
            OutputError: The disk refuses.
        """
        self.guard.look_at(self.state.objective)
        self.saved = time.monotonic()
        if not self.world.first:
            return
        self.progress.sums = {name: float(value) for name, value in self.sums.items()}
        if self.progress.batches:
            self.progress.seconds = time.monotonic() - self.begin
        checkpoint = self._checkpoint()
        values = {**checkpoint.progress, **self.state.values()}
        tensors = self.state.tensors()
        save_checkpoint(self.run.last, replace(checkpoint, progress=values, tensors=tensors))

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            recipe=self.recipe,
            skeleton=self.data.skeleton,
            class_names=self.data.store.class_names,
            persons=self.data.persons,
            epoch=self.progress.epoch,
            step=self.progress.batches,
            progress={
                "recordings": self.data.store.meta["checksums"],
                "precision": self.execution.precision,
                **({"begun_from": self.begun_from} if self.begun_from else {}),
            },
        )

    def tell(self, line: str) -> None:
        """Say a line, and keep it in the run's log."""
        remark(line)
        self.run.logger.info(line)

    def _tensors(self, values: dict[str, float]) -> dict[str, Tensor]:
        return {
            name: torch.tensor(value, dtype=self.stepper.sum_type, device=self.device)
            for name, value in values.items()
        }
