"""Processes beside each other: so many at a time, heard, stopped, and never left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kinegraph.training import side_by_side
from kinegraph.training.side_by_side import Child, Job, cores, run_side_by_side, threads_for

WAITS = "import time; print('here', flush=True); time.sleep(60)"
POLITE = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(143)))\n"
    "print('here', flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "POLL_SECONDS", 0.01)


def job(name: str, code: str, **further: Any) -> Job:
    return Job(name, (sys.executable, "-S", "-c", code), {"MARK": name}, **further)


def test_so_many_at_a_time_in_order_and_each_with_its_environment() -> None:
    most, started = 0, []

    def look(running: Sequence[Child], ended: Sequence[Child]) -> None:
        nonlocal most
        most = max(most, len(running))
        started.extend(c.job.name for c in running if c.job.name not in started)

    code = "import os, time; time.sleep(0.15); print('I am', os.environ['MARK'])"
    jobs = [job(f"job {number}", code) for number in range(5)]
    ended = run_side_by_side(jobs, at_once=2, stopped=lambda: False, look=look)
    assert most == 2
    assert started == [one.name for one in jobs]
    assert sorted(child.job.name for child in ended) == sorted(started)
    assert {child.code for child in ended} == {0}
    assert all(child.lines == [f"I am {child.job.name}"] for child in ended)


def test_when_stopped_those_at_work_may_save_and_no_other_starts() -> None:
    ready: set[str] = set()

    def look(running: Sequence[Child], ended: Sequence[Child]) -> None:
        ready.update(child.job.name for child in running if child.lines)

    jobs = [job(name, POLITE) for name in "abc"]
    ended = run_side_by_side(jobs, at_once=2, stopped=lambda: len(ready) == 2, look=look)
    assert sorted(child.job.name for child in ended) == ["a", "b"]
    assert all((child.code, child.lines) == (143, ["here", "saved"]) for child in ended)


def test_what_waits_for_another_begins_after_it_and_never_after_a_failure() -> None:
    began: list[str] = []

    def look(running: Sequence[Child], ended: Sequence[Child]) -> None:
        began.extend(c.job.name for c in (*ended, *running) if c.job.name not in began)
        finished = {child.job.name for child in ended if child.code == 0}
        assert all(child.job.after in (None, *finished) for child in (*running, *ended))

    well, badly = "import time; time.sleep(0.1)", "raise SystemExit(3)"
    jobs = [
        job("after one", well, after="one"), job("one", well), job("bad", badly),
        job("after bad", well, after="bad"), job("after that", well, after="after bad"),
        job("two", well), job("after none", well, after="none"),
    ]  # fmt: skip
    ended = run_side_by_side(jobs, at_once=2, stopped=lambda: False, look=look)
    assert sorted(began[:2]) == ["bad", "one"]
    assert sorted(child.job.name for child in ended) == ["after one", "bad", "one", "two"]


def test_nothing_is_left_at_work_when_the_parent_fails() -> None:
    seen: list[Child] = []

    def look(running: Sequence[Child], ended: Sequence[Child]) -> None:
        seen[:] = running
        if all(child.lines for child in running):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_side_by_side(
            [job(name, WAITS) for name in "ab"], at_once=2, stopped=lambda: False, look=look
        )
    assert [child.code for child in seen] == [-signal.SIGKILL] * 2


def test_a_signal_of_the_terminal_reaches_the_parent_alone() -> None:
    child = Child(job("a", WAITS))
    try:
        while not child.lines:
            time.sleep(0.01)
        assert os.getsid(child.process_id) == child.process_id != os.getsid(0)
    finally:
        child.kill()
        child.wait()


def test_what_is_said_is_kept_even_what_is_no_text(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.txt"
    code = "import sys; print('one'); sys.stdout.flush(); sys.stderr.buffer.write(b'tw\\xffo\\n')"
    for _ in range(2):
        (child,) = run_side_by_side(
            [job("a", code, log=log)], at_once=1, stopped=lambda: False, look=lambda *_: None
        )
    assert child.lines == ["one", "tw\\xffo"]
    assert log.read_text().count("one\ntw\\xffo\n") == 2
    assert log.read_text().count(sys.executable) == 2, "its command stands above it"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('why'); print(); raise SystemExit(2)", "why"),
        ("raise SystemExit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by signal 9"),
    ],
)
def test_last_words_tell_how_it_ended(code: str, words: str) -> None:
    (child,) = run_side_by_side(
        [job("a", code)], at_once=1, stopped=lambda: False, look=lambda *_: None
    )
    assert child.last_words() == words


def test_cores_are_divided_unless_the_user_has_set_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(side_by_side, "cores", lambda: 7)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads_for(3) == {"OMP_NUM_THREADS": "2"}
    assert threads_for(9) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_for(3) == {"OMP_NUM_THREADS": "5"}


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
