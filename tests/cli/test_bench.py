"""``kinegraph bench``: tables, JSON, and errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kinegraph.benchmarking import ceilings, measure
from kinegraph.cli import main
from kinegraph.kernels.dispatch import set_kernels

QUICK = ["--device", "cpu", "--rounds", "1", "--seconds", "0.01"]


@pytest.fixture
def words(
    tmp_path: Path, tiny_recipe: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """The command line of a measurement of a second, in an empty folder."""
    little = partial(ceilings.measure_ceilings, matrix=32, copy_bytes=1 << 16, seconds=0.01)
    monkeypatch.setattr(measure, "measure_ceilings", little)
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny_recipe()))
    yield ["bench", "tiny.yaml", *QUICK]
    set_kernels("auto")


def test_tables(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*words, "--batch-size", "2", "3"]) == 0
    said = capsys.readouterr()
    for part in ("clips/s", "peak memory", "latency", "backward", "optimiser", "arithmetic"):
        assert part in said.out
    assert "random recordings" in said.out
    assert "training, 80% alone" in said.out
    assert "measuring training, batch 3, all people" in said.err
    assert list(Path().iterdir()) == [Path("tiny.yaml")], "nothing is left behind"


def test_json_and_file_hold_the_same(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data.layout", "coco17", "--data.persons", "1", "--backbone.width", "8"]
    assert main([*words, *options, "--json", "--out", "bench.json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("bench.json").read_text())
    assert "17 joints (coco17), 1 people" in printed["subject"]
    assert [(row["what"], row["batch_size"]) for row in printed["speeds"]] == [
        ("inference", 4), ("training", 4),
    ]  # fmt: skip
    assert main([*words, "--out", "bench.json"]) == 2
    assert "nothing is overwritten without --force" in capsys.readouterr().err


def test_own_recordings(
    words: list[str], make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--data.store", make_store("mine").name]) == 0
    said = capsys.readouterr()
    assert "mine; " in said.out
    assert "random" not in said.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.store", "nowhere"], "store 'nowhere' does not exist"),
        (["--data.layout", "ntu52"], "unknown layout 'ntu52'"),
        (["--batch-size", "0"], "--batch-size: "),
        (["--training.cuda-graphs", "on"], "training.cuda_graphs on: needs a CUDA device"),
        (["--roundz", "3"], "unknown option --roundz; nearest: '--rounds'"),
        (["--device", "cudo"], "device 'cudo' cannot be used: there is no such kind"),
    ],
)
def test_errors(
    words: list[str], capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*words, *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("kinegraph bench: ")
    assert message in lines[-1]


def test_a_batch_that_is_larger_than_the_store(
    words: list[str], make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.store", make_store("mine").name, "--batch-size", "64"]
    assert main([*words, *options]) == 2
    assert "training.batch_size 64 is more than the 6 clips" in capsys.readouterr().err
