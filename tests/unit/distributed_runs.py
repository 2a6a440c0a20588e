"""Trains the same recipes in 1, 2 and 3 processes, stops some of them, and scores with others.

Started as a program by ``test_distributed``: everything is imported once, and every process of a
run is a fork, which needs a process without threads. Prints one JSON object: how all of them ended.

    python distributed_runs.py FOLDER
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kinegraph.cli import main
from kinegraph.evaluation.monitor import Monitor
from kinegraph.objectives.bottleneck import Bottleneck
from kinegraph.objectives.language import Language
from kinegraph.recipe import load_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training import loop
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.distributed import join, prepare, sum_step
from kinegraph.training.launch import RENDEZVOUS
from kinegraph.training.setup import open_data
from kinegraph.training.step import part_of_whole

Words = list[str]


def fork(action: Callable[[], int], environment: dict[str, str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os.environ.update(environment)
            errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(errors, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            # The launcher holds the other end of the input of its processes.
            os.dup2(os.pipe()[0], 0)
            os._exit(action())
        except SystemExit as stop:
            os._exit(int(stop.code or 0))
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return child


def together(size: int, action: Callable[[int], int]) -> list[int]:
    """Run an action in so many processes that belong together; return their exit codes."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for rank in range(size):
            environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
            environment |= {RENDEZVOUS: f"{folder}/meeting", "GLOO_SOCKET_IFNAME": "lo"}
            if sys.platform != "linux":
                del environment["GLOO_SOCKET_IFNAME"]
            if size == 1:
                environment = {}
            children.append(fork(lambda rank=rank: action(rank), environment))
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def command(
    size: int, words: Words, *, stop: tuple[int, int] | None = None, says: Path | None = None
) -> list[int]:
    """Run a command line in so many processes.

    Args:
        size: How many.
        words: The command line.
        stop: Rank that gets a signal before the step of this number.
        says: File for what they say on their standard outputs, and beside it for their errors.
    """

    def action(rank: int) -> int:
        if stop is not None and rank == stop[0]:
            stop_before(stop[1])
        if says is not None:
            for descriptor, file in ((1, says), (2, says.with_suffix(".err"))):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
        return main(words)

    return together(size, action)


def stop_before(number: int) -> None:
    original, count = loop.Stepper.step, [0]

    def step(self: Any, *arguments: Any) -> Any:
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    loop.Stepper.step = step  # type: ignore[method-assign]


def differentiate(rank: int, *, folder: Path, recipe: str, size: int) -> int:
    """Go through an epoch in float64 and write down gradients and running statistics."""
    resolved = load_recipe(str(folder / f"{recipe}.yaml"), [("data.store", str(folder / "store"))])
    data = open_data(resolved)
    with join("cpu", "a test") as world:
        torch.manual_seed(0)
        net = make_objective(resolved, data.store.skeleton, 2, persons=2).double().train()
        with torch.no_grad():  # away from zero, where a ReLU has no gradient that is the right one
            for weight in net.parameters():
                weight.add_(0.5 * torch.randn_like(weight))
        if isinstance(net, Bottleneck):  # what each process draws is its own
            net.draw = lambda mean, log_variance: mean + 0.1 * log_variance  # type: ignore[method-assign]
        if isinstance(net, Language):
            net.language.eval()  # the first name of a class, instead of one that is drawn
        prepare(net, world)
        numbers: dict[str, np.ndarray] = {}
        loader = data.training_loader(net.views, torch.device("cpu"), world)
        for count, batches in enumerate(loader.epoch()):
            net.zero_grad()
            loss = net(*(replace(batch, x=batch.x.double()) for batch in batches))["loss"]
            part_of_whole(loss, batches[0]).backward()
            sum_step(world, net, {})
            net.after_step()
            learning = [pair for pair in net.named_parameters() if pair[1].requires_grad]
            for name, weight in learning:
                numbers[f"{count}/gradient/{name}"] = weight.grad.numpy().copy()
            for name, buffer in net.named_buffers():
                numbers[f"{count}/buffer/{name}"] = buffer.numpy().copy()
        if world.first:
            np.savez(folder / f"{recipe}-{size}.npz", **numbers)
    return 0


def look(rank: int, *, folder: Path, size: int) -> int:
    """Watch an encoder that was never trained, together; write down what each process is told."""
    store = [("data.store", str(folder / "store"))]
    recipe = load_recipe(str(folder / "watched.yaml"), store)
    data = open_data(recipe)
    with join("cpu", "a test") as world:
        torch.manual_seed(0)
        net = make_objective(recipe, data.store.skeleton, 2, persons=2)
        with torch.no_grad():  # features that differ by much
            for weight in net.parameters():
                weight.add_(0.5 * torch.randn_like(weight))
        numbers = Monitor(data, "test", torch.device("cpu"), world).look(net)
        (folder / f"looks-{size}-{rank}.json").write_text(json.dumps(numbers))
    return 0


