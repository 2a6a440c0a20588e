"""From a source of recordings to a store; bad recordings are named, or left out when asked for.

``kinegraph data import`` calls this. It knows no file format (``formats`` do) and no file of a
store (``store_writer`` does).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinegraph.data.clip import UNKNOWN
from kinegraph.data.formats import Options, Recording, Recordings, open_recordings
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import StoreWriter, check_place, create_store
from kinegraph.errors import ClipError, SourceError, printable

NAMED_AT_ONCE = 5  # bad recordings that one error message names

Progress = Callable[[Iterable[Recording], str, int], Iterator[Recording]]


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        store: The folder that was written.
        clips: How many clips are in it.
        left_out: Names and reasons of those that are not.
        empty_classes: Classes without a clip.
        seconds: How long it took.
    """

    store: Path
    clips: int
    left_out: tuple[tuple[str, str], ...]
    empty_classes: tuple[str, ...]
    seconds: float


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
    progress: Progress | None = None,
) -> ImportReport:
    """Read all recordings of a source and write them as a store.

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
        progress: Wraps the recordings to show how far it is; gets a description and their number.

    Raises:
        SourceError: The source cannot be read, or recordings in it are bad and ``skip_bad`` is
            false. Then nothing is written.
        LayoutError: No layout is known, or it does not fit.
        OutputError: ``out`` exists and may not be replaced, or the disk refuses.
    """
    started = time.monotonic()
    source, out = Path(source), Path(out)
    options = Options(layout=layout) if options is None else options
    check_place(out, force=force)
    with (
        open_recordings(source, format_name=format_name, options=options) as recordings,
        create_store(
            out,
            recordings.skeleton,
            recordings.class_names,
            source=f"{format_name}: {source.name}",
            dtype=dtype,
            force=force,
        ) as writer,
    ):
        items: Iterable[Recording] = recordings.items
        if progress is not None:
            items = progress(items, f"reading {source.name}", recordings.count)
        names, bad = _write(writer, items, labelled=recordings.labelled)
        if bad and not skip_bad:
            raise SourceError(_complaint(bad, recordings.count, source))
        if not names:
            raise SourceError(f"no recording in '{source}' can be used: {_first(bad)}")
        for name, reason in bad:
            writer.leave_out(name, reason)
        writer.default_split = recordings.default_split
        _keep_splits(writer, recordings, names)
    labels = open_store(out).clips["label"]
    empty = sorted(set(range(len(recordings.class_names))) - set(labels.tolist()))
    return ImportReport(
        store=out,
        clips=len(names),
        left_out=tuple(bad),
        empty_classes=tuple(recordings.class_names[label] for label in empty),
        seconds=time.monotonic() - started,
    )


def _write(
    writer: StoreWriter, items: Iterable[Recording], *, labelled: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    """Read and write each recording; return the names written, and names and reasons of others."""
    names: list[str] = []
    bad: list[tuple[str, str]] = []
    for recording in items:
        try:
            clip = recording.read()
            if labelled and clip.label == UNKNOWN:
                raise ClipError(f"clip '{clip.name}' has no label")
            writer.add(clip)
            names.append(clip.name)
        except ClipError as error:
            bad.append((printable(recording.name), str(error)))
    return names, bad


def _keep_splits(writer: StoreWriter, recordings: Recordings, names: list[str]) -> None:
    for split, parts in recordings.splits.items():
        writer.splits[split] = np.array([parts.get(name, 0) for name in names], dtype=np.int64)


def _complaint(bad: list[tuple[str, str]], count: int, source: Path) -> str:
    verb = "is" if len(bad) == 1 else "are"
    return (
        f"{len(bad)} of {count} recordings in '{source}' {verb} bad, nothing was written:"
        f" {_first(bad)}; leave such recordings out with --skip-bad"
    )


def _first(bad: list[tuple[str, str]]) -> str:
    shown = "; ".join(reason for _, reason in bad[:NAMED_AT_ONCE])
    more = len(bad) - NAMED_AT_ONCE
    return shown + (f"; and {more} more" if more > 0 else "")
