"""What names tell of a command line of AimCLR, SkeletonCLR or CrosSCLR, and of its weights.

Place in the flow: ``contrast_lines`` asks. A settings file need not be there: its name tells
recordings, split and stream, but for what one that is there says itself. Only whole words count,
the nearest to the end of the path first: folders further up are the user's own, and may be called
ubuntu, or AimCLR.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from kinegraph.compat.command_words import Line
from kinegraph.compat.original_flags import PRETRAINING, Data
from kinegraph.compat.original_lines import UNKNOWN, config_parts
from kinegraph.compat.original_settings import STREAMS, Settings
from kinegraph.errors import RecipeError, shown, unknown

FLAGS = ("stream", "view")
ALL = "all"  # CrosSCLR's word for the mean over its streams
# Recordings -> how they are called.
DATA_WORDS = {
    "ntu120": r"ntu([-_]?rgb\+?[-_]?d)?[-_]?120",
    "ntu60": r"ntu([-_]?rgb\+?[-_]?d)?([-_]?60)?",
    "pku-mmd": r"pku([-_]?mmd)?(p?[12])?",
    "nw-ucla": r"(nw[-_]?)?ucla",
}
PART_TWO = r"pku([-_]?mmd)?[-_]?(v|p|part[-_]?)?2"
SPLIT_WORDS = {
    "xset": r"xset(up)?|cset|cross[-_]?set(up)?",
    "xsub": r"xsub|csub|cs|cross[-_]?subject",
    "xview": r"xview|cv|cross[-_]?view",
}
STREAM_WORDS = {"joint-motion": "motion", "bone": "bone", "joint": "joint"}
# Whose weights they are: the longer names before the one that is also that of the program.
OWNERS = ("crossclr", "skeletonclr", "aimclr")


def data_in(line: Line, settings: Settings) -> Data:
    """Return the recordings that the settings file, or else its name, tells.

    Raises:
        RecipeError: Nothing tells them, or nothing is published for them.
    """
    parts = config_parts(line)
    told = settings.classes or ("nw-ucla" if settings.layout == "ucla20" else None)
    name = told or _nearest(parts, DATA_WORDS)
    if name == "nw-ucla":
        raise RecipeError(
            "these programs have no published run on NW-UCLA; our own recipes are nw-ucla-aimclr"
            " and nw-ucla-aimclr-linear: kinegraph train nw-ucla-aimclr --data.store STORE"
        )
    if name is None:
        raise RecipeError(
            "the command does not tell which recordings it is about: name a settings file such as"
            " config/ntu60/pretext/pretext_aimclr_xview_joint.yaml"
        )
    split = settings.split or _nearest(parts, SPLIT_WORDS) or "xsub"
    if name != "pku-mmd":
        return Data(name, "ntu", split)
    two = any(_has(part, PART_TWO) for part in (*parts, settings.data_path.lower()))
    return Data(name, "pku", split, part=2 if two else 1)


def streams_in(line: Line, settings: Settings) -> tuple[str, ...]:
    """Return the streams that are meant, by our names; several for CrosSCLR's ``all``.

    Raises:
        RecipeError: There is no such stream, or two options name different ones.
    """
    if word := stream_word(line, settings)[1]:
        return tuple(STREAMS.values()) if word == ALL else (STREAMS[word],)
    stem = PurePosixPath(line.one("config").lower()).stem
    if settings.zero_k is not None:
        raise RecipeError(
            f"the settings file says k = {settings.zero_k}, which these programs have not: name"
            " the stream by --stream joint, motion or bone"
        )
    return (settings.stream or _nearest((stem,), STREAM_WORDS) or "joint",)


def stream_word(line: Line, settings: Settings) -> tuple[str, str]:
    """Return what names a stream, as it stands there, and their word for it; empty: nothing does.

    Raises:
        RecipeError: There is no such stream, or two options name different ones.
    """
    named = {f"--{flag}": text for flag in FLAGS if (text := line.one(flag))}
    where = ""
    if not named:
        found = {key: settings.values.get(key) for key in FLAGS}
        named = {f"{key}:": shown(value) for key, value in found.items() if value is not None}
        named |= {f"{key}:": value for key, value in found.items() if isinstance(value, str)}
        where = " in the settings file"
    for flag, text in named.items():
        if text not in (*STREAMS, ALL):
            raise RecipeError(unknown(f"{flag.rstrip(':')}{where}", text, (*STREAMS, ALL)))
    said = [f"{flag} {text}{where}" for flag, text in named.items()]
    if len(set(named.values())) > 1:
        raise RecipeError(f"{' and '.join(said)} name different streams: leave one of them out")
    return (said[0], next(iter(named.values()))) if said else ("", "")


def of_three(line: Line, settings: Settings) -> bool:
    """Whether a pre-training of CrosSCLR is of three streams, not of two."""
    stem = PurePosixPath(line.one("config")).stem
    return "3view" in f"{line.words[0]} {stem} {settings.values.get('model')}".lower()


def system_of(line: Line, kind: str, weights: str, settings: Settings) -> str:
    """Return whose weights they are as far as the line tells; else the names in the file do."""
    if kind in PRETRAINING:
        return PRETRAINING[kind]
    stems = (PurePosixPath(path.lower()).stem for path in (line.one("config"), weights))
    model = line.one("model") or str(settings.values.get("model") or "")
    for text in (model.lower(), *stems):
        if found := next((system for system in OWNERS if system in text), ""):
            return found
    return UNKNOWN


def _nearest(parts: tuple[str, ...], words: Mapping[str, str]) -> str | None:
    found = (name for part in parts for name, word in words.items() if _has(part, word))
    return next(found, None)


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<![a-z0-9])({word})(?![a-z0-9])", text) is not None
