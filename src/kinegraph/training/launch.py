"""One process for each device of this machine: ``--device 0 1``, without torchrun.

The parent computes nothing. It starts the processes, passes signals on, and when one of them fails
it stops the others, says what happened and how to go on. Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from kinegraph.console import remark
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.side_by_side import POLL_SECONDS, Child, Job, threads_for

RENDEZVOUS = "KINEGRAPH_RENDEZVOUS"  # names the file by which the processes find each other
LOST_CONTACT = 75  # exit code of a process that ended because another one had
SECONDS_TO_SPEAK = 1.0  # for the others, after one has failed, to end by themselves
SECONDS_TO_END = 10.0  # for those that were then asked to; what waits for a GPU never hears it
LAST_LINES = 30  # of a process with a defect

DEVICE = re.compile(r"\d+|(?:cpu|cuda|mps|xpu)(?::\d+)?")


def join_devices(words: Sequence[str]) -> list[str]:
    """Make one word of the devices after ``--device``: ``--device 0 1`` becomes ``--device 0,1``.

    So an option that was always one word stays one, and what follows it keeps its place.
    """
    joined: list[str] = []
    for word in words:
        last = joined[-1] if len(joined) > 1 and joined[-2] == "--device" else ""
        if last and DEVICE.fullmatch(word) and all(map(DEVICE.fullmatch, last.split(","))):
            joined[-1] = f"{last},{word}"
        else:
            joined.append(word)
    return joined


def devices_of(asked: str) -> list[str]:
    """Return the devices in a word, as torch names them: ``0,1`` -> ``cuda:0``, ``cuda:1``.

    Raises:
        RecipeError: A device would be used twice, or the list makes no sense.
    """
    names = [f"cuda:{name}" if name.isdecimal() else name for name in asked.split(",")]
    if len(names) == 1:
        return names
    words = " ".join(asked.split(","))
    for name in names:
        if not DEVICE.fullmatch(name):
            raise RecipeError(f"--device {words}: '{name}' cannot be one of several devices")
        if name != "cpu" and names.count(name) > 1:
            raise RecipeError(f"--device {words}: '{name}' is named twice")
        if ":" not in name and name != "cpu":
            raise RecipeError(f"--device {words}: which '{name}'? say {name}:0 or the like")
    if len({name.split(":")[0] for name in names}) > 1:
        raise RecipeError(f"--device {words}: several devices must be of one kind")
    return names


def several(asked: str) -> list[str]:
    """Return the devices for which processes have yet to be started; none where there is but one.

    Raises:
        RecipeError: As `devices_of`.
    """
    names = devices_of(asked)
    return names if len(names) > 1 and "RANK" not in os.environ else []


def spaced(asked: str) -> str:
    """Return the option as a user types it: `` --device 0 1``, or nothing for one device."""
    return f" --device {asked.replace(',', ' ')}" if "," in asked else ""


def run_ranks(
    words: Sequence[str], devices: Sequence[str], *, who: str, go_on: Path | None = None
) -> int:
    """Run a command line in one process for each device and return the exit code.

    The first process speaks on this one's outputs. The others are heard only if they fail.

    Args:
        words: The command line, after ``kinegraph``; it names all devices.
        devices: What `devices_of` made of them.
        who: The command, for messages.
        go_on: The run folder that is written, with which one can go on afterwards.

    Raises:
        TrainingError: There are no words: a program, not a command line, asked for devices.
    """
    if not words:
        raise TrainingError("several devices are for the command line, or for torchrun")
    with tempfile.TemporaryDirectory(prefix="kinegraph-") as folder, _Signals() as signals:
        meeting = str(Path(folder) / "meeting")
        ranks = [Child(_job(words, rank, devices, meeting)) for rank in range(len(devices))]
        try:
            failed = _watch(ranks, signals)
        finally:
            for child in ranks:
                child.kill()
            for child in ranks:
                child.wait()
    if signals.number and ranks[0].code in (128 + signals.number, -signals.number):
        return 128 + signals.number
    if ranks[0].code == 0 and (signals.number or not failed):
        return 0
    cause = _cause(failed, ranks)
    resume = ""
    if go_on is not None and RunFolder(go_on).last.is_file():
        resume = f"kinegraph train --resume {go_on}{spaced(','.join(devices))}"
    return _tell(cause, who, resume, heard=cause is not ranks[0])


def _job(words: Sequence[str], rank: int, devices: Sequence[str], meeting: str) -> Job:
    size = str(len(devices))
    environment = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": size,
        "LOCAL_WORLD_SIZE": size,
        RENDEZVOUS: meeting,
        **threads_for(len(devices)),
    }
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # a machine need not know its own name
    return Job(
        name=f"rank {rank} ({devices[rank]})",
        command=(sys.executable, "-m", "kinegraph", *words),
        environment=environment,
        attached=rank == 0,
    )


def _watch(ranks: Sequence[Child], signals: _Signals) -> list[Child]:
    """Wait until all have ended; return those that failed before they were asked to stop."""
    failed: list[Child] = []
    asked = False
    since = 0.0
    for running in _running(ranks):
        if not asked:
            ended = [child for child in ranks if child not in running and child not in failed]
            since = since if failed else time.monotonic()
            failed += [child for child in ended if child.code]
        waited = time.monotonic() - since if failed else 0.0
        if signals.number and not asked:
            asked = True
            for child in running:
                child.ask_to_stop(signals.number)
        elif waited > SECONDS_TO_SPEAK and not asked:
            asked = True
            for child in running:
                child.ask_to_stop()
        if waited > SECONDS_TO_SPEAK + SECONDS_TO_END or signals.again:
            for child in running:
                child.kill()
    return failed


def _cause(failed: Sequence[Child], ranks: Sequence[Child]) -> Child:
    """Return the process whose failure made the others fail; the first, if that may be."""
    candidates = [*failed, *(child for child in ranks if child.code and child not in failed)]
    own = [child for child in candidates if child.code != LOST_CONTACT] or candidates
    return ranks[0] if ranks[0] in own and ranks[0] in failed else own[0]


def _running(ranks: Sequence[Child]) -> Iterator[list[Child]]:
    """Yield those that run, several times a second; last of all an empty list."""
    while True:
        running = [child for child in ranks if child.is_running()]
        yield running
        if not running:
            return
        time.sleep(POLL_SECONDS)


def _tell(cause: Child, who: str, resume: str, *, heard: bool) -> int:
    """Say how a process failed, and how to go on; return the exit code.

    Args:
        cause: The process.
        who: The command.
        resume: A command that goes on, or nothing.
        heard: Whether its words were kept, and not shown when it said them.
    """
    if cause.code == 2:  # the error of a user, in one line
        if heard:
            remark(cause.lines[-1] if cause.lines else f"{who}: {cause.job.name} failed")
        return 2
    if cause.code == 1:  # a defect
        for line in cause.lines[-LAST_LINES:]:
            remark(line)
    words = [f"{who}: {cause.job.name} {_ended(cause.code or 0)}"]
    if cause.code != 1 and cause.lines:
        words.append(f"its last words: {cause.lines[-1]}")
    words += [f"go on with: {resume}"] * bool(resume)
    remark("; ".join(words))
    return 1 if cause.code == 1 else 2


def _ended(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


class _Signals:
    """Notes SIGINT and SIGTERM for the processes that were started.

    Attributes:
        number: The first signal that came, or 0.
        again: Whether another one came after it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.again = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread may listen to signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.again = bool(self.number)
        self.number = self.number or number
