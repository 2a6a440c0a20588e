"""From a source of recordings to a store; bad recordings are named, or left out when asked for.

``kinegraph data import`` calls this. A small source is read straight into the store. A large one is
read in parts (``parts``), by several processes where that helps (``workers``), and the parts
are joined (``joining``): the bytes are the same either way. It knows no file format (``formats``
do) and no file of a store (``store_writer`` does).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinegraph.console import Meter, remark
from kinegraph.data.formats import Options, Recordings, open_recordings
from kinegraph.data.importing.joining import join_stores
from kinegraph.data.importing.listing import Listing, list_source
from kinegraph.data.importing.parts import Job, Span, Workspace, read_into, write_part
from kinegraph.data.importing.provenance import describe_import, fingerprint
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import StoreWriter, check_place, create_store
from kinegraph.errors import SourceError

NAMED_AT_ONCE = 5  # bad recordings that one error message names
DIRECT_RECORDINGS = 2000  # up to so many are read straight into the store, by this process
PART_RECORDINGS = 1000  # in one part, at least
MOST_PARTS = 1000

Progress = Callable[[str, int], AbstractContextManager[Meter]]


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        store: The folder that was written.
        clips: How many clips are in it.
        left_out: Names and reasons of recordings that could not be used.
        missing: How many recordings a published list leaves out.
        empty_classes: Classes without a clip.
        seconds: How long it took.
        went_on: How many recordings an earlier, interrupted import had read already.
    """

    store: Path
    clips: int
    left_out: tuple[tuple[str, str], ...]
    missing: int
    empty_classes: tuple[str, ...]
    seconds: float
    went_on: int = 0


@dataclass(frozen=True)
class _Plan:
    """One import, as it was asked for and as its source turned out to be."""

    job: Job
    span: Span
    out: Path
    shard: tuple[int, int] | None
    force: bool
    skip_bad: bool
    progress: Progress | None


