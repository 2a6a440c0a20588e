"""docs/performance.md is what the results say, and would tell good from bad."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .documents import ROOT


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tool that writes the page."""
    before = dict(os.environ)
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("page", ROOT / "tools" / "performance_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    os.environ.clear()
    os.environ.update(before)


def made_on_a_gpu(tool: ModuleType) -> dict[str, Any]:
    """Make up a result of a GPU."""
    originals = tool.load()[1]

    def line(key: str, value: float | None, problem: str = "") -> dict[str, Any]:
        entry = {"group": "goals", "key": key, "problem": problem, "details": {}, "value": value}
        return entry | originals["goals"][key]

    profile = {
        "group": "profile", "key": "", "name": "busy", "unit": "%", "value": 93.0, "problem": "",
        "details": {"top": [{"name": "gemm<a|b>", "calls": 30, "ms": 4.5}]},
        "goal": None, "must": None,
    }  # fmt: skip
    right = profile | {"group": "correct", "must": 1e-4, "value": 1e-6, "unit": "relative"}
    right["details"] = {}
    wrong = right | {"name": "aggregation from float64", "value": 0.5}
    return {
        "date": "2026-12-01T00:00:00+00:00", "commit": "abc", "machine": {"device": "an H200"},
        "versions": {"torch": "2.11", "python": "3.12"}, "settings": {"smoke": False},
        "results": [
            line("ctrgcn-train", 12_345.0), line("stgcn-train", 2000.0),
            line("ctrgcn-infer-64", 3.0), line("ucla", None, "OutOfTime: more than 150 s"),
            right, wrong, profile,
        ],
    }  # fmt: skip


def row(page: str, name: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_what_the_results_say(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0


def test_an_old_page_is_noticed(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "performance.md"
    other.write_text(tool.PAGE.read_text("utf-8").replace("12,000", "11,000", 1))
    monkeypatch.setattr(tool, "PAGE", other)
    assert tool.main(["--check"]) == 1


def test_the_picture_is_of_the_same_result(tool: ModuleType) -> None:
    scaling = json.loads((ROOT / "benchmarks" / "results" / "scaling.json").read_text("utf-8"))
    assert tool.stamp(scaling) in tool.PICTURE.read_text("utf-8")


def test_without_a_gpu_nothing_is_claimed(tool: ModuleType) -> None:
    results, originals, _ = tool.load()
    results.pop("gpu", None)
    page = tool.page(results, originals)
    assert page.count("| not yet run on a GPU |") == len(originals["goals"])
    smoke = made_on_a_gpu(tool)
    smoke["settings"]["smoke"] = True
    assert tool.page(results | {"gpu": smoke}, originals) == page


def test_results_of_a_gpu_are_judged(tool: ModuleType) -> None:
    results, originals, _ = tool.load()
    page = tool.page(results | {"gpu": made_on_a_gpu(tool)}, originals)
    assert row(page, "CTR-GCN, training, bf16, batch 256 ")[-2:] == ["12,345", "reached"]
    assert row(page, "ST-GCN, training, 300")[-2:] == ["2,000", "enough, below the goal"]
    assert row(page, "CTR-GCN, inference, bf16, batch 64")[-2:] == ["3", "**missed**"]
    assert row(page, "NW-UCLA")[-2:] == ["failed", "OutOfTime: more than 150 s"]
    assert row(page, "ST-GCN, inference, 300 frames, bf16, batch 64")[-2] == "not yet run on a GPU"
    assert "1 of 2 comparisons" in page
    assert row(page, "aggregation from float64")[1] == "0.5"
    assert row(page, "`gemm<a/b>`") == ["`gemm<a/b>`", "30", "4.5"]
    assert "an H200; torch 2.11" in page


def test_accuracy_beside_switches(tool: ModuleType) -> None:
    results, originals, _ = tool.load()
    same = {"mean": 0.9, "deviation": 0.01, "difference": 0.0, "agrees": True, "epoch_seconds": 2}
    accuracy = {
        "epochs": 15, "device": "cpu", "date": "2026-12-01T00:00:00", "commit": "abc",
        "results": [
            {"name": "plain"} | same,
            {"name": "bf16"} | same | {"agrees": False, "difference": -0.05},
        ],
    }  # fmt: skip
    page = tool.page(results, originals, accuracy)
    assert row(page, "plain")[1:] == ["90.00%", "1.00%", "+0.00%", "yes", "2 s"]
    assert row(page, "bf16")[3:5] == ["-5.00%", "**no**"]
    assert "tools/switches.py" not in tool.page(results, originals)
