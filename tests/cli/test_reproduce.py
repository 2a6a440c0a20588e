"""``kinegraph reproduce``: a plan from beginning to end, stopped, gone on with, and refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinegraph.cli import main
from kinegraph.commands import reproduce
from kinegraph.reproduction import packing, runs
from kinegraph.reproduction.published import plan_names
from kinegraph.training.guards import Interrupted

PLAN = {
    "name": "tiny:test", "title": "Tiny", "summary": "two streams", "source": "Nobody.",
    "recipe": "tiny.yaml", "recordings": "a test", "prepare": "kinegraph data import arrays X",
    "cost": "seconds", "device_gib": 1, "runs": {"joint": [1, 2], "bone": [1, 2]},
    "options": {"optim.momentum": 0.8}, "stream_options": {"bone": {"optim.momentum": 0.7}},
    "ensembles": {"both": {"streams": ["joint", "bone"], "preset": "infogcn"}},
    "published": [{"of": "both", "percent": [90.0], "by": "the paper"}],
    "protocol": "somehow", "targets": {"joint": 20, "both": 100},
}  # fmt: skip
EPOCHS = 40  # so many that a signal comes in the middle of a run


@pytest.fixture
def words(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """The command line of four runs of seconds, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = tiny_recipe(evaluation={"selection": "test", "every": 1}, optim={"lr": 0.01})
    Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
    Path("plan.yaml").write_text(yaml.safe_dump(PLAN, sort_keys=False))
    store = make_store(per_class=8).name
    return ["reproduce", "plan.yaml", "--data.store", store, "--device", "cpu"]


def figures(out: str) -> dict[str, Any]:
    """What was reached, without what a clock or a stop changes."""
    found = json.loads(Path(out, "reproduction.json").read_text())
    for run in found["runs"]:
        rows = Path(out, f"{run['stream']}-seed{run['seed']}", "metrics.jsonl").read_text()
        run["losses"] = [json.loads(row)["loss"] for row in rows.splitlines()]
        del run["seconds"]
        if run["before"] is not None:
            del run["before"]["seconds"]
    return {key: found[key] for key in ("clips", "runs", "ensembles", "changed", "unfinished")}


