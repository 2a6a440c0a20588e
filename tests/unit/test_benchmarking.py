"""What `kinegraph bench` is made of: clocks, counts, limits and random recordings. No speeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kinegraph.batch import Batch
from kinegraph.benchmarking import ceilings, measure, memory, timing, work
from kinegraph.benchmarking.measure import Settings, measure_recipe, random_recordings
from kinegraph.benchmarking.random_store import RandomStore
from kinegraph.benchmarking.results import BenchResult, Latency, Speed
from kinegraph.benchmarking.table import duration, quantity, remarks
from kinegraph.benchmarking.workbench import set_up
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.nn.norm import BatchNorm
from kinegraph.recipe import Recipe, load_recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import make_objective
from kinegraph.training.graphs import StepGraphs

CPU = torch.device("cpu")
TinyRecipe = Callable[..., dict[str, Any]]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replace the clock by one that stands still until it is moved on."""
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


@pytest.fixture
def recipe(tiny_recipe: TinyRecipe) -> Recipe:
    return parse_recipe(tiny_recipe(data={"split": "subjects", "persons": 2}))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return RandomStore("coco17", train=8, test=9, persons=2, frames=(8, 12)).write(tmp_path / "s")


def test_a_round_fills_its_share_of_the_time(clock: Callable[[float], None]) -> None:
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        clock(0.1 if len(calls) < 10 else 0.3)

    times = timing.rounds_of(run, CPU, rounds=3, seconds=1.5)
    assert len(calls) == 1 + 3 * 5, "one call to see how long it takes, then five a round"
    assert times == pytest.approx([0.1, (0.1 * 3 + 0.3 * 2) / 5, 0.3])
    assert timing.calls_in(0.5, 2.0) == 1


def test_single_calls_end_by_number_or_by_time(clock: Callable[[float], None]) -> None:
    assert timing.each_of(lambda: clock(0.5), CPU, calls=8, seconds=100) == [0.5] * 8
    assert timing.each_of(lambda: clock(0.5), CPU, calls=8, seconds=2.5) == [0.5] * 5
    assert timing.each_of(lambda: clock(9.0), CPU, calls=8, seconds=1) == [9.0] * 3


def test_phases_are_means_over_steps(clock: Callable[[float], None]) -> None:
    phases = timing.PhaseClock(CPU)
    for forward, backward in ((1.0, 2.0), (3.0, 8.0)):
        phases.begin()
        for name, seconds in (("forward", forward), ("backward", backward), ("forward", 1.0)):
            clock(seconds)
            phases.mark(name)
        clock(50.0)  # between steps: nobody's
    assert phases.seconds() == {"forward": 3.0, "backward": 5.0}


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux tells")
def test_memory_is_that_of_the_work_alone() -> None:
    big = memory.peak_bytes(lambda: torch.ones(50_000_000), CPU)
    small = memory.peak_bytes(lambda: torch.ones(10), CPU)
    assert big is not None
    assert small is not None
    assert big - small > 150e6


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="only Linux tells")
def test_memory_is_that_of_the_first_steps_too() -> None:
    """Later ones may be replays, which allocate nothing."""
    numbers, speed = [50_000_000], Speed("training", "all", 1)
    measure._warm_up(speed, lambda: torch.ones(numbers.pop() if numbers else 10), CPU)
    small = memory.peak_bytes(lambda: torch.ones(10), CPU)
    assert speed.peak_memory_bytes is not None
    assert small is not None
    assert speed.peak_memory_bytes - small > 150e6


def test_memory_that_nobody_tells_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "missing" / "clear_refs")
    assert memory.peak_bytes(lambda: calls.append(1), CPU) is None
    assert calls == [1]


