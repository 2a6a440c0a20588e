"""What is special about files of AimCLR, SkeletonCLR and CrosSCLR: they are of two kinds.

After pre-training a file holds encoders of queries and of keys, with heads that make keys, and
queues. After linear evaluation or fine-tuning it holds the encoders of queries alone, each with a
linear classifier. Names alone are looked at here; ``systems`` reads the shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from kinegraph.compat.rules import CLASSIFIERS, CROSSCLR
from kinegraph.errors import CheckpointError
from kinegraph.recipe_files import read_recipe

# System -> whose names its files have: two of them save the same ones.
CONTRAST = {"aimclr": "aimclr", "skeletonclr": "aimclr", "crossclr": "crossclr"}
FRAMES = 50  # of the clips that they are trained and tested on
CLASSES = {"ntu25": 60, "ntu_edge": 60, "ucla20": 10}  # of the data sets of a layout
KINDS = {"encoder of keys": "key.", "queue": "queue."}  # of our tensors that only training needs
Value = TypeVar("Value")


def is_pretrained(family: str) -> bool:
    """Whether a family of `rules.RULES` is an objective that learns without labels."""
    return family in ("aimclr", "skeletonclr", "crossclr-2", "crossclr-3")


def family_in(system: str, names: Collection[str], stream: str) -> str:
    """Return whose rules the names of a file of these systems follow.

    Args:
        system: Key of `CONTRAST`.
        names: Plain original names.
        stream: Of CrosSCLR's classifiers, the one that is wanted.

    Raises:
        CheckpointError: The head has one layer only, or there is no such stream.
    """
    streams = [s for s, e in CROSSCLR.items() if _any(names, f"encoder_q{e}.")]
    if "encoder_k.fc.weight" in names:
        raise CheckpointError(
            "the file was pre-trained with heads of one layer (mlp: false); only the published"
            " heads of two layers can be converted"
        )
    if not any(f"{encoder}.fc.weight" in names for encoder in CLASSIFIERS):
        if system != "crossclr":
            return system
        if streams not in (list(CROSSCLR)[:2], list(CROSSCLR)):
            raise CheckpointError(
                f"the file has encoders of {', '.join(streams)}; CrosSCLR's are of joint,"
                " joint-motion and perhaps bone"
            )
        return f"crossclr-{len(streams)}"
    if system != "crossclr":
        return "encoder_q"
    if stream not in streams:
        raise CheckpointError(
            f"the file has classifiers of the streams {', '.join(streams)}, none of '{stream}':"
            " name one of these with --stream"
        )
    return f"encoder_q{CROSSCLR[stream]}"


def carried_by(family: str) -> tuple[str, ...]:
    """Return the beginnings of names that a classifier of one encoder never computes with."""
    if family not in CLASSIFIERS:
        return ()
    endings = CROSSCLR.values()
    others = [f"encoder_q{e}." for e in endings if family != f"encoder_q{e}"]
    return (*others, *(f"encoder_k{e}." for e in endings), "queue")


def begun_anew(fresh: Mapping[str, Value], ours: Collection[str]) -> dict[str, Value]:
    """Return what a pre-trained file may lack: heads, encoders of keys and queues, each as a whole.

    Args:
        fresh: State of the objective with fresh weights, by our names.
        ours: Our names of what the file has.
    """
    there = {_group(name) for name in ours}
    return {
        name: value
        for name, value in fresh.items()
        if name not in ours and (group := _group(name)) and group not in there
    }


def _group(name: str) -> str:
    """Return what a tensor is there or missing with; empty: it may not be missing."""
    kind, _, rest = name.partition(".")
    if kind == "queue":
        return name
    stream, _, part = rest.partition(".")
    if part.startswith("head."):
        return f"{kind}.{stream}.head"
    return kind if kind == "key" else ""


def remarks_on(family: str, named: bool, ours: Collection[str], theirs: Iterable[str]) -> list[str]:
    """Return what a user has to know about a converted file.

    Args:
        family: Key of `rules.RULES`.
        named: Whether the user has named the system.
        ours: Our names of what the file has.
        theirs: Plain original names.
    """
    remarks = []
    if is_pretrained(family):
        remarks.append("it has learned without labels: kinegraph probe tells what it is worth")
        lacking = [kind for kind, start in KINDS.items() if not _any(ours, start)]
        if lacking:
            remarks.append(
                f"the file has no {' and no '.join(lacking)}: only the original program's"
                " pre-training, by way of --reverse, would need them"
            )
        if family == "aimclr" and not named:
            remarks.append("SkeletonCLR saves the same names: if it was that, --system skeletonclr")
    elif family in CLASSIFIERS:
        names = set(theirs)
        others = [s for e, s in CLASSIFIERS.items() if e != family and f"{e}.fc.weight" in names]
        if others:
            remarks.append(
                f"this is the classifier of stream {CLASSIFIERS[family]}; those of"
                f" {' and '.join(others)} are kept for the way back: convert once more with"
                " --stream for each, and add them up with kinegraph ensemble"
            )
    if is_pretrained(family) or family in CLASSIFIERS:
        remarks.append(
            f"clips are treated as by the original program, which has them in {FRAMES} frames: make"
            " such by kinegraph data export --format aimclr-npy, and import those"
        )
    return remarks


def transforms_of(family: str) -> dict[str, list[dict[str, Any]]]:
    """Return what the programs do to the views of a clip in training, and to a clip in tests.

    They are those of the recipe `ntu-aimclr`, which are the published settings of AimCLR and
    CrosSCLR on every data set.
    """
    published: dict[str, list[dict[str, Any]]] = read_recipe("ntu-aimclr")["transforms"]
    views = ("query", "key") if is_pretrained(family) else ()
    extreme = ("extreme",) if family == "aimclr" else ()
    return {view: published[view] for view in (*views, *extreme, "test")}


def _any(names: Iterable[str], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in names)
