"""``kinegraph demo`` from beginning to end, in its smallest form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb in a process of its own."""
    command = [sys.executable, "-m", "kinegraph", "demo", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_demo_makes_trains_tests_and_tells(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = demo("--epochs", "1", "--clips-per-class", "4", "--out", str(out))
    assert done.returncode == 0, done.stderr
    for word in ("chance", "1-NN", "joint stream", "bone stream", "ensemble", "report.html"):
        assert word in done.stdout
    for name in ("data/meta.json", "joint/scores/test.npz", "bone/report.html", "ensemble.npz"):
        assert (out / name).is_file()
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")
    again = demo("--epochs", "1", "--out", str(out))
    assert again.returncode == 2
    assert "nothing is overwritten without --force" in again.stderr


@pytest.mark.slow
def test_a_stream_that_fails_ends_the_demo_with_its_reason(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    (out / "joint").mkdir(parents=True)
    (out / "joint" / "checkpoints").write_text("in the way")
    done = demo("--epochs", "1", "--clips-per-class", "4", "--force", "--out", str(out))
    assert done.returncode == 2
    assert "training of stream 'joint' failed" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("kinegraph demo:")
