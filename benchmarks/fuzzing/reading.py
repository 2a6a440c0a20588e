"""Giving one source to its reader, and what may come of it: clips, or typed errors in one line."""

from __future__ import annotations

import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from fuzzing.seeds import Source
from kinegraph.data.clip import Clip, check_clip
from kinegraph.data.formats import Recordings, detect_format, open_recordings, utd_mhad
from kinegraph.data.formats.mat_reader import MatReader
from kinegraph.errors import KinegraphError

SECONDS = 1.0  # of the processor, that opening a source or reading one recording may take
PATIENCE = 60.0  # by the wall clock, after which a source is stopped
MEGABYTES = 256.0  # that one source may add to the largest memory so far
LONGEST_MESSAGE = 2000
_SERVING: list[MatReader] = []  # see `serving`
READ = 6  # recordings of a source that are read: the first ones and the last


class StoppedError(BaseException):
    """A reader was stopped; no reader catches this one."""


@dataclass
class Outcome:
    """What came of one source.

    Attributes:
        opened: Whether the source could be opened.
        accepted: How many recordings are clips that a store would take.
        errors: Types of the errors.
        problem: What should not have happened, or empty.
        seconds: Processor time of the slowest step: opening it, or reading one recording.
    """

    opened: bool = False
    accepted: int = 0
    errors: list[str] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0


def read_source(source: Source, place: Path, *, detect: bool = False) -> Outcome:
    """Write a source, open it and read its recordings.

    Args:
        source: The source.
        place: A folder for it; what lies there is removed.
        detect: Whether its format is recognised first, as ``predict`` does.
    """
    outcome = Outcome()
    path, options = source.write(place)
    memory = peak_megabytes()
    try:
        with _patience(), warnings.catch_warnings():
            warnings.simplefilter("error")
            if detect:
                with _timed(outcome):
                    _expect_typed(outcome, lambda: detect_format(path))
            _expect_typed(outcome, lambda: _read(path, source.format, options, outcome))
    except StoppedError:
        outcome.problem = f"took longer than {PATIENCE:g} s"
    except BaseException as error:
        outcome.problem = f"{type(error).__name__}: {_short(error)}"
    grown = peak_megabytes() - memory
    if not outcome.problem and grown > MEGABYTES:
        outcome.problem = f"took {grown:.0f} MB"
    return outcome


def _expect_typed(outcome: Outcome, step: Any) -> None:
    try:
        step()
    except KinegraphError as error:
        _note(outcome, error)


def _note(outcome: Outcome, error: KinegraphError) -> None:
    message = str(error)
    outcome.errors.append(type(error).__name__)
    if len(message) > LONGEST_MESSAGE or not message.isprintable() or not message:
        outcome.problem = f"a message of {len(message)} characters: {message[:80]!r}"


def _read(path: Path, name: str, options: Any, outcome: Outcome) -> None:
    with ExitStack() as stack:
        with _timed(outcome):
            opened = open_recordings(path, format_name=name, options=options)
            recordings = stack.enter_context(opened)
        outcome.opened = True
        for row in _rows(recordings.count):
            item = recordings.items[row]
            try:
                with _timed(outcome):
                    clip = item.read()
                check_clip(clip, recordings.skeleton, len(recordings.class_names))
                outcome.accepted += 1
                _expect_same(clip, item.read())
            except KinegraphError as error:
                _note(outcome, error)
        _expect_sound(recordings)


@contextmanager
def _timed(outcome: Outcome) -> Iterator[None]:
    start = processor_seconds()
    try:
        yield
    finally:
        outcome.seconds = max(outcome.seconds, processor_seconds() - start)


def processor_seconds() -> float:
    """Return the processor time of this process and of those it has started."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + sum(map(_of_child, _SERVING))


def _of_child(reader: MatReader) -> float:
    try:
        assert reader._process is not None
        fields = Path(f"/proc/{reader._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, AssertionError):  # it has not begun, or no such place on this system
        return 0.0


def _rows(count: int) -> list[int]:
    return sorted({*range(min(count, READ - 1)), count - 1} - {-1})


def _expect_sound(recordings: Recordings) -> None:
    """Check what a store would get besides clips."""
    assert all(isinstance(name, str) for name in recordings.class_names), "class names"
    for parts in recordings.splits.values():
        assert set(parts.values()) <= {0, 1, 2}, "a split has other sides than 0, 1 and 2"
    for name, reason in recordings.left_out:
        assert name, "something is left out without a name"
        assert reason, "something is left out without a reason"


def _expect_same(first: Clip, second: Clip) -> None:
    """Check that reading twice gives the same."""
    assert first.name == second.name
    assert len(first.tracks) == len(second.tracks)
    for one, other in zip(first.tracks, second.tracks, strict=True):
        assert np.array_equal(one.joints, other.joints), "read twice, it differs"


@contextmanager
def _patience() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _short(error: BaseException) -> str:
    """Return the beginning of an error and where it was raised."""
    trace = error.__traceback__
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if "kinegraph" in code.co_filename:
            places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{str(error)[:120]!r} at {', '.join(places[-3:])}"


def peak_megabytes() -> float:
    """Return the largest memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def serving(name: str) -> Iterator[None]:
    """Let all sources of a format share what takes long to start: the process for MATLAB files."""
    if name != "utd-mhad":
        yield
        return
    with MatReader() as reader:
        own = utd_mhad.MatReader
        vars(utd_mhad)["MatReader"] = lambda: nullcontext(reader)
        _SERVING.append(reader)
        try:
            yield
        finally:
            vars(utd_mhad)["MatReader"] = own
            _SERVING.remove(reader)
