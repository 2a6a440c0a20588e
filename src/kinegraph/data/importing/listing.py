"""What a source of recordings is made of: its files, their sizes, and when they were changed.

An import that goes on, and shards from several machines, must speak of the same source. Its files
are not read for that: names and sizes tell it, and on one machine also the times of change.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinegraph.errors import SourceError


@dataclass(frozen=True)
class Listing:
    """The files of a source.

    Attributes:
        name: Name of the file or folder.
        files: How many files there are.
        size: Bytes of all of them.
        digest: Of paths and sizes; the same on every machine that has the same files.
        state: Of paths, sizes and times of change.
    """

    name: str
    files: int
    size: int
    digest: str
    state: str

    def to_dict(self) -> dict[str, Any]:
        """Return what ``meta.json`` records: nothing that another copy of the files changes."""
        return {
            "name": self.name,
            "files": self.files,
            "bytes": self.size,
            "digest": self.digest,
        }


def list_source(path: Path, *, without: Path | None = None) -> Listing:
    """List a file, or everything in a folder that is not hidden.

    Args:
        path: The source.
        without: A folder that does not count: a store may be made inside its source.

    Raises:
        SourceError: A file or folder cannot be looked at.
    """
    digest, state = hashlib.sha256(), hashlib.sha256()
    count = size = 0
    aside = None if without is None else os.path.abspath(without)
    try:
        for name, status in _files(path, aside):
            fact = f"{name}\0{status.st_size}\n".encode("utf-8", "surrogateescape")
            digest.update(fact)
            state.update(fact + f"{status.st_mtime_ns}\n".encode())
            count, size = count + 1, size + status.st_size
    except OSError as error:
        raise SourceError(f"'{error.filename}' cannot be read: {error.strerror}") from error
    return Listing(path.absolute().name, count, size, digest.hexdigest(), state.hexdigest())


def _files(path: Path, aside: str | None) -> Iterator[tuple[str, os.stat_result]]:
    """Yield relative paths and states, folder by folder, in an order of names alone."""
    if not path.is_dir():
        yield "", path.stat()
        return
    waiting = [("", os.fspath(path))]
    known = {os.path.realpath(path)}  # a link may lead to where the walk has been
    while waiting:
        prefix, folder = waiting.pop()
        for name in sorted(os.listdir(folder)):
            place = os.path.join(folder, name)
            if name.startswith(".") or not os.path.exists(place):  # a link may lead nowhere
                continue
            status = os.stat(place)
            if stat.S_ISREG(status.st_mode):
                yield f"{prefix}{name}", status
            elif stat.S_ISDIR(status.st_mode) and os.path.abspath(place) != aside:
                real = os.path.realpath(place)
                if real not in known:
                    known.add(real)
                    waiting.append((f"{prefix}{name}/", place))
