"""What networks cost on a CPU, beside the same networks of the first release (`foundation`).

Inference: eager then, frozen now, as `predict` and `test` use them. Training: one optimiser step.
Both get the same weights and the same random clips, and must give the same numbers before anything
is timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from foundation.base import Backbone as Foundation
from foundation.weights import build_both
from measure import Case, load_average, measure, report
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones import BACKBONES
from kinegraph.backbones.base import Backbone
from kinegraph.memory import keep_memory
from kinegraph.nn.persons import rows_of
from kinegraph.skeleton import load_layout

ROUNDS = 7
TOLERANCE = 1e-4  # of answers; relative to the largest number
GOALS = {"inference": 2.0, "training": 1.3}  # times as fast as the first release
CLASSES = 60


@dataclass(frozen=True)
class Pattern:
    """Clips of one kind, and the network that gets them.

    Attributes:
        network: Name of the backbone.
        clips: N.
        threads: Of PyTorch.
        frames: T.
        layout: Layout of the joints.
        persons: M.
        one_person: Every clip has one person; the other slot is zero and counts, as in the
            original programs.
        width: Of the network.
    """

    network: str
    clips: int
    threads: int = 1
    frames: int = 64
    layout: str = "ntu25"
    persons: int = 2
    one_person: bool = False
    width: int = 64

    @property
    def name(self) -> str:
        words = [f"{self.network}, {self.clips} clip{'s' * (self.clips > 1)}"]
        words += ["one person"] * self.one_person + ["ucla"] * (self.layout == "ucla20")
        words += ["2 threads"] * (self.threads == 2)
        return ", ".join(words)


INFERENCE = (
    Pattern("ctrgcn", 1),
    Pattern("ctrgcn", 8),
    Pattern("ctrgcn", 1, one_person=True),
    Pattern("ctrgcn", 8, one_person=True),
    Pattern("ctrgcn", 1, threads=2),
    Pattern("ctrgcn", 8, threads=2),
    Pattern("stgcn", 1, frames=300),
    Pattern("stgcn", 8, frames=300),
    Pattern("stgcn", 1, frames=300, threads=2),
    Pattern("ctrgcn-baseline", 1),
    Pattern("ctrgcn-baseline", 8),
)
TRAINING = (
    Pattern("ctrgcn", 8),
    Pattern("ctrgcn", 16),
    Pattern("ctrgcn", 16, one_person=True),
    Pattern("ctrgcn", 16, frames=52, layout="ucla20", persons=1),
)


def make(pattern: Pattern) -> tuple[Backbone, Foundation, Tensor, Tensor]:
    """Return both networks, the clips (N, C, T, V, M), and who is there (N, M)."""
    skeleton = load_layout(pattern.layout)
    config = BACKBONES[pattern.network].config.model_validate(
        {"name": pattern.network, "width": pattern.width}
    )
    new, old = build_both(config, skeleton, pattern.persons)
    random = torch.Generator().manual_seed(1)
    shape = (pattern.clips, 3, pattern.frames, skeleton.joint_count, pattern.persons)
    x = torch.randn(shape, generator=random)
    present = torch.ones(pattern.clips, pattern.persons, dtype=torch.bool)
    if pattern.one_person:
        x[..., 1:] = 0
        present[:, 1:] = False
    return new, old, x, present


def threaded(threads: int, run: Callable[[], Tensor]) -> Tensor:
    torch.set_num_threads(threads)
    return run()


@contextmanager
def inference_cases(pattern: Pattern) -> Iterator[list[Case]]:
    """Check that both networks answer the same, and yield both."""
    new, old, x, present = make(pattern)
    frozen = new.freeze()

    @torch.inference_mode()
    def now() -> Tensor:
        return frozen(x, rows_of(x, present, count_absent=True)).pooled

    @torch.inference_mode()
    def then() -> Tensor:
        return old(x).pooled

    compare(pattern.name, now(), then())
    yield pair(
        pattern.name,
        partial(threaded, pattern.threads, now),
        partial(threaded, pattern.threads, then),
    )


def compare(name: str, found: Tensor, expected: Tensor) -> None:
    """Stop unless both ways give the same numbers but for rounding."""
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"{name}: the two ways differ by {difference:.2g}")


class Step:
    """Forward, backward and SGD of a network with a linear head."""

    def __init__(self, network: nn.Module, features: int, forward: Callable[[], Tensor]) -> None:
        torch.manual_seed(2)
        self.head = nn.Linear(features, CLASSES)
        self.network, self.forward = network.train(), forward
        parameters = [*network.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True)

    def __call__(self) -> Tensor:
        logits = self.head(self.forward())
        loss = functional.cross_entropy(logits, torch.arange(len(logits)) % CLASSES)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def steps(pattern: Pattern) -> dict[str, Step]:
    """Return a step of training of both networks, from the same weights."""
    new, old, x, present = make(pattern)
    rows = rows_of(x, present, count_absent=True)
    return {
        "now": Step(new, new.out_channels, lambda: new(x, rows).pooled),
        "then": Step(old, old.out_channels, lambda: old(x).pooled),
    }


def train(pipe: Connection, pattern: Pattern, which: str) -> None:
    """Take a step whenever asked to, in a process of its own; answer with its processor time."""
    torch.set_num_threads(pattern.threads)
    if which == "now":
        keep_memory()  # as the training loop does
    step = steps(pattern)[which]
    pipe.send(time.process_time())
    while pipe.recv():
        step()
        pipe.send(time.process_time())


class Trainer:
    """A process that trains; the two ways ask the system for memory in different ways."""

    def __init__(self, pattern: Pattern, which: str) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=train, args=(theirs, pattern, which), daemon=True)
        self.process.start()
        self.spent = float(self.pipe.recv())

    def step(self) -> None:
        self.pipe.send(True)
        self.spent = float(self.pipe.recv())

    def close(self) -> None:
        self.pipe.send(False)
        self.process.join()


@contextmanager
def training_cases(pattern: Pattern) -> Iterator[list[Case]]:
    """Check that both networks answer and learn the same in two steps, and yield both."""
    name = f"train {pattern.name}"
    now, then = steps(pattern).values()
    for _ in range(2):
        now(), then()
        with torch.no_grad():
            compare(name, now.forward(), then.forward())
    trainers = {which: Trainer(pattern, which) for which in ("now", "then")}
    cases = pair(name, trainers["now"].step, trainers["then"].step)
    yield [
        replace(case, processor=partial(getattr, trainer, "spent"))
        for case, trainer in zip(cases, trainers.values(), strict=True)
    ]
    for trainer in trainers.values():
        trainer.close()


def pair(name: str, now: Callable[[], object], then: Callable[[], object]) -> list[Case]:
    before = f"{name}, before"
    return [Case(name, now, baseline=before), Case(before, then)]


def main() -> None:
    load = load_average()
    results = []
    for patterns, cases_of in ((INFERENCE, inference_cases), (TRAINING, training_cases)):
        for pattern in patterns:
            with cases_of(pattern) as cases:
                results += measure(cases, ROUNDS)
    settings: dict[str, Any] = {
        "rounds": ROUNDS,
        "threads": "1, or 2 where a name says so",
        "device": "cpu",
        "what": "seconds for one batch: inference, or a step of training (forward, backward, SGD)",
        "before": "the eager networks of commit 80c0113, in turns; inference in the same process,"
        " training in one of its own, because memory is now kept by the process",
        "agreement": f"answers, in training those after one step and after two, differ by less than"
        f" {TOLERANCE:g} of the largest number: checked before timing",
        "goals_as_ratios": GOALS,
        "clips": "random; 64 frames of 25 joints, two people (stgcn 300 frames; ucla 52 frames of"
        " 20 joints, one person); one person: the other slot is empty, but counts",
    }
    report("cpu", settings, results, load=load)


if __name__ == "__main__":
    main()
