"""From a plan to its runs, with those that are trained before them, and how they depart from it.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from kinegraph.errors import RecipeError, unknown
from kinegraph.recipe import SEEDS, Recipe, load_recipe
from kinegraph.reproduction.plan import Before, Options, Plan
from kinegraph.reproduction.runs import Overrides, PlannedRun, begun_at, compare
from kinegraph.training.run_folder import RunFolder

FIRST = "before."  # how keys of the recipe begin that are meant for what is trained before
# What an encoder is and where it computes has to be the same in both stages; a share of the labels
# is for the second alone, and refused where none is looked at.
SHARED_SECTIONS = ("quirks", "data", "backbone")
SHARED_KEYS = tuple(
    f"training.{key}"
    for key in ("precision", "kernels", "compile", "cuda_graphs", "checkpoint_minutes")
)
NOT_SHARED = ("data.label_share", "data.label_draw")


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
        if not 0 <= seed < SEEDS:
            raise RecipeError(f"--seeds: found {seed}, expected a number of at least 0")
    chosen = [stream for stream in plan.runs if not streams or stream in streams]
    return {stream: tuple(dict.fromkeys(seeds or plan.runs[stream])) for stream in chosen}


def expand(
    plan: Plan, seeds: Mapping[str, Sequence[int]], overrides: Overrides, out: Path
) -> list[PlannedRun]:
    """Return the runs of a plan, all streams of a seed before those of the next one.

    What is trained before a run is its `before`; `all_stages` puts both in a row.

    Args:
        plan: The plan.
        seeds: Stream -> seeds, see `choose_seeds`.
        overrides: Further keys of the recipe, as text. Those that begin with ``before.`` are for
            what is trained before, those of `SHARED_SECTIONS` and `SHARED_KEYS` for both stages.
        out: Folder of all runs.

    Raises:
        RecipeError: A key is the plan's to set, or the recipe or an option is wrong.
    """
    own, first = _divide(plan, overrides)
    places = sorted(
        (position, order, stream)
        for order, stream in enumerate(seeds)
        for position in range(len(seeds[stream]))
    )
    runs: list[PlannedRun] = []
    made: dict[str, PlannedRun] = {}
    for position, _, stream in places:
        seed = seeds[stream][position]
        planned_recipe(plan, stream, seed)
        before = None if plan.before is None else _before(plan, stream, seed, first, out)
        if before is not None:
            before = made.setdefault(before.name, before)
        planned = _as_options(stream, seed, plan.options_of(stream))
        options = (*_kept(planned, own), *own)
        if before is not None:
            options = (*options, ("start.run", str(before.folder.path)))
        folder = RunFolder(out / f"{stream}-seed{seed}")
        recipe = load_recipe(plan.recipe, options)
        runs.append(PlannedRun(stream, seed, recipe, plan.recipe, options, folder, before))
    return runs


def all_stages(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Return runs with those that are trained before them, each once and in front of the first."""
    found: dict[str, PlannedRun] = {}
    for run in runs:
        for one in (run.before, run):
            if one is not None:
                found.setdefault(one.name, one)
    return list(found.values())


def _divide(plan: Plan, overrides: Overrides) -> tuple[Overrides, Overrides]:
    """Return the options of a plan's own runs, and of those before them."""
    own = [item for item in overrides if not item[0].startswith(FIRST)]
    told = [(key.removeprefix(FIRST), text) for key, text in overrides if key.startswith(FIRST)]
    for key, _ in (*own, *told):
        if key in ("stream", "seed"):
            raise RecipeError(f"--{key} is set by the plan; choose among its runs with --{key}s")
    if plan.before is None:
        if told:
            raise RecipeError(f"--{FIRST}{told[0][0]}: plan '{plan.name}' trains nothing before")
        return own, []
    if any(key == "start.run" for key, _ in own):
        raise RecipeError("--start.run is set by the plan, to what is trained before each run")
    return own, [*(item for item in own if _is_shared(item[0])), *told]


def _is_shared(key: str) -> bool:
    section = key.split(".")[0]
    return (section in SHARED_SECTIONS and key not in NOT_SHARED) or key in SHARED_KEYS


def _before(plan: Plan, stream: str, seed: int, overrides: Overrides, out: Path) -> PlannedRun:
    """Return what is trained before a run."""
    assert plan.before is not None
    seen, name = plan.before.stream, f"seed{seed}-pretraining"
    if seen is None:
        seen, name = stream, f"{stream}-{name}"
    planned_recipe_before(plan, seen, seed)
    planned = _as_options(seen, seed, plan.before.options)
    options = (*_kept(planned, overrides), *overrides)
    try:
        recipe = load_recipe(plan.before.recipe, options)
    except RecipeError as error:
        raise RecipeError(f"what is trained before: {error}") from error
    return PlannedRun(seen, seed, recipe, plan.before.recipe, options, RunFolder(out / name))


def planned_recipe(plan: Plan, stream: str, seed: int) -> Recipe:
    """Return the recipe of a run as the plan has it; where it begins is not said.

    Raises:
        RecipeError: The recipe, or an option of the plan, is wrong.
    """
    return _planned(plan, plan.recipe, _as_options(stream, seed, plan.options_of(stream)))


def planned_recipe_before(plan: Plan, stream: str, seed: int) -> Recipe:
    """Return the recipe of what is trained before a run, as the plan has it.

    Raises:
        RecipeError: The recipe, or an option of the plan, is wrong.
    """
    before: Before | None = plan.before
    assert before is not None
    return _planned(plan, before.recipe, _as_options(stream, seed, before.options))


def _planned(plan: Plan, recipe: str, options: Overrides) -> Recipe:
    try:
        return load_recipe(recipe, options)
    except RecipeError as error:
        raise RecipeError(f"plan '{plan.name}': {error}") from error


def _as_options(stream: str, seed: int, options: Options) -> Overrides:
    """Return what a plan sets for a run, as options are given."""
    values = {"stream": stream, "seed": seed} | options
    return [(key, _as_option(value)) for key, value in values.items()]


def _as_option(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _kept(planned: Overrides, overrides: Overrides) -> Overrides:
    """Return what is left of a plan's options where a user names other components."""
    renamed = tuple(key.removesuffix("name") for key, _ in overrides if key.endswith(".name"))
    return [item for item in planned if not (renamed and item[0].startswith(renamed))]


def deviations(plan: Plan, runs: Sequence[PlannedRun]) -> tuple[list[str], list[str]]:
    """Return how runs depart from their plan: in the recipe, and in which streams and seeds run.

    A departure of some streams alone is followed by their names; one of what is trained before has
    keys that begin with ``before.``, as they are given as options.
    """
    first: dict[str, PlannedRun] = {}
    for run in runs:
        first.setdefault(run.stream, run)
    changes: dict[str, list[str]] = {}
    for stream, run in first.items():
        for text in _changes(plan, run):
            changes.setdefault(text, []).append(stream)
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


def _changes(plan: Plan, run: PlannedRun) -> list[str]:
    """Return how the recipes of a run, and of what is trained before it, depart from the plan."""
    found = []
    if run.before is not None:
        planned = planned_recipe_before(plan, run.before.stream, run.seed)
        found = [(f"{FIRST}{key}", *rest) for key, *rest in compare(run.before.recipe, planned)]
    planned = planned_recipe(plan, run.stream, run.seed)
    if run.before is not None:
        planned = begun_at(planned, run.recipe.start.run)
    found += compare(run.recipe, planned)
    return [f"{key} {new} instead of {old}" for key, new, old in found]
