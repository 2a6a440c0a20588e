"""Where label files and lists of splits of PKU-MMD lie: given, in the source, or beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.pku_mmd_splits import is_split_file
from kinegraph.errors import SourceError

NAME = re.compile(r"(?:(\d{4})|A(\d\d)N(\d\d))-([LMR])")


def is_label_file(member: Member) -> bool:
    """Whether a member lies in a folder of label files: the names are those of the recordings."""
    folders = PurePosixPath(member.path).parent.parts
    return any("label" in folder.lower() for folder in folders)


def label_files(
    source: Path,
    members: Sequence[Member],
    recordings: Sequence[str],
    given: Path | None,
    stack: ExitStack,
) -> dict[str, Member]:
    """Return the label files by name: those given, else in the source, else beside it.

    Args:
        source: The folder or archive of the recordings.
        members: The text files in it.
        recordings: Names of the long recordings, at least one.
        given: Where the user says they are.
        stack: Keeps archives open as long as they are read.

    Raises:
        SourceError: Those given are of other recordings, or two have the same name.
    """
    if given is None:
        found = [member for member in members if is_label_file(member)]
        if not found:
            for folder in _beside(source, "label"):
                found += stack.enter_context(open_members(folder, ".txt"))
    else:
        found = stack.enter_context(open_members(given, ".txt"))
    labels: dict[str, Member] = {}
    for member in found:
        if not NAME.fullmatch(member.stem):
            continue
        if member.stem in labels:
            raise SourceError(
                f"two label files are called '{member.stem}.txt': '{labels[member.stem].path}' and"
                f" '{member.path}'; name the right folder with --labels"
            )
        labels[member.stem] = member
    if given is not None and not any(name in labels for name in recordings):
        raise SourceError(
            f"'{given}' holds no label file of these recordings, such as '{recordings[0]}.txt'"
        )
    return labels


def split_files(
    source: Path, members: Sequence[Member], given: Path | None, stack: ExitStack
) -> list[Member]:
    """Return the lists of splits: those given, else in the source, else beside it.

    Args:
        source: The folder or archive of the recordings.
        members: The text files in it.
        given: Where the user says they are.
        stack: Keeps archives open as long as they are read.

    Raises:
        SourceError: There is none where the user says.
    """
    if given is not None:
        found = stack.enter_context(open_members(given, ".txt"))
        chosen = [member for member in found if is_split_file(member)]
        if not chosen:
            raise SourceError(
                f"'{given}' holds no split file such as cross-subject.txt or cross_view_v2.txt"
            )
        return chosen
    inside = [member for member in members if is_split_file(member)]
    if inside or not source.is_dir():
        return inside
    places = [*sorted(source.absolute().parent.glob("cross*.txt")), *_beside(source, "split")]
    found = [each for place in places for each in stack.enter_context(open_members(place, ".txt"))]
    return [member for member in found if is_split_file(member)]


def _beside(source: Path, word: str) -> list[Path]:
    """Return folders and zip archives beside a folder or archive whose names hold a word."""
    if not source.is_dir() and source.suffix != ".zip":
        return []
    source = source.absolute()
    return [
        path
        for path in sorted(source.parent.iterdir())
        if word in path.name.lower()
        and path != source
        and (path.suffix == ".zip" or path.is_dir())
        and member_names(path, ".txt")
    ]
