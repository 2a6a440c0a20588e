"""The training loop: epochs, steps, evaluation, checkpoints, in the order in which they happen.

It knows no method: an objective turns batches into a loss, and that is all the loop asks of it.
A run that is resumed from any checkpoint ends with the same bits as one that was never stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.console import Meter, meter, remark
from kinegraph.evaluation.metrics import top_k
from kinegraph.evaluation.scoring import score_clips
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe
from kinegraph.training.checkpoint import Checkpoint, load_weights, make_objective, save_checkpoint
from kinegraph.training.guards import Interruption, LossGuard
from kinegraph.training.optim import (
    MovingAverage,
    build_optimizer,
    learning_rate,
    set_learning_rate,
)
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import RunData, autocast_type
from kinegraph.training.tracking import Tracker

LOOK_INTERVAL = 25  # steps between looks at the loss on a device that is not waited for


class Interrupted(Exception):
    """The run was stopped from outside after it had been saved."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


@dataclass
class Progress:
    """Where a run is; kept in checkpoints as plain values.

    Attributes:
        epoch: Finished epochs.
        batches: Batches that the current epoch has behind it, 0 between epochs.
        sums: Loss and its parts, summed over those batches.
        seconds: Time spent in those batches.
        best: Best value of the selection so far, and the epoch that reached it.
    """

    epoch: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = 0