@pytest.mark.parametrize(("product", "convolution"), [(2.0, 1e9), (1e9, 0.5)])
def test_ceilings_are_the_best_that_was_seen(
    monkeypatch: pytest.MonkeyPatch, product: float, convolution: float
) -> None:
    times = iter([[4.0, product, 1e9], [1e9, convolution], [0.5, 0.25, 0.125]])
    monkeypatch.setattr(ceilings, "rounds_of", lambda *_, **__: next(times))
    found = ceilings.measure_ceilings(CPU, torch.bfloat16, matrix=48, copy_bytes=400)
    counts = 2 * 48**3 / 2.0, 2 * (16 * 40 * 40) * 3 * 3 / 0.5
    expected = counts[0] if product < convolution else counts[1]
    assert found == ceilings.Ceilings(expected, bytes=2 * 400 / 0.125, dtype="bfloat16")


def test_ceilings_are_reached() -> None:
    found = ceilings.measure_ceilings(CPU, torch.float32, matrix=64, copy_bytes=1 << 20, seconds=0)
    assert found.flops > 0
    assert found.bytes > 0


def test_layers_are_counted_by_hand() -> None:
    """A 1x1 convolution 3 -> 5 with a bias and a norm on (2, 3, 4, 7)."""
    module = nn.Sequential(nn.Conv2d(3, 5, 1), BatchNorm(5), nn.ReLU())
    x = torch.randn(2, 3, 4, 7)
    layers, flops = work._layers(module, lambda: module(x), norms=True)
    assert flops == 2 * 3 * 5 * (2 * 4 * 7)
    assert layers == [work.Layer(168, 280, 20), work.Layer(280, 280, 10)]
    assert layers[0].numbers(training=False) == 168 + 280 + 20
    assert layers[0].numbers(training=True) == (168 + 280 + 20) + (2 * 168 + 280 + 2 * 20)
    assert work._layers(module, lambda: module(x), norms=False)[0] == layers[:1]
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_a_module_that_uses_the_weights_of_others_is_one_layer() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 6, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.inner.weight.T

    layers, flops = work._layers(
        nn.Sequential(module := Around()), lambda: module(torch.randn(3, 4)), norms=True
    )
    assert layers == [work.Layer(12, 18, 24)]
    assert flops == 2 * 3 * 4 * 6


def clips(count: int, people: int, frames: int, joints: int = 25) -> Batch:
    present = torch.arange(2) < torch.full((count, 1), people)
    x = torch.randn(count, 3, frames, joints, 2) * present[:, None, None, None, :]
    return Batch(x, torch.zeros(count).long(), torch.arange(count), present)


def test_ctrgcn_costs_what_its_paper_says() -> None:
    """About 2 G multiply-adds for a clip of two people: 1.97 are said for 64 frames of NTU."""
    objective = make_objective(load_recipe("ctrgcn"), load_layout("ntu25"), 60, persons=2)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    set_kernels("auto")
    counted = work.count_work(objective, (clips(1, 2, 64),), width=4)
    assert counted["inference"].flops == pytest.approx(2 * 1.79e9, rel=0.02)
    assert counted["training"].flops == pytest.approx(3 * counted["inference"].flops, rel=0.02)
    assert counted["training"].bytes > 3 * counted["inference"].bytes
    assert chosen_kernels() == "auto"
    assert objective.training
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_work_is_for_one_clip_and_grows_with_people(recipe: Recipe) -> None:
    objective = make_objective(recipe, load_layout("ntu25"), 5, persons=2)
    one, two, several = (
        work.count_work(objective, (clips(count, people, 8),), width=4)
        for count, people in ((1, 1), (1, 2), (3, 2))
    )
    for what in ("inference", "training"):
        assert several[what].flops == pytest.approx(two[what].flops)
        assert one[what].flops == pytest.approx(two[what].flops / 2, rel=0.01)
        assert one[what].bytes < two[what].bytes
    half = work.count_work(objective, (clips(1, 2, 8),), width=2)
    assert half["training"].bytes == two["training"].bytes / 2
    set_kernels("auto")


