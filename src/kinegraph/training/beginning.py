"""Beginning from the encoder of another run: fine-tuning, linear evaluation, transfer.

Place in the flow: the loop asks for it once the objective is built, and before every epoch. What
an encoder is, is the same for every objective: a `Backbone` inside it. Heads always start anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from kinegraph.backbones.base import Backbone
from kinegraph.errors import CheckpointError, RecipeError
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe, StartConfig
from kinegraph.skeleton import Skeleton
from kinegraph.training.checkpoint import Checkpoint
from kinegraph.training.distributed import ALONE, World
from kinegraph.training.run_folder import find_checkpoint
from kinegraph.training.shared_checkpoint import load_shared


@dataclass(frozen=True)
class Begun:
    """What a run began from.

    Attributes:
        words: What was taken over from where.
        weights: See `weights_checksum`; kept in the run's checkpoints.
    """

    words: str
    weights: str


def weights_checksum(source: Checkpoint) -> str:
    """Return the sha256 of a checkpoint's weights, by which a run is known wherever it lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted((source.group("ema") or source.group("model")).items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def encoders(objective: Objective) -> dict[str, Backbone]:
    """Return the backbones of an objective by the names of their modules."""
    return {
        name: module for name, module in objective.named_modules() if isinstance(module, Backbone)
    }


def check_start(recipe: Recipe, objective: Objective) -> None:
    """Raise RecipeError if what a recipe says of its start makes no sense."""
    start = recipe.start
    if start.run is None:
        if start != StartConfig():
            key = "learns" if start.learns != "all" else "statistics"
            raise RecipeError(
                f"start.{key} {getattr(start, key)} keeps a part of an encoder as another run left"
                " it, but no run is named: give --start.run RUN"
            )
    elif start.learns == "head" and not objective.classifies:
        raise RecipeError(
            f"start.learns head trains a classifier on an encoder that stays as it is, but"
            f" objective {recipe.objective.name} has no classes: choose --objective.name classify"  # type: ignore[attr-defined]
        )


def begin_from(
    objective: Objective, recipe: Recipe, skeleton: Skeleton, world: World = ALONE
) -> Begun | None:
    """Give all encoders of an objective the weights of those of ``start.run``.

    Where that run has several encoders, each takes the one of its name, or else all take the one
    of the recipe's stream.

    Args:
        objective: With fresh weights, on the CPU.
        recipe: Its recipe.
        skeleton: Its layout.
        world: The processes that train together; the first reads the file for all.

    Returns:
        What was taken over; None where the recipe begins anew.

    Raises:
        RecipeError: The encoders do not fit each other.
        CheckpointError: There is no usable checkpoint.
    """
    if recipe.start.run is None:
        return None
    path = Path(recipe.start.run)
    source = load_shared(find_checkpoint(path) if world.first else path, world)
    if different := source.skeleton.difference(skeleton):
        raise RecipeError(
            f"start.run '{path}' was trained on layout '{source.skeleton.name}', these clips have"
            f" '{skeleton.name}' with other {different}: --data.as_layout"
            f" {source.skeleton.name} brings them there"
        )
    theirs = {name: module.state_dict() for name, module in encoders(source.build()).items()}
    for name, encoder in encoders(objective).items():
        taken = counterpart(name, tuple(theirs), recipe.stream, path)
        _check_fit(encoder.state_dict(), theirs[taken], recipe, source, path)
        encoder.load_state_dict(theirs[taken])
    words = f"beginning from the encoder of '{path}' after epoch {source.epoch}"
    if len(theirs) > 1 and not objective.makes_streams:
        words += f", the one called {taken}"
    if source.recipe.stream != recipe.stream and len(theirs) == 1:
        words += f"; it has seen stream {source.recipe.stream}, not {recipe.stream}"
    return Begun(words, weights_checksum(source))


def hold(objective: Objective, start: StartConfig) -> None:
    """Keep of the encoders what is not to change; called once `Objective.train` was.

    Kept statistics mean eval mode: the encoder answers as it did in the other run's tests, with no
    dropout. An encoder that does not learn is kept whole, statistics included: moved by the batches
    of a new head they change the features under it, which is a known way to a linear accuracy far
    below the published one.
    """
    frozen = start.learns == "head"
    for encoder in encoders(objective).values():
        if frozen:
            encoder.requires_grad_(False)
        if frozen or start.statistics == "kept":
            encoder.eval()


def draws_for_rows(objective: Objective, start: StartConfig) -> bool:
    """Return whether encoders draw random numbers for every row while they train: dropout."""
    if start.learns == "head" or start.statistics == "kept":
        return False
    return any(
        isinstance(module, _DropoutNd) and module.p > 0
        for encoder in encoders(objective).values()
        for module in encoder.modules()
    )


def counterpart(name: str, theirs: tuple[str, ...], stream: str, path: Path) -> str:
    """Return which of another run's encoders one of ours is to be.

    Args:
        name: Name of ours, see `encoders`.
        theirs: Names of those of the other run.
        stream: What ours sees.
        path: Where the other run lies.

    Raises:
        RecipeError: None of several fits.
    """
    own = name.removeprefix("key.")
    found = (
        theirs[0] if len(theirs) == 1 else None,
        name,
        f"query.{own}",
        f"query.{stream}.backbone",
    )
    for candidate in found:
        if candidate in theirs:
            return candidate
    raise RecipeError(
        f"start.run '{path}' has several encoders ({', '.join(theirs)}), none of them for stream"
        f" '{stream}'"
    )


def _check_fit(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    recipe: Recipe,
    source: Checkpoint,
    path: Path,
) -> None:
    """Raise RecipeError, with what to type, unless an encoder can take the state of another."""
    if {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}:
        return
    here: dict[str, Any] = recipe.backbone.model_dump(mode="json")
    there: dict[str, Any] = source.recipe.backbone.model_dump(mode="json")
    keys = [key for key in there if key != "dropout" and here.get(key) != there[key]]
    if keys:
        options = " ".join(f"--backbone.{key} {there[key]}" for key in keys)
        raise RecipeError(f"the encoder of start.run '{path}' is another network: give {options}")
    if recipe.original != source.recipe.original:
        raise RecipeError(
            f"start.run '{path}' was trained with quirks {source.recipe.quirks}, which changes its"
            f" network: give --quirks {source.recipe.quirks}"
        )
    raise CheckpointError(
        f"the encoder of start.run '{path}' does not fit: it was made for {source.persons} people"
        " (--data.persons), or its file is damaged"
    )
