"""Protocols of `kinegraph probe` that train: numbers that must differ or must not, and going on."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kinegraph.cli import main
from kinegraph.commands.probe_training import summarise
from kinegraph.data.clip import Clip, Track
from kinegraph.data.few_labels import labelled_part
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import TrainingError
from kinegraph.evaluation import probe_recipe, probe_runs
from kinegraph.evaluation.baselines import raw_coordinates
from kinegraph.evaluation.judges import Described, nearest_clips
from kinegraph.evaluation.labels_picture import draw, save_labels_picture
from kinegraph.evaluation.probe import (
    ENCODER,
    RANDOM,
    RAW,
    Judge,
    doubts,
    linear,
    probe_run,
)
from kinegraph.evaluation.probe_recipe import Wishes, sized
from kinegraph.evaluation.probe_runs import plan_protocol, train_protocol
from kinegraph.evaluation.published_linear import PublishedLinear
from kinegraph.evaluation.testing import score_run
from kinegraph.recipe import SEEDS, Recipe, parse_recipe
from kinegraph.reproduction.runs import State
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import load_checkpoint, save_checkpoint
from kinegraph.training.loop import Training
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import open_data

CPU = torch.device("cpu")
WHOLE = [{"name": "crop_resize", "length": 24}]
ARM = ("left hand", "left wrist", "left elbow")


def make_swings(path: Path, layout: str = "ucla20", *, classes: int = 3, each: int = 40) -> Path:
    """The class is how fast the left arm swings. Where, and how others swing, says nothing.

    Raw coordinates do not tell it, as every joint begins anywhere in its swing; a network of motion
    can learn it.
    """
    skeleton = load_layout(layout)
    random = np.random.default_rng(0)
    arm = [skeleton.joints.index(name) for name in ARM]
    shape, time = (1, skeleton.joint_count, 3), np.arange(24)[:, None, None]
    names = [f"speed {label}" for label in range(classes)]
    with create_store(path, skeleton, names, source="test") as writer:
        for number in range(classes * each):
            label = number % classes
            speed = random.integers(0, classes, (1, skeleton.joint_count, 1)).astype(float)
            speed[:, arm] = label
            phase = random.uniform(0, 2 * np.pi, shape)
            swing = 0.5 * np.sin(2 * np.pi * (1 + 1.5 * speed) * time / 24 + phase)
            joints = (random.normal(0, 0.3, shape) + swing).astype(np.float32)
            subject = 1 + number // classes % 4
            writer.add(Clip(f"clip {number}", (Track(joints),), 24, label=label, subject=subject))
        writer.default_split = "subjects"
    return path


def recipe_of(store: Path, **sections: Any) -> Recipe:
    values: dict[str, Any] = {
        "stream": "joint-motion",
        "data": {"store": str(store)},
        "transforms": {"train": WHOLE, "test": WHOLE},
        "backbone": {"name": "stgcn", "width": 4},
        "optim": {"lr": 0.05},
        "schedule": {"name": "cosine"},
        "training": {"epochs": 15, "batch_size": 16},
        "evaluation": {"every": 15},
    }
    return parse_recipe(values | sections)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, a run that learned them, and one that has learned nothing."""
    folder = tmp_path_factory.mktemp("probe")
    recipe = recipe_of(make_swings(folder / "swings"))
    start(recipe, RunFolder(folder / "learned"), device="cpu")
    untrained = RunFolder(folder / "untrained")
    Training(recipe, open_data(recipe), untrained, CPU).save()
    (folder / "untrained" / "recipe.yaml").write_text(recipe.to_yaml())
    return folder


