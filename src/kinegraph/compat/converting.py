"""State dicts of the original programs as checkpoints of ours, and back, losing nothing.

Place in the flow: ``kinegraph convert`` calls this between reading one file and writing another.
What an original file carries but its test phase never uses lies in the checkpoint under
``original/``, so that the way back gives the same names, in the same order, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kinegraph.compat.contrast_files import KINDS, is_pretrained, remarks_on
from kinegraph.compat.converted_recipe import Wishes, class_count, class_names, make_recipe
from kinegraph.compat.original import Taken, cut_head, fill_objective, take_apart
from kinegraph.compat.rules import CLASSIFIERS, RULES
from kinegraph.compat.state_dicts import StateDict, present_names, to_original
from kinegraph.compat.systems import (
    GRAPHS,
    choose_skeleton,
    find_system,
    persons_of,
)
from kinegraph.errors import CheckpointError
from kinegraph.recipe import Recipe
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton
from kinegraph.training.checkpoint import Checkpoint, make_objective

CARRIED = "original"  # group of tensors that are kept for the way back
CUT = "cut"  # likewise, rows of a head
RECORD = "original"  # key of what the checkpoint says of the file it comes from
NEVER_SAVED = "language.texts."  # the text encoder, which no original file has
PRIOR_SEED = 1  # of what the original never saved; the one that its program starts from


@dataclass(frozen=True)
class Conversion:
    """A converted file.

    Attributes:
        checkpoint: Ours.
        used: Original names whose numbers the network computes with.
        carried: Original names that are kept but never computed with.
        missing: What the file lacks and starts anew, by our names.
        cut: Rows of the head that no class of the checkpoint has.
        not_finite: Original names of used tensors that hold NaN or infinity.
        remarks: What the user should know besides.
    """

    checkpoint: Checkpoint
    used: tuple[str, ...]
    carried: tuple[str, ...]
    missing: tuple[str, ...]
    cut: int
    not_finite: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def unlabelled(self) -> bool:
        """Whether it has learned without labels and knows no classes."""
        return is_pretrained(self.checkpoint.progress[RECORD]["family"])

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the network makes itself, if it does."""
        return getattr(self.checkpoint.recipe.objective, "streams", ())


def convert(system: str | None, state: Mapping[str, Tensor], wishes: Wishes) -> Conversion:
    """Turn an original state dict into a checkpoint that `kinegraph test` and the others take.

    Encoders that learned without labels become one that `kinegraph probe` takes.

    Raises:
        CheckpointError: The file does not fit the system or the wishes, or they leave open what
            it does not tell.
    """
    taken = take_apart(system, state, stream=wishes.stream)
    if wishes.read and taken.facts.objective.get("streams"):
        wishes = replace(wishes, stream="joint")  # of which they are made
    skeleton, persons = choose_skeleton(taken.facts, wishes.layout)
    persons = persons_of(taken.facts, skeleton, wishes.persons)
    _check_input(taken, skeleton, persons, wishes)
    family = taken.facts.family
    classes = wishes.classes or class_names(skeleton.name, class_count(taken, skeleton))
    ours, cut = cut_head(taken, len(classes))
    recipe = make_recipe(taken, skeleton, persons, wishes)
    with torch.random.fork_rng():
        torch.manual_seed(PRIOR_SEED)
        objective = make_objective(recipe, skeleton, len(classes), persons=persons)
    fill_objective(objective, family, ours)
    own = {n: t for n, t in objective.state_dict().items() if n not in ours}
    if is_pretrained(family):  # what it lacks for training, training begins anew
        own = {n: t for n, t in own.items() if not n.startswith(objective.training_only)}
    tensors = {f"model/{name}": tensor for name, tensor in {**ours, **own}.items()}
    tensors |= {f"{CUT}/{name}": tensor for name, tensor in cut.items()}
    tensors |= {f"{CARRIED}/{name}": taken.theirs[name] for name in kept_apart(taken)}
    record = {"system": taken.system, "family": family, "names": list(taken.names)}
    checkpoint = Checkpoint(
        recipe=recipe,
        skeleton=skeleton,
        class_names=classes,
        persons=persons,
        epoch=wishes.epoch,
        progress={RECORD: record},
        tensors=tensors,
    )
    used = tuple(name for name in taken.theirs if name not in taken.carried)
    return Conversion(
        checkpoint=checkpoint,
        used=used,
        carried=taken.carried,
        missing=(*taken.counters, *own),
        cut=max(0, taken.facts.classes - len(classes)),
        not_finite=tuple(name for name in used if not taken.theirs[name].isfinite().all()),
        remarks=tuple(remarks_on(family, system is not None, taken.ours, taken.theirs)),
    )


