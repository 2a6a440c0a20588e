"""What the ``config.yaml`` of an original program says of the weights beside it, and their names.

The programs write one into every run folder. It is read as plain YAML and nothing in it is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kinegraph.errors import RecipeError
from kinegraph.yaml_text import read_yaml

CONFIG = "config.yaml"
LARGEST = 1 << 20  # bytes of a settings file

# A piece of the graph's or layout's name -> our layout.
LAYOUTS = {
    "ntu_rgb_d": "ntu25", "ntu-rgb+d": "ntu25", "ntu_edge": "ntu_edge", "openpose": "openpose18",
    "ucla": "ucla20",
}  # fmt: skip
# A piece of a data path, a feeder's or a data set's name -> our split; the first that occurs.
SPLITS = {
    "cset": "xset", "xset": "xset", "cross-set": "xset",
    "csub": "xsub", "xsub": "xsub", "cross-subject": "xsub", "_cs.": "xsub",
    "xview": "xview", "cross-view": "xview", "_cv.": "xview",
    "ucla": "view3",
}  # fmt: skip
# A word of a data path, or a piece of a published file's name -> the names of the classes.
CLASS_WORDS = {"ntu120": "ntu120", "ntu60": "ntu60", "pku": "pku-mmd", "pkummd": "pku-mmd"}
# What AimCLR and its kin call a stream -> our name.
STREAMS = {"joint": "joint", "motion": "joint-motion", "bone": "bone"}
# The published weights of AimCLR: data set, protocol and stream.
PUBLISHED = re.compile(r"(ntu60|ntu120|pku)(?:p1)?_?(xsub|xview|xset|cs)_(joint|motion|bone)")
# --datacase -> our split.
DATA_CASES = {"CS": "xsub", "CV": "xview", "CSub": "xsub", "CSet": "xset"}


@dataclass(frozen=True)
class Settings:
    """What a settings file tells; None where it says nothing.

    Attributes:
        layout: Name of the layout.
        classes: Names of the classes, as ``--classes`` calls them.
        persons: M.
        stream: Stream that was trained on.
        split: Split of the recordings.
        weights: Weights that the run began from.
        zero_k: k, if it makes every input zero: there is no stream then.
        motion: Whether the stream is one of motion.
        data_path: Where its recordings are.
        values: Everything that the file says, as it stands there.
    """

    layout: str | None = None
    classes: str | None = None
    persons: int | None = None
    stream: str | None = None
    split: str | None = None
    weights: str | None = None
    zero_k: int | None = None
    motion: bool = field(default=False, compare=False)
    data_path: str = field(default="", compare=False)
    values: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def read_settings(path: Path) -> Settings:
    """Read a ``config.yaml`` of an original program.

    Raises:
        RecipeError: It cannot be read or is no mapping.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise RecipeError(f"settings '{path}' have more than {LARGEST:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(f"settings '{path}' cannot be read: {why}") from error
    values = read_yaml(text, where=f"settings '{path}'")
    if not isinstance(values, dict):
        raise RecipeError(f"settings '{path}' are not a mapping of keys to values")
    model, feeder = _mapping(values, "model_args"), _mapping(values, "test_feeder_args")
    feeder = feeder or _mapping(values, "train_feeder_args")
    graph = f"{model.get('graph', '')} {_mapping(model, 'graph_args').get('layout', '')}"
    data_path = str(feeder.get("data_path") or "")
    paths = f"{values.get('dataset', '')} {data_path}".lower()
    layout = _piece(graph, LAYOUTS) or _piece(str(values.get("dataset", "")).lower(), LAYOUTS)
    split = DATA_CASES.get(str(values.get("datacase"))) or _split(values, data_path)
    k = _k(values, model)
    zero = k is not None and k < 1
    return Settings(
        layout=layout,
        classes=_word(paths, CLASS_WORDS),
        persons=_number(model.get("num_person")),
        stream=_stream(values, feeder, paths, k),
        zero_k=k if zero else None,
        motion=_motion(values, feeder, paths),
        split=None if layout == "ntu25" and split == "view3" else split,  # a folder's name
        weights=_text(values.get("weights")),
        data_path=data_path,
        values=values,
    )


def settings_in_name(name: str) -> Settings:
    """Return what the name of a published file tells, such as ``ntu60_xsub_joint``."""
    found = PUBLISHED.fullmatch(name)
    if found is None:
        return Settings()
    classes, split, stream = found.groups()
    return Settings(
        classes=CLASS_WORDS[classes],
        split="xsub" if split == "cs" else split,
        stream=STREAMS[stream],
    )


def stream_of(*, k: int | None, bone: bool, motion: bool) -> str:
    """Return our name of an original program's stream."""
    base = f"k-mode-{k}" if k is not None else "bone" if bone else "joint"
    return f"{base}-motion" if motion else base


def stream_told(settings: Settings, system: str) -> str | None:
    """Return the stream that a settings file of a system tells, or None.

    Raises:
        RecipeError: It says a k that makes every input zero.
    """
    if settings.stream or settings.zero_k is None:
        return settings.stream
    if system == "lst" and settings.zero_k == 0:  # there, these are the joints themselves
        return stream_of(k=8, bone=False, motion=settings.motion)
    raise RecipeError(f"the settings file says k = {settings.zero_k}, which makes every input zero")


def _stream(
    values: Mapping[str, Any], feeder: Mapping[str, Any], paths: str, k: int | None
) -> str | None:
    for key in ("stream", "view"):
        if isinstance(named := values.get(key), str) and named in STREAMS:
            return STREAMS[named]
    if k is not None and k < 1:
        return None
    told = k is not None or "bone" in feeder or "data_path" in feeder
    if not told:
        return None
    bone = _true(feeder.get("bone")) or "bone" in _last(paths)
    return stream_of(k=k, bone=bone, motion=_motion(values, feeder, paths))


def _k(values: Mapping[str, Any], model: Mapping[str, Any]) -> int | None:
    k = _number(values.get("k", model.get("k")))
    index = _number(values.get("modal_idx"))
    return 8 - index if k is None and index is not None else k


def _motion(values: Mapping[str, Any], feeder: Mapping[str, Any], paths: str) -> bool:
    return any(map(_true, (feeder.get("vel"), values.get("use_vel")))) or "motion" in _last(paths)


def _last(paths: str) -> str:
    """Return the last part of a path without ending, which on NW-UCLA names the stream."""
    place = paths.rpartition("/")[2]
    return "" if "." in place else place


def _split(values: Mapping[str, Any], data_path: str) -> str | None:
    """Return the split that names tell, the end of a path first: its folders may be anyone's."""
    work = str(values.get("work_dir") or "")
    texts = [str(values.get("dataset", "")), *reversed(PurePosixPath(data_path).parts)]
    texts += [str(values.get("feeder", "")), "" if PurePosixPath(work).is_absolute() else work]
    return next((split for text in texts if (split := _piece(text.lower(), SPLITS))), None)


def _mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _piece(text: str, table: Mapping[str, str]) -> str | None:
    return next((ours for piece, ours in table.items() if piece in text), None)


def _word(text: str, table: Mapping[str, str]) -> str | None:
    """Return likewise for whole words: a folder may be called pkumar."""
    words = re.split(r"[^a-z0-9]+", text)
    return next((ours for word, ours in table.items() if word in words), None)


def _number(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _true(value: Any) -> bool:
    return value is True or str(value).lower() == "true"
