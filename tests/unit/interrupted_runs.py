"""Trains one run again and again, stops it from outside, and goes on with it.

Started as a program by ``test_resume``: it trains once itself, so that everything is imported, and
forks a child for every other run, which needs a process without threads. Prints one JSON object:
what every run ended with.

    python interrupted_runs.py RECIPE STORE FOLDER
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from kinegraph.cli import main
from kinegraph.training import checkpoint, loop

KILLS = 10


def start(words: list[str], prepare: Callable[[], None] | None = None) -> int:
    """Fork a child that runs a command line; return its process id."""
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            if prepare is not None:
                prepare()
            os._exit(main(words))
        except BaseException:
            os._exit(99)
    return child


def wait(child: int) -> int:
    """Return a child's exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Runs:
    """The command lines of a run: ``begin`` and ``go_on``."""

    def __init__(self, recipe: Path, store: Path, folder: Path) -> None:
        self.words = ["train", str(recipe), "--data.store", str(store), "--device", "cpu"]
        self.folder = folder

    def begin(self, name: str) -> list[str]:
        return [*self.words, "--out", str(self.folder / name)]

    def go_on(self, name: str) -> list[str]:
        return ["train", "--resume", str(self.folder / name), "--device", "cpu"]

    def end(self, name: str, **facts: Any) -> dict[str, Any]:
        """Go on with a run to its end and return how it ended."""
        last = self.folder / name / "checkpoints" / "last.safetensors"
        began = last.is_file()
        epoch, step = -1, -1
        if began:
            saved = checkpoint.load_checkpoint(last)
            epoch, step = saved.epoch, saved.step
        code = wait(start(self.go_on(name) if began else [*self.begin(name), "--force"]))
        return {"name": name, "epoch": epoch, "step": step, "end": code, **facts}


def kill_at_random(runs: Runs, whole: float) -> list[dict[str, Any]]:
    """Kill runs at ten random moments, each in another run; those that were too quick not counted.

    Half of them are killed once more after they went on.
    """
    moments = random.Random(0)
    results: list[dict[str, Any]] = []
    while len(results) < KILLS:
        name = f"killed-{len(results)}"
        child = start([*runs.begin(name), "--force"])
        time.sleep(moments.uniform(0.05, whole))
        os.kill(child, signal.SIGKILL)
        if wait(child) != -signal.SIGKILL:
            whole *= 0.9
            continue
        last = runs.folder / name / "checkpoints" / "last.safetensors"
        if len(results) % 2 and last.is_file():
            child = start(runs.go_on(name))
            time.sleep(moments.uniform(0.05, whole / 2))
            os.kill(child, signal.SIGKILL)
            wait(child)
        results.append(runs.end(name))
    return results


def kill_while_saving(runs: Runs, number: int) -> dict[str, Any]:
    """Kill a run while it writes its checkpoint of this number: half of the bytes are there."""
    name = f"saving-{number}"
    ready, tell = os.pipe()

    def prepare() -> None:
        whole, count = checkpoint.save_file, [0]

        def half(tensors: Any, path: Path, metadata: Any) -> None:
            whole(tensors, path, metadata=metadata)
            count[0] += 1
            if count[0] == number:
                os.truncate(path, path.stat().st_size // 2)
                os.write(tell, b"x")
                time.sleep(600)

        checkpoint.save_file = half

    child = start(runs.begin(name), prepare)
    os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    killed = wait(child)
    parts = [path.name for path in (runs.folder / name / "checkpoints").glob(".*.part*")]
    result = runs.end(name, killed=killed, parts=len(parts))
    left = [path.name for path in (runs.folder / name / "checkpoints").glob(".*")]
    return result | {"left": left}


def ask_to_stop(runs: Runs, number: int, place: str) -> dict[str, Any]:
    """Send a signal in the middle of an epoch, or of its evaluation, and note the exit code."""
    name = f"{place}-{number}"
    ready, tell = os.pipe()

    def prepare() -> None:
        owner, method = (loop.Stepper, "step") if place == "step" else (loop, "score_clips")
        original, count = getattr(owner, method), [0]

        def noisy(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == 3:
                os.write(tell, b"x")
                for _ in range(1000):  # until the signal has been noted
                    time.sleep(0.001)
                    if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                        break
            return original(*arguments, **named)

        setattr(owner, method, noisy)

    child = start(runs.begin(name), prepare)
    os.read(ready, 1)
    os.kill(child, number)
    return runs.end(name, code=wait(child))


def run(recipe: Path, store: Path, folder: Path) -> dict[str, Any]:
    """Do everything and return what came of it."""
    torch.set_num_threads(1)
    runs = Runs(recipe, store, folder)
    # Whatever is imported late is imported here, once, and not in every child.
    assert main(runs.begin("warm")) == 0
    threads = (
        len(list(Path("/proc/self/task").iterdir())) if Path("/proc/self/task").exists() else 1
    )
    assert threads == 1, "a process with threads cannot be forked safely"
    began = time.monotonic()
    whole_code = wait(start(runs.begin("whole")))
    whole = time.monotonic() - began
    return {
        "whole": whole_code,
        "seconds": whole,
        "random": kill_at_random(runs, whole),
        "saving": [kill_while_saving(runs, number) for number in (1, 5)],
        "asked": [
            ask_to_stop(runs, number, place)
            for number in (signal.SIGINT, signal.SIGTERM)
            for place in ("step", "evaluation")
        ],
    }


if __name__ == "__main__":
    results = run(*map(Path, sys.argv[1:]))
    print(json.dumps(results))
