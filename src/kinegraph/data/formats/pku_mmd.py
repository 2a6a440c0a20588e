"""PKU-MMD, parts I and II: long recordings of many actions, cut into clips by label files.

A line of a skeleton file is a frame of 150 numbers, two bodies of 25 x 3 in metres. A line of the
label file of the same name is ``class,start,end,confidence``, frames from 1, the end included.
Recordings are called ``0FFF-X`` (part I) or ``AaaNnn-X`` (part II); X is the view: L, M or R.

Source: Liu et al., PKU-MMD (ACM Multimedia Workshop 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.number_table import read_table
from kinegraph.data.formats.pku_mmd_files import NAME, is_label_file, label_files, split_files
from kinegraph.data.formats.pku_mmd_splits import read_splits
from kinegraph.data.formats.recordings import Format, Options, Recording, Recordings
from kinegraph.data.formats.seen_people import tracks_where_seen
from kinegraph.errors import ClipError, LayoutError, SourceError
from kinegraph.skeleton import load_layout

LAYOUT = "ntu25"
VIEWS = {"L": 1, "M": 2, "R": 3}
PEOPLE, JOINTS = 2, 25
FRAMES_PER_SECOND = 30
CLASSES = (
    "bow", "brush hair", "brush teeth", "check time", "cheer up", "clap", "cross hands in front",
    "drink water", "drop", "eat meal", "fall", "give something to other person", "wave hand",
    "shake hands", "hop", "hug other person", "jump up", "kick other person", "kick something",
    "make a phone call", "pat on back of other person", "pick up", "play with phone",
    "point finger at other person", "point to something", "punch other person",
    "push other person", "put on a hat", "put something inside pocket", "read",
    "rub two hands together", "salute", "sit down", "stand up", "take off a hat",
    "take off glasses", "take off jacket", "take something out of pocket", "take a selfie",
    "tear up paper", "throw", "touch back", "touch chest", "touch head", "touch neck",
    "type on a keyboard", "use a fan", "wear jacket", "wear glasses", "wipe face", "write",
)  # fmt: skip
PARTS = ("all", "1", "2")


@dataclass(frozen=True)
class LongRecording:
    """One long recording, as its name tells.

    Attributes:
        name: The name, such as ``0002-L`` or ``A01N02-M``.
        member: Its skeleton file.
        part: ``1`` or ``2``.
        view: 1 left, 2 middle, 3 right.
        subject: Number of the acting person; part I does not tell it.
        stem: How the names of its clips begin.
    """

    name: str
    member: Member
    part: str
    view: int
    subject: int
    stem: str

    @classmethod
    def of(cls, member: Member) -> LongRecording:
        """Read the name of a skeleton file, which must be one."""
        found = NAME.fullmatch(member.stem)
        assert found is not None
        number, action, subject, view = found.groups()
        stem = f"F{int(number):03}" if number else f"A{action}N{subject}"
        return cls(
            name=member.stem,
            member=member,
            part="1" if number else "2",
            view=VIEWS[view],
            subject=UNKNOWN if number else int(subject),
            stem=f"{stem}V{VIEWS[view]:03}",
        )


@dataclass(frozen=True)
class Cut:
    """One line of a label file: its number, the class, first and last frame, all from 1."""

    line: int
    action: int
    start: int
    end: int


class LastRead:
    """The frames of the long recording that was read last: its clips are read one after another."""

    def __init__(self) -> None:
        self._name = ""
        self._found: NDArray[np.float64] | ClipError = ClipError("nothing was read yet")

    def frames(self, recording: LongRecording) -> NDArray[np.float64]:
        """Return (T, 150) numbers.

        Raises:
            ClipError: The file is no such table.
        """
        if self._name != recording.member.path:
            where = f"'{recording.member.path}'"
            try:
                self._found = read_table(recording.member.read(), PEOPLE * JOINTS * 3, where)
            except ClipError as error:
                self._found = error
            self._name = recording.member.path
        if isinstance(self._found, ClipError):
            raise self._found
        return self._found


@contextmanager
def open_pku_mmd(source: Path, options: Options) -> Iterator[Recordings]:
    """Open skeleton files in a folder or zip archive, with the label files that cut them.

    Without label files, every long recording is one clip without a label.

    Raises:
        SourceError: There is nothing to read, or label or split files do not fit.
        LayoutError: Another layout than ``ntu25`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"PKU-MMD recordings have layout '{LAYOUT}', not '{options.layout}'")
    if source.suffix == ".7z":
        raise SourceError(f"'{source}' is a .7z archive; unpack it and name the folder")
    with ExitStack() as stack:
        members = stack.enter_context(open_members(source, ".txt"))
        recordings = _long_recordings(source, members, options.part)
        labels = label_files(source, members, [r.name for r in recordings], options.labels, stack)
        found = split_files(source, members, options.splits, stack)
        splits = read_splits(found, [recording.name for recording in recordings])
        last = LastRead()
        cuts = [(recording, _cuts(recording, labels)) for recording in recordings]
        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=CLASSES,
            items=[item for recording, cut in cuts for item in _items(recording, cut, last)],
            remedy="" if labels else "; name the folder of label files with --labels",
            default_split="xsub" if splits.get("xsub") else "xview",
            splits={
                name: {
                    _clip_name(recording, cut): sides[recording.name]
                    for recording, found in cuts
                    if isinstance(found, list) and recording.name in sides
                    for cut in found
                }
                for name, sides in splits.items()
            },
        )


def read_clip(recording: LongRecording, cut: Cut, last: LastRead) -> Clip:
    """Cut one clip out of a long recording.

    Raises:
        ClipError: The recording cannot be read, or the line of the label file does not fit it.
    """
    where = f"line {cut.line} of the label file of '{recording.name}'"
    if not 1 <= cut.action <= len(CLASSES):
        raise ClipError(f"{where}: class {cut.action} is outside 1..{len(CLASSES)}")
    frames = last.frames(recording)
    if not 1 <= cut.start <= cut.end <= len(frames):
        raise ClipError(
            f"{where}: frames {cut.start} to {cut.end} are not within the recording's"
            f" 1 to {len(frames)}; is it the label file of another recording?"
        )
    name = _clip_name(recording, cut)
    return _clip(recording, name, frames[cut.start - 1 : cut.end], cut.action - 1)


def read_whole(recording: LongRecording, last: LastRead) -> Clip:
    """Read a long recording as one clip without a label.

    Raises:
        ClipError: It cannot be read.
    """
    return _clip(recording, recording.name, last.frames(recording), UNKNOWN)


def _clip(recording: LongRecording, name: str, rows: NDArray[np.float64], label: int) -> Clip:
    bodies = rows.reshape(len(rows), PEOPLE, JOINTS, 3)  # (T, 150) -> (T, M, V, C)
    seen = np.asarray(bodies.any(axis=(2, 3)))  # (T, M)
    # As the original decides: a second body whose numbers add up to zero is not there.
    seen[:, 1] = rows[:, JOINTS * 3 :].sum(axis=1) != 0
    return Clip(
        name=name,
        tracks=tracks_where_seen(bodies.transpose(1, 0, 2, 3), seen.T),
        frames=len(rows),
        label=label,
        subject=recording.subject,
        camera=recording.view,
        extras={"fps": FRAMES_PER_SECOND},
    )


def _clip_name(recording: LongRecording, cut: Cut) -> str:
    return f"{recording.stem}C{cut.action:03}L{cut.line:03}"


def _items(
    recording: LongRecording, cuts: list[Cut] | ClipError | None, last: LastRead
) -> list[Recording]:
    if cuts is None:
        return [Recording(recording.name, partial(read_whole, recording, last))]
    if isinstance(cuts, ClipError):
        return [Recording(recording.name, partial(_fail, cuts))]
    return [
        Recording(_clip_name(recording, cut), partial(read_clip, recording, cut, last))
        for cut in cuts
    ]


def _fail(error: ClipError) -> Clip:
    raise error


def _cuts(recording: LongRecording, labels: Mapping[str, Member]) -> list[Cut] | ClipError | None:
    """Return the lines of a label file, why they cannot be read, or None without label files."""
    if not labels:
        return None
    member = labels.get(recording.name)
    if member is None:
        return ClipError(f"'{recording.member.path}' has no label file '{recording.name}.txt'")
    where = f"label file '{member.path}'"
    try:
        table = read_table(member.read(), 4, where, delimiter=",")
    except ClipError as error:
        return error
    whole = table[:, :3]
    if not (np.isfinite(whole) & (whole == np.floor(whole)) & (np.abs(whole) < 1e9)).all():
        return ClipError(f"{where}: class, start and end are not all whole numbers")
    return [
        Cut(line, int(action), int(start), int(end))
        for line, (action, start, end) in enumerate(whole, start=1)
    ]


def _long_recordings(
    source: Path, members: Sequence[Member], part: str | None
) -> list[LongRecording]:
    """Return the long recordings of a source, or of one part of the data set, sorted by name."""
    found = [
        LongRecording.of(member)
        for member in members
        if NAME.fullmatch(member.stem) and not is_label_file(member)
    ]
    if not found:
        raise SourceError(
            f"'{source}' holds no skeleton file with a name such as 0002-L.txt or A01N02-M.txt"
        )
    wanted = [each for each in found if part in (None, "all", each.part)]
    if not wanted:
        raise SourceError(f"'{source}' holds recordings of part {found[0].part} only, not {part}")
    return sorted(wanted, key=lambda each: each.name)


def matches_pku_mmd(path: Path) -> bool:
    """Whether a file, or one in a folder or archive, is named like a long recording."""
    if path.is_file() and path.suffix == ".txt":
        return NAME.fullmatch(path.stem) is not None
    names = member_names(path, ".txt") if path.is_dir() or path.suffix == ".zip" else []
    return any(NAME.fullmatch(PurePosixPath(name).stem) for name in names)


PKU_MMD = Format(
    name="pku-mmd",
    summary="PKU-MMD part I and II, 51 actions: long recordings cut by label files",
    layouts=(LAYOUT,),
    matches=matches_pku_mmd,
    open=open_pku_mmd,
    looks="files named 0002-L.txt or A01N02-L.txt",
    choices={"labels": (), "splits": (), "part": PARTS},
)
