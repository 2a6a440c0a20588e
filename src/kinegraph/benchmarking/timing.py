"""Times that can be trusted: waited for, repeated, and divided by what happens in between."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch


def synchronise(device: torch.device) -> None:
    """Wait until a device has done everything that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(run: Callable[[], object], device: torch.device, calls: int = 1) -> float:
    """Return the seconds of one call, the mean of several in a row without waiting in between."""
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    synchronise(device)
    return (time.perf_counter() - begin) / calls


def rounds_of(
    run: Callable[[], object], device: torch.device, *, rounds: int, seconds: float
) -> list[float]:
    """Return the seconds of a call in each of several rounds.

    Call it when everything has been warmed up. A round has as many calls as fill its share of the
    time, and one at least.

    Args:
        run: What is timed.
        device: Waited for at the ends of a round.
        rounds: How many.
        seconds: What they may take together.
    """
    calls = calls_in(seconds / rounds, seconds_of(run, device))
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # no pause of Python's falls into one round and not into another
    try:
        return [seconds_of(run, device, calls) for _ in range(rounds)]
    finally:
        if collecting:
            gc.enable()


def calls_in(seconds: float, once: float) -> int:
    """Return how many calls of ``once`` seconds fill some time, one at least."""
    return max(1, round(seconds / max(once, 1e-7)))


def each_of(
    run: Callable[[], object], device: torch.device, *, calls: int, seconds: float
) -> list[float]:
    """Return the seconds of single calls, each waited for, until calls or time run out."""
    times: list[float] = []
    while len(times) < 3 or (len(times) < calls and sum(times) < seconds):
        times.append(seconds_of(run, device))
    return times


def spread(times: Sequence[float]) -> float:
    """Return how far rounds lie apart, relative to their median."""
    return (max(times) - min(times)) / statistics.median(times)


class PhaseClock:
    """Divides the time of a step among its phases, without waiting for the device in between.

    On a CUDA device marks are events in its queue: a phase then is the time in which the device
    works on it or waits for it.

    Args:
        device: Where the phases run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[tuple[str, torch.cuda.Event | float]] = []

    def begin(self) -> None:
        """Begin another step."""
        self.mark("")

    def mark(self, phase: str) -> None:
        """Say that ``phase`` ends here; it began at the mark before."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append((phase, event))
        else:
            synchronise(self._device)
            self._marks.append((phase, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Return the mean seconds of each phase over all steps, in the order of the phases."""
        synchronise(self._device)
        sums: dict[str, float] = {}
        for (_, before), (phase, now) in pairwise(self._marks):
            if phase:
                sums[phase] = sums.get(phase, 0.0) + _between(before, now)
        steps = sum(not phase for phase, _ in self._marks)
        return {phase: total / steps for phase, total in sums.items()}


def _between(before: torch.cuda.Event | float, now: torch.cuda.Event | float) -> float:
    if isinstance(before, float) and isinstance(now, float):
        return now - before
    assert isinstance(before, torch.cuda.Event)
    assert isinstance(now, torch.cuda.Event)
    return float(before.elapsed_time(now)) / 1000
