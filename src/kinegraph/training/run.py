"""Starting a run and going on with one: the folder, its lock, its recipe and its log."""

from __future__ import annotations

import time
from pathlib import Path

from kinegraph.console import remark
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.files import write_text
from kinegraph.recipe import Recipe
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.loop import Training
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import choose_device, open_data


def default_run(recipe_name: str, recipe: Recipe) -> Path:
    """Return ``runs/<recipe>-<stream>-<time>``."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{Path(recipe_name).stem}-{recipe.stream}-{stamp}"


def start(recipe: Recipe, run: RunFolder, *, device: str = "auto", force: bool = False) -> None:
    """Train a recipe from the beginning.

    Raises:
        OutputError: The folder is taken, or the disk refuses.
        TrainingError, RecipeError, StoreError, SplitError: The run cannot start or go on.
    """
    chosen = choose_device(device)
    data = open_data(recipe)
    _check_labels(recipe, data.store.clips["label"][data.rows["train"]].tolist())
    run.create(force=force)
    with run.lock():
        run.clear()
        write_text(run.recipe, recipe.to_yaml())
        with run.log() as log:
            training = Training(recipe, data, run, chosen, log)
            _announce(training)
            training.save()
            training.fit()


def resume(run: RunFolder, *, device: str = "auto", store: Path | None = None) -> Recipe:
    """Go on with a run from its last checkpoint and return its recipe.

    Raises:
        CheckpointError: There is nothing to go on from.
        TrainingError, RecipeError, StoreError, SplitError, OutputError: As `start`.
    """
    chosen = choose_device(device)
    if not run.path.is_dir():
        raise TrainingError(f"'{run.path}' is no run folder: nothing to resume")
    with run.lock():
        saved = load_checkpoint(run.last)
        recipe = saved.recipe
        data = open_data(recipe, store)
        if data.store.class_names != saved.class_names or data.store.skeleton != saved.skeleton:
            raise RecipeError(
                f"store '{data.store.path}' has other classes or another layout than the run"
            )
        with run.log() as log:
            training = Training(recipe, data, run, chosen, log, resume=saved)
            remark(f"resuming after {saved.epoch} of {recipe.training.epochs} epochs")
            training.fit()
    return recipe


def _check_labels(recipe: Recipe, labels: list[int]) -> None:
    unlabelled = sum(label < 0 for label in labels)
    if unlabelled:
        raise RecipeError(
            f"{unlabelled} of {len(labels)} training clips have no label;"
            f" objective '{recipe.objective.name}' needs one"  # type: ignore[attr-defined]
        )


def _announce(training: Training) -> None:
    """Say what is about to be trained on what."""
    data, recipe = training.data, training.recipe
    weights = sum(parameter.numel() for parameter in training.objective.parameters())
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in data.rows.items())
    line = (
        f"{recipe.backbone.name} ({weights:,} parameters), stream {recipe.stream}, on"  # type: ignore[attr-defined]
        f" {data.store.path.name} ({sizes} clips, {len(data.store.class_names)} classes),"
        f" {recipe.training.epochs} epochs on {training.device}, seed {recipe.seed}"
    )
    remark(line)
    training.log.info(line)
