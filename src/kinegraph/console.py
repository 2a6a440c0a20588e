"""What commands say: results on the standard output, progress and remarks on the standard error.

Of several processes that do one thing together, one speaks; the others speak of errors alone. rich
is imported when it is first needed, so that ``kinegraph --help`` does not wait for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0

_helper = ""  # what this process is called if another one speaks for it
_hushed = False  # whether remarks are kept back


def speak_only_of_errors(name: str) -> None:
    """Let this process say nothing from now on but errors, under a name such as ``rank 1``.

    Args:
        name: The name; an empty one lets the process say everything again.
    """
    global _helper
    _helper = name


def complain(who: str, what: str) -> None:
    """Write an error as a line to the standard error, in every process.

    Args:
        who: What failed, such as ``kinegraph train``.
        what: The error.
    """
    name = f"{who}: {_helper}" if _helper else who
    sys.stderr.write(f"{name}: {what}\n")
    sys.stderr.flush()


@cache
def console() -> Console:
    """Return the rich console of the standard output, for tables."""
    from rich.console import Console

    return Console(highlight=False)


def say(text: str) -> None:
    """Write a line of plain text, never wrapped, to the standard output."""
    if _helper:
        return
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def to_json(value: Any) -> str:
    """Return a result as JSON with a line for each value."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def remark(text: str) -> None:
    """Write a line of plain text, never wrapped, to the standard error."""
    if not _hushed:
        _tell(text)


@contextmanager
def hushed() -> Iterator[None]:
    """Keep remarks back, for one of many things of the same kind; meters go on."""
    global _hushed
    before, _hushed = _hushed, True
    try:
        yield
    finally:
        _hushed = before


def _tell(text: str) -> None:
    if _helper:
        return
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Meter(Protocol):
    """Shows how far some work has come."""

    def update(self, done: int, text: str = "") -> None:
        """Say that ``done`` of the total are finished, with a short text about how it goes."""


class _Bar:
    """A bar on a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def update(self, done: int, text: str = "") -> None:
        self._progress.update(self._task, completed=done, text=text)


class _Lines:
    """A plain line now and then; nothing for work of a few seconds."""

    def __init__(self, description: str, total: int | None) -> None:
        self._description, self._total = description, "?" if total is None else total
        self._last, self._told = time.monotonic(), 0

    def update(self, done: int, text: str = "") -> None:
        if done != self._told and time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last, self._told = time.monotonic(), done
            _tell(f"{self._description}: {done}/{self._total} {text}".rstrip())


@contextmanager
def meter(description: str, total: int | None) -> Iterator[Meter]:
    """Yield a meter: a bar on a terminal, a line now and then elsewhere; None is no known total."""
    if _helper or not sys.stderr.isatty():
        yield _Lines(description, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, progress.add_task(description, total=total, text=""))


def progress(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield the items and show how far it is."""
    with meter(description, total) as shown:
        for done, item in enumerate(items, start=1):
            yield item
            shown.update(done)
