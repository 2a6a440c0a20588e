"""Kinetics-skeleton: one JSON file of OpenPose's people per video, and label files for them.

A file holds ``data``, a list of frames with ``frame_index`` and ``skeleton``, a list of people with
``pose`` (18 times x, y from 0 to 1) and ``score``; ``label`` and ``label_index`` repeat what the
label file says.

Source: the data of ST-GCN (Yan, Xiong, Lin, AAAI 2018).
Differs from the original: clips keep their own length instead of 300 frames; padding is a matter of
the recipe. As there, a frame stands where its ``frame_index`` says, which begins at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from kinegraph.data.clip import MAX_PERSONS, UNKNOWN, Clip
from kinegraph.data.formats.kinetics_labels import (
    Entry,
    Labels,
    is_label_file,
    part_of,
    read_labels,
)
from kinegraph.data.formats.members import Member, open_members
from kinegraph.data.formats.recordings import (
    ABSENT,
    Format,
    Lazy,
    Options,
    Recording,
    Recordings,
)
from kinegraph.data.formats.seen_people import tracks_where_seen
from kinegraph.data.limits import MAX_FRAMES, MAX_JSON_BYTES
from kinegraph.data.pose_matching import Poses, match_people
from kinegraph.errors import ClipError, LayoutError, SourceError, shown
from kinegraph.skeleton import load_layout

LAYOUT = "openpose18"
JOINTS = 18
PEOPLE_READ = 5  # of each frame, before the surest of them are chosen
PEOPLE_KEPT = 2
VIDEO = {"fps": 30, "width": 340, "height": 256}
TRAIN, TEST = 1, 2
PARTS = ("all", "train", "val")


class Video(NamedTuple):
    """One recording before it is read: its file, name, entry in a label file, and part."""

    member: Member
    name: str
    entry: Entry | None
    part: str


@contextmanager
def open_kinetics(source: Path, options: Options) -> Iterator[Recordings]:
    """Open a folder or zip archive of JSON files, or one file; label files are found beside it.

    Without label files clips have no label.

    Raises:
        SourceError: There is nothing to read, or a label file is none or fits no file.
        LayoutError: Another layout than ``openpose18`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"Kinetics recordings have layout '{LAYOUT}', not '{options.layout}'")
    people = PEOPLE_KEPT if options.people is None else options.people
    if not 1 <= people <= MAX_PERSONS:
        raise SourceError(f"--people is {people}, expected 1 to {MAX_PERSONS}")
    with ExitStack() as stack:
        members = stack.enter_context(open_members(source, ".json"))
        labels = _labels(source, members, options, stack)
        videos = _videos(members, labels, options.part or "all")
        if not videos:
            raise SourceError(f"'{source}' holds no recording to read, only label files or others")
        if labels is not None and all(video.entry is None for video in videos):
            _refuse_labels(source, videos, options)
            labels = None  # one file to look at, beside the label file of others
        shown = [each for each in videos if each.entry is None or each.entry.has_skeleton]
        empty = [each.name for each in videos if each.entry and not each.entry.has_skeleton]
        read = partial(read_video, labels=labels, people=people, matching=bool(options.matching))
        absent = {ABSENT: _absent(videos, labels, options.part or "all")} if labels else {}
        yield Recordings(
            skeleton=load_layout(LAYOUT),
            class_names=() if labels is None else labels.class_names,
            items=Lazy(len(shown), lambda row: _recording(shown[row], read)),
            remedy="" if labels else "; name the label file with --labels",
            default_split="train-val" if {"train", "val"} <= {each.part for each in videos} else "",
            splits=_splits(videos),
            left_out=[(name, "its label file says that nobody is seen") for name in empty],
            notes={"people": people, "matching": bool(options.matching)} | absent,
        )


def read_video(video: Video, labels: Labels | None, people: int, matching: bool) -> Clip:
    """Read one recording.

    Args:
        video: Its file, and what is known about it.
        labels: What the label files say, if there are any.
        people: How many people are kept.
        matching: Whether people are followed through frames; otherwise the surest person of each
            frame comes first, so that someone may jump from place to place.

    Raises:
        ClipError: It is no such recording, or contradicts the label file.
    """
    where = f"'{video.member.path}'"
    fields = _load(video.member, where)
    poses, frames = read_people(fields["data"], max(people, PEOPLE_READ), where)
    kept: Poses = surest_people(poses, people)
    if matching:
        kept = match_people(kept)
    return Clip(
        name=video.name,
        tracks=tracks_where_seen(kept.transpose(1, 0, 2, 3)),  # (T, M, V, C) -> (M, T, V, C)
        frames=frames,
        label=UNKNOWN if labels is None else _label(video.entry, fields, labels, where),
        extras=VIDEO,
    )


def read_people(data: Any, people: int, where: str) -> tuple[NDArray[np.float64], int]:
    """Read the people of all frames.

    Args:
        data: The list of frames.
        people: How many people of a frame are read at most, the first ones.
        where: Names the file in errors.

    Returns:
        (T, M, V, 3) with x and y between -0.5 and 0.5, zero where the score is zero, and scores;
        and the number of frames.

    Raises:
        ClipError: The frames are not what they should be.
    """
    places: list[tuple[int, int]] = []
    poses: list[Any] = []
    scores: list[Any] = []
    indices: set[int] = set()
    for frame in data:
        index, bodies = _frame(frame, where)
        if index in indices:
            raise ClipError(f"{where}: frame_index {index} occurs twice")
        indices.add(index)
        for person, body in enumerate(bodies[:people]):
            if not isinstance(body, dict):
                raise ClipError(f"{where}: frame {index}: a person is no object")
            places.append((index, person))
            poses.append(body.get("pose"))
            scores.append(body.get("score"))
    frames = max(indices, default=-1) + 1
    if not places:
        raise ClipError(f"{where} is empty: nobody is seen in its {len(indices)} frames")
    xy = _numbers(poses, 2 * JOINTS, "pose", where).reshape(-1, JOINTS, 2)
    score = _numbers(scores, JOINTS, "score", where)
    xy = np.where(score[..., None] != 0, xy - 0.5, 0.0)
    array = np.zeros((frames, people, JOINTS, 3))
    at = tuple(np.array(places).T)
    array[at] = np.concatenate((xy, score[..., None]), axis=-1)
    return array, frames


def surest_people(poses: NDArray[np.float64], people: int) -> NDArray[np.float64]:
    """Put the people of every frame in the order of their total scores and keep the first ones.

    Args:
        poses: (T, M, V, 3) with the score last.
        people: How many are kept.

    Returns:
        (T, people, V, 3).
    """
    # Summed joint by joint, as the original does: equal sums must stay equal to the last digit.
    totals = np.ascontiguousarray(poses[..., 2].transpose(0, 2, 1)).sum(axis=1)  # (T, V, M) -> T, M
    order = np.argsort(-totals, axis=1, kind="stable")
    return np.take_along_axis(poses, order[:, :, None, None], axis=1)[:, :people]


def _load(member: Member, where: str) -> dict[str, Any]:
    data = member.read()
    if not data.strip():
        raise ClipError(f"{where} is empty")
    if len(data) > MAX_JSON_BYTES:
        raise ClipError(f"{where} has {len(data):,} bytes, more than {MAX_JSON_BYTES:,}")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ClipError(f"{where} is cut short or no JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("data"), list):
        raise ClipError(f"{where} is no Kinetics recording: it has no list 'data'")
    return fields


def _frame(frame: Any, where: str) -> tuple[int, list[Any]]:
    """Return the number of a frame and the people in it."""
    if not isinstance(frame, dict) or not isinstance(frame.get("skeleton"), list):
        raise ClipError(f"{where}: a frame has no list 'skeleton'")
    index = frame.get("frame_index")
    if type(index) is not int or not 0 <= index < MAX_FRAMES:
        raise ClipError(
            f"{where}: a frame_index is {shown(index)}, expected a number from 0 to"
            f" {MAX_FRAMES - 1}"
        )
    return index, frame["skeleton"]


def _numbers(rows: list[Any], length: int, kind: str, where: str) -> NDArray[np.float64]:
    """Return (rows, length) numbers."""
    if not all(isinstance(row, list) and len(row) == length for row in rows):
        raise ClipError(f"{where}: not every '{kind}' is a list of {length} numbers")
    # NumPy would read texts as numbers and null as NaN.
    if not set(map(type, chain.from_iterable(rows))) <= {float, int}:
        raise ClipError(f"{where}: not every value of '{kind}' is a number")
    try:
        return np.array(rows, dtype=np.float64)
    except OverflowError as error:
        raise ClipError(f"{where}: a number of '{kind}' is too large") from error


def _label(entry: Entry | None, fields: dict[str, Any], labels: Labels, where: str) -> int:
    """Return the class of a recording, on which its file and the label file must agree."""
    if entry is None:
        raise ClipError(f"{where} is not in the label file")
    for key, told in (("label_index", entry.label), ("label", labels.class_names[entry.label])):
        if key in fields and fields[key] != told:
            raise ClipError(
                f"{where}: its {key} is {shown(fields[key])}, but the label file says {told!r};"
                " is it the label file of these recordings?"
            )
    return entry.label


def _recording(video: Video, read: Callable[[Video], Clip]) -> Recording:
    return Recording(video.name, partial(read, video))


def _videos(members: list[Member], labels: Labels | None, part: str) -> list[Video]:
    """Return the recordings of a source, or of one part; one that cannot be told is in either."""
    entries = {} if labels is None else labels.entries
    videos = []
    for member in members:
        if is_label_file(member.path):
            continue
        # A quarter of a million of them: texts, not paths, and one look at each.
        folder, _, file = member.path.rpartition("/")
        name = file.removesuffix(".json")
        entry = entries.get(name)
        own = part_of(folder.rpartition("/")[2]) or (entry.part if entry else "")
        if part == "all" or own in ("", part):
            videos.append(Video(member, name, entry, own))
    return videos


def _absent(videos: list[Video], labels: Labels, part: str) -> int:
    """Return how many videos with people the label files name that are not in the source."""
    there = {video.name for video in videos}
    return sum(
        entry.has_skeleton and part in ("all", entry.part) and name not in there
        for name, entry in labels.entries.items()
    )


def _labels(
    source: Path, members: list[Member], options: Options, stack: ExitStack
) -> Labels | None:
    """Read the label files: those given, else in the source, else beside it."""
    part = options.part if options.part in ("train", "val") else ""
    if options.labels is not None:
        given = stack.enter_context(open_members(options.labels, ".json"))
        named = [each for each in given if is_label_file(each.path)]
        return read_labels(named or given, part)
    found = [each for each in members if is_label_file(each.path)]
    if not found:
        for path in _beside(source):
            found += stack.enter_context(open_members(path, ".json"))
    return read_labels(found, part) if found else None


def _beside(source: Path) -> list[Path]:
    """Return the label files of a folder, or of a file's folder, where they are usually put."""
    source = source.absolute()
    folder = source if source.is_dir() else source.parent
    usual = [folder.parent / f"{folder.name}_label.json"]
    if not source.is_dir():
        name = f"{source.stem}_label.json"
        usual += [folder / name, *sorted(folder.glob("kinetics_*_label.json"))]
    found = [path for path in dict.fromkeys(usual) if path.is_file()]
    return found or sorted(folder.parent.glob("kinetics_*_label.json"))


def _refuse_labels(source: Path, videos: list[Video], options: Options) -> None:
    """Raise SourceError for label files of others, unless they only lie beside a single file."""
    if options.labels is not None or source.suffix != ".json":
        raise SourceError(
            f"the label file names none of the {len(videos)} recordings in '{source}' (such as"
            f" '{videos[0].name}'); name another with --labels"
        )


def _splits(videos: list[Video]) -> dict[str, dict[str, int]]:
    sides = {"train": TRAIN, "val": TEST}
    split = {video.name: sides[video.part] for video in videos if video.part in sides}
    return {"train-val": split} if split else {}


def matches_kinetics(path: Path) -> bool:
    """Whether a file speaks of ``frame_index``, or a folder or archive has such files."""
    if path.is_file() and path.suffix == ".json":
        with path.open("rb") as file:
            return b'"frame_index"' in file.read(4096)
    if not path.is_dir() and path.suffix != ".zip":
        return False
    try:
        with open_members(path, ".json") as members:
            videos = [each for each in members if not is_label_file(each.path)]
            return len(videos) > 0 and b'"frame_index"' in videos[0].read()[:4096]
    except (SourceError, ClipError):  # nothing to recognise
        return False


KINETICS = Format(
    name="kinetics",
    summary="Kinetics-skeleton, 400 actions, OpenPose in 2D: JSON files and their label file",
    layouts=(LAYOUT,),
    matches=matches_kinetics,
    open=open_kinetics,
    looks="JSON files with frame_index",
    choices={"labels": (), "people": (), "matching": (), "part": PARTS},
)
