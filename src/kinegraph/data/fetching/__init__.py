"""Fetching a file: resumable, whole or not at all, with a checksum that later fetches must meet.

What has come so far lies in ``NAME.part``, and which version of the file it is of in
``NAME.part.json``; the next fetch goes on from there if the server still has that version. Only
what is whole gets the name ``NAME``. Its sha256 is then written to ``NAME.sha256``, in the form
that ``sha256sum -c`` reads; whenever the file is fetched again it must have that sum.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import orjson
from pydantic import TypeAdapter

from kinegraph.console import meter, remark
from kinegraph.data.fetching.download import (
    Answer,
    Changed,
    Cut,
    Version,
    ask,
    check_address,
    receive,
)
from kinegraph.errors import FetchError, OutputError
from kinegraph.files import write_text

MEGABYTE = 1_000_000
LOOK_EVERY = 64 * MEGABYTE  # bytes after which room on the disk is looked at again
NOTE = TypeAdapter(Version)
DIGEST = re.compile(r"[0-9a-f]{64}")
KINDS = {".zip": "zip archive", ".7z": "7z archive", ".pkl": "pickle"}
BEGIN_7Z, BEGIN_PICKLE, END_PICKLE = b"7z\xbc\xaf\x27\x1c", b"\x80", b"."


@dataclass(frozen=True)
class Patience:
    """How long to bear with a bad connection.

    Attributes:
        timeout: Seconds of silence after which a connection counts as cut.
        tries: How often in a row a connection may fail without anything new having come.
        pause: Seconds before the second try; each further one waits twice as long.
        longest: Seconds that no pause exceeds.
    """

    timeout: float = 30.0
    tries: int = 6
    pause: float = 1.0
    longest: float = 60.0


@dataclass(frozen=True)
class Fetched:
    """A file that is there and whole.

    Attributes:
        path: Where it lies.
        sha256: Its checksum.
        size: Its bytes.
        new: Whether it was downloaded now; else it was there, and unchanged.
    """

    path: Path
    sha256: str
    size: int
    new: bool


def fetch_file(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    force: bool = False,
    patience: Patience | None = None,
) -> Fetched:
    """Download a file, or check the one that is there.

    Args:
        url: An ``http`` or ``https`` address.
        path: Where to put it; its folder is made.
        sha256: The checksum it must have; else the one recorded beside it, if there is one.
        force: Whether to download anew what is there, and to forget the recorded checksum.
        patience: How long to bear with a bad connection.

    Raises:
        FetchError: It cannot be downloaded, is not what its name says, or has another checksum.
        OutputError: A file without a recorded checksum is there, or the disk refuses.
    """
    check_address(url)
    record = _beside(path, ".sha256")
    expected = _expected(sha256, None if force else record)
    if os.path.lexists(path) and not force:
        return _check_present(path, record, expected)
    if path.is_dir():
        raise OutputError(f"cannot write '{path}': it is a folder, not a file")
    part = _beside(path, ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part) as file:
            _download(url, path, file, patience or Patience())
            try:
                found = _check_new(url, path, file, expected)
            except FetchError:
                _remove(part)  # whole but wrong: there is nothing to go on with
                raise
            size = part.stat().st_size
            # First the record: a file without one would not be trusted.
            write_text(record, f"{found}  {path.name}\n")
            os.replace(part, path)
            _remove(part)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}") from error
    return Fetched(path, found, size, new=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _expected(sha256: str | None, record: Path | None) -> str | None:
    """Return the checksum that was stated, or the recorded one, or None.

    Raises:
        FetchError: It is no checksum.
    """
    if sha256 is not None:
        text, where = sha256.strip().lower(), "--sha256"
    elif record is not None and record.is_file():
        text, where = record.read_text("utf-8", "replace")[:64].lower(), f"'{record}'"
    else:
        return None
    if not DIGEST.fullmatch(text):
        raise FetchError(f"{where} holds no sha256: expected 64 hexadecimal digits, found '{text}'")
    return text


def _check_present(path: Path, record: Path, expected: str | None) -> Fetched:
    """Verify a file that is there.

    Raises:
        FetchError: It has changed since it was fetched.
        OutputError: Nothing says what its checksum should be.
    """
    if expected is None:
        raise OutputError(
            f"'{path}' exists already, without a checksum beside it ('{record.name}');"
            " nothing is overwritten without --force"
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise FetchError(
            f"'{path}' is not what was fetched: sha256 {found}, expected {expected};"
            " --force fetches it anew"
        )
    if not record.exists():  # the sum was stated by the user
        write_text(record, f"{found}  {path.name}\n")
    return Fetched(path, found, path.stat().st_size, new=False)


@contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """Open the unfinished file so that no other process writes to it as well.

    Raises:
        FetchError: Another one does.
    """
    with part.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have finished between the opening and the lock: then this is no
            # longer the unfinished file but the finished one.
            if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                raise BlockingIOError
        except BlockingIOError:
            raise FetchError(f"'{part}' is being fetched by another process") from None
        try:
            yield file
        finally:
            if not os.fstat(file.fileno()).st_size:  # nothing has come: nothing to go on with
                _remove(part)


def _remove(part: Path) -> None:
    for path in (part, _beside(part, ".json")):
        path.unlink(missing_ok=True)


def _download(url: str, path: Path, file: IO[bytes], patience: Patience) -> None:
    """Ask until the unfinished file is complete.

    Raises:
        FetchError: It cannot be downloaded; what has come is kept.
    """
    state = _beside(path, ".part.json")
    failures, furthest, began = 0, 0, False
    while True:
        known, start = _progress(url, state, file)
        if known.known and start == known.length:
            return
        try:
            with ask(url, start=start, known=known, timeout=patience.timeout) as answer:
                began = True
                _begin(answer, path, file, state)
                _store(answer, path, file)
            return
        except Changed:
            remark(f"{path.name} has changed on the server: starting over")
            file.truncate(0)
            cut = Cut("the server offers another version each time", reached=True)
        except Cut as error:
            cut = error
            if not cut.reached and not began:  # waiting would not help
                raise FetchError(f"'{url}': {cut}") from error
        size = file.seek(0, os.SEEK_END)
        # Only what is new counts: a server that cannot go on sends the same beginning again.
        failures = 1 if size > furthest else failures + 1
        furthest = max(furthest, size)
        if failures >= patience.tries:
            size = _progress(url, state, file)[1]
            kept = f"; {size} bytes are kept, the same command goes on from there" if size else ""
            raise FetchError(f"'{url}': {cut}, {failures} times in a row{kept}")
        pause = min(max(cut.wait, patience.pause * 2 ** (failures - 1)), patience.longest)
        remark(f"{path.name}: {cut}; asking again in {pause:g} s")
        time.sleep(pause)


def _progress(url: str, state: Path, file: IO[bytes]) -> tuple[Version, int]:
    """Return which version the unfinished file is of and how much of it there is.

    Without a trustworthy note of the version there is nothing to go on with.
    """
    nothing = Version(url)
    try:
        known = NOTE.validate_json(state.read_bytes())
    except (OSError, ValueError):
        return nothing, 0
    size = file.seek(0, os.SEEK_END)
    if known.url != url or not known.known or size > (known.length or size):
        return nothing, 0
    return known, size


def _begin(answer: Answer, path: Path, file: IO[bytes], state: Path) -> None:
    """Note the version, drop what is not continued, and see whether the rest fits on the disk."""
    if not answer.start:
        # The old note goes first: a beginning must never be taken for one of another version.
        state.unlink(missing_ok=True)
        file.truncate(0)
        write_text(state, orjson.dumps(asdict(answer.version)).decode())
    _check_room(path, (answer.version.length or 0) - answer.start)


def _check_room(path: Path, rest: int) -> None:
    """See whether the rest of a file fits on the disk.

    Raises:
        OutputError: It does not.
    """
    free = shutil.disk_usage(path.parent).free
    if rest > free:
        raise OutputError(
            f"'{path.parent}' has {free / MEGABYTE:.0f} MB free, but '{path.name}' needs"
            f" {rest / MEGABYTE:.0f} MB: make room, or name another folder with --out"
        )


def _store(answer: Answer, path: Path, file: IO[bytes]) -> None:
    """Write what arrives behind what is there, and show how far it is."""
    length, began = answer.version.length, time.monotonic()
    total = None if length is None else -(-length // MEGABYTE)
    done = looked = answer.start
    with meter(f"fetching {path.name} (MB)", total) as shown:

        def write(piece: bytes) -> None:
            nonlocal done, looked
            file.write(piece)
            done += len(piece)
            if length is None and done - looked >= LOOK_EVERY:  # it may never end
                looked = done
                _check_room(path, LOOK_EVERY)
            rate = (done - answer.start) / max(time.monotonic() - began, 1e-6) / MEGABYTE
            shown.update(done // MEGABYTE, f"{rate:.1f} MB/s")

        try:
            receive(answer, write)
        finally:
            file.flush()
            with suppress(OSError):  # a full disk is reported by the writing itself
                os.fsync(file.fileno())


def _check_new(url: str, path: Path, file: IO[bytes], expected: str | None) -> str:
    """Return the checksum of what came.

    Raises:
        FetchError: It is not the kind of file that its name says, or has another checksum.
    """
    if not _is_kind(file, path.suffix):
        file.seek(0)
        raise FetchError(
            f"'{url}' gave no {KINDS[path.suffix]}, or one that is cut short: it begins with"
            f" {file.read(8)!r}; nothing was kept"
        )
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    if expected not in (None, found):
        raise FetchError(
            f"'{url}' gave another file than expected: sha256 {found}, expected {expected}; nothing"
            f" was kept; if it was changed on purpose, --force takes it and records its checksum"
        )
    return found


def _is_kind(file: IO[bytes], ending: str) -> bool:
    """Whether a file is what its name's ending says, as far as its two ends tell."""
    if ending == ".zip":
        return zipfile.is_zipfile(file)  # looks for the list of members, which comes last
    file.seek(0)
    begin = file.read(len(BEGIN_7Z))
    file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
    if ending == ".7z":
        return begin == BEGIN_7Z
    return ending != ".pkl" or (begin.startswith(BEGIN_PICKLE) and file.read() == END_PICKLE)
