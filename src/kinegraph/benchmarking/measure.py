"""Measure a recipe on a device: training, inference, latency, memory, phases, limits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from kinegraph.benchmarking.ceilings import measure_ceilings
from kinegraph.benchmarking.memory import peak_bytes
from kinegraph.benchmarking.random_store import SPLIT, RandomStore
from kinegraph.benchmarking.results import BenchResult, Latency, Speed
from kinegraph.benchmarking.timing import each_of, rounds_of, seconds_of
from kinegraph.benchmarking.work import Work, count_work
from kinegraph.benchmarking.workbench import Workbench, set_up
from kinegraph.recipe import Recipe
from kinegraph.reproduction.machine import describe, versions_here

LAYOUT, PERSONS = "ntu25", 2  # of random recordings, where a recipe fits all
ALONE = 0.8  # share of clips with one person in NTU RGB+D
STEPS_AN_EPOCH = 8  # of random recordings at the largest batch
WARM_UP = {"cuda": 8}  # steps; recorded graphs are replayed by then, see training.graphs
OTHER_WARM_UP = 2
MIXED_WARM_UP = {"cuda": 48}  # numbers of people differ from batch to batch, and so do shapes
PHASE_STEPS = {"cuda": 20}
OTHER_PHASE_STEPS = 3
LATENCIES = 200

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        batch_sizes: Clips of a batch, in training and in inference; empty: the recipe's own.
        rounds: Of each measurement.
        seconds: That the rounds of a measurement fill together; one call a round at least.
    """

    batch_sizes: tuple[int, ...] = ()
    rounds: int = 5
    seconds: float = 2.0


def measure_recipe(
    name: str, recipe: Recipe, device: torch.device, settings: Settings, *, say: Say
) -> BenchResult:
    """Measure a recipe.

    Args:
        name: Of the recipe.
        recipe: Its ``data.store`` is measured; without one random recordings are made for the time.
        device: Where.
        settings: How long.
        say: Is told what is being measured.

    Raises:
        KinegraphError: The recipe does not fit the recordings or the device.
    """
    sizes = settings.batch_sizes or (recipe.training.batch_size,)
    if recipe.data.store is not None:
        return _measure(
            name, recipe, {"all": Path(recipe.data.store)}, device, sizes, settings, say
        )
    with tempfile.TemporaryDirectory(prefix="kinegraph-bench-") as folder:
        say("making random recordings")
        made = random_recordings(recipe, max(sizes))
        stores = {"all": made.write(Path(folder) / "all")}
        if made.persons > 1:
            mixed = replace(made, alone=ALONE)
            stores[f"{ALONE:.0%} alone"] = mixed.write(Path(folder) / "mixed")
        data = recipe.data.model_copy(update={"split": SPLIT, "persons": made.persons})
        recipe = recipe.model_copy(update={"data": data})
        return _measure(name, recipe, stores, device, sizes, settings, say)


def random_recordings(recipe: Recipe, batch_size: int) -> RandomStore:
    """Return random recordings that a recipe can be measured with."""
    step = batch_size * recipe.training.accumulate
    return RandomStore(
        layout=recipe.data.as_layout or recipe.data.layout or LAYOUT,
        train=STEPS_AN_EPOCH * step,
        test=2 * batch_size + 4,
        persons=recipe.data.persons or PERSONS,
    )


def at_batch_size(recipe: Recipe, batch_size: int) -> Recipe:
    """Return the recipe with another batch size."""
    training = recipe.training.model_copy(update={"batch_size": batch_size})
    return recipe.model_copy(update={"training": training})


def _measure(
    name: str,
    recipe: Recipe,
    stores: dict[str, Path],
    device: torch.device,
    sizes: Sequence[int],
    settings: Settings,
    say: Say,
) -> BenchResult:
    result: BenchResult | None = None
    for people, store in stores.items():
        for size in sizes if people == "all" else sizes[:1]:
            with set_up(at_batch_size(recipe, size), store, device) as bench:
                if result is None:
                    result = _introduce(name, bench, settings, given=recipe.data.store is not None)
                    say("measuring latency")
                    result.latency = measure_latency(bench, settings)
                for what in ("inference", "training"):
                    say(f"measuring {what}, batch {size}, {_people(people)}")
                    speed = Speed(what, people, size)
                    _fill(speed, bench, settings)
                    result.speeds.append(speed)
                result.notes += [note for note in bench.notes if note not in result.notes]
    assert result is not None
    say("measuring what the device can do")
    dtype = bench.execution.autocast or torch.float32
    result.ceilings = asdict(measure_ceilings(device, dtype))
    return result


