"""What the formats of already processed data sets share: layouts, class names, names of clips.

Such files say little about themselves: a layout is known by the numbers of joints and channels,
classes by their number, and subject, camera and setup by NTU's names of recordings where they are
kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import NAME_LENGTH, UNKNOWN, Clip
from kinegraph.data.formats.seen_people import tracks_where_seen
from kinegraph.data.limits import MAX_CLASSES
from kinegraph.errors import ClipError, LayoutError, SourceError, shown
from kinegraph.skeleton import Skeleton, layout_names, load_layout

NTU_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
NTU_CLASSES = (60, 120)
COPYING_CLASSES = 120  # of NTU RGB+D 120, whose files repeat the only person as the second one
BODIES = "bodies"  # extra of a clip: bodies that a sensor told apart, where fewer people are kept
USUAL_LAYOUTS = {  # (joints, channels) -> the layout that files of the original programs have
    (25, 3): "ntu25",
    (18, 3): "openpose18",
    (17, 3): "coco17",
}


@cache
def ntu_class_names() -> tuple[str, ...]:
    """Return the names of the 120 classes of NTU RGB+D 120; its first 60 are those of NTU 60."""
    text = resources.files("kinegraph.data.formats").joinpath("names/ntu.txt").read_text("utf-8")
    return tuple(text.split("\n")[:120])


def class_names_of(layout: str, classes: int) -> tuple[str, ...]:
    """Return the names of NTU's classes where it must be NTU, else ``class 0``, ``class 1``, ..."""
    if layout in ("ntu25", "ntu_edge") and classes in NTU_CLASSES:
        return ntu_class_names()[:classes]
    return tuple(f"class {number}" for number in range(classes))


def ntu_class_count(names: Sequence[str], classes: int) -> int:
    """Return 60 or 120 where all clips are named as NTU names them, else ``classes``."""
    if not names or classes > NTU_CLASSES[-1]:
        return classes
    actions = [_action(name) for name in names]
    if min(actions) == UNKNOWN:
        return classes
    return next(count for count in NTU_CLASSES if max(classes, *actions) <= count)


def _action(name: str) -> int:
    found = NTU_NAME.fullmatch(name)
    number = int(found[5]) if found else UNKNOWN
    return number if 1 <= number <= NTU_CLASSES[-1] else UNKNOWN


class Numbers(NamedTuple):
    """What a name tells of a recording, -1 where it does not."""

    setup: int = UNKNOWN
    camera: int = UNKNOWN
    subject: int = UNKNOWN
    replication: int = UNKNOWN


def numbers_of(name: str) -> Numbers:
    """Return setup, camera, subject and replication from one of NTU's names; nothing from others.

    Source: Shahroudy et al., NTU RGB+D (CVPR 2016): ``SsssCcccPpppRrrrAaaa``.
    """
    found = NTU_NAME.fullmatch(name)
    return Numbers(*map(int, found.groups()[:4])) if found else Numbers()


def dense_clip(
    name: str,
    people: NDArray[Any],
    label: int,
    frames: int,
    extras: Mapping[str, float] | None = None,
) -> Clip:
    """Turn (M, T, V, C) people, zero where nobody is, into a clip of ``frames`` frames."""
    numbers = numbers_of(name)
    return Clip(
        name=name,
        tracks=tracks_where_seen(people[:, :frames]),
        frames=frames,
        label=label,
        subject=numbers.subject,
        camera=numbers.camera,
        setup=numbers.setup,
        replication=numbers.replication,
        extras=extras or {},
    )


def clip_name(text: str) -> str:
    """Return a stored name as the name of a clip: without the suffix of a file, without slashes."""
    for suffix in (".skeleton", ".json", ".npy", ".avi", ".mp4"):
        text = text.removesuffix(suffix)
    return text.replace("/", "--").replace("\\", "--")


def check_name(name: Any, where: str) -> str:
    """Return a stored name as the name of a clip.

    Raises:
        SourceError: It is no text, or empty or far too long.
    """
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH:
        raise SourceError(f"{where}: {shown(name)} is not the name of a clip")
    return clip_name(name)


def find_layout(asked: str | None, joints: int, channels: int, where: str) -> Skeleton:
    """Return the layout that was asked for, or the one that goes with this number of joints.

    Raises:
        LayoutError: None is known for it, or the one asked for has other joints or channels.
    """
    usual = USUAL_LAYOUTS.get((joints, channels))
    if asked is None and usual is None:
        raise LayoutError(
            f"{where} has {joints} joints of {channels} numbers, which tells no layout; give"
            f" --layout, one of {', '.join(layout_names())}, or a .toml file of your own"
        )
    skeleton = load_layout(asked or usual or "")
    expected = (skeleton.joint_count, skeleton.coordinates.channels)
    if (joints, channels) != expected:
        raise LayoutError(
            f"{where} has {joints} joints of {channels} numbers, but layout '{skeleton.name}' has"
            f" {expected[0]} of {expected[1]} ({', '.join(skeleton.coordinates.axes)})"
        )
    return skeleton


def check_labels(labels: NDArray[Any], clips: int, where: str) -> NDArray[np.int64]:
    """Return (N,) labels, from numbers or one-hot rows.

    Raises:
        SourceError: They are no numbers of classes, or not one for each clip.
    """
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2) or len(labels) != clips:
        raise SourceError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}, expected one for each of"
            f" the {clips} clips"
        )
    if labels.ndim == 2 and labels.shape[1] > 1:
        positive = labels > 0
        odd = np.flatnonzero(positive.sum(axis=1) != 1)
        if len(odd):
            raise SourceError(
                f"{where}: row {odd[0]} of the one-hot labels has {positive[odd[0]].sum()} positive"
                " entries, expected one"
            )
        return np.asarray(positive.argmax(axis=1), dtype=np.int64)
    flat = labels.reshape(-1)
    if flat.dtype.kind == "f":
        flat = flat.astype(np.float64)  # the limit below is beyond float16
    if not np.isfinite(flat).all() or np.any(flat != np.floor(flat)):
        raise SourceError(f"{where}: a label is no whole number")
    if np.any(flat < 0) or np.any(flat >= MAX_CLASSES):
        wrong = flat[(flat < 0) | (flat >= MAX_CLASSES)][0]
        raise SourceError(f"{where}: label {wrong} is no class, labels count from 0")
    return flat.astype(np.int64)


def last_seen(people: NDArray[Any], name: str) -> int:
    """Return the length of a clip without the empty frames at its end.

    Args:
        people: (M, T, V, C) joints.
        name: The clip, for the error.

    Raises:
        ClipError: Nobody is in any frame.
    """
    with np.errstate(invalid="ignore"):  # some NaN make NumPy complain
        frames = np.flatnonzero(people.any(axis=(0, 2, 3)))
    if len(frames) == 0:
        raise ClipError(f"clip '{name}' is empty: every joint of every frame is zero")
    return int(frames[-1]) + 1
