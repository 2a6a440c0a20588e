"""Starting a run and going on with one: the folder, its lock, its recipe and its log.

Everything that can be wrong with a recipe is found before the folder is touched.
"""

from __future__ import annotations

import time
from pathlib import Path

from kinegraph.console import remark
from kinegraph.errors import CheckpointError, RecipeError
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

    The run folder is touched only when the recipe has been found to fit the recordings.

    Raises:
        Interrupted: A signal came; the run has been saved.
        OutputError: The folder is taken, or the disk refuses.
        TrainingError, RecipeError, StoreError, SplitError: The run cannot start or go on.
    """
    chosen = choose_device(device)
    data = open_data(recipe)
    recipe = _at(recipe, data.store.path)
    training = Training(recipe, data, run, chosen)
    with run.claim(force=force):
        write_text(run.recipe, recipe.to_yaml())
        with run.log():
            _announce(training)
            training.save()
            training.fit()


def resume(run: RunFolder, *, device: str = "auto", store: str | Path | None = None) -> Recipe:
    """Go on with a run from its last checkpoint and return its recipe.

    Args:
        run: The run.
        device: Where to compute.
        store: Where the recordings are now, if they were moved.

    Raises:
        Interrupted: A signal came; the run has been saved.
        CheckpointError: There is nothing to go on from.
        TrainingError, RecipeError, StoreError, SplitError, OutputError: As `start`.
    """
    chosen = choose_device(device)
    if not run.last.is_file():
        raise CheckpointError(
            f"'{run.path}' cannot be resumed: it has no {run.last.relative_to(run.path)}; expected"
            " the folder of a run that has begun"
        )
    with run.lock():
        saved = load_checkpoint(run.last)
        recipe = saved.recipe
        if store is not None:
            recipe = _at(recipe, store)
        data = open_data(recipe)
        recordings = data.store.meta["checksums"]
        if saved.progress.get("recordings", recordings) != recordings:
            raise RecipeError(
                f"store '{data.store.path}' does not hold the recordings that the run began with"
            )
        training = Training(recipe, data, run, chosen, resume=saved)
        if store is not None:
            write_text(run.recipe, recipe.to_yaml())
            training.save()  # what is tested later looks for the recordings there too
        with run.log():
            line = f"resuming after {saved.epoch} of {recipe.training.epochs} epochs"
            if saved.epoch >= recipe.training.epochs:
                line = f"all {recipe.training.epochs} epochs are finished, nothing is left to train"
            else:
                run.forget_results()  # they are those of weights that will be gone
            remark(line)
            training.run.logger.info(line)
            training.fit()
    return recipe


def _at(recipe: Recipe, store: str | Path) -> Recipe:
    """Return the recipe with the whole path of its store, so that the run can be used anywhere."""
    place = recipe.data.model_copy(update={"store": str(Path(store).absolute())})
    return recipe.model_copy(update={"data": place})


def _announce(training: Training) -> None:
    """Say what is about to be trained on what."""
    data, recipe = training.data, training.recipe
    weights = sum(parameter.numel() for parameter in training.state.objective.parameters())
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in data.rows.items())
    line = (
        f"{recipe.backbone.name} ({weights:,} parameters), stream {recipe.stream}, on"  # type: ignore[attr-defined]
        f" {data.store.path.name} ({sizes} clips, {len(data.store.class_names)} classes),"
        f" {recipe.training.epochs} epochs on {training.device}, seed {recipe.seed}"
    )
    remark(line)
    training.run.logger.info(line)
