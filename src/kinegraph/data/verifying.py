"""Whether the files of a store are those that were written: checksums, recomputed.

It works on the folder, not on an opened store, so that a file is named even where it is damaged so
badly that the store cannot be opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from kinegraph.data.arrays import read_header
from kinegraph.data.store_writer import (
    FORMAT_VERSION,
    OWN_CHECKSUM,
    file_checksum,
    meta_checksum,
)
from kinegraph.errors import StoreError

BLOCK_BYTES = 1 << 20
ARRAYS = ("joints", "tracks", "clips")
ARCHIVES = ("splits.npz", "extras.npz")


def verify_store(path: Path) -> None:
    """Read every file of a store and compare it with the checksums in ``meta.json``.

    Raises:
        StoreError: ``meta.json`` cannot be read, or files are not what was written; the message
            names all of them.
    """
    changed = changed_files(path)
    if changed:
        names = ", ".join(changed)
        what = "checksum of {} is not the one" if len(changed) == 1 else (
            "checksums of {} are not the ones"
        )  # fmt: skip
        raise StoreError(
            f"store '{path}' is damaged: the {what.format(names)} written; import the recordings"
            " again"
        )


def changed_files(path: Path) -> list[str]:
    """Return the names of the files that are missing, added or changed.

    Raises:
        StoreError: There is no store, or its ``meta.json`` has no checksums that can be read.
    """
    meta = _read(path)
    if meta.get(OWN_CHECKSUM) != meta_checksum(meta):
        return ["meta.json"]  # the checksums in it say nothing about the other files any more
    changed = []
    further = meta.get("further_checksums")
    written = meta.get("checksums")
    if not isinstance(further, dict) or not isinstance(written, dict):
        raise StoreError(f"store '{path}': meta.json is damaged: it has no checksums")
    for name in ARRAYS:
        file = f"{name}.npy"
        expected = (further.get(f"{file}, header"), written.get(name))
        if _array_checksums(path / file) != expected:
            changed.append(file)
    for name in ARCHIVES:
        # An archive that was not written must not be there either.
        found = _archive_checksum(path / name)
        if found != further.get(name):
            changed.append(name)
    return changed


def _read(path: Path) -> dict[str, Any]:
    try:
        meta = dict(json.loads((path / "meta.json").read_text(encoding="utf-8")))
        version = meta["format_version"]
    except FileNotFoundError as error:
        raise StoreError(f"'{path}' is not a store: it has no meta.json") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(f"store '{path}': meta.json is damaged ({error!r})") from error
    if version != FORMAT_VERSION:
        raise StoreError(
            f"store '{path}' has format version {version}, this kinegraph reads {FORMAT_VERSION};"
            " import the recordings again"
        )
    return meta


def _array_checksums(file: Path) -> tuple[str, str] | None:
    """Return the checksums of a ``.npy`` file's header and of its rows; None if it has neither."""
    try:
        with file.open("rb") as opened:
            header = read_header(opened, os.fstat(opened.fileno()).st_size, f"'{file}'")
            opened.seek(0)
            first = hashlib.sha256(opened.read(header.offset)).hexdigest()
            rows = hashlib.sha256()
            for block in _blocks(opened):
                rows.update(block)
            return first, rows.hexdigest()
    except (OSError, StoreError):
        return None


def _archive_checksum(file: Path) -> str | None:
    try:
        return file_checksum(file) if file.exists() else None
    except OSError:
        return ""


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(BLOCK_BYTES):
        yield block
