"""Blocks marked ``<!-- runs -->`` run as they stand, in an empty folder, in the page's order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main

from .documents import DOCUMENTS, ROOT, blocks, commands_of

OWN_DATA = Path("docs/guides/own-data.md")
MARKED = [document for document in DOCUMENTS if any(block.runs for block in blocks(document))]
# Said to every training in a document; later options win.
QUICK = [
    *("--backbone.width", "4", "--training.epochs", "1", "--training.batch_size", "4"),
    *("--transforms.train.1.length", "8", "--transforms.test.1.length", "8", "--device", "cpu"),
]  # fmt: skip

Arrays = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter an empty folder with the arrays that the guide makes up."""
    monkeypatch.chdir(tmp_path)
    (block,) = (b for b in blocks(OWN_DATA) if b.runs and b.language == "python")
    subprocess.run([sys.executable, "-c", block.text], check=True, timeout=60)
    return tmp_path


def run(words: list[str]) -> int:
    return main([*words, *QUICK] if words[:1] == ["train"] else words)


def test_there_is_something_to_run() -> None:
    assert {Path("README.md"), OWN_DATA} <= set(MARKED)


@pytest.mark.slow
@pytest.mark.parametrize("document", MARKED, ids=str)
def test_marked_blocks_run(
    document: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(document):
        for command in commands_of(block) if block.runs else ():
            where = f"{document}:{command.line}"
            assert command.words[0] == "kinegraph", where
            assert run(list(command.words[1:])) == 0, f"{where}: {capsys.readouterr().err}"
    out = capsys.readouterr().out
    assert (folder / "run" / "report.html").is_file()
    assert "new-0" in out
    assert "new-2" in out
    if "--json" in (ROOT / document).read_text("utf-8"):
        answers = json.loads(out[out.index("[\n") : out.index("\n]\n") + 2])
        assert [answer["clip"] for answer in answers] == ["new-0", "new-1", "new-2"]


def _import(**changes: Any) -> Callable[[Arrays], list[str]]:
    """Return what writes changed arrays and gives the command that imports them."""

    def write(arrays: Arrays) -> list[str]:
        changed = {key: value(arrays) for key, value in changes.items()}
        kept = {key: value for key, value in (arrays | changed).items() if value is not None}
        np.savez("changed.npz", **kept)
        return ["data", "import", "arrays", "changed.npz", "--layout", "coco17", "--out", "store"]

    return write


def _with(place: tuple[Any, ...], value: float) -> Callable[[Arrays], Any]:
    def change(arrays: Arrays) -> Any:
        x = arrays["x"].copy()
        x[place] = value
        return x

    return change


def _swapped(arrays: Arrays) -> Any:
    return np.zeros((2, 17, 60, 3))


def _two_axes(arrays: Arrays) -> Any:
    return arrays["x"][..., :2]


def _labels(arrays: Arrays) -> Any:
    return arrays["label"]


def _objects(arrays: Arrays) -> Any:
    return arrays["label"].astype(object)


def _floats(arrays: Arrays) -> Any:
    return arrays["subject"].astype(float)


def _nothing(arrays: Arrays) -> None:
    return None


def _no_layout(arrays: Arrays) -> list[str]:
    return ["data", "import", "arrays", "mine.npz", "--out", "store"]


def _other_layout(arrays: Arrays) -> Any:
    return "ntu25"


def _train(*words: str, **changes: Any) -> Callable[[Arrays], list[str]]:
    """Return what imports changed arrays and gives a command that trains on them."""

    def write(arrays: Arrays) -> list[str]:
        assert main(_import(**changes)(arrays)) == 0
        return ["train", "ctrgcn", "--data.store", "store", *words]

    return write


def _predict_other(arrays: Arrays) -> list[str]:
    assert main(_import()(arrays)) == 0
    assert run(["train", "ctrgcn", "--data.store", "store", "--data.split", "subjects",
                "--out", "run"]) == 0  # fmt: skip
    np.savez("other.npz", x=np.ones((1, 5, 25, 3)))
    return ["predict", "run", "other.npz", "--layout", "ntu25"]


BY_SUBJECT = ("--data.split", "subjects")
CAUSES: dict[str, Callable[[Arrays], list[str]]] = {
    "has 60 joints of 3 numbers, but layout 'coco17' has 17 of 3": _import(x=_swapped),
    "has 17 joints of 2 numbers, but layout 'coco17' has 17 of 3": _import(x=_two_axes),
    "names no layout; give --layout": _no_layout,
    "names layout 'ntu25', but --layout says 'coco17'": _import(layout=_other_layout),
    "unknown array 'labels'; nearest: 'label'": _import(labels=_labels),
    "holds Python objects; only plain numbers and text are read": _import(label=_objects),
    "is of type float64, expected integers": _import(subject=_floats),
    "has a coordinate that is NaN or infinite": _import(x=_with((3, 5, 2, 0), np.nan)),
    "it has no frames with a person": _import(x=_with((4,), 0)),
    "has no split of its own; these work here:": _train(),
    "needs the subject of each clip": _train(*BY_SUBJECT, subject=_nothing),
    "training.batch_size 64 is more than the 16 clips of an epoch": _train(
        *BY_SUBJECT, "--training.batch_size", "64"
    ),
    "does not fit 'run', which was trained on layout": _predict_other,
}


def test_every_message_of_the_guide_has_a_cause() -> None:
    text = (ROOT / OWN_DATA).read_text("utf-8")
    table = text[text.index("| message |") :]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(CAUSES)


@pytest.mark.parametrize("message", CAUSES)
def test_messages_are_as_the_guide_says(
    message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load("mine.npz") as archive:
        words = CAUSES[message](dict(archive))
    capsys.readouterr()
    assert main(words) == 2
    assert message in capsys.readouterr().err
