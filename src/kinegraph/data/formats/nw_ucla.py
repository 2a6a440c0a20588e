"""Northwestern-UCLA: one JSON file per recording, in a folder or in the zip users download.

A file holds ``skeletons`` (T x 20 x 3, metres), ``label`` (1 to 10) and ``file_name``. Names are
``aAA_sSS_eEE_vVV``: action, subject, execution, view. A JSON file of another name can be read as
well; its subject and view are then unknown.

Source: Wang et al., Cross-view Action Modeling, Learning and Recognition (CVPR 2014).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN, Clip, Track
from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.errors import ClipError, LayoutError, shown
from kinegraph.skeleton import load_layout

LAYOUT = "ucla20"
NAME = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)")
CLASSES = {  # action number in the file name -> name; labels count the rows
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
ACTIONS = tuple(CLASSES)


@contextmanager
def open_nw_ucla(source: Path, options: Options) -> Iterator[Recordings]:
    """Open a JSON file, a folder of them, or a zip archive of them.

    Raises:
        SourceError: There is nothing to read.
        LayoutError: Another layout than ``ucla20`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"NW-UCLA recordings have layout '{LAYOUT}', not '{options.layout}'")
    with open_members(source, ".json") as members:
        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=tuple(CLASSES.values()),
            items=Lazy(len(members), partial(_recording, members)),
            default_split="view3",
        )


def _recording(members: Sequence[Member], row: int) -> Recording:
    return Recording(members[row].stem, partial(read_member, members[row]))


def read_member(member: Member) -> Clip:
    """Read one recording.

    Raises:
        ClipError: It is no such recording, or contradicts its name.
    """
    where = f"'{member.path}'"
    data = member.read()
    if not data.strip():
        raise ClipError(f"{where} is empty")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        numbers = " (it holds NaN or infinite numbers)" if re.search(rb"NaN|Inf", data) else ""
        raise ClipError(f"{where} is cut short or no JSON: {error}{numbers}") from error
    if not isinstance(fields, dict) or "skeletons" not in fields:
        raise ClipError(f"{where} is no NW-UCLA recording: it has no field 'skeletons'")
    joints = _joints(fields["skeletons"], where)
    action, subject, execution, view = _numbers(member.stem, fields.get("file_name"), where)
    return Clip(
        name=member.stem,
        tracks=(Track(joints),),
        frames=len(joints),
        label=_label(action, fields.get("label"), where),
        subject=subject,
        camera=view,
        replication=execution,
    )


def _joints(skeletons: Any, where: str) -> NDArray[np.float64]:
    """Return (T, 20, 3) coordinates."""
    try:
        numbers = chain.from_iterable(chain.from_iterable(skeletons))
        types = set(map(type, numbers))
    except TypeError as error:
        raise ClipError(
            f"{where}: 'skeletons' are no frames of joints of numbers, expected (T, 20, 3)"
        ) from error
    # NumPy would read texts as numbers and null as NaN, or make every value as long as one text.
    if not isinstance(skeletons, list) or not types <= {float, int}:
        raise ClipError(f"{where}: its coordinates are not all numbers")
    try:
        joints = np.array(skeletons, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ClipError(f"{where}: its frames or joints have different lengths") from error
    if joints.size == 0:
        raise ClipError(f"{where} is empty: it has no frames")
    if joints.ndim != 3 or joints.shape[1:] != (20, 3):
        raise ClipError(f"{where}: 'skeletons' has shape {joints.shape}, expected (T, 20, 3)")
    return joints


def _numbers(stem: str, file_name: Any, where: str) -> tuple[int, ...]:
    """Return action, subject, execution and view from the name of the file, or -1 for each."""
    inside = NAME.fullmatch(file_name) if isinstance(file_name, str) else None
    found = NAME.fullmatch(stem) or inside
    if found is None:
        return (UNKNOWN,) * 4
    if inside is not None and inside[0] != found[0]:
        raise ClipError(f"{where} calls itself '{inside[0]}' inside")
    return tuple(int(number) for number in found.groups())


def _label(action: int, label: Any, where: str) -> int:
    """Return the 0-based class that name and label agree on, or -1."""
    if label is not None and (type(label) is not int or not 1 <= label <= len(ACTIONS)):
        raise ClipError(f"{where}: its label is {shown(label)}, expected 1 to {len(ACTIONS)}")
    if action == UNKNOWN:
        return UNKNOWN if label is None else label - 1
    if action not in ACTIONS:
        known = ", ".join(f"a{number:02}" for number in ACTIONS)
        raise ClipError(f"{where}: action a{action:02} is not one of {known}")
    if label is not None and ACTIONS[label - 1] != action:
        raise ClipError(
            f"{where}: its label {label} is '{CLASSES[ACTIONS[label - 1]]}', but its name says"
            f" '{CLASSES[action]}'"
        )
    return ACTIONS.index(action)


def matches_nw_ucla(path: Path) -> bool:
    """Whether a file speaks of ``skeletons``, or a folder or archive has files named as here."""
    if path.is_file() and path.suffix == ".json":
        with path.open("rb") as file:
            return b'"skeletons"' in file.read(4096)
    names = member_names(path, ".json") if path.is_dir() or path.suffix == ".zip" else []
    return any(NAME.fullmatch(PurePosixPath(name).stem) for name in names)


NW_UCLA = Format(
    name="nw-ucla",
    summary="Northwestern-UCLA, 10 actions, 3 views: JSON files in a folder or zip",
    layouts=(LAYOUT,),
    matches=matches_nw_ucla,
    open=open_nw_ucla,
)
