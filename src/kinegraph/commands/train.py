"""``kinegraph train``: trains a recipe, or goes on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.errors import RecipeError
from kinegraph.recipe import load_recipe


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
    """Go on with the run in this folder; its own recipe is used."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    dry_run: bool = False
    """Print the resolved recipe and stop."""

    force: bool = False
    """Replace an earlier run in the same folder."""

    overrides: Annotated[tuple[tuple[str, str], ...], tyro.conf.Suppress] = ()
    """Keys of the recipe that were given as options."""


def run(arguments: Arguments) -> int:
    """Train, and return 0, or 128 + the number of the signal that stopped the run."""
    if arguments.resume is not None:
        if arguments.recipe is not None or arguments.overrides:
            raise RecipeError("--resume uses the run's own recipe; give neither recipe nor keys")
        return _train(arguments, None)
    if arguments.recipe is None:
        raise RecipeError("which recipe? kinegraph list recipes names them")
    if arguments.dry_run:
        say(load_recipe(arguments.recipe, arguments.overrides).to_yaml().rstrip())
        return 0
    return _train(arguments, arguments.recipe)


def _train(arguments: Arguments, recipe_name: str | None) -> int:
    from kinegraph.training.loop import Interrupted
    from kinegraph.training.run import default_run, resume, start
    from kinegraph.training.run_folder import RunFolder

    try:
        if recipe_name is None:
            assert arguments.resume is not None
            folder = RunFolder(arguments.resume)
            resume(folder, device=arguments.device)
        else:
            recipe = load_recipe(recipe_name, arguments.overrides)
            folder = RunFolder(arguments.out or default_run(recipe_name, recipe))
            start(recipe, folder, device=arguments.device, force=arguments.force)
    except Interrupted as stop:
        remark(f"{stop}; go on with: kinegraph train --resume {folder.path}")
        return 128 + stop.signal
    say(f"trained: {folder.path}; next: kinegraph test {folder.path}")
    return 0
