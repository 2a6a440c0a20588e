"""Runs that begin from the encoder of another run, and what of it goes on learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from kinegraph.cli import main
from kinegraph.evaluation.testing import score_run
from kinegraph.training.beginning import weights_checksum
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kinegraph.training.run_folder import RunFolder, find_checkpoint

CROP = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
Train = Callable[..., int]


@pytest.fixture
def train(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Train:
    """Trains `tiny.yaml` into a folder; options follow."""
    monkeypatch.chdir(tmp_path)
    recipe = tiny_recipe(transforms={"query": CROP, "key": CROP, "extreme": CROP})
    Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
    store = make_store(per_class=5).name

    def run(out: str, *options: str) -> int:
        words = ["train", "tiny.yaml", "--data.store", store, "--device", "cpu", "--out", out]
        return main([*words, *options])

    return run


def last(run: str) -> Checkpoint:
    return load_checkpoint(RunFolder(Path(run)).last)


def of_backbone(run: str, begin: str = "backbone.") -> dict[str, torch.Tensor]:
    found = last(run).group("model")
    return {n.removeprefix(begin): t for n, t in found.items() if n.startswith(begin)}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> dict[str, bool]:
    assert left
    assert left.keys() == right.keys()
    return {name: torch.equal(tensor, right[name]) for name, tensor in left.items()}


SKELETONCLR = (
    "--objective.name",
    "skeletonclr",
    "--objective.queue",
    "5",
    "--training.epochs",
    "1",
)


def test_a_frozen_encoder_stays_as_it_is(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("before", *SKELETONCLR) == 0
    capsys.readouterr()
    options = ["--start.run", "before", "--start.learns", "head", "--backbone.dropout", "0.5"]
    assert train("head", *options) == 0
    told = capsys.readouterr().err
    assert f"beginning from the encoder of '{Path('before').absolute()}' after epoch 1" in told
    query = of_backbone("before", "query.clips.backbone.")
    assert all(same(query, of_backbone("head")).values()), "statistics included"
    assert train("fresh") == 0
    trained, fresh = (last(run).group("model")["head.weight"] for run in ("head", "fresh"))
    assert not torch.equal(trained, fresh)
    # Dropout is off, too: what trains sees the features that tests see.
    frozen = last("head").build()
    x = torch.randn(2, 3, 6, 17, 1)
    with torch.no_grad():
        torch.testing.assert_close(
            frozen.backbone(x).pooled,  # type: ignore[operator]
            last("before").build().embed(x),
        )


@pytest.mark.parametrize("kept", [False, True])
def test_fine_tuning_moves_weights_and_perhaps_statistics(train: Train, kept: bool) -> None:
    assert train("before", *SKELETONCLR) == 0
    options = ["--start.statistics", "kept"] if kept else []
    assert train("after", "--start.run", "before", "--training.epochs", "1", *options) == 0
    moved = same(of_backbone("before", "query.clips.backbone."), of_backbone("after"))
    statistics = {name: equal for name, equal in moved.items() if "running_" in name}
    weights = {name: equal for name, equal in moved.items() if name.endswith("conv.weight")}
    assert statistics
    assert weights
    assert not any(weights.values())
    assert all(equal == kept for equal in statistics.values())


def test_a_stopped_run_goes_on_from_its_own_weights(train: Train) -> None:
    assert train("before", *SKELETONCLR) == 0
    begun = ["--start.run", "before", "--start.learns", "head", "--schedule.name", "constant"]
    assert train("whole", *begun) == 0
    assert train("parts", *begun, "--training.epochs", "1") == 0
    # As if it had been stopped after one of two epochs; the run it began from is not needed again.
    checkpoint = last("parts")
    longer = checkpoint.recipe.training.model_copy(update={"epochs": 2})
    recipe = checkpoint.recipe.model_copy(update={"training": longer})
    save_checkpoint(RunFolder(Path("parts")).last, replace(checkpoint, recipe=recipe))
    Path("before").rename("gone")
    assert main(["train", "--resume", "parts", "--device", "cpu"]) == 0
    assert all(same(last("whole").group("model"), last("parts").group("model")).values())
    known = weights_checksum(last("gone"))
    assert known != weights_checksum(last("whole"))
    assert [last(run).progress["begun_from"] for run in ("whole", "parts")] == [known] * 2
    assert "begun_from" not in last("gone").progress


def test_encoders_of_several_streams_are_told_apart(train: Train) -> None:
    cross = ("--objective.name", "crossclr", "--objective.queue", "5", "--training.epochs", "1")
    assert train("three", *cross) == 0
    head = ("--start.run", "three", "--start.learns", "head", "--training.epochs", "1")
    for stream in ("joint", "bone"):
        assert train(stream, *head, "--stream", stream) == 0
        query = of_backbone("three", f"query.{stream}.backbone.")
        assert all(same(query, of_backbone(stream)).values()), stream
    # Learning without labels may go on, too: keys begin like queries.
    still = ("--start.run", "three", "--optim.lr", "1e-12")
    assert train("more", *cross, *still) == 0
    theirs = of_backbone("three", "query.bone.backbone.")
    ours = of_backbone("more", "key.bone.backbone.")
    for name in theirs:
        if "weight" in name:
            torch.testing.assert_close(ours[name], theirs[name])
    # AimCLR's one encoder, on the stream of the recipe.
    aim = ("--objective.name", "aimclr", "--objective.queue", "5", "--training.epochs", "1")
    assert train("aim", *aim, *still) == 0
    for kind in ("query", "key"):
        theirs = of_backbone("three", "query.joint.backbone.")
        ours = of_backbone("aim", f"{kind}.clips.backbone.")
        for name in theirs:
            if "weight" in name:
                torch.testing.assert_close(ours[name], theirs[name])


def test_streams_of_streams_are_refused(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    cross = ("--objective.name", "crossclr", "--objective.queue", "5", "--stream", "bone")
    assert train("cross", *cross) == 2
    assert "makes its streams itself, of joints, but the recipe's stream is bone" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--start.run", "nowhere"], "nowhere' does not exist; expected a run folder"),
        (["--start.run", "before", "--backbone.width", "8"],
         "before' is another network: give --backbone.width 4"),
        (["--start.run", "before", "--backbone.name", "ctrgcn"],
         "is another network: give --backbone.name stgcn --backbone.width 4"),
        (["--start.learns", "head"], "start.learns head keeps a part of an encoder as another run"
         " left it, but no run is named: give --start.run RUN"),
        (["--start.statistics", "kept"], "start.statistics kept keeps a part"),
        (["--start.run", "before", "--start.learns", "head", "--objective.name", "skeletonclr"],
         "objective skeletonclr has no classes: choose --objective.name classify"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(
    train: Train, options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("before", "--training.epochs", "1") == 0
    capsys.readouterr()
    assert train("after", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not Path("after").exists()


def test_another_number_of_people_is_refused(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    ctrgcn = ("--backbone.name", "ctrgcn", "--backbone.width", "8", "--training.epochs", "1")
    assert train("before", *ctrgcn) == 0
    assert train("after", *ctrgcn, "--start.run", "before", "--data.persons", "2") == 2
    assert "does not fit: it was made for 1 people (--data.persons)" in capsys.readouterr().err


def test_another_layout_is_refused(
    train: Train, make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("before", "--training.epochs", "1") == 0
    other = make_store("other", layout="ntu25").name
    capsys.readouterr()
    assert train("after", "--start.run", "before", "--data.store", other) == 2
    assert "--data.as_layout" in capsys.readouterr().err


def test_few_labels_train_and_all_test(train: Train) -> None:
    options = ["--data.label_share", "0.4", "--training.batch_size", "2"]
    assert train("few", *options, "--training.epochs", "1") == 0
    tested = score_run(find_checkpoint(Path("few")), device="cpu")
    assert [len(tested.data.rows[part]) for part in ("train", "test")] == [2, 4]
    labels = tested.data.store.clips["label"][tested.data.rows["train"]]
    assert np.unique(labels).size == 2
