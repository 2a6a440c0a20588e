"""``kinegraph reproduce``: repeats a published result: all its runs, their ensembles, a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import console, remark, say, to_json
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.files import make_folder, remove_files, write_text
from kinegraph.reproduction.listing import plan_line, plan_lines
from kinegraph.reproduction.plan import Plan
from kinegraph.reproduction.published import load_plan, plan_names

if TYPE_CHECKING:
    from kinegraph.recipe import Recipe
    from kinegraph.reproduction.packing import Place
    from kinegraph.reproduction.result import Result
    from kinegraph.reproduction.runs import PlannedRun, State

MOST_AT_ONCE = 64
RESULTS = ("reproduction.md", "reproduction.json", "reproduction.svg")


class Arguments(BaseModel):
    """Repeat a published result: train its runs, test them, add them up and compare.

    Without a name, list the plans; with --dry-run, say what one takes. Every run is an ordinary run
    folder in --out; finished ones are skipped and interrupted ones are gone on with, so the same
    command may be stopped and started again. Keys of the recipe are options, as for `kinegraph
    train`; what departs from the plan is named in the result.

    Where a plan trains something before its runs, as AimCLR does, a key that begins with before.
    (--before.optim.lr 0.05) is for that stage alone. Keys of backbone, data and quirks are for both
    stages, the others for the runs that begin from it.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    stages: ClassVar[tuple[str, ...]] = ("before",)

    plan: Annotated[str | None, tyro.conf.Positional] = None
    """A plan, SYSTEM:DATASET such as ctrgcn:nw-ucla, or a YAML file of your own."""

    out: Path | None = None
    """Folder of all runs; default: runs/reproduce-PLAN, the same for every call."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    side_by_side: str = "auto"
    """How many runs to train at a time on the device; auto goes by its memory and the cores."""

    streams: tuple[str, ...] | None = None
    """Only these streams of the plan."""

    seeds: tuple[int, ...] | None = None
    """These seeds for every stream instead of the plan's."""

    epochs: Annotated[int | None, Field(ge=1)] = None
    """Other number of epochs than the recipe's, for a trial; of every stage."""

    dry_run: bool = False
    """Say what the plan takes and what would be trained, and stop."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""

    force: bool = False
    """Train runs in --out anew that were made by another recipe or on other recordings."""

    overrides: Annotated[tuple[tuple[str, str], ...], tyro.conf.Suppress] = ()
    """Keys of the recipe that were given as options."""


def run(arguments: Arguments) -> int:
    """Repeat a plan, or list the plans.

    Returns:
        0, or 128 + the number of the signal that stopped the runs. A target that was missed is a
        result and no failure.

    Raises:
        KinegraphError: The plan, its options, its recordings or the folder cannot be used, or a run
            failed; the others are then finished and counted.
    """
    if arguments.plan is None:
        return _list(as_json=arguments.as_json)
    from kinegraph.reproduction.stages import choose_seeds, expand

    plan = load_plan(arguments.plan)
    seeds = choose_seeds(plan, arguments.streams, arguments.seeds)
    overrides, store = _split_overrides(arguments, stages=plan.before is not None)
    at_once = _at_once(arguments.side_by_side)
    out = arguments.out or Path("runs") / f"reproduce-{plan.name.replace(':', '-')}"
    runs = expand(plan, seeds, overrides, out)
    store = store or runs[0].recipe.data.store
    if arguments.dry_run:
        _check_store(plan, runs[0].recipe, store)
        return _show_plan(plan, runs, force=arguments.force, as_json=arguments.as_json)
    if not store:
        raise RecipeError(
            f"no recordings are named: give --data.store STORE, made by: {plan.prepare_line}"
        )
    return _reproduce(plan, runs, Path(store), at_once, arguments)


def _split_overrides(
    arguments: Arguments, *, stages: bool
) -> tuple[list[tuple[str, str]], str | None]:
    """Return the keys of the recipe that were set, and the store, which is no part of a recipe."""
    overrides = [item for item in arguments.overrides if item[0] != "data.store"]
    store = dict(arguments.overrides).get("data.store")
    if arguments.epochs is not None:
        if "training.epochs" in dict(overrides):
            raise RecipeError("--epochs and --training.epochs are the same; give one of them")
        overrides.append(("training.epochs", str(arguments.epochs)))
        if stages and "before.training.epochs" not in dict(overrides):
            overrides.append(("before.training.epochs", str(arguments.epochs)))
    return overrides, store


def _check_store(plan: Plan, recipe: Recipe, store: str | None) -> None:
    """Say what recordings runs would take; those that are named have to suit the recipe.

    Raises:
        StoreError: There is no store of this name, or it is damaged.
        RecipeError: It has another layout.
        SplitError: The split does not work on it.
    """
    if not store:
        remark(f"recordings: none named yet; give --data.store STORE, made by: {plan.prepare_line}")
        return
    from kinegraph.training.setup import open_data

    found = open_data(recipe, store).store
    remark(f"recordings: {found.path}, {len(found)} clips of {found.num_classes} classes")


def _at_once(word: str) -> int | None:
    """Return how many runs were asked for at a time, or None for `auto`."""
    if word == "auto":
        return None
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= MOST_AT_ONCE):
        raise RecipeError(
            f"--side-by-side: found '{word}', expected auto or a number from 1 to {MOST_AT_ONCE}"
        )
    return int(word)


def _list(*, as_json: bool) -> int:
    """Print a line for each plan."""
    plans = [load_plan(name) for name in plan_names()]
    if as_json:
        say(to_json([plan.model_dump(mode="json") for plan in plans]))
        return 0
    say("\n".join(map(plan_line, plans)))
    say("\nwhat a plan takes: kinegraph reproduce PLAN --dry-run")
    return 0


def _show_plan(plan: Plan, runs: Sequence[PlannedRun], *, force: bool, as_json: bool) -> int:
    """Print what a plan takes, every run, and how far it is."""
    from kinegraph.reproduction.runs import look_at
    from kinegraph.reproduction.stages import all_stages, deviations

    changed, lacking = deviations(plan, runs)
    stages = all_stages(runs)
    states = [look_at(run, force=force) for run in stages]
    if as_json:
        found = [
            {
                "run": str(run.folder.path),
                "stream": run.stream,
                "seed": run.seed,
                "before": run not in runs,
                "state": state,
            }
            for run, state in zip(stages, states, strict=True)
        ]
        say(to_json({"plan": plan.name, "changed": changed, "lacking": lacking, "runs": found}))
        return 0
    say("\n".join(plan_lines(plan)))
    for run, state in zip(stages, states, strict=True):
        say(f"{run.folder.path}: {state}")
    for kind, words in (("changed", changed), ("left out", lacking)):
        if words:
            say(f"{kind}: {'; '.join(words)}")
    return 0


def _reproduce(
    plan: Plan,
    runs: Sequence[PlannedRun],
    store: Path,
    at_once: int | None,
    arguments: Arguments,
) -> int:
    """Train what is missing, score, add up, write and tell."""
    from kinegraph.reproduction import machine
    from kinegraph.reproduction.packing import Place, train_missing
    from kinegraph.reproduction.runs import State, look_at
    from kinegraph.reproduction.sessions import Clock
    from kinegraph.reproduction.stages import all_stages
    from kinegraph.training.guards import Interrupted
    from kinegraph.training.run_folder import RunFolder
    from kinegraph.training.setup import choose_device, open_data

    device = choose_device(arguments.device)
    recordings = open_data(runs[0].recipe, store).store.meta["checksums"]
    out = runs[0].folder.path.parent
    make_folder(out)
    with RunFolder(out).lock():
        states = [
            (one, look_at(one, recordings=recordings, force=arguments.force))
            for one in all_stages(runs)
        ]
        left = sum(state is not State.FINISHED for one, state in states if one in runs)
        if any(state is not State.FINISHED for _, state in states):
            # They would be of other runs than those that lie beside them.
            remove_files(*(out / name for name in RESULTS))
        at_once = at_once or machine.at_once(left, device, plan.device_gib)
        place = Place(out, store, str(device), at_once)
        where = f"; {at_once} at a time on {machine.describe(device)}" if left else ""
        remark(f"{plan.title}: {_told(states)}{where}")
        clock = Clock(out, machine.describe(device), at_once, machine.versions_here(device))
        try:
            failed = train_missing(states, place, clock)
        except Interrupted as stop:
            remark(f"{stop}; the same command goes on")
            return 128 + stop.signal
        result = _score(plan, runs, place)
        _tell(plan, result, out, as_json=arguments.as_json)
    if failed:
        words = [(one.job.name, one.last_words()) for one in failed]
        raise TrainingError(_failure(words, all_stages(runs)))
    return 0


def _told(states: Sequence[tuple[PlannedRun, State]]) -> str:
    found = [state for _, state in states]
    counts = [f"{found.count(state)} {state}" for state in dict.fromkeys(found)]
    return f"{len(found)} runs, {', '.join(counts)}"


def _score(plan: Plan, runs: Sequence[PlannedRun], place: Place) -> Result:
    """Score the runs that are finished now."""
    from kinegraph.reproduction.runs import State, look_at
    from kinegraph.reproduction.scoring import collect, score_finished
    from kinegraph.reproduction.sessions import read_sessions

    finished = [one for one in runs if look_at(one, force=True) is State.FINISHED]
    remark(f"scoring the last and the selected epoch of {len(finished)} runs")
    scored = score_finished(finished, place.store, place.device)
    return collect(plan, runs, scored, read_sessions(place.out))


def _tell(plan: Plan, result: Result, out: Path, *, as_json: bool) -> None:
    """Write the result in all its forms and print it."""
    from kinegraph.reproduction.page import departures, page, target_lines
    from kinegraph.reproduction.picture import save_picture

    words, numbers, picture = RESULTS
    text = result.model_dump_json(indent=2) + "\n"
    write_text(out / numbers, text)
    write_text(out / words, page(plan, result, picture))
    save_picture(out / picture, plan, result)
    if as_json:
        say(text.rstrip())
        return
    console().print(_table(plan, result))
    for sentence in departures(result):
        say(sentence)
    for line in target_lines(plan, result):
        say(line.removeprefix("- "))
    for name in RESULTS:
        say(f"written: {out / name}")


def _table(plan: Plan, result: Result) -> Any:
    from rich.table import Table

    from kinegraph.reproduction.page import headings, rows

    clips = f" of {result.clips} test clips" if result.clips else ""
    table = Table(title=f"{plan.title}, top-1 accuracy in percent{clips}", title_justify="left")
    for heading in headings(result):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows(plan, result):
        table.add_row(*row, style="bold" if row[0] in plan.ensembles else None)
    return table


def _failure(failed: Sequence[tuple[str, str]], runs: Sequence[PlannedRun]) -> str:
    """Word what failed, and what may help."""
    words = "; ".join(f"{name} ({last})" for name, last in failed)
    crowded = any("out of memory" in last for _, last in failed)
    hint = "; train fewer at a time with --side-by-side" if crowded else ""
    return f"{len(failed)} of {len(runs)} runs failed: {words}{hint}; the same command tries again"