def test_the_floor_is_the_longer_of_both() -> None:
    assert work.Work(flops=10, bytes=100).floor(flops=1, bandwidth=100) == 10
    assert work.Work(flops=10, bytes=100).floor(flops=100, bandwidth=10) == 10


def test_random_recordings_are_as_asked_for(tmp_path: Path) -> None:
    made = RandomStore("ntu25", train=50, test=10, persons=2, alone=0.8, classes=7)
    store = open_store(made.write(tmp_path / "store"))
    people = np.bincount(store.tracks["clip"])
    for part in (slice(0, 25), slice(25, 50), slice(50, 60)):
        assert (people[part] == 1).mean() == pytest.approx(0.8)
    assert [len(rows) for rows in split_rows(store)] == [50, 10]
    assert set(store.clips["label"]) == set(range(7))
    assert store.clips["frames"].min() >= 30
    assert store.clips["frames"].max() <= 150
    assert np.abs(store.joints).min() > 0, "zeros are quicker than other numbers"
    everybody = open_store(replace(made, alone=0.0).write(tmp_path / "all"))
    assert len(everybody.tracks) == 120


def test_random_recordings_suit_the_recipe() -> None:
    made = random_recordings(load_recipe("nw-ucla-ctrgcn", [("training.accumulate", "2")]), 16)
    assert (made.layout, made.persons, made.train) == ("ucla20", 1, 8 * 32)
    free = random_recordings(load_recipe("ctrgcn", [("data.persons", "3")]), 4)
    assert (free.layout, free.persons) == ("ntu25", 3)


def test_a_step_of_the_bench_is_a_step_of_the_loop(recipe: Recipe, store: Path) -> None:
    twice = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"accumulate": 2})}
    )
    with set_up(twice, store, CPU) as bench:
        assert bench.clips_per_step == 8
        first = [batch.index for (batch,) in bench.group()]
        assert sorted(torch.cat(first).tolist()) == list(range(8)), "the 8 clips that train"
        second = [batch.index for (batch,) in bench.group()]
        assert sorted(torch.cat(second).tolist()) == list(range(8)), "another epoch follows"
        before = [weight.clone() for weight in bench.objective.parameters()]
        bench.step()
        changed = zip(before, bench.objective.parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in changed)
        assert bench.data_seconds() > 0


class Recorded:
    """Stands for what records steps on a GPU; it is not to be asked."""

    def run(self, work: Any) -> torch.Tensor:
        raise AssertionError("a step was taken as a whole")

    record = run


def test_phases_of_a_step(recipe: Recipe, store: Path) -> None:
    with set_up(recipe, store, CPU) as bench:
        bench.stepper.graphs = StepGraphs(lambda group: torch.zeros(2), Recorded(), CPU)
        found = bench.split(2)
        assert bench.stepper.graphs is None, "replayed steps have no phases"
        assert list(found) == ["forward", "backward", "optimiser"]
        assert min(found.values()) > 0
        assert bench.state.optimizer._optimizer_step_pre_hooks == {}


