"""The benchmark of networks on CPUs compares like with like. No times are tested."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the benchmark as it is imported when it is run."""
    before, threads = dict(os.environ), torch.get_num_threads()
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("bench_cpu")
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("network", ["ctrgcn", "ctrgcn-baseline", "stgcn"])
@pytest.mark.parametrize("one_person", [False, True])
def test_both_networks_answer_the_same(bench: ModuleType, network: str, one_person: bool) -> None:
    pattern = bench.Pattern(network, clips=2, frames=8, width=8, one_person=one_person)
    with bench.inference_cases(pattern) as (now, before):
        assert now.baseline == before.name == f"{now.name}, before"
        now.run()
        before.run()
    ours, theirs = bench.steps(pattern).values()
    for _ in range(2):
        torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)


def test_each_way_trains_in_a_process_of_its_own(bench: ModuleType) -> None:
    pattern = bench.Pattern("ctrgcn", clips=2, frames=8, layout="ucla20", persons=1, width=8)
    with bench.training_cases(pattern) as (now, before):
        assert now.baseline == before.name == f"{now.name}, before"
        for case in (now, before):
            spent = case.processor()
            case.run()
            assert case.processor() > spent


def test_networks_that_differ_are_not_timed(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = bench.build_both

    def changed(*given: object) -> tuple[torch.nn.Module, torch.nn.Module]:
        new, old = build(*given)
        with torch.no_grad():
            next(old.parameters()).mul_(1.5)
        return new, old

    monkeypatch.setattr(bench, "build_both", changed)
    pattern = bench.Pattern("stgcn", clips=2, frames=8, width=8)
    for cases_of in (bench.inference_cases, bench.training_cases):
        with (
            pytest.raises(SystemExit, match="the two ways differ by"),
            cases_of(pattern),
        ):
            pass


def test_every_row_has_a_name_of_its_own(bench: ModuleType) -> None:
    for patterns in (bench.INFERENCE, bench.TRAINING):
        names = [pattern.name for pattern in patterns]
        assert len(set(names)) == len(names)
        assert max(map(len, names)) + len("train , before") <= 44, "the table cuts longer ones"
    assert replace(bench.INFERENCE[0], threads=2).name == "ctrgcn, 1 clip, 2 threads"
