from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinegraph.errors import CheckpointError, OutputError, TrainingError
from kinegraph.training.run_folder import RunFolder, find_checkpoint


def fill(run: RunFolder) -> None:
    """Leave what a run and its tests leave."""
    files = (run.recipe, run.metrics, run.report, run.last, run.best, run.scores("test"))
    events = run.path / "tensorboard" / "events.out.tfevents.1"
    for file in (*files, run.path / "log.txt", events):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")} - {".lock"}


def test_force_replaces_only_known_files(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fill(run)
    mine = {"notes.txt", "checkpoints", "checkpoints/epoch-5.safetensors", "scores", "scores/x.txt"}
    for name in ("notes.txt", "checkpoints/epoch-5.safetensors", "scores/x.txt"):
        (run.path / name).write_text("mine")
    with run.claim(force=True):
        assert names(run.path) == mine


@pytest.mark.parametrize("anew", [False, True])
def test_results_of_probes_go_with_the_weights_that_they_judge(tmp_path: Path, anew: bool) -> None:
    run = RunFolder(tmp_path / "run")
    fill(run)
    results = ("result.json", "few-labels.svg")
    for folder in ("finetune", "semi", "transfer/other"):
        runs = run.path / "probes" / folder / "encoder-draw0"
        runs.mkdir(parents=True)
        (runs / "recipe.yaml").write_text("{}")
        for name in results:
            (runs.parent / name).write_text("old")
    if anew:
        with run.claim(force=True):
            pass
    else:
        run.forget_results()
    left = [file for file in (run.path / "probes").rglob("*") if file.is_file()]
    assert [file.name for file in left] == ["recipe.yaml"] * 3, "runs of probes stay"


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fill(run)
    before = names(run.path)
    message = (
        "exists already; nothing is overwritten without --force; go on with it: kinegraph train"
    )
    with pytest.raises(OutputError, match=message), run.claim(force=False):
        pass
    run.last.unlink()
    with pytest.raises(OutputError, match=r"without --force$"), run.claim(force=False):
        pass
    assert names(run.path) == before - {"checkpoints/last.safetensors"}


def test_force_takes_no_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.safetensors").write_text("somebody's")
    with (
        pytest.raises(OutputError, match="is not a run folder"),
        RunFolder(tmp_path).claim(force=True),
    ):
        pass
    assert names(tmp_path) == {"checkpoints", "checkpoints/last.safetensors"}


def test_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(OutputError, match="is a file"),
        RunFolder(tmp_path / "run").claim(force=True),
    ):
        pass
    with (
        pytest.raises(OutputError, match="cannot make"),
        RunFolder(tmp_path / "run" / "deeper").claim(force=False),
    ):
        pass


def test_empty_folder_and_traces_of_a_killed_start_may_be_used(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".recipe.yaml.abc.part.yaml").touch()
    with RunFolder(tmp_path).claim(force=False):
        assert names(tmp_path) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with (
        pytest.raises(OutputError, match="Permission denied"),
        RunFolder(tmp_path / "run").claim(force=False),
    ):
        pass


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path\n"
        "from kinegraph.training.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).claim(force=False):\n"
        "    print('mine', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, run.path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(TrainingError, match="another process is training in"), run.lock():
            pass
        with pytest.raises(TrainingError, match="another process"), run.claim(force=False):
            pass
        other.kill()
    with run.lock():  # the system let go
        pass


def test_metrics_survive_a_row_that_was_cut_short(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch, "loss": 0.1})
    whole = run.metrics.read_bytes()
    for length in range(len(whole) - 1, len(whole) - 26, -1):
        run.metrics.write_bytes(whole[:length])
        assert [row["epoch"] for row in run.read_metrics()] in ([1, 2], [1, 2, 3])
    run.truncate_metrics(1)
    assert run.metrics.read_text() == '{"epoch": 1, "loss": 0.1}\n'
    run.append_metrics({"epoch": 2})
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2]


@pytest.mark.parametrize("junk", [b"\xff\xfe", b"3\n", b'{"loss": 1}\n', b'{"epoch": "x"}\n'])
def test_metrics_end_where_they_are_damaged(tmp_path: Path, junk: bytes) -> None:
    run = RunFolder(tmp_path)
    run.append_metrics({"epoch": 1})
    run.metrics.write_bytes(run.metrics.read_bytes() + junk)
    assert run.read_metrics() == [{"epoch": 1}]


def test_the_best_checkpoint_counts_before_the_last(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(
        CheckpointError, match="does not exist; expected a run folder or a checkpoint"
    ):
        find_checkpoint(run.path)
    run.last.parent.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        find_checkpoint(run.path)
    run.last.touch()
    assert find_checkpoint(run.path) == run.last
    run.best.touch()
    assert find_checkpoint(run.path) == run.best
    assert find_checkpoint(run.last) == run.last


def test_log_on_a_full_disk_is_an_error(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log.txt").symlink_to(full)
    with (
        pytest.raises(OutputError, match="No space left on device"),
        RunFolder(tmp_path).log() as log,
    ):
        log.info("something")