def _people(people: str) -> str:
    return "all people" if people == "all" else f"{people} in their clips"


def _introduce(name: str, bench: Workbench, settings: Settings, *, given: bool) -> BenchResult:
    recipe, store = bench.recipe, bench.data.store
    weights = sum(parameter.numel() for parameter in bench.objective.parameters())
    length = bench.data.pipelines["test"].length
    skeleton = bench.data.skeleton
    return BenchResult(
        recipe=name,
        subject=(
            f"{recipe.backbone.name}, {weights:,} parameters, stream {recipe.stream},"  # type: ignore[attr-defined]
            f" {len(store.class_names)} classes; {length} frames, {skeleton.joint_count} joints"
            f" ({skeleton.name}), {bench.data.persons} people"
        ),
        recordings=store.path.name if given else "random recordings, made for this measurement",
        device=describe(bench.device),
        execution=bench.execution.describe(),
        versions=versions_here(bench.device),
        settings={
            "rounds": settings.rounds,
            "seconds": settings.seconds,
            "threads": torch.get_num_threads(),
        },
    )


def _fill(speed: Speed, bench: Workbench, settings: Settings) -> None:
    """Measure training or inference; too little memory is a result too."""
    try:
        if speed.what == "training":
            measure_training(speed, bench, settings)
        else:
            measure_inference(speed, bench, settings)
    except torch.OutOfMemoryError:
        speed.problem = "out of memory"
        return
    if speed.people == "all":
        # In float32 on the CPU, one clip: the work for a clip is the same in every batch.
        work = work_of(bench)[speed.what]
        speed.flops_per_clip, speed.bytes_per_clip = work.flops, work.bytes


def measure_training(speed: Speed, bench: Workbench, settings: Settings) -> None:
    """Time whole steps: the making of batches, forward, backward and update."""
    device = bench.device
    _warm_up(speed, bench.step, device)
    times = rounds_of(bench.step, device, rounds=settings.rounds, seconds=settings.seconds)
    speed.batch_size = bench.clips_per_step
    speed.clips_per_second = [bench.clips_per_step / seconds for seconds in times]
    phases = bench.split(PHASE_STEPS.get(device.type, OTHER_PHASE_STEPS))
    speed.phases_seconds = {"data": bench.data_seconds()} | phases


def measure_inference(speed: Speed, bench: Workbench, settings: Settings) -> None:
    """Time the scoring of batches that have been made."""
    device = bench.device
    score = bench.scoring(speed.batch_size, bench.objective.freeze())
    _warm_up(speed, score, device)
    times = rounds_of(score, device, rounds=settings.rounds, seconds=settings.seconds)
    speed.clips_per_second = [speed.batch_size / seconds for seconds in times]


def _warm_up(speed: Speed, run: Callable[[], object], device: torch.device) -> None:
    """Take the first steps; note how long they take and the most memory that they hold.

    What a recorded step needs is allocated while it is recorded: a replay allocates nothing.
    """
    plan = WARM_UP if speed.people == "all" else MIXED_WARM_UP
    steps = plan.get(device.type, OTHER_WARM_UP)

    def first_steps() -> None:
        speed.warm_up_seconds = steps * seconds_of(run, device, steps)

    speed.peak_memory_bytes = peak_bytes(first_steps, device)


def measure_latency(bench: Workbench, settings: Settings) -> Latency:
    """Time the scoring of single clips, each waited for."""
    score = bench.scoring(1, bench.objective.freeze())
    seconds_of(score, bench.device, WARM_UP.get(bench.device.type, OTHER_WARM_UP))
    times = each_of(score, bench.device, calls=LATENCIES, seconds=settings.seconds)
    return Latency(times)


def work_of(bench: Workbench) -> dict[str, Work]:
    """Return the work for a clip, by ``training`` and ``inference``."""
    row = torch.from_numpy(bench.data.rows["train"][:1])
    width = 4 if bench.execution.autocast is None else bench.execution.autocast.itemsize
    return count_work(bench.objective, bench.loader.batch(row), width=width)