def how_many_epochs(run: Path) -> int:
    """Count the finished epochs of a run, which need not have begun."""
    file = run / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def stop_midway(words: list[str], run: Path) -> subprocess.CompletedProcess[str]:
    """Run a command and send it a control-C once a run has finished an epoch."""
    with subprocess.Popen(
        [sys.executable, "-m", "kinegraph", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not how_many_epochs(run) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.mark.slow
def test_stopped_and_gone_on_with_it_reaches_the_same(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words += ["--epochs", str(EPOCHS), "--side-by-side", "2"]
    assert main([*words, "--out", "whole", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out) == json.loads(Path("whole/reproduction.json").read_text())
    assert "Tiny: 4 runs, 4 to be trained; 2 at a time on" in err
    assert "joint-seed1: finished, test " in err
    whole = figures("whole")
    assert [(run["stream"], run["seed"], run["epochs"]) for run in whole["runs"]] == [
        ("joint", 1, EPOCHS), ("bone", 1, EPOCHS), ("joint", 2, EPOCHS), ("bone", 2, EPOCHS),
    ]  # fmt: skip
    assert whole["changed"] == [f"training.epochs {EPOCHS} instead of 2"]
    for stream, momentum in (("joint", 0.8), ("bone", 0.7)):
        trained = yaml.safe_load(Path(f"whole/{stream}-seed2/recipe.yaml").read_text())
        assert trained["optim"]["momentum"] == momentum, "an option of the plan"
    assert [one["seed"] for one in whole["ensembles"]] == [1, 2]

    stopped = stop_midway([*words, "--out", "cut"], Path("cut/joint-seed1"))
    assert stopped.returncode == 130, stopped.stderr
    assert "stopped by signal 2; the same command goes on" in stopped.stderr
    assert 0 < how_many_epochs(Path("cut/joint-seed1")) < EPOCHS, "it was stopped in the middle"
    assert not Path("cut/joint-seed2").exists(), "nothing was started after the signal"
    assert not Path("cut/reproduction.json").exists()
    assert main([*words, "--out", "cut", "--dry-run"]) == 0
    assert "cut/joint-seed1: to be gone on with" in capfd.readouterr().out
    assert main([*words, "--out", "cut"]) == 0
    assert figures("cut") == whole
    sessions = json.loads(Path("cut/sessions.json").read_text())
    assert [one["at_once"] for one in sessions] == [2, 2]
    assert sorted(sessions[0]["runs"]) == ["bone-seed1", "joint-seed1"]
    assert {"joint-seed1", "joint-seed2", "bone-seed2"} <= set(sessions[1]["runs"])

    out, err = capfd.readouterr()
    assert "to be gone on with" in err
    assert "A trial, not the published schedule: training.epochs 40 instead of 2." in out
    assert "target for both, mean of the last epochs 100.00: " in out
    assert "resuming after " in Path("cut/logs/joint-seed1.txt").read_text()
    for name in ("reproduction.md", "reproduction.svg", "joint-seed1/report.html"):
        assert Path("cut", name).is_file()
    # What the command did can be repeated with the commands that it is made of.
    scores = [f"cut/{stream}-seed2/scores/test-last.npz" for stream in ("joint", "bone")]
    assert main(["ensemble", *scores, "--preset", "infogcn", "--json"]) == 0
    by_hand = json.loads(capfd.readouterr().out)["ensemble"]["top1"]
    assert by_hand == whole["ensembles"][1]["last"]["top1"]


def test_old_results_do_not_outlive_their_runs(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> None:
        raise Interrupted(2)

    monkeypatch.setattr(packing, "train_missing", stopped)
    written = [Path("out", f"reproduction.{ending}") for ending in ("md", "json", "svg")]
    written[0].parent.mkdir()
    for file in written:
        file.write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "look_at", lambda *_, **__: runs.State.FINISHED)
        assert main([*words, "--out", "out"]) == 130
    assert all(file.is_file() for file in written), "they are those of the runs beside them"
    assert main([*words, "--out", "out"]) == 130
    assert "stopped by signal 2" in capfd.readouterr().err
    assert not any(file.exists() for file in written)


@pytest.mark.slow
def test_finished_runs_are_kept_failed_ones_named_and_others_refused(
    words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    words += ["--out", "out"]
    Path("out/joint-seed1").mkdir(parents=True)
    Path("out/joint-seed1/checkpoints").write_text("in the way")
    planned = ["--seed", "1", "--optim.momentum", "0.8"]
    assert main(["train", "tiny.yaml", *planned, "--dry-run"]) == 0
    Path("out/joint-seed1/recipe.yaml").write_text(capfd.readouterr().out)
    assert main([*words, "--seeds", "1"]) == 2
    out, err = capfd.readouterr()
    assert "joint-seed1: failed; the end of out/logs/joint-seed1.txt:\n    stgcn (" in err
    assert "\n    kinegraph train: cannot write" in err
    assert err.splitlines()[-1].startswith(
        "kinegraph reproduce: 1 of 2 runs failed: joint-seed1 (kinegraph train: cannot"
    )
    assert "bone-seed1: finished" in err, "the other one went on"
    assert "Not finished: joint-seed1." in out
    found = json.loads(Path("out/reproduction.json").read_text())
    assert [run["stream"] for run in found["runs"]] == ["bone"]
    assert found["unfinished"] == ["joint-seed1"]
    assert found["lacking"] == ["joint seed 2", "bone seed 2"]

    checkpoint = Path("out/bone-seed1/checkpoints/last.safetensors")
    before = checkpoint.stat().st_mtime_ns
    one = [*words, "--streams", "bone", "--seeds", "1"]
    assert main(one) == 0
    assert "Tiny: 1 runs, 1 finished\n" in capfd.readouterr().err
    assert checkpoint.stat().st_mtime_ns == before

    assert main([*one, "--optim.lr", "0.03"]) == 2
    assert "was made by another recipe: optim.lr is 0.01, wanted 0.03;" in capfd.readouterr().err
    assert main([*one, "--optim.lr", "0.03", "--force"]) == 0
    assert "1 to be trained anew" in capfd.readouterr().err
    assert yaml.safe_load(Path("out/bone-seed1/recipe.yaml").read_text())["optim"]["lr"] == 0.03


@pytest.fixture
def staged(words: list[str], tiny_recipe: Callable[..., dict[str, Any]]) -> list[str]:
    """The command line of one seed of two streams, with a pre-training before each."""
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
    recipe = tiny_recipe(
        transforms={"query": crop, "key": crop}, training={"epochs": 3},
        objective={"name": "skeletonclr", "queue": 5},
    )  # fmt: skip
    Path("first.yaml").write_text(yaml.safe_dump(recipe))
    plan = PLAN | {
        "before": {"recipe": "first.yaml", "options": {"optim.lr": 0.02}},
        "options": {"start.learns": "head", "training.epochs": EPOCHS},
        "stream_options": {}, "targets": {},
        "runs": {"joint": [1], "bone": [1]},
    }  # fmt: skip
    Path("staged.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return ["reproduce", "staged.yaml", *words[2:]]


@pytest.mark.slow
def test_what_is_trained_before_comes_first_and_is_not_trained_again(
    staged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = [*staged, "--side-by-side", "2", "--backbone.width", "8", "--out", "whole"]
    assert main(whole) == 0
    out, err = capfd.readouterr()
    assert "Tiny: 4 runs, 4 to be trained; 2 at a time on" in err
    assert "joint-seed1-pretraining: finished, 3 epochs" in err
    assert (
        "A trial, not the published schedule: before.backbone.width 8 instead of 4;"
        " backbone.width 8 instead of 4." in out
    )
    reached = figures("whole")
    assert [run["before"]["run"] for run in reached["runs"]] == [
        "joint-seed1-pretraining", "bone-seed1-pretraining",
    ]  # fmt: skip
    assert [(run["epochs"], run["before"]["epochs"]) for run in reached["runs"]] == [
        (EPOCHS, 3)
    ] * 2
    assert [one["name"] for one in reached["ensembles"]] == ["both"]
    for name in ("joint-seed1-pretraining", "joint-seed1"):
        trained = yaml.safe_load(Path(f"whole/{name}/recipe.yaml").read_text())
        assert trained["backbone"]["width"] == 8
        assert trained["optim"]["lr"] == (0.02 if "pre" in name else 0.01)
    assert "after joint-seed1-pretraining, 3 epochs" in Path("whole/reproduction.md").read_text()
    log = Path("whole/logs/bone-seed1.txt").read_text()
    assert "beginning from the encoder of " in log
    assert "bone-seed1-pretraining' after epoch 3" in log

    # Stopped between the stages, and in the middle of the second one.
    cut = [*staged, "--side-by-side", "1", "--backbone.width", "8", "--out", "cut"]
    first = ["train", "first.yaml", "--seed", "1", "--optim.lr", "0.02", "--backbone.width", "8"]
    first += ["--data.store", staged[3], "--device", "cpu", "--out", "cut/joint-seed1-pretraining"]
    assert main([*first, "--stream", "joint"]) == 0
    capfd.readouterr()
    assert main([*cut, "--dry-run"]) == 0
    assert capfd.readouterr().out.splitlines()[-5:-1] == [
        "cut/joint-seed1-pretraining: finished",
        "cut/joint-seed1: to be trained",
        "cut/bone-seed1-pretraining: to be trained",
        "cut/bone-seed1: to be trained",
    ]
    stopped = stop_midway(cut, Path("cut/joint-seed1"))
    assert stopped.returncode == 130, stopped.stderr
    assert not Path("cut/bone-seed1").exists()
    Path("cut").rename("moved")
    again = [*cut[:-1], str(Path("moved").absolute())]
    assert main(again) == 0
    assert figures("moved") == reached
    assert main(again) == 0
    assert "Tiny: 4 runs, 4 finished\n" in capfd.readouterr().err

    # Trained anew, the first stage takes what began from it along; else that is an error.
    assert main([*again, "--before.optim.lr", "0.03"]) == 2
    assert "joint-seed1-pretraining' was made by another recipe: optim.lr is 0.02, wanted 0.03" in (
        capfd.readouterr().err
    )
    assert main([*again, "--before.optim.lr", "0.03", "--force", "--epochs", "1"]) == 0
    assert "4 to be trained anew" in capfd.readouterr().err
    assert [run["before"]["epochs"] for run in figures("moved")["runs"]] == [1, 1]
    assert "before.training.epochs 1 instead of 3" in figures("moved")["changed"]


@pytest.mark.slow
def test_nothing_begins_from_what_failed(
    staged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("out/joint-seed1-pretraining").mkdir(parents=True)
    Path("out/joint-seed1-pretraining/checkpoints").write_text("in the way")
    options = ["--seed", "1", "--optim.lr", "0.02"]
    assert main(["train", "first.yaml", *options, "--dry-run"]) == 0
    Path("out/joint-seed1-pretraining/recipe.yaml").write_text(capfd.readouterr().out)
    assert main([*staged, "--out", "out"]) == 2
    out, err = capfd.readouterr()
    assert "1 of 4 runs failed: joint-seed1-pretraining (kinegraph train: cannot" in err
    assert "Not finished: joint-seed1." in out
    assert not Path("out/joint-seed1").exists()
    assert [run["stream"] for run in figures("out")["runs"]] == ["bone"]


def test_plans_are_listed_by_line_and_told_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["reproduce"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[0]: line.split()[1:5] for line in lines if ":" in line.split(" ")[0]}
    assert listed["ctrgcn:ntu60-xsub"] == ["6", "runs", "published", "92.4"]
    assert lines[-1] == "what a plan takes: kinegraph reproduce PLAN --dry-run"
    assert len(lines) == len(plan_names()) + 2
    assert max(map(len, lines)) <= 110
    assert main(["reproduce", "--json"]) == 0
    plans = {plan["name"]: plan for plan in json.loads(capsys.readouterr().out)}
    assert plans["ctrgcn:nw-ucla"]["targets"]["joint"] == 92.5
    assert main(["reproduce", "frhead:ntu60-xview", "--dry-run", "--seeds", "1"]) == 0
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for words in (
        ["recipe", "ntu-frhead --data.split xview --objective.version V1"],
        ["-", "bone-motion  --training.epochs 70"],
        ["runs", "joint x 3, bone x 1, joint-motion x 1, bone-motion x 1"],
        ["published", "joint 95.26, bone 95.01, joint-motion 93.59, bone-motion 92.55, four streams"
         " 96.78 (the authors' README)"],
        ["left", "out: joint seed 2, 3"],
    ):  # fmt: skip
        assert words in told
    assert not any(words[0] == "changed:" for words in told), "the plan's options are no departure"
    assert main(["reproduce", "skeletonclr:ntu60-xview", "--dry-run"]) == 0
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for words in (
        ["made", "by    kinegraph data import ntu60 NTU_FOLDER --cleaning stgcn --out WHOLE"],
        ["kinegraph", "data import aimclr-npy FILES/xview --out STORE"],
        ["before", "ntu-aimclr --data.split xview --objective.name skeletonclr, for every stream"],
    ):
        assert words in told


def test_a_dry_run_needs_no_recordings_and_touches_nothing(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = ["reproduce", "plan.yaml", "--dry-run", "--seeds", "2", "--backbone.width", "8"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "runs/reproduce-tiny-test/joint-seed2: to be trained",
        "runs/reproduce-tiny-test/bone-seed2: to be trained",
        "changed: backbone.width 8 instead of 4",
        "left out: joint seed 1; bone seed 1",
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in found["runs"]] == ["to be trained"] * 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_says_which_recordings_it_would_take(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    store = words[words.index("--data.store") + 1]
    assert main(["reproduce", "plan.yaml", "--dry-run"]) == 0
    assert "recordings: none named yet; give --data.store STORE" in capsys.readouterr().err
    assert main(["reproduce", "plan.yaml", "--dry-run", "--data.store", store]) == 0
    assert f"recordings: {store}, " in capsys.readouterr().err
    assert main(["reproduce", "plan.yaml", "--dry-run", "--data.store", "gone"]) == 2
    assert "store 'gone' does not exist" in capsys.readouterr().err
    other = ["reproduce", "ctrgcn:nw-ucla", "--dry-run", "--data.store", store]
    assert main(other) == 2
    assert "the recipe is made for layout 'ucla20', but store " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--seed", "3"], "--seed is set by the plan; choose among its runs with --seeds"),
        (["--streams", "bnoe"], "unknown stream of the plan 'bnoe'; nearest: 'bone'"),
        (["--side-by-side", "0"], "--side-by-side: found '0', expected auto or a number from 1"),
        (["--side-by-side", "some"], "--side-by-side: found 'some', expected auto"),
        (["--epochs", "0"], "--epochs: found '0', expected a number of at least 1"),
        (["--epochs", "1", "--training.epochs", "2"], "--epochs and --training.epochs are the"),
        (["--otpim.lr", "1"], "unknown option --otpim.lr; nearest: '--optim.lr'"),
        (["--before.otpim.lr", "1"], "unknown option --before.otpim.lr; nearest: '--before.optim."),
        (["--before.optim.lr", "1"], "--before.optim.lr: plan 'tiny:test' trains nothing before"),
        (["--before.optim.lr"], "--before.optim.lr needs a value"),
        (["--device", "cuda:99"], "device 'cuda:99' cannot be used"),
        (["--data.split", "xsbu"], "unknown split 'xsbu'; nearest: 'xsub'"),
        (["--data.store", "nowhere"], "store 'nowhere' does not exist"),
        (["--out", "tiny.yaml"], "cannot make 'tiny.yaml': "),
    ],
)  # fmt: skip
def test_wrong_words(
    words: list[str], capsys: pytest.CaptureFixture[str], further: list[str], message: str
) -> None:
    assert main([*words, *further]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinegraph reproduce: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not Path("runs").exists()


def test_recordings_have_to_be_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "plan.yaml"]) == 2
    assert "give --data.store STORE, made by: kinegraph data import arrays X" in (
        capsys.readouterr().err
    )


def test_a_full_device_has_its_remedy_named() -> None:
    failed = [("joint-seed1", "CUDA out of memory"), ("bone-seed1", "why")]
    text = reproduce._failure(failed, [None] * 5)  # type: ignore[list-item]
    assert text.startswith("2 of 5 runs failed: joint-seed1 (CUDA out of memory); bone-seed1 (why)")
    assert "train fewer at a time with --side-by-side" in text
    assert "--side-by-side" not in reproduce._failure(failed[1:], [])
