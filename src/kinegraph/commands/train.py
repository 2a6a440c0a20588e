"""``kinegraph train``: trains a recipe, or goes on with a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.errors import RecipeError
from kinegraph.recipe import load_recipe
from kinegraph.training.launch import run_ranks, several, spaced

if TYPE_CHECKING:
    from kinegraph.training.loop import Training

WHO = "kinegraph train"


class Arguments(BaseModel):
    """Train a recipe on a store.

    Every key of the recipe is an option too and wins over the recipe's value: --data.store STORE
    --stream bone --optim.lr 0.05 --backbone.name stgcn. `kinegraph train RECIPE --help` lists them.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    recipe: Annotated[str | None, tyro.conf.Positional] = None
    """Name of a recipe (kinegraph list recipes), or a YAML file of your own."""

    out: Path | None = None
    """Run folder; default: runs/RECIPE-STREAM-TIME."""

    resume: Path | None = None
    """Go on with the run in this folder, by its own recipe (--data.store may be another)."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one; several, such as 0 1,
    start a process for each GPU."""

    dry_run: bool = False
    """Print the resolved recipe and stop."""

    force: bool = False
    """Replace an earlier run in the same folder."""

    overrides: Annotated[tuple[tuple[str, str], ...], tyro.conf.Suppress] = ()
    """Keys of the recipe that were given as options."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The words of the command line, for the processes of several devices."""


def run(arguments: Arguments) -> int:
    """Train, and return 0, or 128 + the number of the signal that stopped the run.

    Raises:
        KinegraphError: The recipe, its recordings or the run folder cannot be used.
    """
    if arguments.resume is not None:
        return _resume(arguments, arguments.resume)
    if arguments.recipe is None:
        raise RecipeError("which recipe? kinegraph list recipes names them")
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if arguments.dry_run:
        say(recipe.to_yaml().rstrip())
        return 0
    from kinegraph.training.run_folder import RunFolder, default_run

    folder = RunFolder(arguments.out or default_run(arguments.recipe, recipe.stream))
    if devices := several(arguments.device):
        words = (*arguments.typed, "--out", str(folder.path))
        return run_ranks(words, devices, who=WHO, go_on=folder.path)
    from kinegraph.training.run import start

    return _finish(arguments, folder.path, partial(start, recipe, folder, force=arguments.force))


def _resume(arguments: Arguments, path: Path) -> int:
    overrides = dict(arguments.overrides)
    store = overrides.pop("data.store", None)
    if arguments.recipe is not None or overrides:
        raise RecipeError(
            "--resume uses the run's own recipe; only --data.store may be given, for recordings"
            " that were moved"
        )
    if arguments.out is not None or arguments.dry_run or arguments.force:
        raise RecipeError(
            "--resume goes on in the run's own folder; drop --out, --dry-run, --force"
        )
    if devices := several(arguments.device):
        return run_ranks(arguments.typed, devices, who=WHO, go_on=path)
    from kinegraph.training.run import resume
    from kinegraph.training.run_folder import RunFolder

    return _finish(arguments, path, partial(resume, RunFolder(path), store=store))


def _finish(arguments: Arguments, path: Path, train: Callable[..., Training]) -> int:
    """Train to the end or to a signal, say how it ended, and return the exit code."""
    from kinegraph.training.distributed import join
    from kinegraph.training.guards import Interrupted

    with join(arguments.device, WHO) as world:
        try:
            training = train(device=world.device, world=world)
        except Interrupted as stop:
            devices = spaced(arguments.device)
            # Whoever called torchrun has to call it again, with its own words.
            start = "torchrun ... -m kinegraph" if _under_torchrun() else "kinegraph"
            remark(f"{stop}; go on with: {start} train --resume {path}{devices}")
            return 128 + stop.signal
    # Without labels there is nothing to score.
    verb = "test" if training.state.objective.classifies else "probe"
    say(f"trained: {path}; next: kinegraph {verb} {path}")
    return 0


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ
