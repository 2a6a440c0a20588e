"""A result of `kinegraph bench` for people: tables, and what their words mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kinegraph.benchmarking.results import BenchResult, Speed
from kinegraph.benchmarking.timing import spread

NOISY = 0.2  # rounds that lie further apart than this are remarked on
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float, unit: str) -> str:
    """Return a number with three digits and a prefix: ``3.58 GFLOP``."""
    for factor, prefix in PREFIXES:
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """Return a time with three digits and a unit that fits."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"


def show(result: BenchResult) -> Group:
    """Return everything that a result says."""
    parts: list[Any] = [
        Text(f"{result.recipe}: {result.subject}"),
        Text(f"{result.recordings}; {result.device}; {result.execution}"),
        _speeds(result),
        _phases(result),
        _limits(result),
        *(Text(line) for line in remarks(result)),
    ]
    return Group(*parts)


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    return table


def _speeds(result: BenchResult) -> Table:
    table = _table("speed", "", "batch", "clips/s", "a batch", "peak memory", "warm-up")
    for speed in result.speeds:
        name = speed.what if speed.people == "all" else f"{speed.what}, {speed.people}"
        if speed.problem:
            table.add_row(name, str(speed.batch_size), speed.problem, "", "", "")
            continue
        memory = speed.peak_memory_bytes
        table.add_row(
            name,
            str(speed.batch_size),
            f"{speed.median:,.4g}" if speed.median < 1000 else f"{speed.median:,.0f}",
            duration(speed.step_seconds),
            "?" if memory is None else f"{memory / 2**30:.3g} GiB",
            duration(speed.warm_up_seconds),
        )
    if result.latency is not None:
        median = result.latency.median
        table.add_row("inference, latency", "1", f"{1 / median:,.4g}", duration(median), "", "")
    return table


def _phases(result: BenchResult) -> Table:
    table = _table("where the time of a training step goes", "", "data", "forward", "backward")
    table.add_column("optimiser", justify="right")
    for speed in result.speeds:
        if not speed.phases_seconds:
            continue
        total = sum(speed.phases_seconds.values())
        cells = [
            f"{duration(seconds)}, {seconds / total:.0%}"
            for seconds in speed.phases_seconds.values()
        ]
        people = "" if speed.people == "all" else f", {speed.people}"
        table.add_row(f"batch {speed.batch_size}{people}", *cells)
    return table


def _limits(result: BenchResult) -> Table:
    table = _table(
        "against what the device can do", "", "a clip", "reached", "device at best", "share"
    )
    for speed in result.speeds:
        for name, per_clip, ceiling, unit in _counted(speed, result.ceilings):
            reached = per_clip * speed.median
            table.add_row(
                f"{speed.what} {speed.batch_size}, {name}",
                quantity(per_clip, unit),
                f"{quantity(reached, unit)}/s",
                f"{quantity(ceiling, unit)}/s",
                f"{reached / ceiling:.1%}",
            )
    return table


def _counted(speed: Speed, ceilings: dict[str, Any]) -> Iterator[tuple[str, float, float, str]]:
    if speed.clips_per_second and speed.flops_per_clip and speed.bytes_per_clip:
        yield "arithmetic", speed.flops_per_clip, ceilings["flops"], "FLOP"
        yield "traffic", speed.bytes_per_clip, ceilings["bytes"], "B"


def _shares(result: BenchResult) -> Iterator[float]:
    for speed in result.speeds:
        for _, per_clip, ceiling, _ in _counted(speed, result.ceilings):
            yield per_clip * speed.median / ceiling


def remarks(result: BenchResult) -> Iterator[str]:
    """Yield lines that say what the numbers mean and how far to trust them."""
    if result.latency is not None:
        yield f"nine of ten single clips are scored within {duration(result.latency.slow)}"
    yield from result.notes
    noisy = [s for s in result.speeds if s.clips_per_second and spread(s.clips_per_second) > NOISY]
    if noisy:
        worst = max(spread(speed.clips_per_second) for speed in noisy)
        yield (
            f"rounds differ by up to {worst:.0%}: the machine is busy or warming; medians are shown"
        )
    if any(share > 1 for share in _shares(result)):
        yield (
            "more than the device at best: that was measured at another moment, when the machine"
            " was busier"
        )
    yield (
        "Training steps make their own batches; inference takes batches that are made. Data are"
        " timed alone: they may be made beside the rest."
    )
    yield (
        f"Arithmetic counts matrix products and convolutions, traffic what memory has to move at"
        f" least; the device at best: a large product in {result.ceilings['dtype']}, a large copy."
    )
