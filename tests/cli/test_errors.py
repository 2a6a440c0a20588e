"""Every wrong word on the command line: one line on the standard error, exit code 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kinegraph.cli import main

# What was typed, and below it what is said about it.
WRONG = """
trian
    kinegraph: unknown verb 'trian'; nearest: 'train'; see kinegraph --help
data imprt
    kinegraph: unknown verb 'data imprt'; nearest: 'data import'; see kinegraph --help
train
    kinegraph train: which recipe? kinegraph list recipes names them
train nw-ucla-ctrgn
    kinegraph train: unknown recipe 'nw-ucla-ctrgn'; nearest: 'nw-ucla-ctrgcn' (known:
train nothing.yaml
    kinegraph train: recipe file 'nothing.yaml' does not exist
train ctrgcn stgcn
    kinegraph train: one word too many: 'stgcn'; see kinegraph train --help
train ctrgcn --foo
    kinegraph train: unknown option --foo; nearest: '--force'
train ctrgcn --optmi.lr 3
    kinegraph train: unknown option --optmi.lr; nearest: '--optim.lr'
train ctrgcn --optim.lrr 3
    kinegraph train: --optim.lrr: there is no such key; nearest: 'lr'
train ctrgcn --optim.lr fast
    kinegraph train: --optim.lr: found 'fast', expected a number
train ctrgcn --optim.lr -0.1
    kinegraph train: --optim.lr: found -0.1, expected a number above 0
train ctrgcn --optim.lr=
    kinegraph train: --optim.lr: found nothing, expected a number
train ctrgcn --seed
    kinegraph train: --seed needs a value
train ctrgcn --seed true
    kinegraph train: recipe 'ctrgcn': 'seed' is true, but it is no key of yes or no
train ctrgcn --training.batch-size 2.5
    kinegraph train: --training.batch_size: found 2.5, expected a whole number
train ctrgcn --stream bnoe
    kinegraph train: --stream: unknown stream 'bnoe'; nearest: 'bone' (known:
train ctrgcn --stream.x 3
    kinegraph train: --stream.x: 'stream' is a single value, it has no 'x'
train ctrgcn --backbone stgcn
    kinegraph train: --backbone: found 'stgcn', expected keys with values, such as backbone.name
train ctrgcn --backbone.name stgc
    kinegraph train: recipe 'ctrgcn': backbone: unknown name 'stgc'; nearest: 'stgcn' (known:
train ctrgcn --transforms.train.9.length 3
    kinegraph train: --transforms.train.9.length: 'transforms.train' has entries 0 to 3, found '9'
train ctrgcn --transforms.train.1.lenght 3
    kinegraph train: --transforms.train.1.lenght: there is no such key; nearest: 'length'
train ctrgcn --evaluation.selection tset
    expected 'last', 'validation' or 'test'; nearest: 'test'
train ctrgcn --schedule.steps 3 a
    kinegraph train: one word too many: 'a'; see kinegraph train --help
train ctrgcn --out
    kinegraph train: --out needs a value
train ctrgcn --dry-run=yes
    kinegraph train: --dry-run takes no value, found 'yes'; see kinegraph train --help
train ctrgcn
    kinegraph train: no recordings are named: give --data.store STORE (made by
train ctrgcn --data.store nothing
    kinegraph train: store 'nothing' does not exist; if it was moved, say where with --data.store
train ctrgcn --plugin nothing.py
    kinegraph train: plug-in 'nothing.py' does not exist
train ctrgcn --plugin
    kinegraph train: --plugin needs a Python file
train --resume nothing
    kinegraph train: 'nothing' cannot be resumed: it has no checkpoints/last.safetensors
train --resume nothing ctrgcn
    kinegraph train: --resume uses the run's own recipe; only --data.store may be given
train --resume nothing --optim.lr 3
    kinegraph train: --resume uses the run's own recipe; only --data.store may be given
train --resume nothing --force
    kinegraph train: --resume goes on in the run's own folder; drop --out, --dry-run, --force
test
    kinegraph test: RUN is missing: Run folder (its selected checkpoint) or a checkpoint
test nothing
    kinegraph test: 'nothing' does not exist; expected a run folder or a checkpoint
test nothing --batch-size some
    kinegraph test: --batch-size: found 'some', expected a whole number
predict nothing --top 0
    kinegraph predict: --top: found '0', expected a number of at least 1
list sterams
    kinegraph list: unknown kind 'sterams'; nearest: 'streams'
data import nw-ucla somewhere
    kinegraph data import: --out is missing: Folder to be made
show --frames -3
    kinegraph show: --frames: found '-3', expected a number of at least 1
"""


def pairs() -> list[tuple[str, str]]:
    lines = [line.strip() for line in WRONG.strip().splitlines()]
    return list(zip(lines[::2], lines[1::2], strict=True))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("line", "message"), pairs())
def test_wrong_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, line: str, message: str
) -> None:
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinegraph")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nseed: 2\n", "is not valid YAML: key 'seed' stands twice, in line 2 again"),
        ("optim: [1\n", "is not valid YAML: expected ',' or ']'"),
        ("- 1\n", "is not a mapping of keys to values"),
        ("", "is not a mapping of keys to values"),
        ("sed: 1", "sed: there is no such key; nearest: 'seed'"),
        ("x: " + "[" * 9999, "is nested too deeply"),
    ],
)
def test_recipe_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["train", "mine.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("kinegraph train: recipe 'mine.yaml'")
    assert message in error
    assert error.count("\n") == 1


def test_store_and_split(
    capsys: pytest.CaptureFixture[str], make_store: Callable[..., Path]
) -> None:
    words = ["train", "ctrgcn", "--data.store", str(make_store()), "--training.batch-size", "2"]
    for option, value, message in (
        ("--data.split", "xsbu", "unknown split 'xsbu'; nearest: 'xsub'; these work here:"),
        ("--data.layout", "ntu25", "the recipe is made for layout 'ntu25', but store"),
        ("--device", "cuda:99", "device 'cuda:99' cannot be used"),
        ("--transforms.train.0.joint", "99", "joint 99 is outside 0..16 of layout 'coco17'"),
    ):
        assert main([*words, option, value]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_as_a_program() -> None:
    command = [sys.executable, "-m", "kinegraph", "train", "ctrgcn", "--optim.lr", "fast"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "kinegraph train: --optim.lr: found 'fast', expected a number\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "kinegraph", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "kinegraph list: cannot read or write: No space left on device\n"
