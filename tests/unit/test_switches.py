"""The comparison of execution switches judges as it says; its runs are `kinegraph train`."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "switches.py"


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    before = dict(os.environ)
    monkeypatch.syspath_prepend(TOOL.parents[1] / "benchmarks")
    spec = importlib.util.spec_from_file_location("switches", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    os.environ.clear()
    os.environ.update(before)


def test_means_agree_within_the_noise_of_seeds(switches: ModuleType) -> None:
    plain = [0.90, 0.92, 0.94]  # deviation 0.02
    accuracies = {"plain": plain, "near": [x + 0.019 for x in plain],
                  "far": [x - 0.021 for x in plain], "same": plain}  # fmt: skip
    rows = {row["name"]: row for row in switches.compare(accuracies, clips=1000)}
    assert [rows[name]["agrees"] for name in accuracies] == [True, True, False, True]
    assert rows["far"]["difference"] == pytest.approx(-0.021)
    assert rows["plain"]["deviation"] == rows["near"]["noise"] == pytest.approx(0.02)


def test_one_clip_is_never_a_difference(switches: ModuleType) -> None:
    rows = switches.compare({"plain": [0.9, 0.9], "other": [0.91, 0.91]}, clips=100)
    assert rows[1]["agrees"]
    assert not switches.compare({"plain": [0.9], "other": [0.93]}, clips=100)[1]["agrees"]


def test_graphs_are_compared_where_there_are_any(switches: ModuleType) -> None:
    assert set(switches.switches_on("cpu")) == {"plain", "bf16", "compiled"}
    assert switches.switches_on("cuda")["graphs"] == switches.PLAIN | {"cuda_graphs": "on"}


@pytest.mark.slow
def test_runs_are_made_once(switches: ModuleType, tmp_path: Path) -> None:
    switches.ANYWHERE = {"plain": {}, "bf16": {"precision": "bf16"}}
    words = ["--out", str(tmp_path / "runs"), "--device", "cpu", "--seeds", "1", "--epochs", "1",
             "--clips-per-class", "2", "--result", str(tmp_path / "result.json")]  # fmt: skip
    switches.main(words)
    first = json.loads((tmp_path / "result.json").read_text())
    assert [row["name"] for row in first["results"]] == ["plain", "bf16"]
    assert first["switches"]["bf16"]["precision"] == "bf16"
    written = [file.stat().st_mtime_ns for file in sorted((tmp_path / "runs").rglob("*.jsonl"))]
    switches.main(words)
    again = json.loads((tmp_path / "result.json").read_text())
    assert again["results"] == first["results"]
    assert written == [
        file.stat().st_mtime_ns for file in sorted((tmp_path / "runs").rglob("*.jsonl"))
    ]
