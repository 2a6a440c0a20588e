"""Benchmarks run, their two ways agree, and their result files are sound. No times are tested."""

from __future__ import annotations

import importlib
import json
import os
import re
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULTS = sorted(
    path for path in (BENCHMARKS / "results").glob("*.json") if path.stem != "gpu"
)  # that one has a form of its own, see test_bench_gpu
FIELDS = {
    "format_version": int, "benchmark": str, "date": str, "commit": str, "machine": dict,
    "load_average": dict, "versions": dict, "settings": dict, "results": list,
}  # fmt: skip


@pytest.fixture
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules beside the benchmarks importable, as they are when one is run."""
    before = dict(os.environ)
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield
    os.environ.clear()
    os.environ.update(before)


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def check(document: dict[str, Any]) -> None:
    assert {name: type(document[name]) for name in document} == FIELDS
    assert document["format_version"] == 1
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", document["commit"])
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$", document["date"])
    assert document["machine"]["cpu"]
    assert document["machine"]["cores"] >= 1
    assert set(document["load_average"]) == {"before", "after"}
    assert {"python", "kinegraph", "torch"} <= set(document["versions"])
    assert document["settings"]["rounds"] >= 3
    rows = {row["name"]: row for row in document["results"]}
    assert len(rows) == len(document["results"]) > 0
    for row in rows.values():
        assert row["unit"] in ("s", "MB", "clips/s")
        assert len(row["rounds"]) == document["settings"]["rounds"]
        assert min(row["rounds"]) > 0
        assert row["median"] == pytest.approx(statistics.median(row["rounds"]), rel=1e-3)
        if row["baseline"] is None:
            assert row["ratio"] is None
            continue
        other = rows[row["baseline"]]
        assert other["unit"] == row["unit"]
        more = row["unit"].endswith("/s")
        ratio = row["median"] / other["median"] if more else other["median"] / row["median"]
        assert row["ratio"] == pytest.approx(ratio, rel=2e-3)


def test_every_benchmark_has_a_result() -> None:
    scripts = {path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("bench_*.py")}
    assert (scripts - {"gpu"}) | {"fuzz"} == {path.stem for path in RESULTS}  # fuzz_readers.py


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_result_file_is_sound(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["benchmark"] == path.stem
    check(document)
    assert not re.search(r'"/|/home/|/root|/tmp', text), "a result names a place of one machine"


def test_goals_are_those_of_the_project() -> None:
    goals = {}
    for path in RESULTS:
        for row in json.loads(path.read_text(encoding="utf-8"))["results"]:
            if row["goal"] is not None:
                goals[row["name"]] = row["goal"]
    assert goals["kinegraph --help"] == goals["kinegraph list"] == 0.3
    assert goals["opening 1484 clips"] == goals["opening 100000 clips"] == 0.02
    streams = ("joint", "bone", "joint-motion", "bone-motion")
    assert all(goals[f"ntu {stream}"] == 20_000 for stream in streams)


@pytest.mark.usefixtures("benchmark_modules")
def test_report_writes_what_is_checked_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring = load("measure")
    monkeypatch.setattr(measuring, "RESULTS", tmp_path / "results")
    calls: list[str] = []
    cases = [
        measuring.Case("slow", lambda: calls.append("slow"), 10),
        measuring.Case("fast", lambda: calls.append("fast"), 10, baseline="slow", goal=1.0),
    ]
    results = measuring.measure(cases, 3)
    assert calls == ["slow", "fast"] * 4, "one round unmeasured, then in turns"
    results[0].rounds, results[1].rounds = [1.0, 2.0, 9.0], [30.0, 8.0, 6.0]
    measuring.report("made", {"rounds": 3}, results, load=0.5)
    document = json.loads((tmp_path / "results" / "made.json").read_text(encoding="utf-8"))
    check(document)
    assert [row["ratio"] for row in document["results"]] == [None, 4.0]
    assert [row["best"] for row in document["results"]] == [9.0, 30.0]
    assert "4x" in capsys.readouterr().out


@pytest.mark.usefixtures("benchmark_modules")
def test_less_time_is_a_higher_ratio() -> None:
    result = load("measure").Result
    assert result("quick", "s", [0.1, 0.2, 0.4]).best == 0.1
    assert load("measure")._times(result("quick", "s", [0.2]), 0.8) == pytest.approx(4)


@pytest.mark.usefixtures("benchmark_modules")
@pytest.mark.parametrize("name", ["NTU", "UCLA"])
def test_batches_equal_the_per_clip_loop(name: str, tmp_path: Path) -> None:
    transforms = load("bench_transforms")
    pattern = replace(getattr(transforms, name), clips=24, loop_clips=20, batch=8)
    cases = list(transforms.cases_of(pattern, tmp_path))
    assert [case.amount for case in cases] == [24, 20] * 4
    for case in cases:
        case.run()


@pytest.mark.usefixtures("benchmark_modules")
def test_a_difference_of_the_two_ways_stops_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transforms, per_clip = load("bench_transforms"), load("per_clip")
    monkeypatch.setattr(per_clip, "NTU_BONES", ((1, 0), *per_clip.NTU_BONES[1:]))
    pattern = replace(transforms.NTU, clips=4, loop_clips=4, batch=4)
    cases = transforms.cases_of(pattern, tmp_path)
    assert next(cases).name == "ntu joint"
    assert next(cases).name == "ntu joint, per-clip loop"
    with pytest.raises(SystemExit, match="ntu bone: the two ways differ"):
        next(cases)


@pytest.mark.usefixtures("benchmark_modules")
def test_all_ways_to_batches_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("bench_data")
    (work, *_) = data.WORKS
    small = replace(work, pattern=replace(work.pattern, clips=40))
    cases = list(data.cases_of(small, tmp_path))
    assert {case.baseline for case in cases} == {None, cases[0].name}
    for case in cases:
        assert case.amount == 40
        case.run()
    monkeypatch.setattr(data, "loader_for", partial(_sorted_if_resident, data.loader_for))
    with pytest.raises(SystemExit, match="ctrgcn on ntu: resident: other batches"):
        list(data.cases_of(replace(small, recipe="ctrgcn"), tmp_path / "again"))


def _sorted_if_resident(make: Any, *given: Any, resident: bool, **options: Any) -> Any:
    loader = make(*given, resident=resident, **options)
    loader.shuffle = not resident
    return loader