def import_data(
    format_name: str,
    source: Path,
    out: Path,
    *,
    skip_bad: bool = False,
    force: bool = False,
    layout: str | None = None,
    options: Options | None = None,
    dtype: str = "float32",
    workers: int | None = 1,
    shard: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Read all recordings of a source and write them as a store.

    What an interrupted import of more than `DIRECT_RECORDINGS` has read is kept beside ``out``, and
    the same call goes on with it. The store is the same byte for byte, however many processes read
    it and however often it was interrupted.

    Args:
        format_name: A key of `kinegraph.data.formats.FORMATS`.
        source: The file, folder or archive to read.
        out: The store to be made.
        skip_bad: Leave out recordings that cannot be used; ``meta.json`` lists them.
        force: Replace a store that stands at ``out``.
        layout: Name of the layout, where the format leaves it open; short for ``options``
            that say nothing else.
        options: What the user says about the source.
        dtype: Type of the coordinates in the store, ``float32`` or ``float16``.
        workers: How many processes read. With more than one, a program must guard what it does
            with ``if __name__ == "__main__"``. None: one for each core where it is worth it.
        shard: ``(i, n)``: read only the i-th of n shares, from 1; `merging` makes one store of
            all n.
        progress: Shows how far it is: gets a description and the number of recordings, and
            returns the context of a meter, as `kinegraph.console.meter` does.

    Raises:
        SourceError: The source cannot be read, or recordings in it are bad and ``skip_bad`` is
            false. Then no store is written.
        LayoutError: No layout is known, or it does not fit.
        OutputError: ``out`` exists and may not be replaced, or the disk refuses.
    """
    started = time.monotonic()
    source, out = Path(source), Path(out)
    options = Options(layout=layout) if options is None else options
    check_place(out, force=force)
    with open_recordings(source, format_name=format_name, options=options) as recordings:
        job = Job(format_name, source, options, dtype, recordings.count)
        plan = _Plan(job, _share(recordings.count, shard), out, shard, force, skip_bad, progress)
        listing = list_source(source, without=out)
        left_out, went_on = _read(plan, recordings, listing, workers)
    store = open_store(out)
    used = set(store.clips["label"].tolist()) if shard is None else range(store.num_classes)
    return ImportReport(
        store=out,
        clips=len(store),
        left_out=left_out,
        missing=len(recordings.left_out),
        empty_classes=tuple(n for label, n in enumerate(store.class_names) if label not in used),
        seconds=time.monotonic() - started,
        went_on=went_on,
    )


def _share(recordings: int, shard: tuple[int, int] | None) -> Span:
    """Return which recordings are to be read: all, or a contiguous share.

    Raises:
        SourceError: There is no such share, or not enough recordings for so many.
    """
    if shard is None:
        return Span(0, recordings, recordings)
    number, of = shard
    if not 1 <= number <= of:
        raise SourceError(f"shard {number}/{of} is none; expected 1/{of} to {of}/{of}")
    if of > recordings:
        raise SourceError(f"{recordings} recordings cannot be divided into {of} shards")
    begin, end = ((number - 1) * recordings // of), (number * recordings // of)
    return Span(begin, end, recordings, number, of)


def _read(
    plan: _Plan, recordings: Recordings, listing: Listing, workers: int | None
) -> tuple[tuple[tuple[str, str], ...], int]:
    """Write the store; return what was left out, and how much was read by an earlier import."""
    provenance = describe_import(plan.job, recordings, listing)
    if len(plan.span) <= DIRECT_RECORDINGS:
        with _shown(plan) as shown, _store(plan, recordings, provenance) as writer:
            read_into(writer, recordings, plan.span, shown)
            return _judge(plan, writer.left_out, len(writer)), 0
    spans = plan.span.cut(max(PART_RECORDINGS, -(-len(plan.span) // MOST_PARTS)))
    with Workspace(plan.out, fingerprint(plan.job, plan.span, recordings, listing), spans) as work:
        left = [span for span in spans if work.part(span) is None]
        went_on = len(plan.span) - sum(map(len, left))
        if went_on:
            remark(f"{went_on} of {len(plan.span)} recordings have been read already")
        _read_parts(plan, recordings, work, left, _processes(recordings, plan.span, workers))
        bad = [entry for part in work.parts() for entry in part.meta["left_out"]]
        _judge(plan, bad, len(plan.span) - len(bad), kept=work.folder)
        del bad
        with _store(plan, recordings, provenance) as writer:
            join_stores(writer, work.parts())
            return _judge(plan, writer.left_out, len(writer), kept=work.folder), went_on


def _read_parts(
    plan: _Plan, recordings: Recordings, work: Workspace, left: Sequence[Span], processes: int
) -> None:
    """Read the parts that are left, in this process or in several."""
    done = len(plan.span) - sum(map(len, left))
    with _shown(plan) as shown:
        shown(done)
        if processes > 1 and len(left) > 1:
            from kinegraph.data.importing.workers import read_parts  # small imports do without

            tasks = [(span, work.path(span)) for span in left]
            for span in read_parts(plan.job, tasks, processes):
                done += len(span)
                shown(done)
            return
        for span in left:
            write_part(work.path(span), recordings, span, plan.job)
            done += len(span)
            shown(done)


def _processes(recordings: Recordings, span: Span, workers: int | None) -> int:
    """Return how many processes read."""
    if recordings.ordered:
        if workers is not None and workers > 1:
            remark("this source can only be read in order: one process reads it")
        return 1
    if workers is None:
        return 1 if recordings.heavy else len(os.sched_getaffinity(0))
    return workers


@contextmanager
def _store(
    plan: _Plan, recordings: Recordings, provenance: dict[str, Any]
) -> Iterator[StoreWriter]:
    """Yield the writer of the store; what its source says of all clips is noted already."""
    with create_store(
        plan.out,
        recordings.skeleton,
        recordings.class_names,
        source=f"{plan.job.format_name}: {plan.job.source.absolute().name}",
        dtype=plan.job.dtype,
        force=plan.force,
    ) as writer:
        writer.provenance = provenance
        writer.default_split = recordings.default_split
        writer.shard = None if plan.shard is None else plan.span.to_dict()
        for name, reason in recordings.left_out:
            writer.miss(name, reason)
        yield writer


@contextmanager
def _shown(plan: _Plan) -> Iterator[Callable[[int], None]]:
    """Yield what is told how many recordings have been read."""
    if plan.progress is None:
        yield lambda done: None
        return
    with plan.progress(f"reading {plan.job.source.name}", len(plan.span)) as meter:
        yield meter.update


def _judge(
    plan: _Plan, left_out: Sequence[dict[str, Any]], clips: int, kept: Path | None = None
) -> tuple[tuple[str, str], ...]:
    """Return names and reasons of what was left out, if that is allowed and something is left.

    Raises:
        SourceError: It is not.
    """
    bad = tuple((entry["clip"], entry["reason"]) for entry in left_out)
    if bad and not plan.skip_bad:
        verb = "is" if len(bad) == 1 else "are"
        hint = "; leave such recordings out with --skip-bad"
        hint += "" if kept is None else " (what has been read is kept for that)"
        raise SourceError(
            f"{len(bad)} of {len(plan.span)} recordings in '{plan.job.source}' {verb} bad, nothing"
            f" was written: {_first(bad)}{hint if clips else ''}"
        )
    if clips == 0 and plan.shard is None:
        raise SourceError(
            f"no recording in '{plan.job.source}' can be used: {_first(bad) or 'there is none'}"
        )
    return bad


def _first(bad: Sequence[tuple[str, str]]) -> str:
    shown = "; ".join(reason for _, reason in bad[:NAMED_AT_ONCE])
    more = len(bad) - NAMED_AT_ONCE
    return shown + (f"; and {more} more" if more > 0 else "")
