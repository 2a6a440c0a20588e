"""The guide's example prints what it says, and its table names every kind of finding."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kinegraph.cli import main
from kinegraph.data.doctor import CHECKS, KINDS

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "checking-data.md").read_text("utf-8")


def test_the_example_prints_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    ((command, shown),) = re.findall(r"```console\n\$ kinegraph (.*?)\n(.*?)```", GUIDE, re.DOTALL)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown
    assert "side-flip" in Path("spoiled.html").read_text("utf-8")


def test_every_kind_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z]+) \| (.+) \|$", GUIDE, re.MULTILINE)
    assert rows == [(name, kind.severity, kind.title) for name, kind in KINDS.items()]


def test_remedies_and_summaries_are_one_line() -> None:
    for kind in KINDS.values():
        assert "\n" not in kind.remedy
        assert kind.remedy[0].islower()
        assert not kind.remedy.endswith(".")
    assert all(group.summary for group in CHECKS.values())
