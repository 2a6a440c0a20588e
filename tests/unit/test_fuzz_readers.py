"""Damaged sources of every format, a few of the many of ``benchmarks/fuzz_readers.py``.

What the fuzzer itself must notice is tested too: a reader that fails in another way than it should.
"""

from __future__ import annotations

import importlib
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import FORMATS, Recording, Recordings
from kinegraph.errors import ClipError, SourceError
from kinegraph.skeleton import load_layout

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INPUTS = 60  # damaged sources of each format


def test_every_format_has_small_seeds(fuzzing: SimpleNamespace) -> None:
    assert fuzzing.seeds.missing_kinds() == []
    for name in FORMATS:
        for source in fuzzing.seeds.seeds_of(name):
            assert source.files
            assert all(0 < len(content) < 20_000 for _, content in source.files)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_sources_end_in_typed_errors(
    name: str, fuzzing: SimpleNamespace, tmp_path: Path
) -> None:
    tally = fuzzing.script.fuzz(name, INPUTS, 0, tmp_path / "place")
    assert tally.problems == []
    assert tally.inputs == INPUTS
    assert tally.past_header > INPUTS // 20, "hardly any reaches the numbers of a recording"
    assert sum(tally.errors.values()) > INPUTS // 4, "hardly any is damaged"
    seen, total = np.sum(list(tally.lines.values()), axis=0)
    assert seen > total // 3


def test_the_result_file_has_every_format_and_no_finding() -> None:
    text = (BENCHMARKS / "results" / "fuzz.json").read_text(encoding="utf-8")
    settings = json.loads(text)["settings"]
    assert set(settings["formats"]) == set(FORMATS)
    assert settings["inputs"] >= 100_000
    for found in settings["formats"].values():
        assert found["problems"] == []
        assert 0.1 < found["accepted"] <= found["past_header"] < 1
        assert set(found["errors"]) <= {"SourceError", "ClipError", "LayoutError"}
    readers = {f"kinegraph.data.formats.{name}" for name in ("ntu_text", "pyskl", "kinetics")}
    assert readers < set(settings["lines"])
    assert all(settings["lines"][name]["share"] > 0.8 for name in readers)
    slowest = [row for row in json.loads(text)["results"] if row["unit"] == "s"]
    assert len(slowest) == len(FORMATS)
    assert all(max(row["rounds"]) < row["goal"] == 1 for row in slowest)


def test_a_seed_gives_the_same_sources_again(fuzzing: SimpleNamespace) -> None:
    for name in FORMATS:
        (whole, *_) = fuzzing.seeds.seeds_of(name)
        first, second, other = (
            [fuzzing.damage.damage(whole, chance) for _ in range(5)]
            for chance in (random.Random(1), random.Random(1), random.Random(2))
        )
        assert first == second
        assert first != other


def test_every_way_of_damage_changes_something(fuzzing: SimpleNamespace) -> None:
    chance = random.Random(0)
    changed: dict[str, int] = {}
    for name in FORMATS:
        wholes = fuzzing.seeds.seeds_of(name)
        for path, content in (*wholes[0].files, *wholes[-1].files):
            suffix = Path(path).suffix
            way = fuzzing.damage.WAYS[suffix]
            differs = sum(way(content, chance) != content for _ in range(50))
            changed[suffix] = changed.get(suffix, 0) + differs
    assert set(changed) == set(fuzzing.damage.WAYS)
    assert min(changed.values()) > 30


def clip() -> Clip:
    return Clip("a", (Track(np.ones((2, 20, 3))),), 2, 0)


def untyped() -> Clip:
    raise KeyError("skeletons")


def slow() -> Clip:
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    return clip()


def hanging() -> Clip:
    while True:
        time.sleep(0.05)


def warning() -> Clip:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return clip()


def changing() -> Clip:
    return replace(clip(), tracks=(Track(np.random.default_rng().normal(size=(2, 20, 3))),))


def silent() -> Clip:
    raise ClipError("")


def bad_split() -> Clip:
    raise SourceError("refused")


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (clip, ""),
        (bad_split, ""),
        (untyped, "KeyError: \"'skeletons'\""),
        (hanging, "took longer than 0.5 s"),
        (warning, "RuntimeWarning: 'overflow'"),
        (changing, "AssertionError: 'read twice, it differs"),
        (silent, "a message of 0 characters"),
    ],
)
def test_what_should_not_happen_is_found(
    read: Callable[[], Clip],
    found: str,
    fuzzing: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzzing.reading, "PATIENCE", 0.5)
    (source, *_) = fuzzing.seeds.seeds_of("nw-ucla")
    monkeypatch.setitem(FORMATS, "nw-ucla", replace(FORMATS["nw-ucla"], open=opener(read)))
    outcome = fuzzing.reading.read_source(source, tmp_path / "place")
    assert found in outcome.problem
    assert (outcome.problem == "") == (found == "")


def test_much_memory_is_found(
    fuzzing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([100.0, 300.0, 300.0, 600.0])
    monkeypatch.setattr(fuzzing.reading, "peak_megabytes", lambda: next(peaks))
    (source, *_) = fuzzing.seeds.seeds_of("nw-ucla")
    problems = [fuzzing.reading.read_source(source, tmp_path / "it").problem for _ in range(2)]
    assert problems == ["", "took 300 MB"]


def opener(read: Callable[[], Clip]) -> Any:
    @contextmanager
    def opened(source: Path, options: Any) -> Iterator[Recordings]:
        yield Recordings(load_layout("ucla20"), ("walk",), [Recording("a", read)])

    return opened


def test_slow_sources_are_found_unless_only_the_machine_was_busy(
    fuzzing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = fuzzing.script
    monkeypatch.setattr(script, "SECONDS", 0.1)
    (source, *_) = fuzzing.seeds.seeds_of("nw-ucla")
    counter = fuzzing.lines.LineCounter([])
    turns = iter([slow, clip, slow, slow, slow, slow])
    current = [slow]
    opened = replace(FORMATS["nw-ucla"], open=opener(lambda: current[0]()))
    monkeypatch.setitem(FORMATS, "nw-ucla", opened)
    own = script.read_source

    def in_turn(*given: Any, **more: Any) -> Any:
        current[0] = next(turns)
        return own(*given, **more)

    monkeypatch.setattr(script, "read_source", in_turn)
    assert script._read(source, tmp_path / "place", counter, detect=False).problem == ""
    problem = script._read(source, tmp_path / "place", counter, detect=False).problem
    assert problem.startswith("took 0.")


def test_lines_that_ran_are_counted(
    fuzzing: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\n".join(
        [
            "def first(x):",
            "    if x > 1:",
            "        return [",
            "            y for y in range(x)]",
            "    return 0",
            "class Second:",
            "    def third(self):",
            "        return 3",
        ]
    )
    (tmp_path / "some_reader.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("some_reader")
    counter = fuzzing.lines.LineCounter(["some_reader"])
    assert counter.knows("some_reader:first")
    assert counter.knows("some_reader:Second.third")
    assert not counter.knows("some_reader:fourth")
    with counter:
        module.first(1)
    assert counter.fresh
    assert counter.entered == {"some_reader:first"}
    assert counter.missing() == {"some_reader": [3, 4, 8]}
    assert counter.shares() == {"some_reader": (2, 5)}
    counter.fresh = False
    with counter:
        module.first(0)
    assert not counter.fresh
    with counter:
        module.first(2)
        module.Second().third()
    assert counter.shares() == {"some_reader": (5, 5)}
    module.first(3)