class Training:
    """One run: everything that changes while it goes on, and the loop itself.

    Args:
        recipe: What to train.
        data: The recordings.
        run: Where results go; the caller holds its lock.
        device: Where to compute.
        log: The run's log.
        resume: A checkpoint of the same run to go on from.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: RunData,
        run: RunFolder,
        device: torch.device,
        log: logging.Logger,
        resume: Checkpoint | None = None,
    ) -> None:
        self.recipe, self.data, self.run, self.device, self.log = recipe, data, run, device, log
        torch.manual_seed(recipe.seed)
        self.objective: Objective = make_objective(
            recipe, data.store.skeleton, len(data.store.class_names), persons=data.persons
        ).to(device)
        self.optimizer = build_optimizer(self.objective.parameters(), recipe.optim)
        self.average = (
            MovingAverage(self.objective, recipe.training.ema) if recipe.training.ema else None
        )
        self.autocast = autocast_type(recipe.training.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.training.precision == "fp16")
        self.progress = Progress()
        self.train_loader = data.training_loader(self.objective.views, device)
        self.monitor = "validation" if "validation" in data.rows else "test"
        self.saved = time.monotonic()
        if resume is not None:
            self._restore(resume)

    def fit(self) -> None:
        """Train until the last epoch.

        Raises:
            Interrupted: A signal came; the run has been saved.
            TrainingError: The loss is not finite.
            OutputError: The disk refuses.
        """
        epochs = self.recipe.training.epochs
        self.run.truncate_metrics(self.progress.epoch)
        with Interruption() as interruption, Tracker(self.run, self.progress.epoch) as tracker:
            while self.progress.epoch < epochs:
                row = self._train_epoch(interruption)
                row |= self._evaluate()
                self.progress.epoch += 1
                self.progress.batches, self.progress.sums, self.progress.seconds = 0, {}, 0.0
                self.run.append_metrics(row)
                self.save()
                tracker.write(row)
                self._tell(row)

    def _train_epoch(self, interruption: Interruption) -> dict[str, Any]:
        """Go through the rest of an epoch and return its row of metrics."""
        epoch, training = self.progress.epoch, self.recipe.training
        rate = learning_rate(epoch, training.epochs, self.recipe.optim.lr, self.recipe.schedule)
        set_learning_rate(self.optimizer, rate)
        self.objective.train()
        interval = 1 if self.device.type == "cpu" else LOOK_INTERVAL
        guard = LossGuard(self.data.store, interval)
        sums = {
            name: torch.tensor(v, dtype=torch.float64) for name, v in self.progress.sums.items()
        }
        begin = time.monotonic() - self.progress.seconds
        with meter(f"epoch {epoch + 1}/{training.epochs}", len(self.train_loader)) as shown:
            for group in self._groups():
                parts = self._step(group, guard)
                for name, value in parts.items():
                    sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + value
                self.progress.batches += len(group)
                self._show(shown, sums)
                if interruption.signal or self._is_time_to_save():
                    guard.look()
                    self.progress.sums = {name: float(value) for name, value in sums.items()}
                    self.progress.seconds = time.monotonic() - begin
                    self.save()
                if interruption.signal:
                    self.log.info("stopped by signal %d", interruption.signal)
                    raise Interrupted(interruption.signal)
        guard.look()
        count = max(self.progress.batches, 1)
        means = {name: float(value) / count for name, value in sums.items()}
        seconds = round(time.monotonic() - begin, 3)
        return {"epoch": epoch + 1, "lr": rate, **means, "seconds": seconds}

    def _groups(self) -> Iterator[list[tuple[Batch, ...]]]:
        """Yield the batches that make one optimiser step together, where the epoch left off."""
        group: list[tuple[Batch, ...]] = []
        for batches in self.train_loader.epoch(self.progress.epoch, skip=self.progress.batches):
            group.append(batches)
            if len(group) == self.recipe.training.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _step(self, group: list[tuple[Batch, ...]], guard: LossGuard) -> dict[str, Tensor]:
        """Take one optimiser step and return the sums of loss and parts over its batches."""
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for batches in group:
            with torch.autocast(
                self.device.type, dtype=self.autocast, enabled=self.autocast is not None
            ):
                parts = self.objective(*batches)
            guard.watch(parts["loss"], batches[0].index)
            self.scaler.scale(parts["loss"] / len(group)).backward()
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + value.detach().to("cpu", torch.float64)
        if self.recipe.optim.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.objective.parameters(), self.recipe.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.objective.after_step()
        if self.average is not None:
            self.average.update(self.objective)
        return sums

    def _evaluate(self) -> dict[str, float]:
        """Score the monitored clips if this epoch is due, and keep the best epoch if asked to."""
        epoch, evaluation = self.progress.epoch + 1, self.recipe.evaluation
        selecting = evaluation.selection != "last"
        last = epoch == self.recipe.training.epochs
        if not (last or selecting or epoch % evaluation.every == 0):
            return {}
        loader = self.data.testing_loader(self.monitor, evaluation.batch_size, self.device)
        with self._averaged():
            logits = score_clips(
                self.objective, loader, autocast=self.autocast, description=self.monitor
            )
        labels = self.data.store.clips["label"][self.data.rows[self.monitor]]
        top1 = top_k(logits, labels, 1)
        if selecting and top1 > self.progress.best:
            self.progress.best, self.progress.best_epoch = top1, epoch
            self._save_best(epoch)
        return {f"{self.monitor}_top1": top1}

    def _averaged(self) -> _Swapped:
        return _Swapped(self.objective, self.average)

    def _show(self, shown: Meter, sums: dict[str, Tensor]) -> None:
        loss = float(sums["loss"]) / self.progress.batches
        shown.update(self.progress.batches, f"loss {loss:.3f}")

    def _is_time_to_save(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.recipe.training.checkpoint_minutes

    def _tell(self, row: dict[str, Any]) -> None:
        """Say in one line how an epoch went."""
        words = [f"epoch {row['epoch']}/{self.recipe.training.epochs}", f"loss {row['loss']:.3f}"]
        if "accuracy" in row:
            words.append(f"train {100 * row['accuracy']:.1f} %")
        if f"{self.monitor}_top1" in row:
            words.append(f"{self.monitor} {100 * row[f'{self.monitor}_top1']:.2f} %")
        words += [f"lr {row['lr']:.4g}", f"{row['seconds']:.1f} s"]
        line = "  ".join(words)
        remark(line)
        self.log.info(line)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            recipe=self.recipe,
            skeleton=self.data.store.skeleton,
            class_names=self.data.store.class_names,
            persons=self.data.persons,
            epoch=self.progress.epoch,
            step=self.progress.batches,
        )

    def _weights(self) -> dict[str, Tensor]:
        tensors = {f"model/{k}": v for k, v in self.objective.state_dict().items()}
        if self.average is not None:
            tensors |= {f"ema/{k}": v for k, v in self.average.state.items()}
        return tensors

    def save(self) -> None:
        """Write the checkpoint from which the run can go on."""
        tensors = self._weights()
        state = self.optimizer.state_dict()["state"]
        for number, slots in state.items():
            for name, value in slots.items():
                if value is not None:
                    tensors[f"optimizer/{number}/{name}"] = value
        tensors["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        progress = vars(self.progress) | {"scaler": self.scaler.state_dict()}
        if self.average is not None:
            progress["ema_steps"] = self.average.steps
        save_checkpoint(
            self.run.last, replace(self._checkpoint(), progress=progress, tensors=tensors)
        )
        self.saved = time.monotonic()

    def _save_best(self, epoch: int) -> None:
        best = replace(self._checkpoint(), epoch=epoch, step=0, tensors=self._weights())
        save_checkpoint(self.run.best, best)

    def _restore(self, saved: Checkpoint) -> None:
        """Go back to where a checkpoint was written."""
        load_weights(self.objective, saved.group("model"))
        values = dict(saved.progress)
        if self.average is not None:
            self.average.steps = values["ema_steps"]
            for name, value in saved.group("ema").items():
                self.average.state[name].copy_(value)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in saved.group("optimizer").items():
            number, slot = name.split("/", 1)
            slots.setdefault(int(number), {})[slot] = value
        state = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
        torch.set_rng_state(saved.tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in saved.tensors:
            torch.cuda.set_rng_state(saved.tensors["random/cuda"], self.device)
        self.scaler.load_state_dict(values["scaler"])
        self.progress = Progress(**{name: values[name] for name in vars(Progress())})


class _Swapped:
    """Lends an objective the weights of its moving average."""

    def __init__(self, objective: Objective, average: MovingAverage | None) -> None:
        self._objective, self._average = objective, average
        self._own: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        if self._average is not None:
            state = self._objective.state_dict()
            self._own = {name: value.clone() for name, value in state.items()}
            self._objective.load_state_dict(self._average.state)

    def __exit__(self, *_: object) -> None:
        if self._average is not None:
            self._objective.load_state_dict(self._own)
