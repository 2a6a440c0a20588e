"""The calls in which the runs of a reproduction were trained, kept beside them in one file.

A reproduction may be stopped and gone on with, on another machine too; its time is that of all
calls together. The file is written now and then, so that a killed call loses a minute at most.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kinegraph.errors import OutputError
from kinegraph.files import write_text
from kinegraph.reproduction.result import Session

FILE = "sessions.json"
SECONDS_BETWEEN_WRITES = 60.0
SESSIONS = TypeAdapter(list[Session])


def read_sessions(out: Path) -> list[Session]:
    """Return the calls so far.

    Raises:
        OutputError: The file cannot be read.
    """
    file = out / FILE
    if not file.is_file():
        return []
    try:
        return SESSIONS.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise OutputError(f"'{file}' is damaged; remove it, and their time is lost") from error


class Clock:
    """Keeps the time of this call.

    Args:
        out: Folder of the reproduction.
        device: Where runs are trained, in words.
        at_once: How many at a time.
        versions: What results depend on.
    """

    def __init__(self, out: Path, device: str, at_once: int, versions: dict[str, str]) -> None:
        self._out = out
        self._before = read_sessions(out)
        self._began = time.monotonic()
        self._written = -SECONDS_BETWEEN_WRITES
        self._known: tuple[str, ...] = ()
        self._session = Session(
            began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            seconds=0.0, device=device, at_once=at_once, versions=versions, runs=(),
        )  # fmt: skip

    def tick(self, runs: Sequence[str]) -> None:
        """Take note of the runs that have been started; write if that is news, or it is time."""
        if tuple(runs) == self._known and self.seconds - self._written < SECONDS_BETWEEN_WRITES:
            return
        self.write(runs)

    def write(self, runs: Sequence[str]) -> None:
        """Write all calls.

        Raises:
            OutputError: The disk refuses.
        """
        self._known, self._written = tuple(runs), self.seconds
        update = {"seconds": round(self.seconds, 1), "runs": self._known}
        session = self._session.model_copy(update=update)
        text = SESSIONS.dump_json([*self._before, session], indent=2).decode()
        write_text(self._out / FILE, text + "\n")

    @property
    def seconds(self) -> float:
        """How long the call has taken so far."""
        return time.monotonic() - self._began
