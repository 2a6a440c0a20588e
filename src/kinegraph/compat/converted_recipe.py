"""The recipe of converted weights: how the original program tests them, or trained them.

Place in the flow: ``converting`` puts it into the checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kinegraph.compat.contrast_files import CLASSES, CONTRAST, is_pretrained, transforms_of
from kinegraph.compat.original import Taken
from kinegraph.compat.systems import objective_of
from kinegraph.errors import CheckpointError
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.skeleton import Skeleton


@dataclass(frozen=True)
class Wishes:
    """What the user says of a file; None: what the file tells, or the original's default.

    Attributes:
        layout: Name of the layout of the joints.
        classes: Names of the classes in label order.
        persons: M.
        stream: Stream that was trained on.
        read: Whether settings or the file's name say the stream, and not the user: a file that
            makes its streams itself does not mind it then.
        split: Split of the recordings that was trained on.
        epoch: Epochs that were trained.
    """

    layout: str | None = None
    classes: tuple[str, ...] | None = None
    persons: int | None = None
    stream: str = "joint"
    read: bool = False
    split: str | None = None
    epoch: int = 1


def class_names(layout: str, count: int) -> tuple[str, ...]:
    """Return the names of the classes of a data set that the originals were trained on.

    What has learned no classes and is of none of their layouts needs no names.

    Raises:
        CheckpointError: None of them has so many classes.
    """
    from kinegraph.data.formats import nw_ucla, pku_mmd
    from kinegraph.data.formats.processed import ntu_class_names

    if layout in ("ntu25", "ntu_edge") and count in (60, 120):
        return tuple(ntu_class_names()[:count])
    if layout == pku_mmd.LAYOUT and count == len(pku_mmd.CLASSES):
        return pku_mmd.CLASSES
    if layout == "ucla20" and count == len(nw_ucla.CLASSES):
        return tuple(nw_ucla.CLASSES.values())
    if not count:
        return ()
    raise CheckpointError(
        f"the head has {count} classes on layout '{layout}', whose names the file does not tell:"
        " give --classes FILE (one name per line), a store that has them, ntu60, ntu120, pku-mmd or"
        " nw-ucla"
    )


def class_count(taken: Taken, skeleton: Skeleton) -> int:
    """Return how many classes a file knows; pre-trained: those of the layout's data set."""
    known = CLASSES.get(skeleton.name, 0) if is_pretrained(taken.facts.family) else None
    return taken.facts.classes if known is None else known


def make_recipe(taken: Taken, skeleton: Skeleton, persons: int, wishes: Wishes) -> Recipe:
    """Return the recipe by which a converted checkpoint is tested, as the original tests it."""
    return parse_recipe(
        {
            "summary": f"weights of {taken.system}",
            "stream": wishes.stream,
            "quirks": "original",
            "data": {"layout": skeleton.name, "persons": persons, "split": wishes.split},
            "transforms": _transforms(taken, skeleton),
            "backbone": dict(taken.facts.backbone),
            "objective": {
                "name": objective_of(taken.system, taken.facts.family),
                **taken.facts.objective,
            },
            "training": {"epochs": wishes.epoch},
        },
        where="recipe of the converted weights",
    )


def _transforms(taken: Taken, skeleton: Skeleton) -> dict[str, list[dict[str, Any]]]:
    """Return what becomes of each view of a clip."""
    family = taken.facts.family
    if taken.system in CONTRAST:
        return transforms_of(family)
    return {"test": _test_transforms(family, skeleton)}


def _test_transforms(family: str, skeleton: Skeleton) -> list[dict[str, Any]]:
    """Return what the test phase of an original program does to a clip.

    Source: the programs' own settings for NTU RGB+D, NW-UCLA and Kinetics-skeleton.
    """
    if family in ("stgcn", "stgcn-two-stream", "stgcn-v1", "tcn"):
        return [{"name": "window", "length": 300}]
    if skeleton.name == "ucla20":
        return [
            {"name": "centre", "joint": 1},
            {"name": "min_max"},
            {"name": "pick_frames", "length": 52},
        ]
    centre: dict[str, Any] = {"name": "centre"}
    if skeleton.name == "ntu25":
        centre["joint"] = 1
    return [centre, {"name": "crop_resize", "length": 64, "proportion": 0.95}]
