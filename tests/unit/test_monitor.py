"""What is watched while an encoder learns without labels, and runs that end before their time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.cli import main
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.evaluation import monitor as monitor_module
from kinegraph.evaluation.judges import Described, nearest_clips
from kinegraph.evaluation.monitor import Monitor, alignment, uniformity
from kinegraph.evaluation.opening import open_run
from kinegraph.objectives.base import Objective
from kinegraph.recipe import load_recipe, parse_recipe
from kinegraph.reproduction.runs import PlannedRun, State, look_at
from kinegraph.training import loop
from kinegraph.training.checkpoint import load_checkpoint, make_objective
from kinegraph.training.division import NOBODY
from kinegraph.training.guards import Interrupted
from kinegraph.training.loop import Training
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import RunData, open_data

Train = Callable[..., RunFolder]
CPU = torch.device("cpu")


def test_alignment_and_uniformity_by_hand() -> None:
    one = np.array([[2.0, 0.0], [0.0, 3.0]])  # lengths do not count
    other = np.array([[0.0, 1.0], [0.0, 1.0]])  # 90 degrees from the first, 0 from the second
    assert alignment(one, other) == pytest.approx((2 + 0) / 2)
    assert alignment(one, one) == 0
    assert uniformity(one) == pytest.approx(math.log(math.exp(-2 * 2)))
    # Pairs are at 90, 180 and 90 degrees: squares of distances 2, 4 and 2.
    three = np.array([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    assert uniformity(three) == pytest.approx(math.log((2 * math.exp(-4) + math.exp(-8)) / 3))
    assert uniformity(np.ones((5, 3))) == pytest.approx(0, abs=1e-6), "all in one direction"


def unlabelled(**sections: Any) -> dict[str, Any]:
    """Return the sections of a tiny recipe that learns without labels."""
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.3, 1.0], "minimum": 3}]
    named = {"transforms": {"query": crop, "key": crop}}
    named["objective"] = {"name": "skeletonclr", "queue": 5, "width": 4}  # type: ignore[assignment]
    return named | {"optim": {"lr": 0.001}} | sections


@pytest.fixture
def train(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> Train:
    store = make_store(per_class=8)

    def run(name: str = "run", **sections: Any) -> RunFolder:
        folder = RunFolder(tmp_path / name)
        recipe = parse_recipe(tiny_recipe(data={"store": str(store)}, **sections))
        start(recipe, folder, device="cpu")
        return folder

    return run


def data_of(path: Path, values: dict[str, Any]) -> tuple[RunData, Objective]:
    recipe = parse_recipe(values | {"data": {"store": str(path)}})
    data = open_data(recipe)
    torch.manual_seed(0)
    classes = len(data.store.class_names)
    return data, make_objective(recipe, data.store.skeleton, classes, persons=data.persons)


def test_it_looks_at_the_right_clips(
    make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    data, objective = data_of(make_store(per_class=10), tiny_recipe(**unlabelled()))
    labels = np.random.default_rng(1).permutation(data.store.clips["label"])  # hard to tell apart
    monitor = Monitor(data, "test", CPU)
    monitor._labels = labels
    found = monitor.look(objective.train())
    assert [*found] == ["test_knn", "alignment", "uniformity"]
    assert objective.training, "it goes on learning afterwards"
    objective.eval()

    def embed(rows: np.ndarray, view: str, number: int = 0) -> np.ndarray:
        # Draws of a view depend on its number among the views.
        views = ("query", "key") if view != "test" else ("test",)
        loader = data.ordered_loader(rows, views, len(rows), CPU)
        with torch.no_grad():
            (batches,) = loader.epoch()
            return objective.embed(batches[number].x, batches[number].people).numpy()

    train, test = (data.rows[part] for part in ("train", "test"))
    clips = Described(embed(train, "test"), labels[train], embed(test, "test"), labels[test])
    assert found["test_knn"] == nearest_clips(clips)["top-1"]
    assert 0.2 < found["test_knn"] < 0.8, "it would tell other clips"
    query, key = embed(train, "query"), embed(train, "key", 1)
    assert not np.allclose(query, key, atol=0)
    assert found["alignment"] == pytest.approx(alignment(query, key), rel=1e-3)
    expected = (uniformity(query) + uniformity(key)) / 2
    assert found["uniformity"] == pytest.approx(expected, rel=1e-3)
    again = Monitor(data, "test", CPU).look(objective)
    assert found | {"test_knn": 1.0} == again, "the same views each time"


def test_large_sets_are_watched_by_some_clips(
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor_module, "PAIRED", 4)
    data, _ = data_of(make_store(per_class=10), tiny_recipe(**unlabelled()))
    first, again = (Monitor(data, "test", CPU)._paired for _ in range(2))
    assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
    assert len(first) == 4
    assert set(first.tolist()) <= set(data.rows["train"].tolist())


def test_clips_without_labels_are_no_neighbours(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = open_store(make_store(per_class=6))
    with create_store(tmp_path / "some", source.skeleton, source.class_names, source="") as writer:
        for number, clip in enumerate(map(source.clip, range(len(source)))):
            writer.add(replace(clip, label=-1) if number % 3 == 0 else clip)
        writer.default_split = "subjects"
    data, objective = data_of(tmp_path / "some", tiny_recipe(**unlabelled()))
    judged: list[Described] = []

    def judge(clips: Described) -> dict[str, float]:
        judged.append(clips)
        return nearest_clips(clips)

    monkeypatch.setattr(monitor_module, "nearest_clips", judge)
    found = Monitor(data, "test", CPU).look(objective)
    (clips,) = judged
    subjects, labels = data.store.clips["subject"], data.store.clips["label"]
    for seen, odd in ((clips.train_y, True), (clips.test_y, False)):
        expected = labels[(labels != -1) & (subjects % 2 == odd)]
        np.testing.assert_array_equal(seen, expected)
    assert found["test_knn"] == nearest_clips(clips)["top-1"]
    without = {"train": NOBODY, "test": NOBODY, "unlabelled": np.flatnonzero(labels == -1)}
    nothing = Monitor(replace(data, rows=without), "test", CPU)
    assert not nothing.knows_classes
    assert [*nothing.look(objective)] == ["alignment", "uniformity"], "no error"
    recipe = parse_recipe(tiny_recipe(**unlabelled(evaluation={"selection": "test"})))
    blind = replace(data, recipe=recipe, rows=without)
    with pytest.raises(RecipeError, match="labels are needed, and there are none: choose last"):
        Training(recipe, blind, RunFolder(tmp_path / "run"), CPU)


def test_broken_features_stop_the_run(
    make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    data, objective = data_of(make_store(), tiny_recipe(**unlabelled()))
    for weight in objective.parameters():
        weight.data.fill_(float("inf"))
    with pytest.raises(TrainingError, match="features of clips are not finite numbers"):
        Monitor(data, "test", CPU).look(objective)


def test_watching_changes_no_bit_and_has_rows_where_due(train: Train) -> None:
    often = train("often", **unlabelled(training={"epochs": 3}, evaluation={"every": 1}))
    rarely = train("rarely", **unlabelled(training={"epochs": 3}, evaluation={"every": 2}))
    left, right = (load_checkpoint(run.last).tensors for run in (often, rarely))
    assert left.keys() == right.keys()
    assert all(torch.equal(value, right[name]) for name, value in left.items())
    rows = rarely.read_metrics()
    watched = {"test_knn", "alignment", "uniformity"}
    assert [watched <= row.keys() for row in rows] == [False, True, True]  # every 2nd, and the last
    assert not watched & rows[0].keys()
    assert [row["alignment"] for row in rows[1:]] == [
        row["alignment"] for row in often.read_metrics()[1:]
    ]
    log = (rarely.path / "log.txt").read_text()
    assert "test k-NN" in log
    assert "uniformity -" in log
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(rarely.path / "tensorboard"))
    events.Reload()
    assert watched <= set(events.Tags()["scalars"])


def accuracies(patch: pytest.MonkeyPatch, *values: float) -> Iterator[float]:
    """Let both kinds of run have these accuracies when they are evaluated."""
    left = iter(values)
    patch.setattr(loop, "top_k", lambda *_: next(left))
    patch.setattr(monitor_module, "nearest_clips", lambda *_: {"top-1": next(left)})
    return left


@pytest.mark.parametrize("labels", [True, False])
def test_patience_ends_a_run_that_is_finished_then(
    train: Train, labels: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {} if labels else unlabelled()
    sections |= {
        "training": {"epochs": 9, "batch_size": 2},
        "evaluation": {"selection": "validation", "patience": 2, "every": 1},
    }
    values = (0.2, 0.5, 0.5, 0.6, 0.1, 0.6, 0.9)  # as good as the best is no better one
    accuracies(monkeypatch, *values)
    whole = train("whole", **sections)
    measure = "validation_top1" if labels else "validation_knn"
    assert [row[measure] for row in whole.read_metrics()] == [0.2, 0.5, 0.5, 0.6, 0.1, 0.6]
    last, best = load_checkpoint(whole.last), load_checkpoint(whole.best)
    assert (last.epoch, best.epoch, last.progress["stopped"]) == (6, 4, True)
    assert not any("key." in name or "queue." in name for name in best.tensors)
    said = "no better epoch in 2 evaluations: training ends, and epoch 4 with 60.00 % counts"
    assert said in (whole.path / "log.txt").read_text()

    # Stopped while it waits, and gone on with: it does not wait anew.
    accuracies(monkeypatch, *values)
    finish = Training._finish_epoch

    def interrupted(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        if self.progress.epoch == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("cut", **sections)
    cut = RunFolder(whole.path.parent / "cut")
    resume(cut, device="cpu")
    found = load_checkpoint(cut.last)
    assert (found.epoch, found.progress["waited"], found.progress["stopped"]) == (6, 2, True)
    assert all(torch.equal(value, last.tensors[name]) for name, value in found.tensors.items())

    # It counts as finished wherever that is asked.
    capsys.readouterr()
    before = cut.last.read_bytes()
    assert main(["train", "--resume", str(cut.path), "--device", "cpu"]) == 0
    told = capsys.readouterr().err
    assert "evaluation.patience ended the run after 6 of 9 epochs, nothing is left" in told
    assert cut.last.read_bytes() == before
    planned = PlannedRun("joint", 0, found.recipe, "tiny", (), cut)
    assert look_at(planned) is State.FINISHED
    for path in (cut.path, cut.last, cut.best):
        opened = open_run(path)
        assert opened.notes("test") == ()
        trained = "4" if path != cut.last else "6"
        assert opened.provenance()["epoch"] == (
            f"{trained} of 6, after which evaluation.patience ended the run (at most 9)"
        )


def test_a_signal_while_watching_changes_nothing(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = unlabelled(training={"epochs": 2}, evaluation={"selection": "validation"})
    whole = train("whole", **sections)
    look, count = Monitor.look, [0]

    def signalled(self: Monitor, *arguments: Any, **options: Any) -> dict[str, float]:
        count[0] += 1
        found = look(self, *arguments, **options)
        if count[0] == 1:
            options["after_batch"].__self__.signal = 15
            look(self, *arguments, **options)
        return found

    monkeypatch.setattr(Monitor, "look", signalled)
    with pytest.raises(Interrupted):
        train("cut", **sections)
    cut = RunFolder(whole.path.parent / "cut")
    assert (load_checkpoint(cut.last).epoch, cut.best.exists()) == (0, False)
    resume(cut, device="cpu")
    for file in ("last", "best"):
        one, other = (load_checkpoint(getattr(run, file)).tensors for run in (whole, cut))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    untimed = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in run.read_metrics()]
        for run in (whole, cut)
    ]
    assert untimed[0] == untimed[1]


def test_the_last_epoch_is_no_early_end(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies(monkeypatch, 0.5, 0.4)
    run = train(evaluation={"selection": "test", "patience": 1})
    saved = load_checkpoint(run.last)
    assert (saved.epoch, saved.progress["stopped"]) == (2, False)
    assert "training ends" not in (run.path / "log.txt").read_text()


def test_runs_from_before_patience_go_on(train: Train) -> None:
    run = train()
    saved = load_checkpoint(run.last)
    old = {k: v for k, v in saved.progress.items() if k not in ("waited", "stopped")}
    loop.save_checkpoint(run.last, replace(saved, progress=old))
    assert resume(run, device="cpu").progress.stopped is False


def test_patience_needs_a_selection(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="evaluation: patience 5 waits for a better epoch, but"):
        load_recipe("stgcn", [("evaluation.patience", "5")])
    options = [("evaluation.patience", "5"), ("evaluation.selection", "validation")]
    assert load_recipe("stgcn", options).evaluation.patience == 5
    with pytest.raises(RecipeError, match="expected a number of at least 1"):
        load_recipe("stgcn", [("evaluation.patience", "0"), options[1]])


def test_the_best_epoch_by_neighbours_is_probed(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        accuracies(patch, 0.4, 0.6, 0.5)
        sections = unlabelled(training={"epochs": 3}, evaluation={"selection": "test"})
        run = train(**sections)
    capsys.readouterr()
    assert main(["probe", str(run.path), "--device", "cpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["epoch"] == 2
    assert "chosen for its accuracy on these very clips" in facts["notes"][0]
