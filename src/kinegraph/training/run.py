"""Starting a run and going on with one: the folder, its lock, its recipe and its log.

Everything that can be wrong with a recipe is found before the folder is touched.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from kinegraph.console import remark
from kinegraph.errors import CheckpointError, RecipeError
from kinegraph.files import write_text
from kinegraph.recipe import Recipe
from kinegraph.training.checkpoint import load_checkpoint, save_checkpoint
from kinegraph.training.distributed import ALONE, World
from kinegraph.training.loop import Training
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import choose_device, open_data
from kinegraph.training.shared_checkpoint import load_shared


def start(
    recipe: Recipe,
    run: RunFolder,
    *,
    device: str = "auto",
    force: bool = False,
    world: World = ALONE,
) -> Training:
    """Train a recipe from the beginning and return the training.

    The run folder is touched only when the recipe has been found to fit the recordings; of several
    processes, by the first alone.

    Args:
        recipe: What to train.
        run: Where results go.
        device: Where to compute.
        force: Whether an earlier run may be replaced.
        world: The processes that train together.

    Raises:
        Interrupted: A signal came; the run has been saved.
        OutputError: The folder is taken, or the disk refuses.
        TrainingError, RecipeError, StoreError, SplitError: The run cannot start or go on.
    """
    chosen = choose_device(device)
    data = open_data(recipe)
    recipe = _at(recipe, data.store.path)
    training = Training(recipe, data, run, chosen, world=world)
    if not world.first:
        training.fit()
        return training
    with run.claim(force=force):
        write_text(run.recipe, recipe.to_yaml())
        with run.log():
            _announce(training)
            training.save()
            training.fit()
    return training


def resume(
    run: RunFolder,
    *,
    device: str = "auto",
    store: str | Path | None = None,
    world: World = ALONE,
) -> Training:
    """Go on with a run from its last checkpoint and return the training.

    Args:
        run: The run.
        device: Where to compute.
        store: Where the recordings are now, if they were moved.
        world: The processes that train together, as many as before or not.

    Raises:
        Interrupted: A signal came; the run has been saved.
        CheckpointError: There is nothing to go on from.
        TrainingError, RecipeError, StoreError, SplitError, OutputError: As `start`.
    """
    chosen = choose_device(device)
    if world.first and not run.last.is_file():
        raise CheckpointError(
            f"'{run.path}' cannot be resumed: it has no {run.last.relative_to(run.path)}; expected"
            " the folder of a run that has begun"
        )
    with run.lock() if world.first else nullcontext():
        saved = load_shared(run.last, world)
        recipe = saved.recipe
        if store is not None:
            recipe = _at(recipe, store)
        brought = recipe.data.as_layout is not None
        data = open_data(recipe, skeleton=saved.skeleton if brought else None)
        recordings = data.store.meta["checksums"]
        if saved.progress.get("recordings", recordings) != recordings:
            raise RecipeError(
                f"store '{data.store.path}' does not hold the recordings that the run began with"
            )
        training = Training(recipe, data, run, chosen, resume=saved, world=world)
        if not world.first:
            training.fit()
            return training
        if store is not None:  # what is tested later looks for the recordings there, too
            _move_best(run, store)
            write_text(run.recipe, recipe.to_yaml())
            training.save()
        with run.log():
            line = f"resuming after {saved.epoch} of {recipe.training.epochs} epochs"
            if saved.epoch >= recipe.training.epochs:
                line = f"all {recipe.training.epochs} epochs are finished, nothing is left to train"
            elif saved.finished:
                line = (
                    f"evaluation.patience ended the run after {saved.epoch} of"
                    f" {recipe.training.epochs} epochs, nothing is left to train"
                )
            else:
                run.forget_results()  # they are those of weights that will be gone
            remark(line)
            training.run.logger.info(line)
            training.fit()
    return training


def _at(recipe: Recipe, store: str | Path) -> Recipe:
    """Return the recipe with the whole paths of what it names, so that it can be used anywhere."""
    place = recipe.data.model_copy(update={"store": str(Path(store).absolute())})
    start = recipe.start
    if start.run is not None:
        start = start.model_copy(update={"run": str(Path(start.run).absolute())})
    return recipe.model_copy(update={"data": place, "start": start})


def _move_best(run: RunFolder, store: str | Path) -> None:
    """Have the selected epoch name the recordings where they are now, as the last one will."""
    if not run.best.is_file():
        return
    recipe = load_checkpoint(run.best, weights=False).recipe
    moved = _at(recipe, store)
    if moved != recipe:
        save_checkpoint(run.best, replace(load_checkpoint(run.best), recipe=moved))


def _announce(training: Training) -> None:
    """Say what is about to be trained on what."""
    data, recipe = training.data, training.recipe
    weights = sum(parameter.numel() for parameter in training.state.objective.parameters())
    sizes = ", ".join(f"{len(rows)} {part}" for part, rows in data.rows.items())
    processes = training.world.size
    together = f" ({processes} processes)" if processes > 1 else ""
    line = (
        f"{recipe.backbone.name} ({weights:,} parameters), stream {recipe.stream}, on"  # type: ignore[attr-defined]
        f" {data.store.path.name} ({sizes} clips, {len(data.store.class_names)} classes),"
        f" {recipe.training.epochs} epochs on {training.device}{together}, seed {recipe.seed}"
    )
    overlooked = training.state.objective.remarks(recipe.training.epochs, len(data.training_rows))
    for told in filter(None, (line, training.begun, *overlooked)):
        remark(told)
        training.run.logger.info(told)