def revert(checkpoint: Checkpoint) -> StateDict:
    """Turn a checkpoint into a state dict of the original program.

    Args:
        checkpoint: A converted one, which gives back the very file; or one trained here, by a
            recipe whose network an original program has.

    Raises:
        CheckpointError: No original program has such a network.
    """
    record: Mapping[str, Any] = checkpoint.progress.get(RECORD) or {}
    if not record:
        return to_original(_family_of(checkpoint.recipe), _trained(checkpoint))
    try:
        system, names = find_system(record["system"]), list(record["names"])
        name = _name(checkpoint.recipe.backbone)
        family = record.get("family", name if name in system.families else system.families[0])
        if family not in system.families:
            raise KeyError(family)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"the checkpoint's note of its origin is damaged: {error!r}") from (
            error
        )
    ours = checkpoint.group("model")
    for part, rows in checkpoint.group(CUT).items():
        ours[part] = torch.cat((ours[part], rows))
    theirs = to_original(family, ours) | checkpoint.group(CARRIED)
    plain = {name: str(name).rsplit("module.", 1)[-1] for name in names}
    now = present_names(family, {name: name for name in plain.values()})
    then = {old: new for new, old in now.items()}
    missing = [name for name in names if then[plain[name]] not in theirs]
    if missing:
        raise CheckpointError(f"the checkpoint has lost '{missing[0]}' of the file it comes from")
    return {name: theirs[then[plain[name]]] for name in names}


def _trained(checkpoint: Checkpoint) -> StateDict:
    """Return the weights of a run that go to the original: averages where there are some.

    Queues and encoders of keys are the last ones: averages of keys have another length than keys.
    """
    last = checkpoint.group("model")
    kept = tuple(KINDS.values())
    tensors = (checkpoint.group("ema") or last) | {
        name: tensor for name, tensor in last.items() if name.startswith(kept)
    }
    return {name: t for name, t in tensors.items() if not name.startswith(NEVER_SAVED)}


def systems_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the systems whose network a run that was trained here has, keys of `SYSTEMS`.

    Raises:
        CheckpointError: No original program has such a network.
    """
    family = _family_of(checkpoint.recipe)
    if family in CLASSIFIERS:  # of an encoder that either has trained
        return ("aimclr", "skeletonclr")
    return (family.partition("-")[0] if family.startswith(("frhead-", "crossclr-")) else family,)


def kept_apart(taken: Taken) -> list[str]:
    """Return the original names that the way back could not make again from our tensors alone."""
    back = to_original(taken.facts.family, taken.ours)
    return [
        name
        for name, tensor in taken.theirs.items()
        if name in taken.carried or not _same(back[name], tensor)
    ]


def _same(left: Tensor, right: Tensor) -> bool:
    same = left.dtype == right.dtype and left.shape == right.shape
    return same and torch.equal(left.nan_to_num(), right.nan_to_num())


def _check_input(taken: Taken, skeleton: Skeleton, persons: int, wishes: Wishes) -> None:
    if wishes.persons and persons != wishes.persons:
        raise CheckpointError(f"the file is made for {persons} people, not {wishes.persons}")
    if taken.facts.objective.get("streams") and wishes.stream != "joint":
        raise CheckpointError(
            "the file has encoders of all its streams, which they make of joints: leave out"
            f" --stream {wishes.stream}"
        )
    channels = skeleton.coordinates.channels
    if taken.facts.channels != channels:
        raise CheckpointError(
            f"the file is made for joints of {taken.facts.channels} numbers, those of layout"
            f" '{skeleton.name}' have {channels}"
        )


def _family_of(recipe: Recipe) -> str:
    """Return whose rules the network of a recipe follows, a key of `rules.RULES`."""
    name, objective = _name(recipe.backbone), _name(recipe.objective)
    values = recipe.objective.model_dump()
    encoder = name == "stgcn" and getattr(recipe.backbone, "last_width", None) is not None
    families = {
        "classify": next(iter(CLASSIFIERS)) if encoder else name,
        "two-stream": f"{name}-two-stream",
        "bottleneck": "infogcn" if name == "infogcn" else "",
        "refine": f"frhead-{name}",
        "language": "lst" if name == "ctrgcn" else "",
        **dict.fromkeys(("skeletonclr", "aimclr"), objective if name == "stgcn" else ""),
        "crossclr": f"crossclr-{len(values.get('streams', ()))}" if name == "stgcn" else "",
    }
    family = families.get(objective, "")
    if family not in RULES or (name, objective) == ("infogcn", "classify"):
        raise CheckpointError(
            f"no original program has the network '{name}' with the objective '{objective}'"
        )
    if objective == "crossclr" and not recipe.original:
        raise CheckpointError(
            "heads of crossclr are those of the original program only with quirks: original"
        )
    _, option, value = GRAPHS.get(name, ("", "name", name))
    if getattr(recipe.backbone, option) != value:
        raise CheckpointError(
            f"backbone.{option} {getattr(recipe.backbone, option)}: only networks with {value} are"
            f" written as those of the original program"
        )
    return family


def _name(config: Config) -> str:
    return str(config.name)  # type: ignore[attr-defined]
