"""Parts of an import: shares of a source, each read and written whole, that wait to be joined.

They lie in a folder beside the store that is to be made, so that an interrupted import goes on with
those that are finished. Each part is a store of its own that knows which share it holds.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from kinegraph.console import remark
from kinegraph.data.clip import UNKNOWN
from kinegraph.data.formats import Options, Recordings, open_recordings
from kinegraph.data.store import SHARD_FIELDS, Store, open_store
from kinegraph.data.store_writer import StoreWriter, create_store
from kinegraph.errors import ClipError, OutputError, RepeatedClipError, SourceError, StoreError
from kinegraph.files import reason, write_text


@dataclass(frozen=True)
class Span:
    """A share of the recordings of a source: those from ``begin`` up to ``end``.

    Attributes:
        begin: The first one.
        end: The one after the last.
        recordings: How many the whole source has.
        number: Which share it is, from 1.
        of: Into how many shares the source was divided.
    """

    begin: int
    end: int
    recordings: int
    number: int = 1
    of: int = 1

    def __len__(self) -> int:
        return self.end - self.begin

    def cut(self, size: int) -> list[Span]:
        """Divide it into spans of ``size`` recordings, the last one perhaps shorter."""
        begins = range(self.begin, self.end, size)
        return [
            Span(begin, min(begin + size, self.end), self.recordings, number, len(begins))
            for number, begin in enumerate(begins, start=1)
        ]

    def to_dict(self) -> dict[str, int]:
        """Return what ``meta.json`` says of a store that holds it."""
        return {name: getattr(self, name) for name in SHARD_FIELDS}


@dataclass(frozen=True)
class Job:
    """What any process needs to know to read recordings and write parts of them.

    Attributes:
        format_name: A key of `kinegraph.data.formats.FORMATS`.
        source: File, folder or archive.
        options: What the user says about it.
        dtype: Type of the coordinates.
        recordings: How many recordings the source has.
    """

    format_name: str
    source: Path
    options: Options
    dtype: str
    recordings: int

    @contextmanager
    def open(self) -> Iterator[Recordings]:
        """Open the source.

        Raises:
            SourceError: It cannot be read, or is no longer what it was.
        """
        with open_recordings(
            self.source, format_name=self.format_name, options=self.options
        ) as recordings:
            if recordings.count != self.recordings:
                raise SourceError(
                    f"'{self.source}' changes while it is read: it had {self.recordings}"
                    f" recordings and has {recordings.count} now"
                )
            yield recordings


def read_into(
    writer: StoreWriter,
    recordings: Recordings,
    span: Span,
    done: Callable[[int], None] | None = None,
) -> None:
    """Read some recordings and write them; those that cannot be used are noted as left out.

    Args:
        writer: Gets the clips, their splits, and what is left out.
        recordings: The opened source.
        span: Which of its recordings.
        done: Is told, after each, how many have been read.
    """
    columns = {split: array("B") for split in recordings.splits}
    for number in range(span.begin, span.end):
        recording = recordings.items[number]
        try:
            clip = recording.read()
            if recordings.labelled and clip.label == UNKNOWN:
                raise ClipError(f"clip '{clip.name}' has no label{recordings.remedy}")
            writer.add(clip)
            for split, sides in recordings.splits.items():
                columns[split].append(sides.get(clip.name, 0))
        except RepeatedClipError as error:  # by its clip's name, as where parts are joined
            writer.leave_out(clip.name, str(error), number)
        except ClipError as error:
            writer.leave_out(recording.name, str(error), number)
        if done is not None:
            done(number + 1 - span.begin)
    for split, column in columns.items():
        writer.splits[split] = np.array(column, dtype=np.uint8)
    writer.default_split = recordings.default_split


def write_part(path: Path, recordings: Recordings, span: Span, job: Job) -> None:
    """Read some recordings and write them as a part, whole or not at all.

    Raises:
        OutputError: The disk refuses.
    """
    try:
        with create_store(
            path, recordings.skeleton, recordings.class_names, source="part", dtype=job.dtype
        ) as writer:
            writer.shard = span.to_dict()
            read_into(writer, recordings, span)
    except OutputError:
        # A process of an import that was killed may have finished it in the meantime.
        if not path.exists():
            raise


def work_folder(out: Path) -> Path:
    """Return the folder in which the parts of an import to ``out`` wait."""
    out = Path(out).absolute()
    return out.parent / f".{out.name}.import"


class Workspace:
    """The folder of parts of one import; it is kept as long as parts in it are worth something.

    Args:
        out: The store that is to be made.
        fingerprint: Of everything that the parts depend on. Parts that were made with another one
            are dropped.
        spans: The shares that the parts hold.

    Raises:
        OutputError: Another import to the same place is at work, or the disk refuses.
    """

    def __init__(self, out: Path, fingerprint: str, spans: list[Span]) -> None:
        self.folder = work_folder(out)
        self.spans = spans
        self._out, self._fingerprint = out, fingerprint
        self._lock: IO[str] | None = None

    def __enter__(self) -> Workspace:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w", encoding="utf-8")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._unlock()
            raise OutputError(f"another import to '{self._out}' is at work") from error
        except OSError as error:
            self._unlock()
            raise OutputError(f"cannot write '{self._out}': {reason(error)}") from error
        plan = self.folder / "plan.json"
        if _fingerprint_in(plan) != self._fingerprint:
            if any(self.folder.glob("part-*")):
                remark(
                    "an earlier import to the same place was of another source, or with other"
                    " options: what it had read is dropped"
                )
            self._drop()
            write_text(plan, json.dumps({"fingerprint": self._fingerprint}))
        self._drop(".part-*")  # what a killed process had begun
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or not any(self.folder.glob("part-*")):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._unlock()

    def path(self, span: Span) -> Path:
        """Return where a part lies, or is to lie."""
        return self.folder / f"part-{span.begin:09}-{span.end:09}"

    def part(self, span: Span) -> Store | None:
        """Return a finished part; what is there but damaged is removed."""
        path = self.path(span)
        if not path.exists():
            return None
        try:
            store = open_store(path)
            if store.shard == span.to_dict():
                return store
        except StoreError:
            pass
        shutil.rmtree(path, ignore_errors=True)
        return None

    def parts(self) -> Iterator[Store]:
        """Yield all parts in the order of the source, one after the other."""
        for span in self.spans:
            yield open_store(self.path(span))

    def _drop(self, pattern: str = "*part-*") -> None:
        for folder in self.folder.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _fingerprint_in(plan: Path) -> Any:
    try:
        return json.loads(plan.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
