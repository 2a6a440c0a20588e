from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.data.loader import ClipLoader
from kinegraph.errors import CheckpointError, LayoutError, OutputError, RecipeError, TrainingError
from kinegraph.evaluation.testing import score_run
from kinegraph.objectives import OBJECTIVES
from kinegraph.objectives.base import Objective
from kinegraph.recipe import parse_recipe
from kinegraph.registry import Component, Config
from kinegraph.training import checkpoint, loop
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.guards import Interrupted
from kinegraph.training.loop import Training
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import choose_device, open_data


class Train:
    """Trains tiny recipes in seconds."""

    def __init__(self, folder: Path, store: Path, values: Callable[..., dict[str, Any]]) -> None:
        self.folder, self.store, self.values = folder, store, values

    def __call__(self, name: str = "run", **sections: Any) -> RunFolder:
        data = {"store": str(self.store)} | sections.pop("data", {})
        recipe = parse_recipe(self.values(data=data, **sections))
        run = RunFolder(self.folder / name)
        start(recipe, run, device="cpu")
        return run


@pytest.fixture
def train(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> Train:
    return Train(tmp_path, make_store(), tiny_recipe)


def weights_of(run: RunFolder, group: str = "model") -> dict[str, Tensor]:
    return load_checkpoint(run.last).group(group)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(value, right[name]) for name, value in left.items())


class LinearConfig(Config):
    name: Literal["linear"] = "linear"
    nan_at: int = -1
    steep_at: int = -1
    draws: bool = False


