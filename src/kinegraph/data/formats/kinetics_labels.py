"""Label files of Kinetics-skeleton: ``kinetics_train_label.json``, ``kinetics_val_label.json``.

Each maps the name of a video to its class and to whether anybody was seen in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import orjson

from kinegraph.data.formats.members import Member
from kinegraph.data.limits import MAX_CLASSES, MAX_LABEL_BYTES
from kinegraph.errors import ClipError, SourceError, shown

FILE = re.compile(r"(?:.*[-_])?label\.json", re.IGNORECASE)
PART = re.compile(r"train|val", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """What a label file says about a video: 0-based class, whether people were seen, its part."""

    label: int
    has_skeleton: bool
    part: str


@dataclass(frozen=True)
class Labels:
    """All label files of a source.

    Attributes:
        class_names: Names of the classes; a number that no video has is called ``class N``.
        entries: Name of a video -> what is said about it.
    """

    class_names: tuple[str, ...]
    entries: Mapping[str, Entry]


def is_label_file(path: str) -> bool:
    """Whether a file is called like a label file."""
    return path.endswith(".json") and FILE.fullmatch(path.rpartition("/")[2]) is not None


@lru_cache(maxsize=256)
def part_of(text: str) -> str:
    """Return ``train``, ``val`` or nothing, as a file or folder is called."""
    found = PART.search(text)
    return found[0].lower() if found else ""


def read_labels(members: Iterable[Member], part: str = "") -> Labels:
    """Read label files.

    Args:
        members: The files.
        part: Which part they describe, where their names do not tell.

    Raises:
        SourceError: One is no label file, or they contradict each other.
    """
    names: dict[int, str] = {}
    entries: dict[str, Entry] = {}
    shared: dict[Entry, Entry] = {}  # a few hundred objects say it all for 260,000 videos
    for member in members:
        where = f"label file '{member.path}'"
        named = part_of(PurePosixPath(member.path).name) or part
        for video, fields in _load(member, where).items():
            entry, name = _entry(fields, named, f"{where}: '{video}'")
            if names.setdefault(entry.label, name) != name:
                raise SourceError(
                    f"{where}: '{video}': label_index {entry.label} is '{name}' here and"
                    f" '{names[entry.label]}' elsewhere"
                )
            entries[video] = shared.setdefault(entry, entry)
    count = max(names, default=-1) + 1
    return Labels(tuple(names.get(label, f"class {label}") for label in range(count)), entries)


def _load(member: Member, where: str) -> dict[str, Any]:
    try:
        data = member.read()
    except ClipError as error:
        raise SourceError(str(error)) from error
    if len(data) > MAX_LABEL_BYTES:
        raise SourceError(f"{where} has {len(data):,} bytes, more than {MAX_LABEL_BYTES:,}")
    try:
        videos = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise SourceError(f"{where} is cut short or no JSON: {error}") from error
    if not isinstance(videos, dict) or not videos:
        raise SourceError(f"{where} is no table of videos")
    return videos


def _entry(fields: Any, part: str, where: str) -> tuple[Entry, str]:
    if not isinstance(fields, dict):
        raise SourceError(f"{where} is {shown(fields)}, expected has_skeleton, label, label_index")
    label, name = fields.get("label_index"), fields.get("label")
    if type(label) is not int or not 0 <= label < MAX_CLASSES or not isinstance(name, str):
        raise SourceError(
            f"{where}: its label_index is {shown(label)} and its label {shown(name)}; expected a"
            " number from 0 and a name"
        )
    return Entry(label, fields.get("has_skeleton") is not False, part), name
