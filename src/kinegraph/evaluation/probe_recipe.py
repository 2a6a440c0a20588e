"""From the recipe of a run to that of a run which its encoder is judged by: with labels.

Place in the flow: `probe_runs` derives one recipe, and sets in it what its runs differ in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinegraph.data.store import Store
from kinegraph.errors import LayoutError, RecipeError
from kinegraph.recipe import Recipe, load_recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint

EPOCHS, RATE = 30, 0.05
EPOCH_CLIPS = 256  # that an epoch shows at least: few clips occur several times, augmented anew
BATCHES = (16, 32, 64)
STEPS = 16  # of an epoch, below which batches are not made larger
ORIGINAL_NORM = 2.0  # to which AimCLR's semi-supervised evaluation shortens gradients
ORIGINAL_DEVIATION = 0.02  # of the head's first weights there
# What of a run's training stays: how it computes, not what.
EXECUTION = ("precision", "kernels", "compile", "cuda_graphs", "checkpoint_minutes")


@dataclass(frozen=True)
class Wishes:
    """What a user may choose about the runs of a protocol.

    Attributes:
        recipe: A recipe whose transforms, optimiser, schedule and training are taken.
        epochs: Epochs, default: those of ``recipe``, or `EPOCHS`.
        lr: Learning rate, default: that of ``recipe``, or `RATE`.
        original: Whether encoders are fine-tuned as AimCLR does it.
        split: How clips are divided; default: as in the run, or in another store's own way.
        stream: What of the joints is seen, which chooses between several encoders of a run;
            default: as in the run.
    """

    recipe: str | None = None
    epochs: int | None = None
    lr: float | None = None
    original: bool = False
    split: str | None = None
    stream: str | None = None


def derive(
    checkpoint: Checkpoint, run: Path, store: Store, wishes: Wishes, *, clip_norm: bool, moved: bool
) -> Recipe:
    """Return the recipe that trains all of a run's encoder on labels.

    Backbone, stream, quirks, people and split are those of the run; the training view is its
    ``query`` view, or its ``train`` view if it learned with labels. What depends on the number of
    clips is set by `sized`.

    Args:
        checkpoint: The run's selected one.
        run: Where it lies.
        store: The clips.
        wishes: What a user chose.
        clip_norm: Whether the original shortens gradients in this protocol.
        moved: Whether the clips are of another data set than the run's, with a split of its own.

    Raises:
        RecipeError: The run has no view to train with, a wish makes no sense, or the transforms of
            ``wishes.recipe`` are for joints of another layout.
        LayoutError: The layout of the run has no name that a recipe can give.
    """
    values = checkpoint.recipe.model_dump(mode="json")
    given = None if wishes.recipe is None else load_recipe(wishes.recipe).model_dump(mode="json")
    split = None if moved else values["data"]["split"]
    values["stream"] = wishes.stream or values["stream"]
    values["data"] |= {
        "store": str(store.path.absolute()),
        "split": wishes.split or split,
        "as_layout": _as_layout(checkpoint, store),
        "persons": checkpoint.persons,
        "label_share": None,
    }
    values["objective"] = {"name": "classify"}
    start: dict[str, Any] = {"run": str(run.absolute())}
    if given is None:
        values |= _usual(values, run)
    else:
        _check_layout(given["data"]["layout"], checkpoint, wishes)
        values |= {key: given[key] for key in ("transforms", "optim", "schedule", "training")}
        if given["objective"]["name"] == "classify":
            values["objective"] = given["objective"]
        start["statistics"] = given["start"]["statistics"]
        if "train" not in values["transforms"]:
            raise RecipeError(
                f"--recipe {wishes.recipe} has no transforms for view 'train', which runs with"
                " labels train with"
            )
    if wishes.original:
        start["statistics"] = "kept"
        values["objective"]["head_deviation"] = ORIGINAL_DEVIATION
        values["training"]["repeat_draws"] = True  # where the run has quirks: original, see there
        if clip_norm:
            values["optim"]["clip_norm"] = ORIGINAL_NORM
    epochs = wishes.epochs or values["training"]["epochs"]
    values["training"] |= {"epochs": epochs, "drop_last": False, "shuffle_labels": False}
    values["optim"]["lr"] = wishes.lr or values["optim"]["lr"]
    values["evaluation"] |= {"selection": "last", "patience": None, "every": epochs}
    values |= {"start": start, "summary": f"judges the encoder of {run}"}
    return parse_recipe(values, where=f"recipe that judges '{run}'")


def _usual(values: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return the transforms and the training of a run that no recipe was given for."""
    views = values["transforms"]
    view = next((name for name in ("query", "train") if name in views), None)
    if view is None:
        raise RecipeError(
            f"'{run}' has transforms for the views {', '.join(views)}, none of them 'query' or"
            " 'train': give --recipe RECIPE, whose transforms are then used"
        )
    return {
        "transforms": {"train": views[view], "test": views["test"]},
        "optim": {"name": "sgd", "lr": RATE},
        "schedule": {"name": "cosine"},
        "training": {key: values["training"][key] for key in EXECUTION} | {"epochs": EPOCHS},
    }


def _check_layout(layout: str | None, checkpoint: Checkpoint, wishes: Wishes) -> None:
    """Refuse transforms for the joints of another layout, which they name by number."""
    own = checkpoint.recipe.data.as_layout or checkpoint.skeleton.name
    if layout not in (None, own):
        raise RecipeError(
            f"--recipe {wishes.recipe} is made for layout '{layout}', but the run was trained on"
            f" '{own}': its transforms would take other joints; give a recipe for '{own}'"
        )


def _as_layout(checkpoint: Checkpoint, store: Store) -> str | None:
    """Return the layout that clips have to be brought to, if any."""
    own, named = checkpoint.skeleton, checkpoint.recipe.data.as_layout
    if not own.difference(store.skeleton):
        return None
    if named is None:
        named = own.name
    try:
        known = not load_layout(named).difference(own)
    except LayoutError:
        known = False
    if not known:
        raise LayoutError(
            f"the run was trained on layout '{own.name}', store '{store.path}' has"
            f" '{store.skeleton.name}': only layouts that kinegraph list layouts names can be"
            " brought to"
        )
    return named


def sized(recipe: Recipe, clips: int) -> Recipe:
    """Return a usual recipe with an epoch and a batch that suit a number of training clips."""
    repeat = max(1, -(-EPOCH_CLIPS // clips))
    fitting = [size for size in BATCHES if clips * repeat >= STEPS * size]
    update = {"repeat": repeat, "batch_size": fitting[-1] if fitting else BATCHES[0]}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=update)})