class Linear(Objective):
    """Linear regression on the mean joint; no batch norm, so that batches can be added up."""

    def __init__(self, config: LinearConfig, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.head = torch.nn.Linear(2, num_classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        (batch,) = batches
        scores = self.logits(batch.x)
        loss = torch.nn.functional.cross_entropy(scores, batch.label)
        if int(self.steps) == self.config.nan_at:
            loss = loss * float("nan")
        if int(self.steps) == self.config.steep_at:
            # Finite, but the slope of a square root at zero is not.
            loss = loss + torch.sqrt(self.head.bias.sum() * 0)
        return {"loss": loss, "steps": self.steps.double()}

    def logits(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        if self.config.draws:
            torch.rand(7)
        scores: Tensor = self.head(x[:, :2].mean((2, 3, 4)))
        return scores

    def after_step(self) -> None:
        self.steps += 1


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(config: Any, make_backbone: Any, num_classes: int, *_: Any) -> Linear:
        return Linear(config, num_classes)

    monkeypatch.setitem(OBJECTIVES, "linear", Component("A test's.", LinearConfig, build))


def test_a_run_on_a_processor_keeps_its_memory(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr("kinegraph.memory.keep_memory", lambda: calls.append(1))
    train("run")
    assert calls == [1]


def test_a_seed_fixes_a_run(train: Train) -> None:
    sections = {"objective": {"name": "classify", "dropout": 0.5}, "seed": 3}
    first = train("first", **sections)
    other_evaluation = {"batch_size": 1, "every": 2}
    second = train("second", **sections, evaluation=other_evaluation)
    assert same(weights_of(first), weights_of(second))
    assert not same(weights_of(first), weights_of(train("third", **(sections | {"seed": 4}))))


@pytest.mark.usefixtures("linear")
def test_what_is_drawn_while_testing_changes_no_weights(train: Train) -> None:
    def final_draw(every: int) -> Tensor:
        run = train(f"every-{every}", objective={"name": "linear", "draws": True},
                    training={"epochs": 4}, evaluation={"every": every})  # fmt: skip
        return load_checkpoint(run.last).tensors["random/cpu"]

    torch.manual_seed(0)
    assert torch.equal(final_draw(1), final_draw(3))


def test_metrics_have_a_row_for_every_epoch(train: Train) -> None:
    run = train(training={"epochs": 3}, evaluation={"every": 2})
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert ["test_top1" in row for row in rows] == [False, True, True]  # every 2nd, and the last
    assert all({"lr", "loss", "accuracy", "seconds"} <= row.keys() for row in rows)
    assert list((run.path / "tensorboard").iterdir())
    assert "epoch 3/3" in (run.path / "log.txt").read_text()
    assert run.recipe.is_file()


@pytest.mark.usefixtures("linear")
@pytest.mark.parametrize("device_interval", [1, 25])
def test_a_nan_stops_the_run_and_names_the_clips(
    train: Train, monkeypatch: pytest.MonkeyPatch, device_interval: int
) -> None:
    seen: list[list[int]] = []
    forward = Linear.forward

    def noted(self: Linear, *batches: Batch) -> dict[str, Tensor]:
        seen.append(batches[0].index.tolist())
        return forward(self, *batches)

    # As on a device that is not waited for: losses are looked at later, or before a checkpoint.
    original = loop.FiniteGuard

    def guard(store: Any, interval: int) -> Any:
        return original(store, device_interval)

    monkeypatch.setattr(loop, "FiniteGuard", guard)
    monkeypatch.setattr(Linear, "forward", noted)
    nan_at = 4
    with pytest.raises(TrainingError, match="the loss became nan in the batch of the clips") as no:
        train(objective={"name": "linear", "nan_at": nan_at},
              training={"epochs": 9, "batch_size": 2, "checkpoint_minutes": 1e-9})  # fmt: skip
    names = ", ".join(f"clip {index}" for index in seen[nan_at])
    assert f"the clips {names};" in str(no.value)
    saved = weights_of(RunFolder(train.folder / "run"))
    assert all(torch.isfinite(value).all() for value in saved.values())


@pytest.mark.usefixtures("linear")
def test_broken_weights_reach_no_checkpoint(train: Train) -> None:
    # The last step of the last epoch: no further loss would tell.
    with pytest.raises(TrainingError, match=r"weights 'head.bias' are not finite after the batch"):
        train(objective={"name": "linear", "steep_at": 2}, evaluation={"selection": "test"},
              training={"epochs": 1, "batch_size": 2})  # fmt: skip
    saved = load_checkpoint(RunFolder(train.folder / "run").last)
    assert saved.epoch == 0
    assert all(torch.isfinite(value).all() for value in saved.group("model").values())
    assert not RunFolder(train.folder / "run").best.exists()


@pytest.mark.usefixtures("linear")
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_accumulated_batches_equal_a_large_one(train: Train, clip_norm: float | None) -> None:
    sections = {"objective": {"name": "linear"}, "optim": {"lr": 0.5, "clip_norm": clip_norm}}
    large = train("large", **sections, training={"batch_size": 6})
    small = train("small", **sections, training={"batch_size": 2, "accumulate": 3})
    plain = train("plain", **sections, training={"batch_size": 2})
    left, right = weights_of(large), weights_of(small)
    for name in ("head.weight", "head.bias"):
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(left["head.weight"], weights_of(plain)["head.weight"], atol=1e-4)
    assert int(right["steps"]) == 2  # one optimiser step for three batches


@pytest.mark.usefixtures("linear")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # fp16 scales the gradient up meanwhile
def test_gradients_are_clipped_to_the_norm(train: Train, precision: str) -> None:
    rate, norm = 0.5, 0.01
    run = train(objective={"name": "linear"},
                training={"epochs": 1, "batch_size": 6, "precision": precision},
                optim={"lr": rate, "clip_norm": norm, "momentum": 0, "weight_decay": 0},
                schedule={"name": "constant"})  # fmt: skip
    torch.manual_seed(0)
    fresh = Linear(LinearConfig(), 2).state_dict()
    after = weights_of(run)
    moved = torch.cat([(after[k] - fresh[k]).flatten() for k in ("head.weight", "head.bias")])
    assert moved.norm().item() == pytest.approx(rate * norm, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_autocast_trains_and_resumes(
    train: Train, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"training": {"precision": precision, "epochs": 12}}
    whole = train("whole", **sections)
    assert not same(weights_of(whole), weights_of(train("fp32", training={"epochs": 12})))
    assert next(iter(weights_of(whole).values())).dtype == torch.float32
    if precision == "fp16":  # the loss scale goes on as well
        assert load_checkpoint(whole.last).progress["scaler"]["_growth_tracker"] > 0
    finish = Training._finish_epoch

    def stop_after_one(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        if self.progress.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_finish_epoch", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        train("cut", **sections)
    monkeypatch.undo()
    cut = RunFolder(train.folder / "cut")
    resume(cut, device="cpu")
    assert (
        load_checkpoint(cut.last).progress["scaler"]
        == (load_checkpoint(whole.last).progress["scaler"])
    )
    assert same(load_checkpoint(cut.last).tensors, load_checkpoint(whole.last).tensors)


@pytest.mark.usefixtures("linear")
def test_moving_average_is_what_is_tested(train: Train) -> None:
    run = train(objective={"name": "linear"}, training={"ema": 0.5, "batch_size": 2})
    average, weights = weights_of(run, "ema"), weights_of(run)
    assert not torch.equal(average["head.weight"], weights["head.weight"])
    assert torch.equal(average["steps"], weights["steps"])  # whole numbers are copied
    built = load_checkpoint(run.last).build().state_dict()
    assert torch.equal(built["head.weight"], average["head.weight"])
    # The training loop goes on with its own weights after it has tested the average.
    plain = train("plain", objective={"name": "linear"}, training={"batch_size": 2})
    assert torch.equal(weights_of(plain)["head.weight"], weights["head.weight"])


def test_selection_keeps_the_best_epoch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.2, 0.9, 0.9, 0.4])
    monkeypatch.setattr(loop, "top_k", lambda *_: next(accuracies))
    run = train(training={"epochs": 4}, evaluation={"selection": "test"})
    best = load_checkpoint(run.best)
    assert best.epoch == 2  # the first of the best
    assert load_checkpoint(run.last).progress["best_epoch"] == 2
    assert not same(best.group("model"), weights_of(run))


@pytest.mark.parametrize(
    ("selection", "looks"), [("test", [2, 4, 5]), ("validation", [1, 2, 3, 4, 5])]
)
def test_an_epoch_is_selected_among_those_that_are_evaluated(
    train: Train, monkeypatch: pytest.MonkeyPatch, selection: str, looks: list[int]
) -> None:
    accuracies = iter([0.1, 0.3, 0.2, 0.1, 0.1])
    monkeypatch.setattr(loop, "top_k", lambda *_: next(accuracies))
    run = train(
        data={"split": "random"}, training={"epochs": 5, "batch_size": 2},
        evaluation={"selection": selection, "every": 2},
    )  # fmt: skip
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["epoch"] for row in rows if f"{selection}_top1" in row] == looks
    assert load_checkpoint(run.best).epoch == looks[1]


def test_last_epoch_needs_no_best(train: Train) -> None:
    run = train(evaluation={"selection": "last"})
    assert not run.best.exists()


def test_validation_sets_training_subjects_aside(train: Train) -> None:
    run = train(data={"split": "random"}, training={"batch_size": 2},
                evaluation={"selection": "validation"})  # fmt: skip
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all("validation_top1" in row and "test_top1" not in row for row in rows)


def loader_of(train: Train, **training: Any) -> ClipLoader:
    recipe = parse_recipe(train.values(data={"store": str(train.store)}, training=training))
    return open_data(recipe).training_loader(("train",), torch.device("cpu"))


def test_order_changes_from_epoch_to_epoch(train: Train) -> None:
    loader = loader_of(train, batch_size=6)
    orders = [torch.cat([b.index for (b,) in loader.epoch(epoch)]).tolist() for epoch in (0, 1, 0)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    assert sorted(orders[0]) == sorted(orders[1])


def test_balanced_shows_every_class_equally(train: Train, make_store: Callable[..., Path]) -> None:
    from kinegraph.data.clip import Clip, Track
    from kinegraph.data.store import create_store, open_store

    even = open_store(train.store)
    with create_store(
        train.folder / "uneven", even.skeleton, ["often", "rare"], source=""
    ) as uneven:
        joints = torch.randn(9, *even.joints.shape[1:]).numpy()
        for number in range(20):
            label = int(number % 10 == 0)
            uneven.add(
                Clip(f"{number}", (Track(joints),), 9, label=label, subject=1 + number // 10)
            )
        uneven.default_split = "subjects"
    train.store = train.folder / "uneven"
    counts = {}
    for balanced in (False, True):
        loader = loader_of(train, batch_size=2, repeat=2, balanced=balanced)
        counts[balanced] = torch.bincount(torch.cat([b.label for (b,) in loader.epoch()])).tolist()
    assert counts == {False: [18, 2], True: [10, 10]}


@pytest.mark.parametrize("place", ["checkpoint", "metrics", "best"])
def test_full_disk_keeps_the_last_checkpoint(
    train: Train, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    save, append = checkpoint.save_file, RunFolder.append_metrics
    full = OSError(errno.ENOSPC, "No space left on device")
    calls = {"n": 0}

    def save_file(tensors: Any, path: Path, metadata: Any) -> None:
        save(tensors, path, metadata=metadata)
        calls["n"] += place == "checkpoint" or (place == "best" and "best" in path.name)
        if calls["n"] == (3 if place == "checkpoint" else 2):
            path.write_bytes(path.read_bytes()[:100])
            raise full

    def append_metrics(self: RunFolder, row: dict[str, Any]) -> None:
        calls["n"] += 1
        if place == "metrics" and calls["n"] == 2:
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(full))
                append(self, row)
        append(self, row)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    if place == "metrics":
        monkeypatch.setattr(RunFolder, "append_metrics", append_metrics)
    selection = {"selection": "test"} if place == "best" else {}
    if place == "best":
        accuracies = iter([0.1, 0.2, 0.1, 0.2, 0.3, 0.4])
        monkeypatch.setattr(loop, "top_k", lambda *_: next(accuracies))
    with pytest.raises(OutputError, match="No space left on device"):
        train(training={"epochs": 3}, evaluation=selection)
    run = RunFolder(train.folder / "run")
    assert load_checkpoint(run.last).epoch == 1
    assert not list(run.last.parent.glob("*.part*"))
    monkeypatch.undo()
    resume(run, device="cpu")
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3]
    if place != "best":
        whole = train("whole", training={"epochs": 3})
        assert same(load_checkpoint(run.last).tensors, load_checkpoint(whole.last).tensors)


def test_a_signal_saves_in_the_middle_of_an_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"training": {"batch_size": 2}, "objective": {"name": "classify", "dropout": 0.5}}
    whole = train("whole", **sections)
    groups = Training._groups

    def signalled(self: Training) -> Iterator[list[tuple[Batch, ...]]]:
        for group in groups(self):
            if self.progress.batches == 1:
                self.interruption.signal = 15
            yield group

    monkeypatch.setattr(Training, "_groups", signalled)
    with pytest.raises(Interrupted, match="stopped by signal 15"):
        train("cut", **sections)
    monkeypatch.undo()
    cut = RunFolder(train.folder / "cut")
    saved = load_checkpoint(cut.last)
    assert (saved.epoch, saved.step) == (0, 2)  # no checkpoint was due by the clock
    resume(cut, device="cpu")
    assert same(load_checkpoint(cut.last).tensors, load_checkpoint(whole.last).tensors)


def test_resume_refuses_other_recordings(train: Train, make_store: Callable[..., Path]) -> None:
    run = train()
    other = make_store("other", per_class=7)
    with pytest.raises(RecipeError, match="does not hold the recordings that the run began with"):
        resume(run, device="cpu", store=other)
    wider = make_store("wider", classes=3)
    with pytest.raises(RecipeError, match="does not hold the recordings"):
        resume(run, device="cpu", store=wider)


def test_resume_finds_moved_recordings(train: Train) -> None:
    run = train()
    moved = train.store.rename(train.folder / "moved")
    assert resume(run, device="cpu", store=moved).recipe.data.store == str(moved)
    assert str(moved) in run.recipe.read_text()


def test_the_selected_epoch_finds_moved_recordings_too(train: Train) -> None:
    run = train(evaluation={"selection": "test"})
    before = load_checkpoint(run.best)
    moved = train.store.rename(train.folder / "moved")
    resume(run, device="cpu", store=moved)
    after = load_checkpoint(run.best)
    assert same(after.tensors, before.tensors)
    assert (after.epoch, after.step, after.progress) == (before.epoch, 0, before.progress)
    assert after.versions == before.versions
    assert after.recipe == load_checkpoint(run.last).recipe
    assert len(score_run(run.path, device="cpu").scores) > 0


def test_resume_needs_everything(train: Train) -> None:
    run = train(evaluation={"selection": "test"})
    run.last.write_bytes(run.best.read_bytes())  # weights alone
    with pytest.raises(CheckpointError, match="cannot be gone on from"):
        resume(run, device="cpu")


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be resumed: it has no checkpoints"):
        resume(RunFolder(tmp_path))
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"transforms": {"test": [{"name": "window"}]}}, "wants transforms for view"),
        ({"transforms": {"train": [{"name": "window"}], "test": []}}, "exactly one that samples"),
        ({"training": {"batch_size": 64}}, "training.batch_size 64 is more than the 6 clips"),
        ({"data": {"layout": "ntu25"}}, "made for layout 'ntu25', but store"),
        ({"transforms": {"train": [{"name": "turn_view"}, {"name": "window", "length": 6}],
                         "test": [{"name": "window", "length": 6}]}}, "turn_view needs 3D joints"),
        ({"transforms": {"train": [{"name": "window", "length": 6}],
                         "test": [{"name": "turn_view"}, {"name": "window", "length": 6}]}},
         "turn_view needs 3D joints"),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_leaves_no_folder(
    train: Train, sections: dict[str, Any], message: str
) -> None:
    values = train.values(data={"store": str(train.store)})
    for name, section in sections.items():
        values[name] = section if name == "transforms" else values.get(name, {}) | section
    run = RunFolder(train.folder / "run")
    with pytest.raises((RecipeError, LayoutError), match=message):
        start(parse_recipe(values), run, device="cpu")
    assert not run.path.exists()


@pytest.mark.parametrize("name", ["nonsense", "cuda:77", "meta"])
def test_device_that_is_not_there(name: str) -> None:
    with pytest.raises(TrainingError, match=f"device '{name}' cannot be used"):
        choose_device(name)


def test_kernels_start_on_the_chosen_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    monkeypatch.setattr(torch, "zeros", lambda *size, device: torch.ones(1))
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert choose_device("1") == choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")
    assert chosen == [torch.device("cuda:1")] * 2


@pytest.mark.parametrize("quirks", ["none", "original"])
@pytest.mark.parametrize("asked", [False, True])
def test_only_originals_of_which_it_is_known_repeat_their_draws(
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    quirks: str,
    asked: bool,
) -> None:
    store, training = str(make_store()), {"batch_size": 4, "repeat_draws": asked}
    recipe = parse_recipe(tiny_recipe(quirks=quirks, data={"store": store}, training=training))
    loader = open_data(recipe).training_loader(("train",), torch.device("cpu"))
    assert loader.repeat_draws == (asked and quirks == "original")


@pytest.mark.parametrize(
    ("sections", "rows"),
    [
        ({"backbone": {"dropout": 0.5}}, 8),
        ({"backbone": {"dropout": 0.0}}, 5),
        ({"backbone": {"dropout": 0.5}, "quirks": "none"}, 4),
        ({"backbone": {"dropout": 0.5}, "start": {"learns": "head"}}, 5),
        ({"backbone": {"dropout": 0.5}, "start": {"statistics": "kept"}}, 5),
    ],
)
def test_absent_people_share_no_dropout(train: Train, sections: dict[str, Any], rows: int) -> None:
    before = train("before", quirks=sections.get("quirks", "original"), data={"persons": 2})
    if "start" in sections:
        sections = sections | {"start": sections["start"] | {"run": str(before.path)}}
    recipe = {"quirks": "original", "data": {"persons": 2, "store": str(train.store)}, **sections}
    values = parse_recipe(train.values(**recipe))
    training = Training(
        values, open_data(values), RunFolder(train.folder / "run"), choose_device("cpu")
    )
    (batch,) = next(training.loader.epoch())
    assert batch.rows is not None
    assert len(batch.rows) == rows, "four clips of one person each"
    (tested,) = next(training.data.testing_loader("test", 4, choose_device("cpu")).epoch())
    assert tested.rows is not None
    assert len(tested.rows) == (4 if "quirks" in sections else 5), "nothing is drawn in tests"
