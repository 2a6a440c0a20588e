"""Several processes beside each other on one machine: started, listened to, and stopped together.

A network that is too small for a whole device leaves room for others. Nothing here knows what the
processes do, and nothing imports torch.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """A process to be started.

    Attributes:
        name: What it is called in messages.
        command: Its words.
        environment: Variables beside those of this process.
        log: File to which everything it says is added, or None.
        attached: Whether it speaks on the outputs of this process, and is not heard.
        after: Name of the job that has to be done well before this one begins.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path | None = None
    attached: bool = False
    after: str | None = None


class Child:
    """A process whose words are read as they come.

    It has a session of its own: a control-C on the terminal reaches its parent alone, which then
    decides what becomes of it. When its parent is killed, its input ends, and it ends itself with
    the next word it says.

    Attributes:
        job: What it is.
        lines: What it has said so far, on both of its outputs.
        code: Its exit code, negative for a signal, once it has ended.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.lines: list[str] = []
        self.code: int | None = None
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            job.command,
            env={**os.environ, **job.environment},
            text=True,
            errors="backslashreplace",
            stdin=subprocess.PIPE,
            stdout=None if job.attached else subprocess.PIPE,
            stderr=None if job.attached else subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        self._keep(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}  {shlex.join(self.job.command)}\n")
        with self._process.stdout as said:
            for line in said:
                self.lines.append(line.rstrip())
                self._keep(line)

    def _keep(self, text: str) -> None:
        if self.job.log is None:
            return
        with suppress(OSError):  # a full disk ends the process itself; its words must still be read
            self.job.log.parent.mkdir(parents=True, exist_ok=True)
            with self.job.log.open("a", encoding="utf-8") as file:
                file.write(text)

    @property
    def process_id(self) -> int:
        """The number of the process."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process is still at work."""
        self.code = self._process.poll()
        return self.code is None

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal at which a training run saves and ends."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End the process at once, if it runs."""
        if self._process.poll() is None:
            self._process.kill()

    def wait(self) -> int:
        """Wait until the process has ended, read its last words and return its exit code."""
        self.code = self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.code

    def last_words(self) -> str:
        """Return the last line that was said, or how the process ended."""
        words = next((line for line in reversed(self.lines) if line), "")
        ended = f"ended by signal {-self.code}" if self.code and self.code < 0 else ""
        return "; ".join(filter(None, (ended, words))) or f"exit code {self.code}"


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(at_once: int) -> dict[str, str]:
    """Return the variables that divide the cores among so many processes.

    A number of threads that the user has set is left as it is.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(cores() // at_once, 1))
    return {"OMP_NUM_THREADS": threads}


def _next(waiting: Sequence[Job], ended: Sequence[Child]) -> Job | None:
    """Return the first job that need not wait, if there is one."""
    done = {child.job.name for child in ended if child.code == 0}
    return next((job for job in waiting if job.after is None or job.after in done), None)


def run_side_by_side(
    jobs: Sequence[Job],
    *,
    at_once: int,
    stopped: Callable[[], bool],
    look: Callable[[Sequence[Child], Sequence[Child]], None],
) -> list[Child]:
    """Run jobs, so many at a time, and return the ended processes in the order of their ends.

    Args:
        jobs: What to run, in this order, but for those that wait for another. What waits for a job
            that failed, or for one that is not among these, is not run.
        at_once: How many at a time.
        stopped: Asked all the time; once it is true, those that run are asked to stop and no other
            is started.
        look: Called all the time with the running and the ended processes.
    """
    waiting, running, ended = list(jobs), [], []  # type: list[Job], list[Child], list[Child]
    asked = False
    try:
        while waiting or running:
            if stopped() and not asked:
                asked = True
                waiting.clear()
                for child in running:
                    child.ask_to_stop()
            while len(running) < at_once and (job := _next(waiting, ended)) is not None:
                waiting.remove(job)
                running.append(Child(job))
            if not running:
                break  # what waits, waits for what failed
            time.sleep(POLL_SECONDS)
            for child in [child for child in running if not child.is_running()]:
                child.wait()
                running.remove(child)
                ended.append(child)
            look(running, ended)
    finally:  # a second control-C, or a defect: nothing may be left at work
        for child in running:
            child.kill()
        for child in running:
            child.wait()
    return ended
