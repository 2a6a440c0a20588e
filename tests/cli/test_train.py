"""``kinegraph train``, then ``test`` and ``predict`` of what it left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinegraph.cli import main
from kinegraph.training import loop
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.loop import Training


@pytest.fixture
def words(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """The command line of a training run of seconds, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_recipe()))
    return ["train", "tiny.yaml", "--data.store", make_store().name, "--device", "cpu"]


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_train_then_test(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", "run", "--stream", "bone", "--backbone.width", "8"]) == 0
    out, err = said(capsys)
    assert out == "trained: run; next: kinegraph test run\n"
    assert "stream bone, on store (6 train, 6 test clips, 2 classes), 2 epochs on cpu" in err
    assert "epoch 2/2  loss " in err
    recipe = yaml.safe_load(Path("run/recipe.yaml").read_text())
    assert (recipe["stream"], recipe["backbone"]["width"]) == ("bone", 8)
    assert load_checkpoint(Path("run/checkpoints/last.safetensors")).recipe.stream == "bone"
    assert {path.name for path in Path("run").iterdir()} == {
        "recipe.yaml", "metrics.jsonl", "checkpoints", "tensorboard", "log.txt", ".lock",
    }  # fmt: skip
    assert main(["test", "run", "--json"]) == 0
    facts = json.loads(said(capsys)[0])
    assert (facts["clips"], facts["epoch"]) == (6, 2)
    assert Path("run/report.html").is_file()
    assert Path("run/scores/test.npz").is_file()


def test_dry_run_prints_a_recipe_that_can_be_trained(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--schedule.steps", "3", "5", "--training.ema", "0.9", "--dry-run"]) == 0
    text, _ = said(capsys)
    assert yaml.safe_load(text)["schedule"]["steps"] == [3, 5]
    Path("again.yaml").write_text(text)
    assert main(["train", "again.yaml", "--dry-run"]) == 0
    assert said(capsys)[0] == text
    assert not Path("runs").exists()


def test_default_folder_is_named_by_recipe_and_stream(words: list[str]) -> None:
    assert main([*words, "--training.epochs", "1", "--stream", "joint-motion"]) == 0
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("tiny-joint-motion-20")


def test_nothing_is_overwritten_without_force(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one = [*words, "--out", "run", "--training.epochs", "1"]
    assert main(one) == 0
    before = Path("run/checkpoints/last.safetensors").read_bytes()
    said(capsys)
    assert main(one) == 2
    assert (
        "nothing is overwritten without --force; go on with it: kinegraph train --resume run"
        in (said(capsys)[1])
    )
    assert Path("run/checkpoints/last.safetensors").read_bytes() == before
    assert main([*one, "--seed", "5", "--force"]) == 0
    assert Path("run/checkpoints/last.safetensors").read_bytes() != before


def test_a_finished_run_has_nothing_left(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", "run"]) == 0
    rows = Path("run/metrics.jsonl").read_text()
    said(capsys)
    assert main(["train", "--resume", "run", "--device", "cpu"]) == 0
    assert "all 2 epochs are finished" in said(capsys)[1]
    assert Path("run/metrics.jsonl").read_text() == rows


def test_moved_recordings_are_given_to_resume(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", "run"]) == 0
    Path("store").rename("moved")
    resume = ["train", "--resume", "run", "--device", "cpu"]
    said(capsys)
    assert main(resume) == 2
    assert "store' does not exist; if it was moved, say where with --data.store" in said(capsys)[1]
    assert main([*resume, "--data.store", "moved"]) == 0
    assert main(["test", "run"]) == 0


def test_a_run_that_is_not_finished_says_so(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, accuracies = Training._finish_epoch, iter([0.9, 0.1])

    def stop_after_two(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        if self.progress.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_finish_epoch", stop_after_two)
    long = [*words, "--training.epochs", "5"]
    assert main([*long, "--out", "last"]) == 130
    monkeypatch.setattr(loop, "top_k", lambda *_: next(accuracies))
    assert main([*long, "--out", "best", "--evaluation.selection", "validation"]) == 130
    said(capsys)
    assert main(["test", "last"]) == 0
    assert "the run is not finished: this is epoch 2 of 5\n" in said(capsys)[0]
    assert main(["test", "best"]) == 0
    out = said(capsys)[0]
    assert "the run is not finished: this is epoch 1 of 5, the best of 2 so far\n" in out


def test_nan_ends_with_two(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    steep = ["--optim.lr", "1e30", "--optim.momentum", "0", "--training.epochs", "9"]
    assert main([*words, "--out", "run", *steep]) == 2
    error = said(capsys)[1].splitlines()[-1]
    assert error.startswith("kinegraph train: ")
    assert "the batch of the clips clip " in error
    weights = load_checkpoint(Path("run/checkpoints/last.safetensors")).group("model")
    assert all(value.isfinite().all() for value in weights.values())


@pytest.mark.skipif(os.name != "posix", reason="needs limits on file sizes")
def test_a_disk_that_takes_no_more(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        assert main([*words, "--out", "run"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = said(capsys)[1].splitlines()[-1]
    assert "cannot write 'run/checkpoints/last.safetensors'" in error
    assert "File too large" in error
    assert not list(Path("run/checkpoints").iterdir())
