"""What commands say: results on the standard output, progress and remarks on the standard error.

Only commands use this; the library itself prints nothing. rich is imported when it is first needed,
so that ``kinegraph --help`` does not wait for it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


@cache
def console() -> Console:
    """Return the rich console of the standard output, for tables."""
    from rich.console import Console

    return Console(highlight=False)


def say(text: str) -> None:
    """Write a line of plain text, never wrapped, to the standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def remark(text: str) -> None:
    """Write a line of plain text, never wrapped, to the standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def progress(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield the items and show how far it is: a bar on a terminal, a line now and then elsewhere.

    Short work (under ten seconds) shows nothing where there is no terminal.
    """
    shown = _bar if sys.stderr.isatty() else _lines
    return shown(items, description, total)


def _bar(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=description)


def _lines(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            remark(f"{description}: {done}/{total}")
