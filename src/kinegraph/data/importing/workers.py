"""Processes that read parts of an import side by side.

Each opens the source for itself, and is told over a pipe which part to read next; nothing but the
numbers of recordings goes through it. A process ends when its pipe closes, so none outlives the
import, and one that is killed is noticed at once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from kinegraph.data.importing.parts import Job, Span, write_part
from kinegraph.errors import KinegraphError, SourceError

PLUGINS = "kinegraph_plugin_"  # how `registry.load_plugin` calls the modules of plug-ins


@dataclass
class _Worker:
    """A process, this end of its pipe, and what it is reading."""

    process: BaseProcess
    pipe: Connection
    span: Span | None = None

    def give(self, span: Span, path: Path) -> None:
        self.span = span
        with suppress(OSError):  # it has died: whoever waits for its answer finds out
            self.pipe.send((span, path))


def read_parts(job: Job, tasks: Sequence[tuple[Span, Path]], workers: int) -> Iterator[Span]:
    """Read parts in several processes, and yield each one that is finished.

    Args:
        job: What is read.
        tasks: The parts, and where each is written.
        workers: How many processes, at least 1.

    Raises:
        KinegraphError: What a process met that ends the import.
        SourceError: A process was killed.
    """
    waiting = deque(tasks)
    team: list[_Worker] = []
    try:
        for _ in range(min(workers, len(tasks))):
            team.append(_start(job))
            team[-1].give(*waiting.popleft())
        while busy := {worker.pipe: worker for worker in team if worker.span is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                yield _answer(worker)
                worker.span = None
                if waiting:
                    worker.give(*waiting.popleft())
    finally:
        for worker in team:
            worker.pipe.close()
            worker.process.kill()
        for worker in team:
            worker.process.join()


def _start(job: Job) -> _Worker:
    # Spawned, not forked: a fork would copy locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    own, other = context.Pipe()
    plugins = [
        Path(str(module.__file__))
        for name, module in list(sys.modules.items())
        if name.startswith(PLUGINS)
    ]
    process = context.Process(target=_serve, args=(other, job, plugins), daemon=True)
    # Ctrl-C reaches all processes of a terminal; this one alone answers, and ends the others. They
    # inherit what is held back here, and nobody ever lets it through.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    other.close()
    return _Worker(process, own)


def _answer(worker: _Worker) -> Span:
    """Return the part that a process has finished.

    Raises:
        KinegraphError: It met what ends the import, or was killed.
    """
    assert worker.span is not None
    try:
        problem = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = " (the system does so when memory runs out)" if code == -signal.SIGKILL else ""
        raise SourceError(
            f"a process that read recordings {worker.span.begin} to {worker.span.end - 1} {how}"
            f"{hint}; the same command goes on with what is finished, with fewer --workers it"
            " needs less memory"
        ) from None
    if isinstance(problem, BaseException):
        raise problem
    return worker.span


def _serve(pipe: Connection, job: Job, plugins: Sequence[Path]) -> None:
    """Read parts until the pipe closes. Runs in a process of its own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if plugins:
            from kinegraph.registry import load_plugin

            for plugin in plugins:
                load_plugin(plugin)
        with job.open() as recordings:
            while True:
                span, path = pipe.recv()
                write_part(path, recordings, span, job)
                pipe.send(None)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except KinegraphError as error:
        pipe.send(error)
    except Exception as error:  # a defect: it is told where somebody sees it
        import traceback

        pipe.send(RuntimeError(f"{error!r} in a process of the import\n{traceback.format_exc()}"))


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, even in the middle of a part."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
