"""SBU Kinect Interaction: one text file per recording of two people, in five published folds.

A row of ``skeleton_pos.txt`` is the number of the frame and 2 x 15 x 3 coordinates. Files lie in
``sAAsBB/CC/RRR/``: the two people, class and repetition. The page offers one
archive for each pair of people: a folder of those is read as well.

Source: Yun et al., Two-person Interaction Detection Using Body-Pose Features (CVPR Workshops 2012).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.number_table import read_table
from kinegraph.data.formats.recordings import Format, Options, Recording, Recordings
from kinegraph.data.formats.seen_people import tracks_where_seen
from kinegraph.errors import ClipError, LayoutError
from kinegraph.skeleton import load_layout

LAYOUT = "sbu15"
FILE = "skeleton_pos.txt"
PLACE = re.compile(r"(?:^|/)s(\d\d)s(\d\d)(?:\.zip)?/(\d\d)/(\d\d\d)/skeleton_pos\.txt$")
PEOPLE, JOINTS = 2, 15
FRAMES_PER_SECOND = 15
CLASSES = (
    "approaching", "departing", "kicking", "pushing", "shaking hands", "hugging",
    "exchanging object", "punching",
)  # fmt: skip
# Pairs of people that test in each of the five folds; the pairs of the other four train.
FOLDS = (
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)
TRAIN, TEST = 1, 2


@dataclass(frozen=True)
class Place:
    """What the folders of a recording tell; nothing for a file that lies elsewhere.

    Attributes:
        name: Name of the clip.
        pair: Folder of the two people, or empty.
        numbers: First person, second person, class from 1, and repetition, or -1 for each.
    """

    name: str
    pair: str
    numbers: tuple[int, int, int, int]


@contextmanager
def open_sbu(source: Path, options: Options) -> Iterator[Recordings]:
    """Open a folder, an archive, or a folder of archives of ``skeleton_pos.txt`` files.

    Raises:
        SourceError: There is nothing to read.
        LayoutError: Another layout than ``sbu15`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"SBU recordings have layout '{LAYOUT}', not '{options.layout}'")
    with open_members(source, FILE, archives=True) as members:
        found = [(member, _place(source, member)) for member in members]
        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=CLASSES,
            items=[
                Recording(place.name, partial(read_member, member, place))
                for member, place in found
            ],
            default_split="fold1",
            splits={
                f"fold{number}": {
                    place.name: TEST if place.pair in tested else TRAIN
                    for _, place in found
                    if place.pair
                }
                for number, tested in enumerate(FOLDS, start=1)
            },
        )


def read_member(member: Member, place: Place) -> Clip:
    """Read one recording.

    Raises:
        ClipError: It is no such recording, or its folder names no class.
    """
    where = f"'{member.path}'"
    first, second, action, repetition = place.numbers
    if action != UNKNOWN and not 1 <= action <= len(CLASSES):
        raise ClipError(f"{where}: its class is {action:02}, expected 01 to {len(CLASSES):02}")
    rows = read_table(member.read(), 1 + PEOPLE * JOINTS * 3, where, delimiter=",")
    _check_numbers(rows[:, 0], where)
    # (T, 90) -> (T, M, V, C) -> (M, T, V, C)
    stored = rows[:, 1:].reshape(len(rows), PEOPLE, JOINTS, 3).transpose(1, 0, 2, 3)
    return Clip(
        name=place.name,
        tracks=tracks_where_seen(original_coordinates(stored)),
        frames=len(rows),
        label=UNKNOWN if action == UNKNOWN else action - 1,
        subject=first,
        replication=repetition,
        extras={"fps": FRAMES_PER_SECOND} | ({"partner": second} if second != UNKNOWN else {}),
    )


def original_coordinates(stored: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Turn the normalised (..., 3) coordinates of the files back into those of the sensor.

    x and y run from the middle of a picture of 2560 x 1920 to the left and up, z is in millimetres.
    A joint that is zero in the file stays zero: it was not seen.
    """
    x, y, z = stored[..., 0], stored[..., 1], stored[..., 2]
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused later
        restored = np.stack((1280 - 2560 * x, 960 - 1920 * y, z * 10000 / 7.8125), axis=-1)
    seen = np.any(stored != 0, axis=-1, keepdims=True)
    return np.where(seen, restored, 0.0)


def _check_numbers(numbers: NDArray[np.float64], where: str) -> None:
    """Raise ClipError if the rows are not consecutive frames."""
    steps = np.flatnonzero(np.diff(numbers) != 1)
    if len(steps):
        row = int(steps[0])
        raise ClipError(
            f"{where}: frame {numbers[row + 1]:g} follows frame {numbers[row]:g}; expected"
            " consecutive numbers"
        )


def _place(source: Path, member: Member) -> Place:
    """Read the folders above a file, be they in the source or above it."""
    above = source.resolve()
    path = above if source.is_file() and source.name == FILE else above / member.path
    found = PLACE.search(path.as_posix())
    if found is None:
        return Place(path.parent.name or member.stem, "", (UNKNOWN,) * 4)
    first, second, action, repetition = (int(number) for number in found.groups())
    pair = f"s{found[1]}s{found[2]}"
    return Place(f"{pair}_{found[3]}_{found[4]}", pair, (first, second, action, repetition))


def matches_sbu(path: Path) -> bool:
    """Whether a file is called ``skeleton_pos.txt``, or a folder or archive holds such files."""
    if path.is_file() and path.suffix != ".zip":
        return path.name == FILE
    return bool(member_names(path, FILE, archives=True))


SBU = Format(
    name="sbu",
    summary="SBU Kinect Interaction, 8 actions of two people, 5 folds: text files",
    layouts=(LAYOUT,),
    matches=matches_sbu,
    open=open_sbu,
    looks=f"folders of {FILE}",
)
