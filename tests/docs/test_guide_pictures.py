"""Every system's guide has its picture, with the command that draws it; and that command works."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from .documents import ROOT, blocks, commands_of

GUIDES = ROOT / "docs" / "guides"
TOOL = "tools/guide_pictures.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tool, with what it imports beside it."""
    before = dict(os.environ), set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("guide_pictures")
    os.environ.clear()
    os.environ.update(before[0])
    for name in sys.modules.keys() - before[1]:
        if name.split(".")[0] in ("guide_pictures", "pictures"):
            del sys.modules[name]


def test_every_picture_stands_in_its_guide_above_its_command(tool: ModuleType) -> None:
    for name in tool.PICTURES:
        picture = ROOT / "docs" / "images" / f"{name}.svg"
        assert picture.stat().st_size < 80_000, name
        page = GUIDES / f"{name}.md"
        assert f"](../images/{name}.svg)" in page.read_text("utf-8")
        drawn = [
            command.words[2:]
            for block in blocks(page.relative_to(ROOT))
            for command in commands_of(block)
            if command.words[:2] == ("python", TOOL)
        ]
        assert drawn == [(name, f"docs/images/{name}.svg")]


@pytest.mark.parametrize("name", ["st-gcn", "lst"])
def test_pictures_without_training_are_the_same_each_time(
    tool: ModuleType, tmp_path: Path, name: str
) -> None:
    for file in ("first.svg", "second.svg"):
        tool.main([name, str(tmp_path / file)])
    first = (tmp_path / "first.svg").read_bytes()
    assert first == (tmp_path / "second.svg").read_bytes()
    assert len(first) > 20_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ctr-gcn", "infogcn", "fr-head"])
def test_pictures_of_trained_networks_are_drawn(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    body = importlib.import_module("pictures.body")
    make, train = body.make_synthetic, body.main
    quick = ["--training.epochs", "1", "--backbone.width", "8"]
    monkeypatch.setattr(body, "make_synthetic", partial(make, clips_per_class=2, subjects=4))
    monkeypatch.setattr(body, "main", lambda words: train([*words, *quick]))
    tool.main([name, str(tmp_path / "picture.svg")])
    assert (tmp_path / "picture.svg").stat().st_size > 20_000


def test_a_name_that_is_none_is_answered(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match="where NAME is one of st-gcn, ctr-gcn, infogcn"):
        tool.main(["gcn", "out.svg"])
