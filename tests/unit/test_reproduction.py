"""Plans, their runs, and what is told of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kinegraph.errors import CheckpointError, OutputError, RecipeError
from kinegraph.evaluation.metrics import top_k
from kinegraph.evaluation.presets import preset_weights
from kinegraph.evaluation.scores import load_scores
from kinegraph.recipe import Recipe, load_recipe
from kinegraph.reproduction import machine, scoring
from kinegraph.reproduction.page import duration, page, ranges
from kinegraph.reproduction.picture import save_picture
from kinegraph.reproduction.plan import Before, Plan, parse_plan
from kinegraph.reproduction.published import load_plan, plan_names
from kinegraph.reproduction.result import (
    Accuracy,
    BeforeResult,
    EnsembleResult,
    Result,
    RunResult,
    Session,
    nothing_yet,
    planned_seeds,
    spread,
    verdicts,
)
from kinegraph.reproduction.runs import PlannedRun, State, compare, look_at
from kinegraph.reproduction.scoring import collect, score_finished
from kinegraph.reproduction.sessions import Clock, read_sessions
from kinegraph.reproduction.stages import (
    all_stages,
    choose_seeds,
    deviations,
    expand,
    planned_recipe,
    planned_recipe_before,
)
from kinegraph.training.checkpoint import load_checkpoint, save_checkpoint
from kinegraph.training.optim import learning_rate
from kinegraph.training.run import start

UCLA = "ctrgcn:nw-ucla"
MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]

PLAN = {
    "name": "tiny:test", "title": "Tiny on a test", "summary": "two streams", "source": "Nobody.",
    "recipe": "tiny.yaml", "recordings": "a test", "prepare": "kinegraph data import arrays X",
    "cost": "seconds", "device_gib": 1, "runs": {"joint": [1, 2, 3], "bone": [1, 2]},
    "ensembles": {"both": {"streams": ["joint", "bone"], "preset": "infogcn"}},
    "published": [{"of": "both", "percent": [90.0], "by": "the paper"}],
    "reported": [{"of": "joint", "percent": [80, 85], "by": "users"}],
    "protocol": "somehow", "targets": {"joint": 50, "both": 60},
}  # fmt: skip


@pytest.fixture
def plan(tmp_path: Path, tiny_recipe: TinyRecipe) -> Plan:
    """A plan of five runs of two epochs, read from a file beside its recipe."""
    values = tiny_recipe(evaluation={"selection": "test"}, data={"split": "subjects"})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    return load_plan(str(tmp_path / "plan.yaml"))


def runs_of(plan: Plan, out: Path, *overrides: tuple[str, str]) -> list[PlannedRun]:
    return expand(plan, choose_seeds(plan), overrides, out)


def train(run: PlannedRun, store: Path) -> None:
    place = run.recipe.data.model_copy(update={"store": str(store)})
    start(run.recipe.model_copy(update={"data": place}), run.folder, device="cpu")


# Plans


@pytest.mark.parametrize("name", plan_names())
def test_plans_that_come_with_us_fit_their_recipes(name: str) -> None:
    plan = load_plan(name)
    assert plan.name == name
    data_set = name.partition(":")[2]
    splits = {"nw-ucla": "view3", "kinetics": None, "pku-mmd-1": "xsub", "pku-mmd-2": "xsub"}
    split = splits.get(data_set, data_set.rpartition("-")[2])
    first, *others = plan.runs
    # Where another run is trained before each, the published seed alone.
    assert len(plan.runs[first]) >= (3 if plan.before is None else 1)
    for stream in plan.runs:
        recipe = planned_recipe(plan, stream, plan.runs[stream][0])
        evaluation = recipe.evaluation
        if plan.before is None:
            assert evaluation.every == 1 or evaluation.selection == "last"
        else:
            check_before(plan, recipe)
        assert recipe.data.split == split
    published = load_recipe(plan.recipe)
    assert (published.stream, published.seed) == (first, plan.runs[first][0])
    assert all(published.seed in plan.runs[stream] for stream in others), "an ensemble is complete"
    assert bool(plan.ensembles) == bool(others)
    where = "the test clips" if published.evaluation.selection == "test" else "published"
    assert where in plan.protocol
    source = "pku-mmd" if data_set.startswith("pku") else data_set.partition("-x")[0]
    assert f"kinegraph data import {source} " in plan.prepare
    assert plan.prepare.endswith(" --out STORE")


def check_before(plan: Plan, recipe: Recipe) -> None:
    """What is trained before a run has its data, its network and its clips in tests."""
    assert plan.before is not None
    before = planned_recipe_before(plan, plan.before.stream or recipe.stream, recipe.seed)
    differences = {key.split(".")[0] for key, _, _ in compare(before, recipe)}
    assert differences <= {
        "stream", "objective", "start", "optim", "schedule", "training", "evaluation", "transforms",
    }  # fmt: skip
    assert before.transforms["test"] == recipe.transforms["test"]
    assert (before.stream == recipe.stream) or before.objective.name == "crossclr"  # type: ignore[attr-defined]
    assert (before.start.learns, recipe.start.learns) == ("all", "head")
    chosen = ("last" if "nw-ucla" in plan.name else "test", 5)
    assert (recipe.evaluation.selection, recipe.evaluation.every) == chosen


def test_plans_are_those_of_the_publications() -> None:
    plan = load_plan(UCLA)
    assert {stream: len(seeds) for stream, seeds in plan.runs.items()} == {
        "joint": 5, "bone": 2, "joint-motion": 2, "bone-motion": 2,
    }  # fmt: skip
    assert plan.targets == {"joint": 92.5, "four streams": 94.5}
    assert [figure.percent for figure in plan.published] == [(96.5,)]
    assert planned_seeds(plan, "four streams") == [1, 2]
    recipe = load_recipe(plan.recipe)
    training = recipe.training
    assert (training.epochs, training.batch_size, training.repeat) == (65, 16, 5)
    assert (recipe.evaluation.selection, recipe.quirks) == ("test", "original")

    ntu = ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset")
    for system, figures in {
        "ctrgcn": (92.4, 96.8, 88.9, 90.6, 96.5),
        "infogcn": (93.0, 97.1, 89.8, 91.2, 97.0),
        "frhead": (92.8, 96.78, 89.52, 90.94, 96.77),
        "lst": (92.9, 97.0, 89.9, 91.1, 97.2),
    }.items():
        plans = [load_plan(f"{system}:{data_set}") for data_set in (*ntu, "nw-ucla")]
        assert tuple(plan.published[-1].percent[0] for plan in plans) == figures
        assert all(plan.published[-1].of in plan.ensembles for plan in plans)
        assert list(plans[-1].targets.values()) == [92.5, 94.5]
    for system, three in {
        "stgcn": (81.6, 88.8, 31.6), "stgcn-v1": (80.7, 88.9, 30.6), "tcn": (74.3, 83.1, 20.3),
    }.items():  # fmt: skip
        plans = [load_plan(f"{system}:{data_set}") for data_set in (*ntu[:2], "kinetics")]
        assert tuple(plan.published[0].percent[0] for plan in plans) == three
    for system, figures in {
        "aimclr": (79.18, 84.02, 68.2, 68.8), "crossclr": (77.8, 83.4, 67.9, 66.7),
        "skeletonclr": (68.3, 76.4),
    }.items():  # fmt: skip
        plans = [load_plan(f"{system}:{data_set}") for data_set in ntu[: len(figures)]]
        assert tuple(plan.published[-1].percent[0] for plan in plans) == figures


def test_aimclr_is_trained_before_as_published() -> None:
    plan = load_plan("aimclr:ntu60-xview")
    assert [(one.of, one.text) for one in plan.published] == [
        ("joint", "79.68"), ("joint-motion", "71.83"), ("bone", "77.02"),
        ("three streams", "84.02"),
    ]  # fmt: skip
    (three,) = plan.ensembles.values()
    assert dict(zip(three.streams, preset_weights(three.preset, three.roles), strict=True)) == {
        "joint": 0.6, "joint-motion": 0.4, "bone": 0.6,
    }  # fmt: skip
    assert plan.cost.startswith(
        "3 runs of 300 epochs before, 3 runs of 100 epochs of 37,646 clips, 45.2 million clips"
    )
    before, after = (make(plan, "bone", 0) for make in (planned_recipe_before, planned_recipe))
    assert {before.data.split, after.data.split} == {"xview"}
    assert {one.optim.nesterov for one in (before, after)} == {False}
    assert [(one.optim.lr, one.optim.weight_decay) for one in (before, after)] == [
        (0.1, 1e-4), (3.0, 0.0),
    ]  # fmt: skip
    # x 0.1 when epochs, counted from 1, are beyond 250 and 80; neighbours beyond 150.
    rates = [
        [learning_rate(epoch - 1, one.training.epochs, 1.0, one.schedule) for epoch in (at, at + 1)]
        for one, at in ((before, 250), (after, 80))
    ]
    assert rates == [[1.0, 0.1]] * 2
    assert before.objective.model_dump()["mining_epoch"] == 150

    crossed = load_plan("crossclr:ntu60-xsub")
    runs = expand(crossed, choose_seeds(crossed), (), Path("out"))
    assert {run.before.name for run in runs if run.before} == {"seed0-pretraining"}
    assert crossed.cost.startswith("1 run of 300 epochs before, 3 runs of 100 epochs")
    assert preset_weights("crossclr", tuple(crossed.runs)) == (1.0, 1.0, 1.0)


def test_streams_differ_where_they_did_in_the_published_runs() -> None:
    plan = load_plan("frhead:ntu60-xview")
    recipes = {stream: planned_recipe(plan, stream, 1) for stream in plan.runs}
    assert {stream: one.training.epochs for stream, one in recipes.items()} == {
        "joint": 80, "bone": 70, "joint-motion": 80, "bone-motion": 70,
    }  # fmt: skip
    assert {one.objective.version for one in recipes.values()} == {"V1"}  # type: ignore[attr-defined]
    assert {one.data.split for one in recipes.values()} == {"xview"}

    plan = load_plan("lst:nw-ucla")
    parts = [planned_recipe(plan, stream, 1).objective.model_dump() for stream in plan.runs]
    assert [one["original_parts"] for one in parts] == ["joints", "bones"] * 2
    (four,) = plan.ensembles.values()
    assert preset_weights(four.preset, four.roles) == (0.8, 0.8, 0.2, 0.2)
    (six,) = load_plan("infogcn:nw-ucla").ensembles.values()
    assert preset_weights(six.preset, six.roles) == (1.5, 1.5, 1.5, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {}}, "runs: "),
        ({"runs": {"bnoe": [1]}}, "unknown stream 'bnoe'; nearest: 'bone'"),
        ({"runs": {"joint": [], "bone": [1]}}, "stream 'joint' needs seeds"),
        ({"runs": {"joint": [1, 1], "bone": [1]}}, "stream 'joint' needs seeds, each of them once"),
        ({"runs": {"joint": [-1], "bone": [1]}}, "expected a number of at least 0"),
        ({"ensembles": {"all": {"streams": ["joint", "bne"], "preset": "infogcn"}}},
         "all: unknown stream 'bne'; nearest: 'bone'"),
        ({"ensembles": {"both": {"streams": ["joint", "bone"], "preset": "ctrgcn"}}},
         "preset 'ctrgcn' weighs joint, bone, joint motion, bone motion; found joint, bone"),
        ({"targets": {"jiont": 5}}, "unknown stream or ensemble 'jiont'; nearest: 'joint'"),
        ({"targets": {"joint": 500}}, "targets.joint: found 500, expected a number of at most 100"),
        ({"published": [{"of": "trio", "percent": [1], "by": "x"}]}, "ensemble 'trio'"),
        ({"reported": [{"of": "joint", "percent": [], "by": "x"}]}, "reported.0.percent: "),
        ({"stream_options": {"bnoe": {"seed": 1}}}, "stream_options: unknown stream 'bnoe'"),
        ({"options": {"stream": "bone"}}, "option 'stream' is set by runs"),
        ({"before": {"recipe": "x", "options": {"seed": 1}}}, "before: option 'seed' is set by"),
        ({"before": {"recipe": "x", "stream": "bne"}}, "unknown stream 'bne'"),
        ({"before": {"recipe": "x"}, "options": {"start.run": "y"}}, "option 'start.run' is set"),
        ({"before": {}}, "before.recipe: is missing"),
        ({"ensembles": {"both": {"streams": ["joint", "bone"], "preset": "infogcn",
                                 "weighed_as": ["joint"]}}},
         "both: weighed_as needs a name for each of its streams"),
        ({"devise_gib": 3}, "devise_gib: there is no such key; nearest: 'device_gib'"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=r"^plan 'p'") as caught:
        parse_plan(yaml.safe_dump(PLAN | change), where="plan 'p'")
    assert message in str(caught.value)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    for name, message in {
        "ctrgcn:ucla": "plan 'ctrgcn:ucla': unknown data set 'ucla'; nearest: 'nw-ucla'",
        "ctrgn:nw-ucla": "plan 'ctrgn:nw-ucla': unknown system 'ctrgn'; nearest: 'ctrgcn'",
        "tcn": "plan 'tcn' lacks its data set, as in tcn:ntu60-xsub; there are ntu60-xsub, ntu60-x",
    }.items():
        with pytest.raises(RecipeError, match=message):
            load_plan(name)
    with pytest.raises(RecipeError, match=r"plan 'no\.yaml' cannot be read: No such file"):
        load_plan("no.yaml")
    with pytest.raises(RecipeError, match="is not a mapping"):
        parse_plan("- 1", where="it")


# Runs


def test_seeds_come_before_streams_so_that_ensembles_are_finished_early(
    plan: Plan, tmp_path: Path
) -> None:
    names = [run.name for run in runs_of(plan, tmp_path)]
    assert names == ["joint-seed1", "bone-seed1", "joint-seed2", "bone-seed2", "joint-seed3"]
    only = expand(plan, choose_seeds(plan, ["bone"], [7, 7, 5]), (), tmp_path)
    assert [(run.name, run.recipe.stream, run.recipe.seed) for run in only] == [
        ("bone-seed7", "bone", 7), ("bone-seed5", "bone", 5),
    ]  # fmt: skip


def test_runs_that_cannot_be_chosen(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--streams: unknown stream of the plan 'bnoe'"):
        choose_seeds(plan, ["bnoe"])
    with pytest.raises(RecipeError, match="--seeds: found -3, expected a number of at least 0"):
        choose_seeds(plan, None, [1, -3])
    with pytest.raises(RecipeError, match=r"--seed is set by the plan; .* with --seeds"):
        runs_of(plan, tmp_path, ("seed", "4"))
    with pytest.raises(RecipeError, match=r"--optim\.lrr: there is no such key; nearest: 'lr'"):
        runs_of(plan, tmp_path, ("optim.lrr", "4"))


def test_departures_from_the_plan_are_told(plan: Plan, tmp_path: Path) -> None:
    assert deviations(plan, runs_of(plan, tmp_path, ("data.store", "anywhere"))) == ([], [])
    overrides = (("training.epochs", "1"), ("optim.clip_norm", "2"))
    some = expand(plan, choose_seeds(plan, ["joint"], [2, 9]), overrides, tmp_path)
    assert deviations(plan, some) == (
        ["optim.clip_norm 2.0 instead of nothing", "training.epochs 1 instead of 2"],
        ["joint seed 1, 3", "bone"],
    )


def test_options_of_the_plan_are_no_departures_and_those_of_the_user_win(
    plan: Plan, tmp_path: Path
) -> None:
    changes = {"options": {"training.epochs": 3, "objective.dropout": 0.1},
               "stream_options": {"bone": {"training.epochs": 4}}}  # fmt: skip
    plan = plan.model_copy(update=changes)
    runs = runs_of(plan, tmp_path)
    assert [run.epochs for run in runs] == [3, 4, 3, 4, 3]
    assert ("training.epochs", "4") in runs[1].options, "as the run is started"
    assert deviations(plan, runs) == ([], [])
    assert deviations(plan, runs_of(plan, tmp_path, ("training.epochs", "4")))[0] == [
        "training.epochs 4 instead of 3 (joint)"
    ]
    renamed = runs_of(plan, tmp_path, ("objective.name", "bottleneck"))
    assert renamed[0].recipe.objective.model_dump()["dropout"] == 0
    wrong = plan.model_copy(update={"options": {"training.epoch": 3}})
    with pytest.raises(RecipeError, match=r"^plan 'tiny:test': --training.epoch: there is no such"):
        runs_of(wrong, tmp_path)


def test_a_run_is_known_by_its_recipe_and_its_recordings(
    plan: Plan, tmp_path: Path, make_store: MakeStore
) -> None:
    store = make_store()
    run = runs_of(plan, tmp_path)[0]
    assert look_at(run) is State.NEW
    run.folder.path.mkdir()
    (run.folder.path / ".lock").touch()
    (run.folder.path / ".recipe.yaml.abc.part.yaml").touch()
    assert look_at(run) is State.NEW, "it was stopped as it began"
    train(run, store)
    assert look_at(run) is State.FINISHED

    checkpoint = load_checkpoint(run.folder.last)
    recordings = checkpoint.progress["recordings"]
    assert look_at(run, recordings=recordings) is State.FINISHED
    with pytest.raises(RecipeError, match="joint-seed1' was trained on other recordings"):
        look_at(run, recordings={"joints.npy": "other"})
    assert look_at(run, recordings={"joints.npy": "other"}, force=True) is State.BROKEN

    (other, *_) = runs_of(plan, tmp_path, ("training.epochs", "3"), ("optim.lr", "0.07"))
    with pytest.raises(
        RecipeError,
        match=r"joint-seed1' was made by another recipe: optim.lr is 0.05, wanted 0.07,"
        r" training.epochs is 2, wanted 3; choose another --out, or .* --force",
    ):
        look_at(other)
    assert look_at(other, force=True) is State.BROKEN

    save_checkpoint(run.folder.last, replace(checkpoint, epoch=1))
    assert look_at(run) is State.INTERRUPTED
    run.folder.last.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        look_at(run)
    assert look_at(run, force=True) is State.BROKEN
    run.folder.last.unlink()
    assert look_at(run) is State.BROKEN, "nothing was trained, nothing is lost"
    run.folder.recipe.write_text("seed: [")
    with pytest.raises(RecipeError, match="was made by another recipe: it is not valid YAML"):
        look_at(run)


def test_what_is_no_run_is_in_the_way(plan: Plan, tmp_path: Path) -> None:
    one, two, *_ = runs_of(plan, tmp_path)
    one.folder.path.mkdir()
    (one.folder.path / "thesis.txt").touch()
    two.folder.path.touch()
    for run in (one, two):
        with pytest.raises(OutputError, match=rf"{run.name}' is in the way"):
            look_at(run, force=True)


# What is trained before


@pytest.fixture
def staged(plan: Plan, tmp_path: Path, tiny_recipe: TinyRecipe) -> Plan:
    """The plan, with a pre-training of one epoch before each of its runs."""
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
    values = tiny_recipe(
        transforms={"query": crop, "key": crop}, data={"split": "subjects"},
        objective={"name": "skeletonclr", "queue": 5}, training={"epochs": 1},
    )  # fmt: skip
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(values))
    two = PLAN | {"before": {"recipe": "first.yaml"}, "options": {"start.learns": "head"}}
    (tmp_path / "staged.yaml").write_text(yaml.safe_dump(two, sort_keys=False))
    return load_plan(str(tmp_path / "staged.yaml"))


def test_runs_begin_from_what_is_trained_before(staged: Plan, tmp_path: Path) -> None:
    runs = runs_of(staged, tmp_path / "out")
    assert [run.name for run in all_stages(runs)][:4] == [
        "joint-seed1-pretraining", "joint-seed1", "bone-seed1-pretraining", "bone-seed1",
    ]  # fmt: skip
    for run in runs:
        assert run.before is not None
        assert run.recipe.start.run == str(tmp_path / "out" / f"{run.name}-pretraining")
        assert ("start.run", run.recipe.start.run) in run.options, "as the run is started"
        assert (run.before.recipe.stream, run.before.recipe.seed) == (run.stream, run.seed)
    assert deviations(staged, runs) == ([], []), "where a run begins is no departure"

    shared = staged.before.model_copy(update={"stream": "joint"})  # type: ignore[union-attr]
    once = runs_of(staged.model_copy(update={"before": shared}), tmp_path)
    assert [run.name for run in all_stages(once)][:3] == [
        "seed1-pretraining", "joint-seed1", "bone-seed1",
    ]  # fmt: skip
    assert once[1].before is not None
    assert once[1].before.recipe.stream == "joint"


def test_options_reach_the_stage_that_they_are_meant_for(staged: Plan, tmp_path: Path) -> None:
    overrides = (
        ("backbone.width", "8"), ("training.precision", "fp32"), ("optim.lr", "0.3"),
        ("before.optim.lr", "0.4"), ("training.epochs", "4"), ("data.label_share", "0.5"),
        ("before.objective.queue", "7"),
    )  # fmt: skip
    (run, *_) = runs = runs_of(staged, tmp_path, *overrides)
    assert run.before is not None
    stages = (run.before.recipe, run.recipe)
    assert [one.backbone.width for one in stages] == [8, 8]  # type: ignore[attr-defined]
    assert [one.training.precision for one in stages] == ["fp32", "fp32"]
    assert [one.optim.lr for one in stages] == [0.4, 0.3]
    assert [one.training.epochs for one in stages] == [1, 4]
    assert [one.data.label_share for one in stages] == [None, 0.5]
    assert [text.split()[0] for text in deviations(staged, runs)[0]] == [
        "before.backbone.width", "before.objective.queue", "before.optim.lr",
        "before.training.precision", "data.label_share", "backbone.width", "optim.lr",
        "training.epochs", "training.precision",
    ]  # fmt: skip


def test_options_that_no_stage_takes(plan: Plan, staged: Plan, tmp_path: Path) -> None:
    for chosen, option, message in (
        (plan, ("before.optim.lr", "1"), "--before.optim.lr: plan 'tiny:test' trains nothing"),
        (staged, ("start.run", "x"), "--start.run is set by the plan"),
        (staged, ("before.seed", "1"), "--seed is set by the plan"),
        (staged, ("before.optim.lrr", "1"), "what is trained before: --optim.lrr: there is no"),
    ):
        with pytest.raises(RecipeError, match=message):
            runs_of(chosen, tmp_path, option)


def test_a_run_is_known_by_the_weights_that_it_began_from(
    staged: Plan,
    tmp_path: Path,
    make_store: MakeStore,
    broken_tensors: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, out = make_store(), tmp_path / "out"
    run = runs_of(staged, out)[0]
    assert run.before is not None
    train(run.before, store)
    assert [look_at(one) for one in (run.before, run)] == [State.FINISHED, State.NEW]
    train(run, store)
    assert look_at(run) is State.FINISHED

    out.rename(tmp_path / "moved")
    moved = runs_of(staged, tmp_path / "moved")[0]
    assert look_at(moved) is State.FINISHED, "wherever they lie"
    assert moved.before is not None

    last = load_checkpoint(moved.before.folder.last)
    broken_tensors()
    assert look_at(moved.before) is State.FINISHED, "how far a run is, is in its header"
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        look_at(moved)
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        score_finished([moved], store, "cpu")
    monkeypatch.undo()
    other = {name: tensor + 1 for name, tensor in last.tensors.items()}
    save_checkpoint(moved.before.folder.last, replace(last, tensors=other))
    message = "joint-seed1' began from other weights than those of 'joint-seed1-pretraining';"
    with pytest.raises(RecipeError, match=message):
        look_at(moved)
    assert look_at(moved, force=True) is State.BROKEN
    moved.before.folder.path.rename(tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match="which is not there any more; choose another --out"):
        look_at(moved)
    assert look_at(moved, force=True) is State.BROKEN


# Scores and what is made of them


def test_last_and_best_epoch_are_scored_once_and_anew_after_further_training(
    plan: Plan, tmp_path: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    runs = runs_of(plan, tmp_path, ("training.epochs", "4"), ("optim.lr", "0.02"))[:2]
    for run in runs:
        train(run, store)
    scored = score_finished(runs, store, "cpu")
    for one in scored:
        tested = [row["test_top1"] for row in one.run.folder.read_metrics()]
        assert one.best is not None
        assert scoring.accuracy(one.last).top1 == tested[-1]
        assert scoring.accuracy(one.best).top1 == max(tested)
        assert one.last.notes == ()
        assert "chosen for its accuracy" in one.best.notes[0]
        assert load_scores(one.run.folder.path).notes == one.best.notes, "test.npz is the best"

    result = collect(plan, runs, scored, [])
    assert [run.best_epoch for run in result.runs] == [
        load_checkpoint(run.folder.best).epoch for run in runs
    ]
    assert result.clips == 6
    assert Result.model_validate_json(result.model_dump_json()) == result

    calls: list[Path] = []
    score = scoring.score_run
    monkeypatch.setattr(
        scoring, "score_run", lambda path, **named: calls.append(path) or score(path, **named)
    )
    score_finished(runs, store, "cpu")
    assert calls == []
    newer = runs[0].folder.scores("test").stat().st_mtime + 10
    os.utime(runs[0].folder.last, (newer, newer))
    score_finished(runs, store, "cpu")
    assert calls == [runs[0].folder.path, runs[0].folder.last]


def test_last_and_best_epochs_are_added_up_apart(
    plan: Plan, tmp_path: Path, make_store: MakeStore
) -> None:
    store = make_store(per_class=12)
    runs = runs_of(plan, tmp_path)[:2]
    for run in runs:
        train(run, store)
    scored = []
    for number, one in enumerate(score_finished(runs, store, "cpu")):
        random = np.random.default_rng(number)
        last, best = (random.normal(size=one.last.logits.shape).astype("f4") for _ in range(2))
        scored.append(
            replace(one, last=replace(one.last, logits=last), best=replace(one.best, logits=best))
        )
    (both,) = collect(plan, runs, scored, []).ensembles
    labels = scored[0].last.labels
    # InfoGCN weighs streams of position alike.
    for found, (left, right) in (
        (both.last, [one.last.logits for one in scored]),
        (both.best, [one.best.logits for one in scored]),
    ):
        assert found.top1 == top_k(left + right, labels)
    assert both.last.top1 != both.best.top1

    right = np.eye(2, dtype="f4")[labels]
    for number, logits in enumerate((right, 0.8 * (1 - right))):
        scored[number] = replace(scored[number], last=replace(scored[number].last, logits=logits))
    assert collect(plan, runs, scored, []).ensembles[0].last.top1 == 1, "1 against 0.8"
    weighed = plan.ensembles["both"].model_copy(update={"weighed_as": ("joint-motion", "joint")})
    plan = plan.model_copy(update={"ensembles": {"both": weighed}})
    assert collect(plan, runs, scored, []).ensembles[0].last.top1 == 0, "1 against 1.5 x 0.8"


def test_a_recipe_that_selects_no_epoch_has_no_best_one(
    plan: Plan, tmp_path: Path, make_store: MakeStore
) -> None:
    store = make_store()
    runs = runs_of(plan, tmp_path, ("evaluation.selection", "last"))[:1]
    train(runs[0], store)
    result = collect(plan, runs, score_finished(runs, store, "cpu"), [])
    assert (result.runs[0].best, result.runs[0].best_epoch) == (None, None)
    assert result.accuracies("joint", "best") == []
    assert "best epoch" not in page(plan, result)


def made_up(plan: Plan, **changes: Any) -> Result:
    """A result of all runs of a plan: joint 60, 62, 64 %, bone 50, 52 %, both 70, 71 %."""

    def worth(top1: float) -> Accuracy:
        return Accuracy(top1=top1, top5=0.99, mean_class=top1)

    runs = [
        RunResult(stream=stream, seed=seed, epochs=2, last=worth(low + 0.02 * seed),
                  best=worth(low + 0.02 * seed + 0.01), best_epoch=1, seconds=100.0, versions={})
        for stream, low in (("joint", 0.58), ("bone", 0.48))
        for seed in plan.runs[stream]
    ]  # fmt: skip
    both = [
        EnsembleResult(name="both", seed=seed, last=worth(0.69 + 0.01 * seed), best=worth(0.75))
        for seed in (1, 2)
    ]
    session = Session(began="2030-01-01 00:00 UTC", seconds=7300, device="a thing", at_once=3,
                      versions={"kinegraph": "1"}, runs=("joint-seed1",))  # fmt: skip
    result = nothing_yet(plan, "test").model_copy(
        update={"runs": tuple(runs), "ensembles": tuple(both), "clips": 300, "written": "today",
                "sessions": (session,)}
    )  # fmt: skip
    return result.model_copy(update=changes)


def test_the_page_has_both_epochs_seeds_figures_and_verdicts(plan: Plan) -> None:
    text = page(plan, made_up(plan))
    for line in (
        "|  | seeds | last epoch | best epoch on the test clips | published | others report |",
        "| joint | 1-3 | 62.00 ± 2.00 | 63.00 ± 2.00 |  | 80.0-85.0 |",
        "| bone | 1-2 | 51.00 ± 1.41 | 52.00 ± 1.41 |  |  |",
        "| both | 1-2 | 70.50 ± 0.71 | 75.00 ± 0.00 | 90.0 |  |",
        "| joint, seed 1 | 60.00 | 61.00 (epoch 1 of 2) | 99.00 | 1 min 40 s |",
        "| both, seed 1 | 70.00 | 75.00 | 99.00 |  |",
        "- target for joint, mean of the last epochs 50.00: reached (62.00)",
    ):
        assert line in text.splitlines()
    plain = " ".join(text.split())
    assert "Trained on a thing, 3 at a time: 2 h 01 min by the clock in one call" in plain
    assert "chosen on the test clips themselves, which flatters" in plain
    assert "**" not in text, "nothing departs from the plan"

    first = BeforeResult(run="joint-seed1-pretraining", epochs=9, seconds=200.0, versions={})
    staged = plan.model_copy(update={"before": Before(recipe="x", options={"seed": 3})})
    joint = made_up(plan).runs[0].model_copy(update={"before": first})
    text = " ".join(page(staged, made_up(plan, runs=(joint,))).split())
    assert "| 1 min 40 s after joint-seed1-pretraining, 9 epochs, 3 min 20 s |" in text
    assert "on the encoder of `x --seed 3`, which is trained before, for every" in text


def test_the_page_tells_what_a_plan_sets() -> None:
    plan = load_plan("lst:ntu60-xview")
    text = " ".join(page(plan, nothing_yet(plan, "test")).split())
    assert "Recipe `ntu-lst --data.split xview`, k-mode-1 with `--objective.original_parts" in text
    assert "weights of preset `lst:ntu60-xview`, as joint, bone, joint-motion, bone-motion." in text


def test_departures_stand_above_the_figures(plan: Plan) -> None:
    changed = made_up(
        plan, changed=("training.epochs 1 instead of 65",), unfinished=("bone-seed2",)
    )
    head = " ".join(page(plan, changed).split("```")[0].split())
    assert "**A trial, not the published schedule: training.epochs 1 instead of 65.**" in head
    assert "**Not finished: bone-seed2.**" in head
    part = page(plan, made_up(plan, lacking=("bone seed 3",)))
    assert "**Only a part of the plan, without bone seed 3.**" in part


def test_what_was_not_run_says_so(plan: Plan) -> None:
    text = page(plan, nothing_yet(plan, "test"))
    assert "**Not run.**" in text
    assert "| joint | 1-3 | not run | not run |  | 80.0-85.0 |" in text
    assert "target for both, mean of the last epochs 60.00: not run" in text
    assert not re.search(r"\d\d\.\d\d(?! ?:)", text.split("- target")[0]), "no figure was measured"


def test_targets_are_means_of_the_last_epoch(plan: Plan) -> None:
    result = made_up(plan)
    few = result.model_copy(update={"runs": result.runs[:1], "ensembles": ()})
    found = {one.of: one.text for one in verdicts(plan, few)}
    assert found == {"joint": "reached (60.00, with 1 of 3 seeds)", "both": "not run"}
    high = plan.model_copy(update={"targets": {"joint": 62.0, "both": 71.0}})
    found = {one.of: one.text for one in verdicts(high, result)}
    assert found == {"joint": "reached (62.00)", "both": "missed by 0.50 points (70.50)"}
    close = plan.model_copy(update={"targets": {"joint": 62.004, "both": 70.51}})
    found = {one.of: one.text for one in verdicts(close, result)}
    assert found == {"joint": "reached (62.00)", "both": "missed by 0.01 points (70.50)"}


def test_numbers_as_they_are_told() -> None:
    assert (spread([]), spread([0.9]), spread([0.9, 0.92])) == ("not run", "90.00", "91.00 ± 1.41")
    assert ranges([1, 2, 3, 7, 9, 8]) == "1-3, 7-9"
    assert [duration(s) for s in (42.4, 425, 11520)] == ["42 s", "7 min 05 s", "3 h 12 min"]


def test_the_picture_is_the_same_for_the_same_result(plan: Plan, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_picture(tmp_path / f"{name}.svg", plan, made_up(plan))
    save_picture(tmp_path / "none.svg", plan, nothing_yet(plan, "test"))
    one = (tmp_path / "one.svg").read_text("utf-8")
    assert one == (tmp_path / "two.svg").read_text("utf-8")
    assert "last epoch" in one
    assert "last epoch" not in (tmp_path / "none.svg").read_text("utf-8")


# Machine and time


def test_runs_are_packed_by_cores_and_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (20 * 2**30, 80 * 2**30))
    cpu, gpu, other = torch.device("cpu"), torch.device("cuda:0"), torch.device("mps")
    assert [machine.at_once(runs, cpu, 4) for runs in (0, 3, 40)] == [1, 3, 16]
    assert [machine.at_once(runs, gpu, 4) for runs in (3, 11)] == [3, 4]
    assert machine.at_once(11, gpu, 50) == 1
    assert machine.at_once(11, other, 4) == 1


def test_the_machine_is_told_in_words() -> None:
    told = machine.describe(torch.device("cpu"))
    assert re.fullmatch(r"\d+ cores of \S.*", told)
    found = machine.versions_here(torch.device("cpu"))
    assert {"kinegraph", "torch", "python", "commit"} <= found.keys()
    assert re.fullmatch(r"[0-9a-f]{12}( with changes)?|unknown", found["commit"])


def test_every_call_is_kept_with_its_time(tmp_path: Path) -> None:
    assert read_sessions(tmp_path) == []
    first = Clock(tmp_path, "a thing", 2, {"torch": "1"})
    first.tick([])
    first.tick(["joint-seed1"])
    assert read_sessions(tmp_path)[0].runs == ("joint-seed1",)
    second = Clock(tmp_path, "another", 1, {"torch": "2"})
    second.write(["bone-seed1"])
    assert [one.device for one in read_sessions(tmp_path)] == ["a thing", "another"]
    (tmp_path / "sessions.json").write_text("[{}]")
    with pytest.raises(OutputError, match=r"sessions.json' is damaged"):
        read_sessions(tmp_path)
