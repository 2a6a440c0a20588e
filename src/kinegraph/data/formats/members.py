"""The files of a data set, whether they lie in a folder or in a zip archive.

Formats ask for all files of a kind and read them one by one; nothing is unpacked to the disk. An
archive that looks made to do harm is refused as a whole, a damaged file in it only by itself.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinegraph.data.archives import ARCHIVE_ERRORS, check_packing, check_place, check_sizes
from kinegraph.data.limits import MAX_MEMBER_BYTES, MAX_RATIO
from kinegraph.errors import ClipError, SourceError


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a source.

    Attributes:
        path: Its path inside the source, with forward slashes.
        read: Returns its bytes; raises ClipError if they cannot be read.
    """

    path: str
    read: Callable[[], bytes]

    @property
    def stem(self) -> str:
        """The file name without folders and suffix."""
        name = self.path.rpartition("/")[2]  # asked of 100,000 files: no time to make a Path
        return name.rpartition(".")[0] or name


@contextmanager
def open_members(source: Path, suffix: str, *, archives: bool = False) -> Iterator[list[Member]]:
    """Yield the files of a folder or zip archive that end in ``suffix``, sorted by path.

    A single file that is no archive is a source of one member, whatever its suffix.

    Args:
        source: The folder, archive or file.
        suffix: How the names of wanted files end.
        archives: Whether a folder without such files, but with zip archives, is a source of what
            all these archives hold.

    Raises:
        SourceError: The source does not exist, holds no such file, or is an unsafe archive.
    """
    if source.is_dir():
        paths = sorted(_walk(source, suffix), key=_by_folders)
        members = [Member(path, partial(_read_file, source, path)) for path in paths]
        zipped = sorted(source.glob("*.zip")) if archives and not members else []
        with ExitStack() as stack:
            for path in zipped:
                inside = stack.enter_context(open_members(path, suffix))
                members += [Member(f"{path.name}/{each.path}", each.read) for each in inside]
            yield _some(members, source, suffix)
        return
    if source.exists() and not source.is_file():
        raise SourceError(f"'{source}' is a device or a pipe, expected a file or a folder")
    try:
        is_archive = zipfile.is_zipfile(source)
        archive = zipfile.ZipFile(source) if is_archive else None
    except ARCHIVE_ERRORS as error:
        raise SourceError(f"'{source}' is not a readable zip archive: {error}") from error
    if archive is not None:
        with archive:
            yield _some(_archive_members(archive, source, suffix), source, suffix)
    elif source.suffix == ".zip" and source.exists():
        raise SourceError(f"'{source}' is not a zip archive, or was cut short")
    elif source.is_file():
        yield [Member(source.name, partial(_read_file, source))]
    else:
        raise SourceError(f"'{source}' does not exist")


def member_names(source: Path, suffix: str, *, archives: bool = False) -> list[str]:
    """Return the paths of the members, or nothing where they cannot be listed."""
    try:
        with open_members(source, suffix, archives=archives) as members:
            return [member.path for member in members]
    except SourceError:
        return []


def _walk(source: Path, suffix: str) -> Iterator[str]:
    """Yield the paths of the wanted files of a folder, also through links to other folders.

    Raises:
        SourceError: A folder cannot be listed: what it holds would be missing silently.
    """
    known = {os.path.realpath(source)}  # a link may lead to where the walk has been
    try:
        for folder, folders, names in os.walk(source, onerror=_refuse, followlinks=True):
            folders[:] = [
                each
                for each in sorted(folders)
                if not _is_hidden(each) and _is_new(os.path.join(folder, each), known)
            ]
            inside = os.path.relpath(folder, source).replace(os.sep, "/")
            beginning = "" if inside == "." else f"{inside}/"
            for name in names:
                # A pipe, a device or a link that leads nowhere is no recording.
                if _is_wanted(name, suffix) and os.path.isfile(os.path.join(folder, name)):
                    yield beginning + name
    except OSError as error:
        raise SourceError(f"'{error.filename}' cannot be read: {error.strerror}") from error


def _is_new(folder: str, known: set[str]) -> bool:
    """Whether a folder was not met before, by this or another path."""
    place = os.path.realpath(folder)
    if place in known:
        return False
    known.add(place)
    return True


def _refuse(error: OSError) -> None:
    raise error


def _by_folders(path: str) -> list[str]:
    return path.split("/")


def _archive_members(archive: zipfile.ZipFile, source: Path, suffix: str) -> list[Member]:
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    for info in infos:
        _check_member(info, source)
    size = source.stat().st_size
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_RATIO * size:
        raise SourceError(
            f"'{source}' is refused: {size:,} bytes would unpack to {unpacked:,}, more than"
            f" {MAX_RATIO} times as many"
        )
    wanted = [info for info in infos if _is_wanted(info.filename, suffix)]
    wanted.sort(key=_path_of)
    return [Member(info.filename, partial(_read_member, archive, info)) for info in wanted]


def _check_member(info: zipfile.ZipInfo, source: Path) -> None:
    where = f"'{source}'"
    check_place(info.orig_filename, where, SourceError)
    check_packing(info, where, SourceError)
    if info.file_size > MAX_MEMBER_BYTES:
        raise SourceError(
            f"{where} is refused: its member {info.filename!r} has {info.file_size:,} bytes, more"
            f" than the {MAX_MEMBER_BYTES:,} that one recording may have"
        )


def _is_wanted(path: str, suffix: str) -> bool:
    """Leave out what macOS and editors put beside the recordings."""
    return path.endswith(suffix) and not any(map(_is_hidden, path.split("/")))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _some(members: list[Member], source: Path, suffix: str) -> list[Member]:
    if not members:
        archives = sorted(source.glob("*.zip")) if source.is_dir() else []
        hint = f"; name the archive itself: {archives[0]}" if archives else ""
        raise SourceError(f"'{source}' holds no file that ends in '{suffix}'{hint}")
    return members


def _path_of(info: zipfile.ZipInfo) -> str:
    return info.filename


def _read_file(source: Path, path: str = "") -> bytes:
    file = source / path
    try:
        size = file.stat().st_size
        if size > MAX_MEMBER_BYTES:
            raise ClipError(
                f"'{file}' has {size:,} bytes, more than the {MAX_MEMBER_BYTES:,} that one"
                " recording may have"
            )
        return file.read_bytes()
    except OSError as error:
        raise ClipError(f"'{file}' cannot be read: {error.strerror or error}") from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    where = f"'{info.filename}'"
    check_sizes(info, where, ClipError)
    try:
        data = archive.read(info)
    except ARCHIVE_ERRORS as error:
        raise ClipError(f"{where} is damaged in the archive: {error}") from error
    if len(data) != info.file_size:
        raise ClipError(
            f"{where} is damaged in the archive: it has {len(data):,} bytes, {info.file_size:,} are"
            " declared"
        )
    return data
