from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kinegraph.backbones import BACKBONES
from kinegraph.catalogue import KINDS
from kinegraph.cli import main
from kinegraph.skeleton import layout_names
from kinegraph.transforms import STREAMS, TRANSFORMS


def test_every_kind_has_entries_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert list(entries) == list(KINDS)
    for kind, names in entries.items():
        assert names, kind
        assert all(summary and "\n" not in summary for summary in names.values()), kind
    assert list(entries["layouts"]) == list(layout_names())
    assert list(entries["backbones"]) == list(BACKBONES)
    assert list(entries["streams"]) == list(STREAMS)
    assert list(entries["transforms"]) == list(TRANSFORMS)
    assert entries["presets"]["lst"].startswith("LST: 0.8 joint, 0.8 bone")


def test_table_has_one_line_for_each_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "layouts"]) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert heading == "layouts"
    assert [line.split()[0] for line in lines] == list(layout_names())
    assert main(["list"]) == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    assert [block.split()[0] for block in blocks][:3] == ["backbones", "objectives", "streams"]
    assert len(blocks) == len(KINDS)


def test_unknown_kind_is_one_line_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "layuots"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinegraph list: unknown kind 'layuots'; nearest: 'layouts'")
    assert captured.err.count("\n") == 1


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from kinegraph.cli import main; code = main(['list']);"
        "sys.exit(code or int(bool({'torch', 'tyro', 'matplotlib'} & set(sys.modules))))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