def probe(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    """Run `kinegraph probe` and return its JSON, or else what it complained of."""
    capsys.readouterr()
    as_json = [] if code else ["--json"]
    assert main(["probe", *map(str, words), "--device", "cpu", *as_json]) == code
    out, err = capsys.readouterr()
    return err.strip() if code else json.loads(out)


@pytest.mark.parametrize("judge", [nearest_clips, linear, PublishedLinear()])
def test_what_was_learned_stands_above_both(place: Path, judge: Judge) -> None:
    rows = probe_run(place / "learned", judge, device="cpu").rows
    assert rows[ENCODER]["top-1"] > 0.9
    assert max(rows[name]["top-1"] for name in (RANDOM, RAW)) < 0.65
    assert doubts(rows) == []


@pytest.mark.parametrize("judge", [nearest_clips, linear, PublishedLinear()])
def test_what_was_not_learned_does_not(place: Path, judge: Judge) -> None:
    rows = probe_run(place / "untrained", judge, device="cpu").rows
    assert rows[ENCODER] == rows[RANDOM], "an encoder that is random itself"
    assert "training has taught it nothing" in doubts(rows)[0]


@pytest.mark.slow
def test_few_labels_go_far_with_what_was_learned(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_recipe, "EPOCH_CLIPS", 160)
    words = (place / "learned", "--protocol", "semi", "--shares", "0.2", "--draws", "2",
             "--epochs", "5", "--lr", "0.01", "--out", tmp_path / "out")  # fmt: skip
    facts = probe(capsys, *words)
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept | {"result": str(tmp_path / "out" / "result.json")} == facts
    (few,) = facts["summaries"]
    assert (few["share"], few["train_clips"], few["draws"]) == (0.2, 12, 2)
    assert few["rows"][ENCODER]["top-1"] > 0.9
    assert few["rows"][RANDOM]["top-1"] < 0.6
    assert [result["draw"] for result in facts["results"]] == [0, 1]
    assert len(facts["runs"]) == 4
    store = open_store(place / "swings")
    labels = store.clips["label"].astype(np.int64)
    data = open_data(recipe_of(place / "swings"))
    train, test = data.rows["train"], data.rows["test"]
    for result in facts["results"]:
        share, draw = result["share"], result["draw"]
        for row, word in ((ENCODER, "encoder"), (RANDOM, "random")):
            run = RunFolder(tmp_path / "out" / f"{word}-share{share:g}-draw{draw}")
            recipe = load_checkpoint(run.last).recipe
            assert (recipe.data.label_share, recipe.data.label_draw) == (share, draw)
            assert recipe.seed == draw
            begun = str((place / "learned").absolute()) if row == ENCODER else None
            assert recipe.start.run == begun
            scores = score_run(run.path, device="cpu").scores
            assert result[row] == pytest.approx(np.mean(scores.logits.argmax(1) == scores.labels))
        rows = labelled_part(train, labels, share, draw=draw)
        raw = Described(
            raw_coordinates(store, rows), labels[rows], raw_coordinates(store, test), labels[test]
        )
        assert result[RAW] == linear(raw)["top-1"]
    values = [result[ENCODER] for result in facts["results"]]
    assert few["rows"][ENCODER] == {"top-1": fmean(values), "deviation": stdev(values)}
    capsys.readouterr()
    assert main(["probe", *map(str, words)]) == 0
    out, err = capsys.readouterr()
    assert "1 of 4" not in err, "what is finished is not trained again"
    for word in ("labels", "20 %", *few["rows"], "±"):
        assert word in out
    # Fewer draws are the first of them.
    fewer = probe(capsys, *words, "--draws", "1")
    assert fewer["results"] == facts["results"][:1]


def test_numbers_of_draws_are_added_up_by_share() -> None:
    def result(share: float, draw: int, own: float) -> dict[str, Any]:
        return {"share": share, "draw": draw, "train_clips": round(100 * share),
                ENCODER: own, RANDOM: own / 2, RAW: 0.25}  # fmt: skip

    found = [result(0.1, 0, 0.5), result(0.1, 1, 0.7), result(0.2, 0, 0.8), result(0.2, 1, 0.8)]
    few, many = summarise(found)
    assert (few["share"], few["train_clips"], few["draws"]) == (0.1, 10, 2)
    assert few["rows"][ENCODER] == pytest.approx({"top-1": 0.6, "deviation": 0.02**0.5})
    assert few["rows"][RANDOM] == pytest.approx({"top-1": 0.3, "deviation": 0.005**0.5})
    assert many["rows"][RAW] == {"top-1": 0.25, "deviation": 0}
    (alone,) = summarise(found[:1])
    assert alone["rows"][ENCODER] == {"top-1": 0.5, "deviation": None}


def test_the_picture_shows_means_and_deviations(tmp_path: Path) -> None:
    found = [
        {"share": share, "draw": draw, "train_clips": 10, ENCODER: own, RANDOM: own / 2, RAW: 0.25}
        for share, draw, own in ((0.01, 0, 0.5), (0.01, 1, 0.7), (0.2, 0, 0.8), (0.2, 1, 0.8))
    ]
    figure = draw(summarise(found), "few")
    (axes,) = figure.axes
    own, random, raw = (bars.lines[0].get_xydata().tolist() for bars in axes.containers)
    assert own == [[1, 60], [20, 80]]
    assert random == [[1, 30], [20, 40]]
    assert raw == [[1, 25], [20, 25]]
    (first, _) = axes.containers[0].lines[2][0].get_segments()
    assert first[:, 1].tolist() == pytest.approx([60 - 100 * 0.02**0.5, 60 + 100 * 0.02**0.5])
    for name in ("one", "other"):
        save_labels_picture(tmp_path / name, summarise(found), "few")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    (alone,) = axes.containers[2].lines[:1]
    assert alone.get_marker() == "^"


def test_a_random_start_is_no_start(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = probe(capsys, place / "untrained", "--protocol", "finetune", "--epochs", 1)
    (result,) = facts["results"]
    assert result[ENCODER] == result[RANDOM], "the same network, weights, order and schedule"
    assert "training has taught it nothing" in facts["doubts"][0]
    assert result["train_clips"] == 60
    assert facts["notes"] == ["the run is not finished: this is epoch 0 of 15"]
    assert facts["summaries"][0]["rows"][ENCODER]["deviation"] is None
    runs = place / "untrained" / "probes" / "finetune"
    assert facts["runs"] == [str(runs / "encoder-draw0"), str(runs / "random-draw0")]
    (runs / "few-labels.svg").write_text("of an earlier call, which had several shares")
    again = probe(capsys, place / "untrained", "--protocol", "finetune", "--epochs", 1)
    assert again == facts
    assert json.loads((runs / "result.json").read_text())["results"] == facts["results"]
    assert not (runs / "few-labels.svg").exists()
    assert main(["test", str(runs / "encoder-draw0"), "--device", "cpu"]) == 0, "ordinary runs"


def test_old_numbers_do_not_outlive_their_runs(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    protocol = plan_protocol("finetune", place / "learned", Wishes(), out=out)
    out.mkdir()
    kept = (out / "result.json", out / "few-labels.svg")
    for file in kept:
        file.write_text("old")
    states = [State.FINISHED, State.FINISHED]
    monkeypatch.setattr(probe_runs, "look_at_all", lambda *_, **__: states)
    train_protocol(protocol, device="cpu")
    assert all(file.is_file() for file in kept), "they are those of the runs beside them"

    def fails(*_: Any, **__: Any) -> None:
        assert not any(file.exists() for file in kept)
        raise TrainingError("on purpose")

    monkeypatch.setattr(probe_runs, "start", fails)
    states[1] = State.BROKEN
    with pytest.raises(TrainingError, match="on purpose"):
        train_protocol(protocol, device="cpu", force=True)


def test_it_goes_on_where_it_was_stopped(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_recipe, "EPOCH_CLIPS", 64)
    words = (place / "learned", "--protocol", "finetune", "--epochs", 2, "--lr", 0.01)
    whole = probe(capsys, *words, "--out", tmp_path / "whole")
    finish = Training._finish_epoch

    def stopping(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        if self.run.path.name.startswith("random") and row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    parts = (*words, "--out", tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_finish_epoch", stopping)
        told = probe(capsys, *parts, code=130)
    assert "2 of 2: random encoder, draw 0\n" in told
    assert told.endswith("stopped by signal 2; the same command goes on")
    assert main(["probe", *map(str, parts), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("encoder, draw 0; finished")
    assert second.endswith("random encoder, draw 0; to be gone on with")
    monkeypatch.setattr(probe_runs, "start", None)
    assert probe(capsys, *parts)["results"] == whole["results"]


def test_runs_of_other_ways_or_weights_are_not_mixed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    checkpoint = load_checkpoint(RunFolder(place / "learned").last)
    save_checkpoint(run.last, checkpoint)
    run.recipe.write_text(checkpoint.recipe.to_yaml())
    words = (run.path, "--protocol", "finetune", "--lr", 0.01, "--epochs")
    before = probe(capsys, *words, 1)
    told = probe(capsys, *words, 2, code=2)
    assert "encoder-draw0' was made by another recipe: " in told
    assert "training.epochs is 1, wanted 2" in told
    assert "--force" in told
    trained = {n: t + 0.1 if t.is_floating_point() else t for n, t in checkpoint.tensors.items()}
    save_checkpoint(run.last, replace(checkpoint, tensors=trained))
    told = probe(capsys, *words, 1, code=2)
    assert "encoder-draw0' judges other weights: the encoder has been trained since" in told
    dry = probe(capsys, *words, 1, "--force", "--dry-run")
    assert [row["state"] for row in dry["runs"]] == ["to be trained anew", "finished"]
    after = probe(capsys, *words, 1, "--force")
    assert before["results"][0][RANDOM] == after["results"][0][RANDOM]
    assert probe(capsys, *words, 1) == after
    # A run may be moved with all that judges it.
    run.path.rename(tmp_path / "moved")
    moved = (tmp_path / "moved", *words[1:], 1)
    assert probe(capsys, *moved)["results"] == after["results"]
    moved[0].rename(run.path)
    RunFolder(run.path / "probes" / "finetune" / "encoder-draw0").last.write_bytes(b"cut short")
    assert "is not a readable checkpoint" in probe(capsys, *words, 1, code=2)


def test_transfer_takes_other_classes_and_layouts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_swings(tmp_path / "other", "utd20", classes=2, each=12)
    words = (place / "learned", "--protocol", "transfer", "--data.store", other, "--epochs", 1)
    facts = probe(capsys, *words, "--lr", 0.01, "--draws", 2)
    first, second = facts["results"]
    assert first["train_clips"] == second["train_clips"] == 12
    assert first[RAW] == second[RAW]
    folder = place / "learned" / "probes" / "transfer" / "other"
    seen = load_checkpoint(RunFolder(folder / "encoder-draw0").last)
    assert (seen.skeleton.name, seen.recipe.data.as_layout) == ("ucla20", "ucla20")
    assert seen.class_names == ("speed 0", "speed 1")
    assert facts["store"] == str(other)
    told = probe(capsys, *words[:4], tmp_path / "nowhere", code=2)
    assert "nowhere' does not exist" in told
    random = probe(capsys, *words, "--data.split", "random", "--out", tmp_path / "out")
    assert random["results"][0]["train_clips"] == 18


def test_the_recipe_is_that_of_the_run_with_labels(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = [{"name": "crop_resize", "length": 24, "proportion": [0.5, 1.0]}]
    recipe = recipe_of(
        place / "swings",
        seed=3,
        quirks="original",
        data={"store": str(place / "swings"), "split": "subjects"},
        transforms={"query": crop, "key": WHOLE, "test": WHOLE},
        objective={"name": "skeletonclr", "queue": 5, "width": 4},
        training={"epochs": 1, "batch_size": 16, "precision": "fp32", "ema": 0.5},
    )
    run = RunFolder(tmp_path / "run")
    Training(recipe, open_data(recipe), run, CPU).save()
    run.recipe.write_text(recipe.to_yaml())

    def derived(*words: object) -> Recipe:
        protocol = ("--protocol", "semi", "--shares", "0.5", "--draws", "1", "--epochs", 1)
        facts = probe(capsys, run.path, *protocol, *words, "--force")
        return load_checkpoint(RunFolder(Path(facts["runs"][0])).last).recipe

    usual = derived()
    assert usual.transforms == {
        "train": recipe.transforms["query"],
        "test": recipe.transforms["test"],
    }
    assert (usual.backbone, usual.stream, usual.quirks) == (
        recipe.backbone,
        "joint-motion",
        "original",
    )
    assert usual.objective.name == "classify"  # type: ignore[attr-defined]
    assert (usual.seed, usual.data.split, usual.evaluation.selection) == (3, "subjects", "last")
    training = usual.training
    assert (training.precision, training.ema, training.drop_last) == ("fp32", None, False)
    assert (usual.optim.lr, usual.schedule.name, usual.optim.clip_norm) == (0.05, "cosine", None)
    assert (usual.start.learns, usual.start.statistics) == ("all", "moving")
    assert (training.repeat, training.batch_size) == (9, 16), "30 clips: 270 in an epoch"

    original = derived("--original")
    assert (original.start.statistics, original.optim.clip_norm) == ("kept", 2.0)
    assert original.objective.head_deviation == 0.02  # type: ignore[attr-defined]
    assert (training.repeat_draws, original.training.repeat_draws) == (False, True)
    random = load_checkpoint(RunFolder(run.path / "probes" / "semi" / "random-share0.5-draw0").last)
    assert random.recipe.start.statistics == "moving", "a random network has none to keep"

    other = {
        "stream": "bone",
        "transforms": {"train": WHOLE, "test": crop},
        "optim": {"name": "adamw", "lr": 0.002},
        "schedule": {"name": "constant"},
        "training": {"epochs": 9, "batch_size": 8},
        "objective": {"name": "classify", "label_smoothing": 0.1},
        "data": {"split": "random", "layout": "ucla20"},
    }
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(other))
    given = derived("--recipe", file)
    assert (given.stream, given.optim.name, given.optim.lr) == ("joint-motion", "adamw", 0.002)
    assert given.data.split == "subjects", "whose test clips have not trained the encoder"
    assert (given.training.epochs, given.training.batch_size, given.training.repeat) == (1, 8, 1)
    assert given.transforms["test"] == recipe.transforms["query"]
    assert given.objective.label_smoothing == 0.1  # type: ignore[attr-defined]
    assert derived("--recipe", file, "--lr", "0.5").optim.lr == 0.5
    finetune = ("--protocol", "finetune", "--recipe", file)
    file.write_text(yaml.safe_dump(other | {"data": {"layout": "ntu25"}}))
    told = probe(capsys, run.path, *finetune, code=2)
    assert "other.yaml is made for layout 'ntu25', but the run was trained on 'ucla20'" in told
    other["transforms"] = {"test": WHOLE}
    file.write_text(yaml.safe_dump(other))
    told = probe(capsys, run.path, *finetune, code=2)
    assert "has no transforms for view 'train'" in told


def test_one_of_several_encoders_is_trained(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crop = [{"name": "crop_resize", "length": 24, "proportion": [0.5, 1.0]}]
    recipe = recipe_of(
        place / "swings",
        stream="joint",
        transforms={"query": crop, "key": crop, "test": WHOLE},
        objective={"name": "crossclr", "queue": 5, "width": 4, "streams": ["joint", "bone"]},
    )
    run = RunFolder(tmp_path / "run")
    Training(recipe, open_data(recipe), run, CPU).save()
    run.recipe.write_text(recipe.to_yaml())
    weights = load_checkpoint(run.last).group("model")
    for words, stream in (((), "joint"), (("--stream", "bone"), "bone")):
        out = tmp_path / stream
        short = ("--protocol", "finetune", "--epochs", 1, "--lr", 1e-12)
        words = (run.path, *short, "--out", out, *words)
        (note,) = [note for note in probe(capsys, *words)["notes"] if "encoders" in note]
        assert f"query.{stream}.backbone alone is trained, that of stream {stream}:" in note
        begun = RunFolder(out / "encoder-draw0")
        assert f", the one called query.{stream}.backbone" in (begun.path / "log.txt").read_text()
        found = load_checkpoint(begun.last)
        assert found.recipe.stream == stream
        for name, tensor in found.group("model").items():
            if name.startswith("backbone.") and name.endswith("weight"):
                assert torch.allclose(tensor, weights[f"query.{stream}.{name}"], atol=1e-6), name
    told = probe(capsys, *words[:-1], "joint-motion", code=2)
    assert "has several encoders (query.joint.backbone" in told
    assert "none of them for stream 'joint-motion'" in told
    other = probe(capsys, place / "learned", "--protocol", "finetune", "--epochs", 1, "--stream",
                  "bone", "--out", tmp_path / "other")  # fmt: skip
    assert "the encoder has learned from stream joint-motion, not bone" in other["notes"]


def test_an_encoder_that_learns_meanwhile_is_not_judged(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunFolder(tmp_path / "run")
    checkpoint = load_checkpoint(RunFolder(place / "learned").last)
    save_checkpoint(run.last, checkpoint)
    run.recipe.write_text(checkpoint.recipe.to_yaml())

    def learning(*arguments: Any, **options: Any) -> Training:
        training = start(*arguments, **options)
        moved = {n: t + 0.1 if t.is_floating_point() else t for n, t in checkpoint.tensors.items()}
        save_checkpoint(run.last, replace(checkpoint, tensors=moved))
        return training

    monkeypatch.setattr(probe_runs, "start", learning)
    words = (run.path, "--protocol", "finetune", "--draws", 2, "--epochs", 1)
    told = probe(capsys, *words, code=2)
    assert "encoder-draw1' judges other weights" in told
    assert not (run.path / "probes" / "finetune" / "result.json").exists()


def test_names_of_runs_are_their_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(name: str, **wishes: Any) -> probe_runs.Protocol:
        return probe_runs.plan_protocol(name, place / "learned", Wishes(), **wishes)

    close = planned("semi", shares=(0.5, 0.5000001), draws=1)
    assert len({run.folder.path for run in close.runs}) == 4
    monkeypatch.chdir(place / "swings")
    assert planned("transfer", store=Path()).out == place / "learned/probes/transfer/swings"


def test_seeds_stay_among_those_that_recipes_take(place: Path, tmp_path: Path) -> None:
    last = SEEDS - 1
    recipe = recipe_of(place / "swings", seed=last)
    run = RunFolder(tmp_path / "run")
    Training(recipe, open_data(recipe), run, CPU).save()
    run.recipe.write_text(recipe.to_yaml())
    protocol = probe_runs.plan_protocol("finetune", run.path, Wishes(), draws=2)
    assert [one.seed for one in protocol.runs] == [last, last, 0, 0]


def test_clips_that_trained_the_encoder_are_told(place: Path) -> None:
    own = probe_run(place / "learned", nearest_clips, device="cpu")
    assert own.opened.notes("test") == ()
    other = probe_run(place / "learned", nearest_clips, split="random", device="cpu")
    trained, tested = own.opened.data.rows["train"], other.opened.data.rows["test"]
    count = len(set(trained.tolist()) & set(tested.tolist()))
    assert 0 < count < len(tested)
    (note,) = other.opened.notes("test")
    assert note == (
        f"{count} of the {len(tested)} test clips have trained the run, whose own split is"
        " 'subjects': that flatters the result"
    )


def test_people_who_chose_the_epoch_teach_the_judge(place: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        place / "swings", evaluation={"selection": "validation", "validation_fraction": 0.5}
    )
    run = RunFolder(tmp_path / "run")
    data = open_data(recipe)
    Training(recipe, data, run, CPU).save()
    run.recipe.write_text(recipe.to_yaml())
    frozen = probe_run(run.path, nearest_clips, device="cpu")
    assert frozen.train == len(data.rows["train"]) + len(data.rows["validation"])
    (rows,) = probe_runs.plan_protocol("finetune", run.path, Wishes()).rows.values()
    assert frozen.train == len(rows)


@pytest.mark.parametrize(
    ("clips", "repeat", "batch"), [(1, 256, 16), (100, 3, 16), (256, 1, 16), (512, 1, 32),
                                   (1024, 1, 64), (40000, 1, 64)],
)  # fmt: skip
def test_batches_suit_the_number_of_clips(clips: int, repeat: int, batch: int) -> None:
    training = sized(parse_recipe({}), clips).training
    assert (training.repeat, training.batch_size) == (repeat, batch)


def test_a_checkpoint_alone_has_no_place_for_runs(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "alone.safetensors"
    save_checkpoint(file, load_checkpoint(RunFolder(place / "learned").last))
    told = probe(capsys, file, "--protocol", "finetune", code=2)
    assert "is a checkpoint outside a run folder" in told
    assert "--out FOLDER" in told
    out = tmp_path / "out"
    dry = probe(capsys, file, "--protocol", "finetune", "--out", out, "--dry-run")
    assert [row["state"] for row in dry["runs"]] == ["to be trained"] * 2
    assert not out.exists()
    (out / "encoder-draw0").mkdir(parents=True)
    (out / "encoder-draw0" / "mine.txt").write_text("precious")
    told = probe(capsys, file, "--protocol", "finetune", "--out", out, code=2)
    assert "is in the way: it is not a run" in told


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--shares", "0.1"], "--shares belongs to --protocol semi, not to knn"),
        (["--dry-run"], "--dry-run belongs to --protocol finetune or semi or transfer, not to knn"),
        (["--protocol", "semi", "--batch-size", "4"], "--batch-size belongs to --protocol knn or"),
        (["--protocol", "transfer"], "--protocol transfer needs --data.store OTHER"),
        (["--protocol", "semi", "--shares", "0"], "found '0', expected a number above 0"),
        (["--protocol", "semi", "--draws", "0"], "--draws"),
        (["--protocol", "finetune"], "'nowhere' does not exist"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "nowhere", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
