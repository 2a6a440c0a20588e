"""The runs of a plan: what they are, where they lie, and how far each of them is.

A run is an ordinary run folder. It is recognised by its recipe, its recordings and, if another was
trained before it, by the weights of that one, so that the same command goes on where it stopped,
and never mixes runs that were trained in different ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinegraph.errors import CheckpointError, OutputError, RecipeError
from kinegraph.explain import shown
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.training.run_folder import RunFolder, find_checkpoint
from kinegraph.yaml_text import read_yaml

if TYPE_CHECKING:
    from kinegraph.training.checkpoint import Checkpoint

Overrides = Sequence[tuple[str, str]]
FEW = 4  # differences that a message names


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        stream: Its stream.
        seed: Its seed.
        recipe: What is trained, with stream, seed and options set.
        recipe_name: The recipe that this comes from, as `kinegraph train` takes it.
        options: Keys of the recipe that were set, stream, seed and those of the plan included.
        folder: Where it lies.
        before: What is trained first: this run begins from its encoder.
    """

    stream: str
    seed: int
    recipe: Recipe
    recipe_name: str
    options: tuple[tuple[str, str], ...]
    folder: RunFolder
    before: PlannedRun | None = None

    @property
    def name(self) -> str:
        """``STREAM-seedK`` or ``STREAM-seedK-pretraining``, the name of its folder."""
        return self.folder.path.name

    @property
    def epochs(self) -> int:
        """How many epochs it has when it is finished."""
        return self.recipe.training.epochs


class State(StrEnum):
    """How far a run is."""

    NEW = "to be trained"
    BROKEN = "to be trained anew"
    INTERRUPTED = "to be gone on with"
    FINISHED = "finished"


def compare(one: Recipe, other: Recipe) -> list[tuple[str, str, str]]:
    """Return (key, value in one, value in the other) wherever two recipes differ.

    Where the recordings lie and what a recipe says of itself does not count.
    """
    left, right = (
        dict(_flat(one.model_dump(mode="json"))),
        dict(_flat(other.model_dump(mode="json"))),
    )
    keys = [key for key in (left | right) if key not in ("summary", "data.store")]
    return [
        (key, _word(left, key), _word(right, key))
        for key in keys
        if left.get(key, ...) != right.get(key, ...)
    ]


def begun_at(recipe: Recipe, run: str | None) -> Recipe:
    """Return a recipe that begins from another run."""
    return recipe.model_copy(update={"start": recipe.start.model_copy(update={"run": run})})


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every single value of nested ones."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _word(values: Mapping[str, Any], key: str) -> str:
    return shown(values[key]) if key in values else "absent"


def look_at(run: PlannedRun, *, recordings: Any = None, force: bool = False) -> State:
    """Return how far a run is.

    Args:
        run: The run.
        recordings: Checksums of the store, if the run must have been trained on it.
        force: Whether a run that does not fit the plan may be trained anew.

    Raises:
        RecipeError: The folder holds a run of another recipe, of other recordings, or one that
            began from other weights than those of the run before it.
        OutputError: The folder holds something else.
        CheckpointError: Its last checkpoint cannot be read.
    """
    folder = run.folder
    if not folder.path.exists():
        return State.NEW
    if not folder.path.is_dir():
        raise OutputError(f"'{folder.path}' is in the way: a run needs a folder there")
    if not folder.content():
        return State.NEW
    if not folder.recipe.is_file():
        raise OutputError(f"'{folder.path}' is in the way: it is not a run (no recipe.yaml)")
    if complaint := _complaint(run):
        if force:
            return State.BROKEN
        raise RecipeError(
            f"'{folder.path}' was made by another recipe: {complaint}; choose another --out, or"
            " replace such runs with --force"
        )
    if not folder.last.is_file():
        return State.BROKEN  # it was stopped before anything was trained
    return _progress(run, recordings, force=force)


def _complaint(run: PlannedRun) -> str:
    """Say how the recipe in a run's folder differs from the one that is wanted."""
    file = run.folder.recipe
    try:
        found = parse_recipe(read_yaml(file.read_text("utf-8"), where="it"), where="it")
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        return str(error)
    if run.before is not None and Path(found.start.run or "").name == run.before.name:
        found = begun_at(found, run.recipe.start.run)  # folders may have been moved; see _began
    differences = [f"{key} is {old}, wanted {new}" for key, old, new in compare(found, run.recipe)]
    more = f", and {len(differences) - FEW} more" if len(differences) > FEW else ""
    return ", ".join(differences[:FEW]) + more


def _progress(run: PlannedRun, recordings: Any, *, force: bool) -> State:
    from kinegraph.training.checkpoint import load_checkpoint

    try:
        saved = load_checkpoint(run.folder.last, weights=False)
    except CheckpointError:
        if force:
            return State.BROKEN
        raise
    others = recordings not in (None, saved.progress.get("recordings", recordings))
    if complaint := "was trained on other recordings" if others else _began(run, saved):
        if force:
            return State.BROKEN
        raise RecipeError(
            f"'{run.folder.path}' {complaint}; choose another --out, or replace such runs with"
            " --force"
        )
    return State.FINISHED if saved.finished else State.INTERRUPTED


def _began(run: PlannedRun, saved: Checkpoint) -> str:
    """Say what is wrong with the weights that a run began from."""
    from kinegraph.training.beginning import weights_checksum
    from kinegraph.training.checkpoint import load_checkpoint

    if run.before is None:
        return ""
    name = run.before.name
    if look_at(run.before, force=True) is not State.FINISHED:
        return f"began from a finished '{name}', which is not there any more"
    before = load_checkpoint(find_checkpoint(run.before.folder.path))
    if saved.progress.get("begun_from") == weights_checksum(before):
        return ""
    return f"began from other weights than those of '{name}'"
