"""PYSKL's annotation pickles: skeletons in 2D with scores, or in 3D, with their splits.

A file is ``{"split": {name: [clip, ...]}, "annotations": [{...}, ...]}``, or the list of
annotations alone. An annotation has ``frame_dir`` (or ``filename``), ``label``, ``keypoint``
(M, T, V, C), in 2D ``keypoint_score`` (M, T, V), and ``img_shape`` as (height, width). Nothing in
it is executed. The whole file is read when it is opened: what is in memory is about as large.

Differs from the original: an annotation without skeleton (None) is left out and named, where PYSKL
fails on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import MAX_PERSONS, Clip
from kinegraph.data.formats.processed import (
    BODIES,
    check_name,
    class_names_of,
    dense_clip,
    find_layout,
    ntu_class_count,
)
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.data.limits import MAX_CLASSES, MAX_LEVELS, MAX_NUMBERS, MAX_PICKLE_BYTES, MAX_PIXELS
from kinegraph.errors import ClipError, SourceError, shown
from kinegraph.pickles import read_pickle
from kinegraph.skeleton import Skeleton

SIDES = {"train": 1, "training": 1, "val": 2, "valid": 2, "validation": 2, "test": 2, "testing": 2}
SIDE = re.compile(rf"(?:^|(?<=_))({'|'.join(sorted(SIDES, key=len, reverse=True))})(?=_|\d|$)")
KEYPOINT, SCORE = "keypoint", "keypoint_score"
Annotation = Mapping[str, Any]


@contextmanager
def open_pyskl(source: Path, options: Options) -> Iterator[Recordings]:
    """Open a pickle of annotations.

    Raises:
        SourceError: It cannot be read, holds more than plain data, no annotations, or none with
            skeletons.
        LayoutError: No layout is known, or it does not fit.
    """
    where = f"'{source}'"
    if not source.is_file():
        found = "is a folder" if source.is_dir() else "does not exist"
        raise SourceError(f"{where} {found}; expected a .pkl file of annotations")
    content = read_pickle(source, error=SourceError, largest=MAX_PICKLE_BYTES)
    annotations, listed = _sections(content, where)
    present = [each for each in annotations if each is not None]
    names = [_name(each, where) for each in present]
    _check_has_joints(present, names, where)
    skeleton = _skeleton(present, options.layout, where)
    splits = _splits(listed, where)
    classes = ntu_class_count(names, max(_label(each, where) for each in present) + 1)
    left_out = [
        (f"annotation {number}", "it has no skeleton")
        for number, each in enumerate(annotations)
        if each is None
    ]
    yield Recordings(
        skeleton=skeleton,
        class_names=_class_names(content, skeleton, classes, where),
        items=Lazy(
            len(present),
            lambda row: Recording(
                names[row], partial(_clip, present[row], names[row], skeleton, where)
            ),
        ),
        default_split="xsub" if "xsub" in splits else next(iter(splits), ""),
        splits=splits,
        heavy=True,
        left_out=left_out,
    )


def _sections(content: Any, where: str) -> tuple[list[Annotation | None], dict[Any, Any]]:
    """Return annotations and lists of clips; nothing but their outer form is checked."""
    listed = content.get("split", {}) if isinstance(content, dict) else {}
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(annotations, list) or not isinstance(listed, dict):
        raise SourceError(
            f"{where} holds no annotations; expected a dict with 'split' and 'annotations', or a"
            " list of annotations"
        )
    wrong = next((each for each in annotations if not isinstance(each, dict | None)), None)
    if wrong is not None:
        raise SourceError(f"{where}: an annotation is a {type(wrong).__name__}, expected a dict")
    if not any(annotations):
        raise SourceError(f"{where} is empty: it has no annotation")
    return annotations, listed


def _name(annotation: Annotation, where: str) -> str:
    name = annotation.get("frame_dir", annotation.get("filename"))
    if name is None:
        raise SourceError(
            f"{where}: an annotation has neither 'frame_dir' nor 'filename' (found:"
            f" {_keys(annotation)})"
        )
    return check_name(name, where)


def _check_has_joints(annotations: list[Annotation], names: list[str], where: str) -> None:
    """Refuse files that only point to skeletons elsewhere, as that of Kinetics-400 does."""
    for annotation, name in zip(annotations, names, strict=True):
        if KEYPOINT in annotation:
            return
        if "raw_file" in annotation:
            raise SourceError(
                f"{where} holds no skeletons: annotation '{name}' has no '{KEYPOINT}' but points to"
                f" {shown(annotation['raw_file'])}; such files, as of Kinetics-400, cannot be read"
                " alone"
            )
    raise SourceError(
        f"{where} holds no skeletons: no annotation has a '{KEYPOINT}' (the first has:"
        f" {_keys(annotations[0])})"
    )


def _skeleton(annotations: list[Annotation], asked: str | None, where: str) -> Skeleton:
    """Return the layout that fits the first annotation with joints."""
    for annotation in annotations:
        if KEYPOINT in annotation:
            joints = _array(annotation, KEYPOINT, f"{where}: the first annotation")
            if joints.ndim == 4:
                scored = SCORE in annotation or joints.shape[3] == 2
                return find_layout(asked, joints.shape[2], joints.shape[3] + scored, where)
    raise SourceError(f"{where}: no '{KEYPOINT}' has the shape (M, T, V, C)")


def _label(annotation: Annotation, where: str) -> int:
    label = annotation.get("label", 0)
    if isinstance(label, bool) or not isinstance(label, int | np.integer):
        raise SourceError(f"{where}: label {shown(label)} is no whole number")
    if not 0 <= label < MAX_CLASSES:
        raise SourceError(f"{where}: label {shown(label)} is no class, labels count from 0")
    return int(label)


def _class_names(content: Any, skeleton: Skeleton, classes: int, where: str) -> tuple[str, ...]:
    """Return the names that ``kinegraph data export`` adds, or what the layout suggests."""
    stored = content.get("class_names") if isinstance(content, dict) else None
    if isinstance(stored, list) and len(stored) >= classes:
        if not all(isinstance(name, str) for name in stored):
            raise SourceError(f"{where}: a class name is no text")
        return tuple(stored)
    return class_names_of(skeleton.name, classes)


def _splits(listed: Mapping[Any, Any], where: str) -> dict[str, dict[str, int]]:
    """Pair lists such as ``xsub_train`` and ``xsub_val``; of three parts, val and test are two."""
    splits: dict[str, dict[str, int]] = {}
    sides: dict[str, dict[str, list[str]]] = {}
    for key, clips in listed.items():
        clips = clips.tolist() if isinstance(clips, np.ndarray) else clips
        if not isinstance(key, str) or not isinstance(clips, list | tuple):
            raise SourceError(f"{where}: split {shown(key)} is no list of clips")
        stem, side = _stem(key)
        sides.setdefault(stem, {})[side] = [check_name(clip, where) for clip in clips]
    for stem, lists in sides.items():
        train = {clip: 1 for side, clips in lists.items() if SIDES[side] == 1 for clip in clips}
        others = [side for side in lists if SIDES[side] == 2]
        for side in others or [""]:
            name = f"{stem}-{side}" if len(others) > 1 else stem
            splits[name] = train | dict.fromkeys(lists.get(side, ()), 2)
    return splits


def _stem(key: str) -> tuple[str, str]:
    """Divide ``xsub_train`` into ``xsub`` and ``train``, ``test2`` into ``split2`` and ``test``."""
    found = SIDE.search(key)
    if found is None:
        return key, "test"
    stem = "-".join(part.strip("_") for part in (key[: found.start()], key[found.end() :]) if part)
    return ("own" if not stem else f"split{stem}" if stem.isdigit() else stem), found[1]


def _array(annotation: Annotation, key: str, where: str) -> NDArray[Any]:
    """Return numbers of an annotation, from an array or from lists.

    Raises:
        ClipError: They are no numbers.
    """
    value: Any = annotation[key]
    if not isinstance(value, np.ndarray):
        _check_lists(value, f"{where}: '{key}'")
        try:
            value = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ClipError(f"{where}: '{key}' has parts of different lengths") from error
    if value.dtype.kind not in "fiu":
        raise ClipError(f"{where}: '{key}' is {value.dtype}, expected numbers")
    return np.asarray(value)


def _check_lists(value: Any, where: str) -> None:
    """Look at nested lists before NumPy takes them: one text, or a list in itself, fills memory.

    Raises:
        ClipError: They are not a few levels of lists of numbers.
    """
    level = [value]
    for _ in range(MAX_LEVELS):
        if not set(map(type, level)) <= {list, tuple, np.ndarray}:
            break
        if sum(map(len, level)) > MAX_NUMBERS:
            raise ClipError(f"{where} has more than {MAX_NUMBERS:,} numbers")
        level = list(chain.from_iterable(level))
    if not set(map(type, level)) <= {float, int}:
        wrong = next(each for each in level if type(each) not in (float, int))
        raise ClipError(f"{where} holds a {type(wrong).__name__}, expected only numbers")


def _clip(annotation: Annotation, name: str, skeleton: Skeleton, source: str) -> Clip:
    """Turn one annotation into a clip; its length is that of the annotation."""
    where = f"{source}: clip '{name}'"
    if "label" not in annotation or KEYPOINT not in annotation:
        lacking = KEYPOINT if "label" in annotation else "label"
        raise ClipError(f"{where} has no '{lacking}' (found: {_keys(annotation)})")
    joints = _array(annotation, KEYPOINT, where)
    expected = (skeleton.joint_count, skeleton.coordinates.channels)
    scored = SCORE in annotation or joints.shape[-1:] == (2,)
    if joints.ndim != 4 or (joints.shape[2], joints.shape[3] + scored) != expected:
        raise ClipError(
            f"{where}: '{KEYPOINT}' has shape {joints.shape}, expected (M, T, {expected[0]},"
            f" {expected[1] - scored})"
        )
    people, frames = joints.shape[:2]
    said = annotation.get("total_frames", frames)
    if not isinstance(said, int | np.integer) or said != frames:
        raise ClipError(f"{where} has {frames} frames of skeletons, but says {shown(said)}")
    if people > MAX_PERSONS:
        raise ClipError(f"{where} has {people} people, more than the {MAX_PERSONS} of a clip")
    if scored:
        score = _score(annotation, joints, where)
        joints = np.concatenate((joints, score[..., None].astype(joints.dtype)), axis=3)
    clip = dense_clip(name, joints, _label(annotation, source), frames)
    extras = _image(annotation, where)
    if people > 1 and all(track.person < people - 1 for track in clip.tracks):
        extras[BODIES] = people  # the last of them became part of another person
    return replace(clip, extras=extras)


def _score(annotation: Annotation, joints: NDArray[Any], where: str) -> NDArray[Any]:
    """Return (M, T, V) scores; where there are none, one for each joint that is not at zero."""
    if SCORE not in annotation:
        return np.asarray(joints.any(axis=3))
    score = _array(annotation, SCORE, where)
    if score.shape != joints.shape[:3]:
        raise ClipError(f"{where}: '{SCORE}' has shape {score.shape}, '{KEYPOINT}' {joints.shape}")
    return score


def _image(annotation: Annotation, where: str) -> dict[str, float]:
    """Return the height and width of the picture, and of the original before it was resized."""
    sizes: dict[str, float] = {}
    for key, prefix in (("img_shape", ""), ("original_shape", "original_")):
        shape = annotation.get(key)
        if shape is None:
            continue
        plain = shape.tolist() if isinstance(shape, np.ndarray) else shape
        numbers = plain[:2] if isinstance(plain, list | tuple) else ()
        if len(numbers) < 2 or not all(_is_length(number) for number in numbers):
            raise ClipError(f"{where}: '{key}' is {shown(shape)}, expected (height, width)")
        sizes |= {f"{prefix}height": float(numbers[0]), f"{prefix}width": float(numbers[1])}
    return sizes


def _is_length(value: Any) -> bool:
    """Whether a value can be the height or width of a picture."""
    return isinstance(value, int | float | np.number) and bool(0 <= value <= MAX_PIXELS)


def _keys(annotation: Mapping[Any, Any]) -> str:
    return ", ".join(key if isinstance(key, str) else shown(key) for key in annotation)


def matches_pyskl(path: Path) -> bool:
    """Whether a ``.pkl`` file speaks of ``keypoint`` or ``annotations`` near its beginning."""
    if path.suffix not in (".pkl", ".pickle") or not path.is_file():
        return False
    with path.open("rb") as file:
        begin = file.read(1 << 16)
        file.seek(max(path.stat().st_size - (1 << 16), 0))
        end = file.read()
    return any(word in part for part in (begin, end) for word in (b"keypoint", b"annotations"))


PYSKL = Format(
    name="pyskl",
    summary="PYSKL's annotation pickles: skeletons in 2D with scores, or in 3D, with their splits",
    layouts=("coco17", "ntu25", "openpose18"),
    matches=matches_pyskl,
    open=open_pyskl,
    looks="a .pkl of annotations",
)
