"""``kinegraph data import | info`` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.store import open_store

NAMES = [f"a{action:02}_s{subject:02}_e00_v{view:02}"
         for action in (1, 8) for subject in (1, 2) for view in (1, 3)]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    rest = np.random.default_rng(0).uniform(0.1, 1.0, (20, 3))
    for number, name in enumerate(NAMES):
        joints = [(rest + 0.01 * number + 0.02 * time).round(4).tolist() for time in range(5)]
        (folder / f"{name}.json").write_text(json.dumps({"skeletons": joints}))
    return folder


@pytest.fixture
def store(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "store"
    assert main(["data", "import", "nw-ucla", str(folder), "--out", str(out)]) == 0
    capsys.readouterr()
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must fail as a user's error does: one line, exit code 2."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith(f"kinegraph {words[0]} {words[1]}: ")
    assert "Traceback" not in captured.err
    return lines[-1]


def test_import_says_what_was_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    assert main(["data", "import", "nw-ucla", str(folder), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"8 clips of 10 classes, layout ucla20, in {out} (")
    assert captured.out.endswith("split view3: 4 train, 4 test\n")
    assert "no clip shows: pick up with two hands, drop trash" in captured.err
    assert len(open_store(out)) == 8


def test_import_runs_as_a_program(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kinegraph", "data", "import", "nw-ucla", str(folder)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "store")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout[:7]) == (0, "8 clips"), done.stderr
    (folder / f"{NAMES[2]}.json").write_text("")
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "other")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        f"kinegraph data import: 1 of 8 recordings in '{folder}' is bad, nothing was written:"
        f" '{NAMES[2]}.json' is empty; leave such recordings out with --skip-bad\n"
    )


def test_skip_bad_names_what_it_leaves_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{NAMES[2]}.json").write_text("")
    words = ["data", "import", "nw-ucla", str(folder), "--out", str(tmp_path / "s"), "--skip-bad"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert f"left out {NAMES[2]}: '{NAMES[2]}.json' is empty" in captured.err
    assert captured.out.startswith("7 clips")
    assert main(["data", "info", str(tmp_path / "s")]) == 0
    assert f"left out {NAMES[2]}" in capsys.readouterr().out


def test_import_overwrites_only_when_told(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "import", "nw-ucla", folder, "--out", store]
    assert "exists already; nothing is overwritten without --force" in refused(capsys, *words)
    assert main([*map(str, words), "--force", "--dtype", "float16"]) == 0
    assert open_store(store).joints.dtype == np.float16


def test_own_arrays_need_a_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 5, 17, 3)), label=["run", "[/b]walk"])
    words = ["data", "import", "arrays", tmp_path / "a.npz", "--out", tmp_path / "s"]
    assert "names no layout; give --layout, one of coco17" in refused(capsys, *words)
    assert "has 17 joints of 3 numbers, but layout 'ntu25' has 25" in refused(
        capsys, *words, "--layout", "ntu25"
    )
    assert main([*map(str, words), "--layout", "coco17"]) == 0
    assert main(["data", "info", str(tmp_path / "s")]) == 0
    assert "[/b]walk" in capsys.readouterr().out


def test_info_shows_the_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(store)]) == 0
    shown = capsys.readouterr().out
    for text in ("ucla20: 20 joints", "8 with 1 person", "donning", "view3 (default)", "2: 1, 3"):
        assert text in shown
    assert main(["data", "info", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["classes"]["donning"] == 4
    assert facts["splits"]["view3"] == {"train": 4, "test": 4}
