"""The runs of a plan: what they are, where they lie, and how far each of them is.

A run is an ordinary run folder. It is recognised by its recipe, so that the same command goes on
where it stopped, and never mixes runs that were trained in different ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from kinegraph.errors import CheckpointError, OutputError, RecipeError, unknown
from kinegraph.explain import shown
from kinegraph.recipe import Recipe, load_recipe, parse_recipe
from kinegraph.reproduction.plan import Plan
from kinegraph.training.run_folder import LOCK, RunFolder
from kinegraph.yaml_text import read_yaml

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
    """

    stream: str
    seed: int
    recipe: Recipe
    recipe_name: str
    options: tuple[tuple[str, str], ...]
    folder: RunFolder

    @property
    def name(self) -> str:
        """``STREAM-seedK``, the name of its folder."""
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


def choose_seeds(
    plan: Plan, streams: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the seeds of every stream that is to be trained, in the plan's order.

    Args:
        plan: The plan.
        streams: Only these streams; by default all.
        seeds: These seeds for every stream instead of the plan's.

    Raises:
        RecipeError: A stream is not one of the plan's, or a seed is negative or too large.
    """
    for stream in streams or ():
        if stream not in plan.runs:
            raise RecipeError(f"--streams: {unknown('stream of the plan', stream, plan.runs)}")
    for seed in seeds or ():
        if not 0 <= seed < 2**31:
            raise RecipeError(f"--seeds: found {seed}, expected a number of at least 0")
    chosen = [stream for stream in plan.runs if not streams or stream in streams]
    return {stream: tuple(dict.fromkeys(seeds or plan.runs[stream])) for stream in chosen}


def expand(
    plan: Plan, seeds: Mapping[str, Sequence[int]], overrides: Overrides, out: Path
) -> list[PlannedRun]:
    """Return the runs of a plan, all streams of a seed before those of the next one.

    Args:
        plan: The plan.
        seeds: Stream -> seeds, see `choose_seeds`.
        overrides: Further keys of the recipe, as text.
        out: Folder of all runs.

    Raises:
        RecipeError: A key is the plan's to set, or the recipe or an option is wrong.
    """
    for key, _ in overrides:
        if key in ("stream", "seed"):
            raise RecipeError(f"--{key} is set by the plan; choose among its runs with --{key}s")
    places = sorted(
        (position, order, stream)
        for order, stream in enumerate(seeds)
        for position in range(len(seeds[stream]))
    )
    runs = []
    for position, _, stream in places:
        seed = seeds[stream][position]
        planned_recipe(plan, stream, seed)
        options = (*_kept(_planned(plan, stream, seed), overrides), *overrides)
        recipe = load_recipe(plan.recipe, options)
        folder = RunFolder(out / f"{stream}-seed{seed}")
        runs.append(PlannedRun(stream, seed, recipe, plan.recipe, options, folder))
    return runs


def planned_recipe(plan: Plan, stream: str, seed: int) -> Recipe:
    """Return the recipe of a run as the plan has it.

    Raises:
        RecipeError: The recipe, or an option of the plan, is wrong.
    """
    try:
        return load_recipe(plan.recipe, _planned(plan, stream, seed))
    except RecipeError as error:
        raise RecipeError(f"plan '{plan.name}': {error}") from error


def _planned(plan: Plan, stream: str, seed: int) -> Overrides:
    """Return what the plan sets for a run, as options are given."""
    options = {"stream": stream, "seed": seed} | plan.options_of(stream)
    return [(key, _as_option(value)) for key, value in options.items()]


def _as_option(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _kept(planned: Overrides, overrides: Overrides) -> Overrides:
    """Return what is left of a plan's options where a user names other components."""
    renamed = tuple(key.removesuffix("name") for key, _ in overrides if key.endswith(".name"))
    return [item for item in planned if not (renamed and item[0].startswith(renamed))]


def deviations(plan: Plan, runs: Sequence[PlannedRun]) -> tuple[list[str], list[str]]:
    """Return how runs depart from their plan: in the recipe, and in which streams and seeds run.

    A departure of some streams alone is followed by their names.
    """
    first: dict[str, PlannedRun] = {}
    for run in runs:
        first.setdefault(run.stream, run)
    changes: dict[str, list[str]] = {}
    for stream, run in first.items():
        for key, new, old in compare(run.recipe, planned_recipe(plan, stream, run.seed)):
            changes.setdefault(f"{key} {new} instead of {old}", []).append(stream)
    changed = [
        text if len(streams) == len(first) else f"{text} ({', '.join(streams)})"
        for text, streams in changes.items()
    ]
    lacking = []
    for stream, seeds in plan.runs.items():
        here = [run.seed for run in runs if run.stream == stream]
        missing = [str(seed) for seed in seeds if seed not in here]
        if missing:
            lacking.append(f"{stream} seed {', '.join(missing)}" if here else stream)
    return changed, lacking


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
        RecipeError: The folder holds a run of another recipe or of other recordings.
        OutputError: The folder holds something else.
        CheckpointError: Its last checkpoint cannot be read.
    """
    folder = run.folder
    if not folder.path.exists() or not _content(folder.path):
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


def _content(path: Path) -> list[str]:
    if not path.is_dir():
        raise OutputError(f"'{path}' is in the way: a run needs a folder there")
    return [entry.name for entry in path.iterdir() if entry.name != LOCK]


def _complaint(run: PlannedRun) -> str:
    """Say how the recipe in a run's folder differs from the one that is wanted."""
    file = run.folder.recipe
    try:
        found = parse_recipe(read_yaml(file.read_text("utf-8"), where="it"), where="it")
    except (OSError, UnicodeDecodeError, RecipeError) as error:
        return str(error)
    differences = [f"{key} is {old}, wanted {new}" for key, old, new in compare(found, run.recipe)]
    more = f", and {len(differences) - FEW} more" if len(differences) > FEW else ""
    return ", ".join(differences[:FEW]) + more


def _progress(run: PlannedRun, recordings: Any, *, force: bool) -> State:
    from kinegraph.training.checkpoint import load_checkpoint

    try:
        saved = load_checkpoint(run.folder.last)
    except CheckpointError:
        if force:
            return State.BROKEN
        raise
    if recordings is not None and saved.progress.get("recordings", recordings) != recordings:
        if force:
            return State.BROKEN
        raise RecipeError(
            f"'{run.folder.path}' was trained on other recordings; choose another --out, or replace"
            " such runs with --force"
        )
    return State.FINISHED if saved.epoch >= run.epochs else State.INTERRUPTED
