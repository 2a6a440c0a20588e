"""The published splits of PKU-MMD: text files that name training and validation recordings.

The second line of ``cross-subject.txt`` (``cross_subject_v2.txt`` for part II) names those that
train, the fourth those that validate, with commas between them; the other lines are titles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from kinegraph.data.formats.members import Member
from kinegraph.data.limits import MAX_SPLIT_BYTES
from kinegraph.errors import ClipError, SourceError

FILE = re.compile(r"cross[-_ ]?(subject|view)[^/]*\.txt", re.IGNORECASE)
SPLITS = {"subject": "xsub", "view": "xview"}
TRAIN, TEST = 1, 2


def is_split_file(member: Member) -> bool:
    """Whether a file is called like one of the published splits."""
    return FILE.fullmatch(PurePosixPath(member.path).name) is not None


def read_splits(members: Iterable[Member], names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Divide long recordings by split files.

    As in the original, a recording that does not train validates; but one of a part of the data set
    that no file speaks of is on neither side.

    Args:
        members: The split files, of one part or of both.
        names: Names of the long recordings.

    Returns:
        Split -> {recording: 1 train or 2 test}. ``xsub`` is always there, empty if no file tells
        it: a rule of the same name for another data set must not stand in for it.

    Raises:
        SourceError: A file is no such list, or speaks of other recordings.
    """
    splits: dict[str, dict[str, int]] = {"xsub": {}}
    known = list(names)
    for member in members:
        found = FILE.fullmatch(PurePosixPath(member.path).name)
        if found is None:
            continue
        sides = _divide(member, known)
        splits.setdefault(SPLITS[found[1].lower()], {}).update(sides)
    return splits


def _divide(member: Member, known: list[str]) -> dict[str, int]:
    train, test = _lists(member)
    named = train | test
    if not known or named.isdisjoint(known):
        # One file for each part lies in the same folder: that of the other part says nothing here.
        if {_part(name) for name in named}.isdisjoint(_part(name) for name in known):
            return {}
        raise SourceError(
            f"split file '{member.path}' names none of these recordings (it begins with"
            f" '{min(named)}', they with '{known[0] if known else ''}')"
        )
    parts = {_part(name) for name in named}
    return {name: TRAIN if name in train else TEST for name in known if _part(name) in parts}


def _lists(member: Member) -> tuple[frozenset[str], frozenset[str]]:
    where = f"split file '{member.path}'"
    try:
        data = member.read()
    except ClipError as error:
        raise SourceError(str(error)) from error
    if len(data) > MAX_SPLIT_BYTES:
        raise SourceError(f"{where} has {len(data):,} bytes, that is no list of recordings")
    lines = data.decode("utf-8", "replace").splitlines()
    if len(lines) < 4:
        raise SourceError(
            f"{where} has {len(lines)} lines; expected training names in the second and validation"
            " names in the fourth"
        )
    train, test = (
        frozenset(name.strip() for name in lines[row].split(",") if name.strip()) for row in (1, 3)
    )
    if not train or not test:
        raise SourceError(f"{where} names no recording in its second or fourth line")
    return train, test


def _part(name: str) -> str:
    return "2" if name.startswith("A") else "1"
