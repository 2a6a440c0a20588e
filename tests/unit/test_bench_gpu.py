"""`benchmarks/bench_gpu.py`: no row holds up the others, every goal is measured. No speeds."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULT = BENCHMARKS / "results" / "gpu.json"
FIELDS = {
    "format_version", "benchmark", "date", "commit", "machine", "versions", "settings", "complete",
    "results",
}  # fmt: skip

# Stands in for the process that measures: what it does with row k is the k-th word.
CHILD = """
import json, os, sys, time
orders = json.loads(sys.argv[-1])
journal = open(orders["journal"], "a")
def write(entry):
    journal.write(json.dumps(entry) + "\\n")
    journal.flush()
for number in orders["rows"]:
    word = sys.argv[1:-1][number]
    write({"begins": number})
    if word == "dies":
        os._exit(7)
    if word == "hangs":
        time.sleep(60)
    write({"row": number, "group": "g", "name": f"row {number}", "unit": "s", "key": "",
           "value": number + 0.5, "problem": "", "details": {}, "seconds": 0.1})
    if word == "poisons":
        sys.exit(3)
"""


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `gpu_report`, importable as it is when the benchmark runs."""
    before = dict(os.environ)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("gpu_report")
    os.environ.clear()
    os.environ.update(before)


def rows_of(report: Any, count: int, seconds: float = 60.0) -> list[Any]:
    return [
        report.Row("g", (report.Line(f"row {number}", "s"),), lambda place: [], seconds)
        for number in range(count)
    ]


def drive(
    report: Any, tmp_path: Path, words: list[str], *, limit: float = 30.0, **options: Any
) -> list[dict[str, Any]]:
    """Drive rows whose process does what the words say."""
    place = report.Place("cpu", smoke=True, folder=tmp_path)
    child = tmp_path / "child.py"
    child.write_text(CHILD)
    command = [sys.executable, str(child), *words]
    rows = rows_of(report, len(words), **options)
    out = tmp_path / "results" / "out.json"
    lines: list[dict[str, Any]] = report.drive(
        rows, place, command, out, seconds=limit, only=range(len(words))
    )
    document = json.loads(out.read_text())
    assert set(document) == FIELDS
    assert document["results"] == lines
    assert document["complete"]
    assert [line["row"] for line in lines] == list(range(len(words)))
    return lines


def test_a_row_that_takes_its_process_along_costs_itself_alone(report: Any, tmp_path: Path) -> None:
    lines = drive(report, tmp_path, ["fine", "dies", "fine", "poisons", "fine", "dies"])
    assert [line["value"] for line in lines] == [0.5, None, 2.5, 3.5, 4.5, None]
    assert lines[1]["problem"] == "its process ended with code 7"
    assert lines[2]["problem"] == ""


def test_a_row_that_hangs_is_ended(
    report: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "GRACE", 0.5)
    lines = drive(report, tmp_path, ["fine", "hangs", "fine"], seconds=1.0)
    assert [line["value"] for line in lines] == [0.5, None, 2.5]
    assert lines[1]["problem"] == "it hung and was ended"


def test_rows_without_time_are_told(report: Any, tmp_path: Path) -> None:
    lines = drive(report, tmp_path, ["fine", "fine"], limit=0.0)
    assert [line["problem"] for line in lines] == ["no time was left"] * 2


def test_a_process_that_does_not_start_ends_it_all(report: Any, tmp_path: Path) -> None:
    place = report.Place("cpu", smoke=True, folder=tmp_path)
    command = [sys.executable, "-c", "raise SystemExit(5)"]
    lines = report.drive(
        rows_of(report, 2), place, command, tmp_path / "out.json", seconds=30, only=[0, 1]
    )
    assert [line["value"] for line in lines] == [None, None]


