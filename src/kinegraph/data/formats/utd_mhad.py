"""UTD-MHAD: one ``.mat`` file per recording, in a folder or in the zip users download.

A file ``aA_sS_tT_skeleton.mat`` (action, subject, trial) holds ``d_skel``, 20 x 3 x T in metres.
Such files are read with SciPy, in a process of their own whose memory is limited.

Source: Chen, Jafari, Kehtarnavaz, UTD-MHAD (ICIP 2015).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from kinegraph.data.clip import UNKNOWN, Clip, Track
from kinegraph.data.formats.mat_reader import MatReader
from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.recordings import Format, Options, Recording, Recordings
from kinegraph.errors import ClipError, LayoutError
from kinegraph.skeleton import load_layout

LAYOUT = "utd20"
ENDING = "_skeleton.mat"
NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_t(\d{1,2})")
VARIABLE = "d_skel"
FRAMES_PER_SECOND = 30
CLASSES = (
    "swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot",
    "draw x", "draw circle clockwise", "draw circle counter-clockwise", "draw triangle", "bowling",
    "boxing", "baseball swing", "tennis swing", "arm curl", "tennis serve", "push", "knock",
    "catch", "pick up and throw", "jog", "walk", "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip


@contextmanager
def open_utd_mhad(source: Path, options: Options) -> Iterator[Recordings]:
    """Open a ``.mat`` file, a folder of them, or a zip archive of them.

    Raises:
        SourceError: There is nothing to read, or SciPy is not installed.
        LayoutError: Another layout than ``utd20`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"UTD-MHAD recordings have layout '{LAYOUT}', not '{options.layout}'")
    with open_members(source, ENDING) as members, MatReader() as reader:
        # By number, not by text: a2 comes before a10.
        members = sorted(members, key=_order)
        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=CLASSES,
            items=[
                Recording(_clip_name(member), partial(read_member, member, reader))
                for member in members
            ],
            default_split="subjects",
        )


def read_member(member: Member, reader: MatReader) -> Clip:
    """Read one recording.

    Raises:
        ClipError: It is no such recording, or its name tells an unknown action.
    """
    where = f"'{member.path}'"
    name = _clip_name(member)
    action, subject, trial = _numbers(name)
    if action != UNKNOWN and not 1 <= action <= len(CLASSES):
        raise ClipError(f"{where}: its action is a{action}, expected a1 to a{len(CLASSES)}")
    array = reader.read(member.read(), VARIABLE, where)
    if array.ndim != 3 or array.shape[:2] != (20, 3) or array.shape[2] == 0:
        raise ClipError(f"{where}: '{VARIABLE}' has shape {array.shape}, expected (20, 3, T)")
    return Clip(
        name=name,
        tracks=(Track(array.transpose(2, 0, 1)),),  # (V, C, T) -> (T, V, C)
        frames=array.shape[2],
        label=UNKNOWN if action == UNKNOWN else action - 1,
        subject=subject,
        replication=trial,
        extras={"fps": FRAMES_PER_SECOND},
    )


def _clip_name(member: Member) -> str:
    return PurePosixPath(member.path).name.removesuffix(ENDING).removesuffix(".mat")


def _numbers(name: str) -> tuple[int, ...]:
    """Return action, subject and trial from the name of a file, or -1 for each."""
    found = NAME.fullmatch(name)
    return (UNKNOWN,) * 3 if found is None else tuple(int(number) for number in found.groups())


def _order(member: Member) -> tuple[tuple[int, ...], str]:
    return _numbers(_clip_name(member)), member.path


def matches_utd_mhad(path: Path) -> bool:
    """Whether a file is a ``.mat`` file, or a folder or archive holds skeletons named as here."""
    if path.is_file() and path.suffix == ".mat":
        return True
    names = member_names(path, ENDING) if path.is_dir() or path.suffix == ".zip" else []
    return bool(names)


UTD_MHAD = Format(
    name="utd-mhad",
    summary="UTD-MHAD, 27 actions, 8 subjects: .mat files in a folder or zip",
    layouts=(LAYOUT,),
    matches=matches_utd_mhad,
    open=open_utd_mhad,
    looks="files named aA_sS_tT_skeleton.mat",
)