class Net(nn.Module):
    """A weight that every process uses, one that only the second does, and one that none does."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.ones(3))
        self.sometimes = nn.Parameter(torch.ones(2, 2))
        self.never = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm1d(4)


def exchange(rank: int, folder: Path) -> int:
    """Use every way in which processes tell each other something; write down what arrived."""
    with join("cpu", "a test") as world:
        net = Net()
        with torch.no_grad():
            net.used.fill_(rank + 1)
        prepare(net, world)
        facts: dict[str, Any] = {
            "spread": net.used.tolist(),
            "norm": type(net.norm).__name__,
            "greatest": world.greatest(10 - rank),
            "bytes": world.spread_bytes(b"of the first" if world.first else b"ignored").decode(),
            "collected": [data.decode() for data in world.collect(b"x" * rank)],
            "gathered": world.gather(np.full((2 * rank, 3), rank, np.float32)).tolist(),
        }
        net.used.grad = torch.full((3,), rank + 1.0)
        if rank == 1:
            net.sometimes.grad = torch.full((2, 2), 5.0).t()
        sums = sum_step(world, net, {"loss": torch.tensor(0.5 * rank, dtype=torch.float64)})
        facts["gradients"] = [None if p.grad is None else p.grad.tolist() for p in net.parameters()]
        facts["sums"] = {name: float(value) for name, value in sums.items()}
        before = torch.get_rng_state()
        world.seed(1, 2, 3)
        facts["seeded"] = not torch.equal(before, torch.get_rng_state())
        facts["draw"] = float(torch.rand(()))
        (folder / f"exchange-{rank}.json").write_text(json.dumps(facts))
    return 0


def alone(seconds: float = 20.0) -> bool:
    """Wait for threads that are about to end, and return whether none is left but this one."""
    threads, end = Path("/proc/self/task"), time.monotonic() + seconds
    while threads.exists() and len(list(threads.iterdir())) > 1:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def run(folder: Path) -> dict[str, Any]:
    """Do everything and return how it ended."""
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = (
        "false"  # in threads, with which no process can be forked
    )
    faulthandler.enable()  # a fork that crashes says where
    store = str(folder / "store")
    results: dict[str, Any] = {}

    def train(name: str, recipe: str, size: int, **how: Any) -> None:
        plugin = ["--plugin", str(folder / "plain.py")] if recipe == "plain" else []
        words = ["train", str(folder / f"{recipe}.yaml"), "--data.store", store]
        words += ["--out", str(folder / name), "--device", "cpu", *plugin]
        results[name] = command(size, words, **how)

    def go_on(name: str, size: int, **how: Any) -> None:
        words = ["train", "--resume", str(folder / name), "--device", "cpu"]
        results.setdefault(f"{name} again", []).append(command(size, words, **how))

    # Whatever is imported late is imported here, once, and not in every fork.
    with contextlib.redirect_stdout(io.StringIO()):
        words = ["train", str(folder / "people.yaml"), "--data.store", store, "--device", "cpu"]
        assert main([*words, "--out", str(folder / "warm")]) == 0
        assert main(["test", str(folder / "warm"), "--device", "cpu"]) == 0
        own = [str(folder / "warm"), str(folder / "store"), "--device", "cpu"]
        assert main(["predict", *own, "--json"]) == 0
        if (folder / "encoder.yaml").is_file():
            make_objective(
                load_recipe(str(folder / "encoder.yaml")), load_layout("coco17"), 2, persons=2
            )
    assert alone(), "too late to fork"
    sizes_of = {
        "people": (1, 2, 3), "original": (1, 3), "plain": (1, 2), "watched": (1, 3), "begun": (1, 3)
    }  # fmt: skip
    for recipe, sizes in sizes_of.items():
        for size in sizes:
            train(f"{recipe}-{size}", recipe, size)
    train("moved", "original", 1, stop=(0, 2))
    go_on("moved", 3, stop=(2, 2))
    go_on("moved", 2)
    train("dropout-whole", "dropout", 2)
    train("dropout-stopped", "dropout", 2, stop=(1, 2))
    go_on("dropout-stopped", 2)
    for size in (1, 3):
        results[f"looks-{size}"] = together(size, partial(look, folder=folder, size=size))
        words = ["test", str(folder / "original-1"), "--device", "cpu"]
        words += ["--out", str(folder / f"scores-{size}.npz")]
        results[f"scores-{size}"] = command(size, words)
        files = ("odd", "store", "odd/recordings.npz")  # the first is of no known form
        words = ["predict", str(folder / "original-1"), *(str(folder / name) for name in files)]
        words += ["--json", "--device", "cpu", "--skip-bad", "--batch-size", "4"]
        words += ["--layout", "coco17"]
        results[f"says-{size}"] = command(size, words, says=folder / f"says-{size}.json")
    exact = ["people", "original", "two-stream", "bottleneck", "refine", "language"]
    exact += ["aimclr", "aimclr-original", "crossclr"]
    if (folder / "encoder.yaml").is_file():
        exact.append("encoder")
    for recipe in exact:
        for size in (1, 2, 3):
            action = partial(differentiate, folder=folder, recipe=recipe, size=size)
            results[f"exactly {recipe}-{size}"] = together(size, action)
    results["exchange"] = together(3, lambda rank: exchange(rank, folder))
    return results


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