def test_what_a_row_finds_and_what_it_fails_with(report: Any, tmp_path: Path) -> None:
    place = report.Place("cpu", smoke=True, folder=tmp_path)
    lines = (report.Line("speed", "clips/s", goal=3.0), report.Line("memory", "GiB"))

    def find(_: Any) -> list[Any]:
        return [report.Found([1.0, 5.0, 2.00004], {"why": "so"}), report.Found([])]

    speed, memory = report.run_row(4, report.Row("g", lines, find), place, 60)
    assert (speed["row"], speed["value"], speed["rounds"]) == (4, 2.0, [1.0, 5.0, 2.0])
    assert (speed["details"], speed["problem"], speed["goal"]) == ({"why": "so"}, "", 3.0)
    assert (memory["name"], memory["value"]) == ("memory", None)

    def fail(_: Any) -> list[Any]:
        raise RuntimeError("no kernel image\nfor this device")

    for line in report.run_row(0, report.Row("g", lines, fail), place, 60):
        assert line["value"] is None
        assert line["problem"].startswith("RuntimeError: no kernel image (test_bench_gpu.py:")

    def wait(_: Any) -> list[Any]:
        time.sleep(30)
        return []

    begin = time.monotonic()
    (line, _) = report.run_row(0, report.Row("g", lines, wait), place, 0.2)
    assert line["problem"].startswith("OutOfTime: more than 0 s")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("clips/s", 5.0, "goal"), ("clips/s", 4.0, "must"), ("clips/s", 1.0, "missed"),
        ("GiB", 5.0, "goal"), ("GiB", 6.0, "missed"), ("s", 1.0, "goal"), ("clips/s", None, ""),
    ],
)  # fmt: skip
def test_verdicts(report: Any, unit: str, value: float | None, expected: str) -> None:
    goal, must = 5.0, 3.0 if unit == "clips/s" else 5.5
    line = {"unit": unit, "value": value, "goal": goal, "must": must}
    assert report.verdict(line) == expected
    assert report.verdict(line | {"goal": None, "must": None}) == ""


def test_every_goal_is_measured_once(report: Any) -> None:
    networks, ucla = (importlib.import_module(name) for name in ("gpu_networks", "gpu_ucla"))
    rows = [*networks.rows(), *ucla.ucla_rows()]
    keys = [line.key for row in rows for line in row.lines if line.key]
    originals = json.loads((BENCHMARKS / "originals.json").read_text("utf-8"))
    assert sorted(keys) == sorted(originals["goals"])
    assert originals["goals"]["ctrgcn-train"]["goal"] == 12_000
    assert originals["goals"]["ctrgcn-infer-fp32"]["goal"] == 4 * 2872
    assert originals["goals"]["stgcn-infer-fp32"]["must"] == 2 * 1438


def test_a_wrong_kernel_is_seen(
    report: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    kernels = importlib.import_module("gpu_kernels")
    place = report.Place("cpu", smoke=True, folder=tmp_path)
    (case, *_) = kernels.cases(checked=True)
    (right,) = kernels.check(case, torch.float32, place)
    assert right.rounds[0] < case.limit(torch.float32)
    launch = importlib.import_module("kinegraph.kernels.aggregate_launch")
    mix = launch.mix

    def wrong(value: torch.Tensor, out: torch.Tensor, *others: Any, **named: Any) -> None:
        mix(value, out, *others, **named)
        out.mul_(1.01)

    monkeypatch.setattr(launch, "mix", wrong)
    (off,) = kernels.check(case, torch.float32, place)
    assert off.rounds[0] > 10 * case.limit(torch.float32)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "bench_gpu.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=590)


def test_nothing_is_measured_without_a_gpu() -> None:
    before = RESULT.exists()
    done = run("--device", "cpu")
    assert done.returncode == 2
    assert done.stderr.startswith("bench_gpu: measures GPUs")
    assert run("--device", "cpu", "--smoke").returncode == 2
    assert RESULT.exists() == before


@pytest.mark.slow
def test_all_rows_work_with_tiny_sizes(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = run("--device", "cpu", "--smoke", "--out", str(out), "--seconds", "560")
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert document["complete"]
    assert document["settings"]["smoke"]
    assert [line["problem"] for line in document["results"] if line["problem"]] == []
    assert all(line["value"] is not None for line in document["results"]), done.stdout
    limits = [line for line in document["results"] if line["group"] == "correct"]
    assert len(limits) > 15
    assert all(line["value"] <= line["must"] for line in limits), done.stdout


@pytest.mark.skipif(not RESULT.exists(), reason="has not been run on a GPU")
def test_the_result_is_sound() -> None:
    document = json.loads(RESULT.read_text("utf-8"))
    assert set(document) == FIELDS
    assert not document["settings"]["smoke"]
    for line in document["results"]:
        assert (line["value"] is None) == (line["rounds"] == [])