def test_scoring_takes_batches_in_turns(recipe: Recipe, store: Path) -> None:
    with set_up(recipe, store, CPU) as bench:
        still = bench.objective.freeze()
        score = bench.scoring(4, still)
        made = list(bench.data.testing_loader("test", 4, CPU).epoch())
        assert [len(batch) for (batch,) in made] == [4, 4, 1], "the last is left out"
        for (batch,) in [*made[:2], *made[:2]]:
            expected = still.logits(batch.x, batch.people)
            torch.testing.assert_close(score(), expected.detach())
        assert bench.objective.training


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect what is said, and measure the device with little to do."""
    little = partial(ceilings.measure_ceilings, matrix=32, copy_bytes=1 << 16, seconds=0.01)
    monkeypatch.setattr(measure, "measure_ceilings", little)
    lines: list[str] = []
    yield lines
    set_kernels("auto")


def test_everything_of_a_recipe_is_measured(recipe: Recipe, told: list[str]) -> None:
    settings = Settings(batch_sizes=(2, 4), rounds=3, seconds=0.01)
    found = measure_recipe("tiny", recipe, CPU, settings, say=told.append)
    assert [(s.what, s.people, s.batch_size) for s in found.speeds] == [
        ("inference", "all", 2), ("training", "all", 2),
        ("inference", "all", 4), ("training", "all", 4),
        ("inference", "80% alone", 2), ("training", "80% alone", 2),
    ]  # fmt: skip
    for speed in found.speeds:
        assert len(speed.clips_per_second) == 3
        assert min(speed.clips_per_second) > 0
        assert speed.warm_up_seconds > 0
        training = ["data", "forward", "backward", "optimiser"]
        assert list(speed.phases_seconds) == (training if speed.what == "training" else [])
        assert (speed.flops_per_clip is None) == (speed.people != "all")
    assert found.latency is not None
    assert found.ceilings["dtype"] == "float32"
    assert "measuring training, batch 4, all people" in told
    assert "4 classes" not in found.subject
    assert "stgcn, " in found.subject
    assert "6 frames, 25 joints (ntu25), 2 people" in found.subject
    document = json.loads(json.dumps(found.document()))
    assert document["speeds"][1]["median_clips_per_second"] == found.speeds[1].median
    assert len(document["speeds"][1]["clips_per_second"]) == 3


def test_given_recordings_are_measured_as_they_are(
    recipe: Recipe, store: Path, told: list[str]
) -> None:
    data = recipe.data.model_copy(update={"store": str(store)})
    found = measure_recipe(
        "tiny", recipe.model_copy(update={"data": data}), CPU, Settings((4,), 1, 0.01),
        say=told.append,
    )  # fmt: skip
    assert [speed.people for speed in found.speeds] == ["all", "all"]
    assert found.recordings == "s"
    assert "17 joints (coco17)" in found.subject


def test_too_little_memory_is_a_result(
    recipe: Recipe, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(measure, "measure_training", fail)
    found = measure_recipe("tiny", recipe, CPU, Settings((2,), 1, 0.01), say=told.append)
    assert [speed.problem for speed in found.speeds] == ["", "out of memory"] * 2
    assert found.document()["speeds"][1]["median_clips_per_second"] is None


def test_quantities_have_three_digits() -> None:
    assert quantity(3.5776e9, "FLOP") == "3.58 GFLOP"
    assert quantity(12.0, "B") == "12 B"
    assert [duration(s) for s in (2.345, 0.0123, 4.56e-5)] == ["2.35 s", "12.3 ms", "45.6 us"]


def test_the_slow_latency_is_not_exceeded_by_nine_of_ten() -> None:
    latency = Latency([float(n) for n in range(10, 0, -1)])
    assert latency.median == 5.5
    assert latency.slow == 10.0
    assert Latency([3.0]).slow == 3.0


def test_noise_is_remarked_on() -> None:
    def about(rounds: list[float]) -> str:
        speed = Speed("training", "all", 2, clips_per_second=rounds)
        result = BenchResult("tiny", "", "", "", "", [speed], ceilings={"dtype": "float32"})
        return " ".join(remarks(result))

    assert "differ by up to 50%" in about([8.0, 10.0, 13.0])
    assert "differ" not in about([9.9, 10.0, 10.1])


def test_more_than_possible_is_remarked_on() -> None:
    speed = Speed("training", "all", 2, clips_per_second=[10.0], flops_per_clip=5, bytes_per_clip=1)
    limits = {"dtype": "float32", "flops": 40.0, "bytes": 40.0}
    result = BenchResult("tiny", "", "", "", "", [speed], ceilings=limits)
    assert "another moment" in " ".join(remarks(result))
    limits["flops"] = 60.0
    assert "another moment" not in " ".join(remarks(result))
