"""Writing results so that a partial one never looks whole.

Everything is written to a temporary sibling and renamed when it is complete; a failure on the way
removes the sibling and says which file could not be written and why.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kinegraph.errors import OutputError


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise OutputError if ``path`` exists and may not be replaced."""
    if not force and os.path.lexists(path):
        raise OutputError(f"'{path}' exists already; nothing is overwritten without --force")


@contextmanager
def atomic_file(path: Path, *, force: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    Args:
        path: The file to be written; its folder is created.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: The file exists and ``force`` is false, it is a folder or a device, or the disk
            refuses (full, read-only).
    """
    path = Path(path)
    refuse_existing(path, force=force)
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write '{path}': it is a folder or a device, not a file")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f".part{path.suffix}", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` when the block succeeds.

    With ``force`` an existing folder is moved aside first and removed only after the new one
    stands. Whoever passes ``force`` has made sure that what stands there is theirs to remove.

    Raises:
        OutputError: The folder exists and ``force`` is false, or the disk refuses.
    """
    path = Path(path)
    refuse_existing(path, force=force)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in (*temporary.rglob("*"), temporary):
            _sync(file)
        refuse_existing(path, force=force)  # it may have appeared in the meantime
        _take_place(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {reason(error)}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        OutputError: The disk refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make '{path}': {reason(error)}") from error


def remove_files(*paths: Path) -> None:
    """Remove those of the files that are there.

    Raises:
        OutputError: The disk refuses.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove '{path}': {reason(error)}") from error


def reason(error: OSError) -> str:
    """Return why the system refused, in a few words; temporary names mean nothing to a user."""
    why = error.strerror or str(error)
    named = str(error.filename or "")
    return f"{why} ('{named}')" if named and ".part" not in named else why


def _take_place(temporary: Path, path: Path) -> None:
    """Rename a finished folder to ``path``; what stood there is removed last, or put back."""
    aside = temporary.with_suffix(".old")
    stood = os.path.lexists(path)
    if stood:
        path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if stood:
            aside.rename(path)
        raise
    _sync(path.parent)
    if stood:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
