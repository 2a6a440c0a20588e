"""Testing a run: scores of the right clips, notes for the reader, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.store import Clip, Track, create_store, open_store
from kinegraph.errors import (
    CheckpointError,
    OutputError,
    RecipeError,
    StoreError,
    TrainingError,
)
from kinegraph.evaluation.baselines import measure_baselines
from kinegraph.evaluation.ensemble import build_ensemble
from kinegraph.evaluation.metrics import top_k
from kinegraph.evaluation.scores import load_scores
from kinegraph.evaluation.testing import refuse_tested, save_test, score_run
from kinegraph.inference.predictor import Predictor
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import load_checkpoint, save_checkpoint
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder

MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]


def train(folder: Path, values: dict[str, Any], store: Path) -> RunFolder:
    """Train a recipe of seconds."""
    run = RunFolder(folder)
    recipe = parse_recipe(values | {"data": {"store": str(store), "split": "subjects"}})
    start(recipe, run, device="cpu")
    return run


def test_the_test_clips_are_scored_by_name(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    store = open_store(make_store())
    run = train(tmp_path / "run", tiny_recipe(), store.path)
    tested = score_run(run.path)
    assert set(tested.scores.names) == set(store.clips["name"][store.clips["subject"] % 2 == 0])
    assert tested.scores.labels.tolist() == [
        int(store.clips["label"][store.find(str(name))]) for name in tested.scores.names
    ]
    assert tested.scores.notes == ()
    trained = score_run(run.path, part="train").scores
    assert not set(trained.names) & set(tested.scores.names)
    clips = [store.clip(store.find(str(name))) for name in tested.scores.names]
    alone = Predictor.from_run(run.path).logits(clips, store.skeleton)
    np.testing.assert_allclose(tested.scores.logits, alone, rtol=1e-4, atol=1e-5)


def test_the_batch_size_changes_no_score(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    one = score_run(run.path, batch_size=1).scores.logits
    all_at_once = score_run(run.path, batch_size=64).scores.logits
    np.testing.assert_allclose(one, all_at_once, rtol=1e-4, atol=1e-5)


def test_scores_and_report_lie_in_the_run_folder(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    tested = score_run(run.path)
    report = save_test(tested, baselines={"chance": 0.5})
    assert report == run.path / "report.html"
    assert "chance" in report.read_text(encoding="utf-8")
    np.testing.assert_array_equal(load_scores(run.path).logits, tested.scores.logits)


def test_an_epoch_chosen_on_the_test_clips_is_named_wherever_its_scores_go(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    values = tiny_recipe(evaluation={"selection": "test"})
    run = train(tmp_path / "run", values, make_store())
    save_test(score_run(run.path))
    scores = load_scores(run.path)
    assert any("chosen for its accuracy on these very clips" in note for note in scores.notes)
    assert scores.notes[0] in build_ensemble([scores, scores]).notes
    assert "these very clips" in run.report.read_text(encoding="utf-8")


def test_the_last_epoch_of_such_a_run_is_not_taken_for_a_chosen_one(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    values = tiny_recipe(evaluation={"selection": "test"})
    run = train(tmp_path / "run", values, make_store())
    last, best = score_run(run.last), score_run(run.path)
    assert (last.selected, best.selected) == ("last", "test")
    assert (last.scores.notes, last.checkpoint.epoch) == ((), 2)
    assert last.provenance()["selected"] == "the last epoch"
    assert best.provenance()["selected"] == "the best epoch on the test clips themselves"


def test_a_store_of_other_classes_or_layout_is_refused(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    with pytest.raises(CheckpointError, match=r"'coco17' .* has 'ntu25'"):
        score_run(run.path, store=make_store("other", layout="ntu25"))
    with pytest.raises(CheckpointError, match=r"2 classes, .* has 3"):
        score_run(run.path, store=make_store("more", classes=3))


def test_parts_that_do_not_exist_are_refused(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    with pytest.raises(RecipeError, match="no part 'validation'"):
        score_run(run.path, part="validation")


def test_a_checkpoint_far_from_its_run_has_no_place_for_results(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    moved = run.last.rename(tmp_path / "weights.safetensors")
    tested = score_run(moved)
    with pytest.raises(OutputError, match="outside a run folder"):
        save_test(tested)


def test_shuffled_labels_reach_training_alone(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    store = make_store(per_class=12)
    plain = train(tmp_path / "plain", tiny_recipe(), store)
    values = tiny_recipe(training={"shuffle_labels": True})
    shuffled = train(tmp_path / "shuffled", values, store)
    first, other = score_run(plain.path).scores, score_run(shuffled.path).scores
    np.testing.assert_array_equal(first.labels, other.labels)
    assert not np.array_equal(first.logits, other.logits)


def test_baselines_are_those_of_the_clips_that_are_tested(make_store: MakeStore) -> None:
    store = open_store(make_store(classes=3))
    rows = np.arange(len(store))
    found = measure_baselines(store, rows, rows)  # every clip is its own nearest neighbour
    assert found == {"chance": pytest.approx(1 / 3), "1-NN, raw coordinates": 1.0}


def test_a_store_of_more_people_is_tested_with_the_slots_of_the_network(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    one = open_store(make_store())
    values = tiny_recipe(backbone={"name": "ctrgcn", "width": 4})
    run = train(tmp_path / "run", values, one.path)
    with create_store(tmp_path / "two", one.skeleton, one.class_names, source="a test") as writer:
        for row in range(len(one)):
            clip = one.clip(row)
            people = (*clip.tracks, Track(clip.tracks[0].joints, clip.tracks[0].first, person=1))
            writer.add(Clip(clip.name, people, clip.frames, label=clip.label, subject=clip.subject))
    alone, beside = score_run(run.path).scores, score_run(run.path, store=tmp_path / "two").scores
    np.testing.assert_allclose(beside.logits, alone.logits, atol=1e-6)


def test_results_are_replaced_only_on_demand_and_go_when_training_goes_on(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    refuse_tested(run.path, "test")
    tested = score_run(run.path)
    save_test(tested)
    with pytest.raises(OutputError, match="nothing is overwritten without --force"):
        refuse_tested(run.path, "test")
    with pytest.raises(OutputError, match="nothing is overwritten without --force"):
        save_test(tested)
    run.report.unlink()  # the scores alone are kept as well
    with pytest.raises(OutputError, match="nothing is overwritten without --force"):
        save_test(tested)
    save_test(tested, force=True)
    resume(run, device="cpu")  # nothing is left to train: the results stay true
    assert run.scores("test").is_file()
    checkpoint = load_checkpoint(run.last)
    values = checkpoint.recipe.model_copy(
        update={"training": checkpoint.recipe.training.model_copy(update={"epochs": 3})}
    )
    save_checkpoint(run.last, replace(checkpoint, recipe=values))
    resume(run, device="cpu")
    assert not run.scores("test").exists()
    assert not run.report.exists()


def test_layouts_fit_whatever_they_are_called() -> None:
    layout = load_layout("ucla20")
    assert layout.difference(replace(layout, name="mine", title="the same joints")) == ""
    assert layout.difference(replace(layout, centre=1)) == "centre"
    assert layout.difference(load_layout("utd20")) == "joints"


def test_other_recordings_than_those_that_trained_are_named(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    values = tiny_recipe(evaluation={"selection": "test"})
    run = train(tmp_path / "run", values, make_store())
    assert not any("recordings that the run was trained on" in n for n in notes_of(run.path))
    other = make_store("other", per_class=8)
    assert any("recordings that the run was trained on" in n for n in notes_of(run.path, other))


def notes_of(run: Path, store: Path | None = None) -> tuple[str, ...]:
    """Notes that a test of a run carries."""
    return score_run(run, store=store).scores.notes


def test_a_run_knows_its_store_from_any_folder(
    tmp_path: Path,
    make_store: MakeStore,
    tiny_recipe: TinyRecipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = make_store()
    monkeypatch.chdir(store.parent)
    run = train(tmp_path / "run", tiny_recipe(), Path(store.name))
    monkeypatch.chdir("/")
    assert len(score_run(run.path).scores.names) > 0
    store.rename(tmp_path / "moved")
    with pytest.raises(StoreError, match=r"if it was moved, say where with --data\.store"):
        score_run(run.path)


def test_a_damaged_store_is_blamed_for_a_loss_that_is_no_number(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe
) -> None:
    store = make_store()
    opened = open_store(store)
    clip = opened.clips["name"][0]
    joints = np.load(store / "joints.npy")
    joints[3] = np.nan
    np.save(store / "joints.npy", joints)
    with pytest.raises(TrainingError, match=rf"'{clip}': frame 3 .* NaN .*kinegraph data check"):
        train(tmp_path / "run", tiny_recipe(training={"epochs": 5}), store)


def test_an_ensemble_scores_what_was_not_tested(
    tmp_path: Path,
    make_store: MakeStore,
    tiny_recipe: TinyRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    assert main(["ensemble", str(run.path), str(run.last), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    labelled = score_run(run.path).scores.labelled()
    expected = top_k(labelled.logits, labelled.labels)
    assert [member["metrics"]["top1"] for member in told["members"]] == [expected, expected]


def test_scores_elsewhere_need_a_name_that_says_what_they_are(
    tmp_path: Path,
    make_store: MakeStore,
    tiny_recipe: TinyRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(tmp_path / "run", tiny_recipe(), make_store())
    before = run.recipe.read_bytes()
    words = ["test", str(run.path), "--out", str(run.recipe), "--force"]
    assert main(words) == 2
    assert "expected a name that ends in .npz" in capsys.readouterr().err
    assert run.recipe.read_bytes() == before
