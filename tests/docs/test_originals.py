"""The guide for users of the original programs says what the code does."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from kinegraph.compat.original_flags import KEYS, NEEDLESS, OWN_KEYS
from kinegraph.compat.systems import SYSTEMS
from kinegraph.compat.translate import translate

from .documents import ROOT, blocks

GUIDE = Path("docs/guides/coming-from-the-originals.md")
PAIRS = [
    pytest.param(theirs.text, ours.text, id=f"line {theirs.line}")
    for theirs, ours in pairwise(blocks(GUIDE))
    if theirs.language == "text"
]
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_translations_are_those_of_the_code(theirs: str, ours: str) -> None:
    lines = ours.replace("\\\n", " ").strip().splitlines()
    assert [shlex.split(line) for line in lines] == [
        shlex.split(line) for line in translate(theirs).lines()
    ]


def test_there_are_translations() -> None:
    assert len(PAIRS) >= 12


def test_options_are_those_of_the_code() -> None:
    rows = {tuple(row.split(" | ")) for row in ROW.findall((ROOT / GUIDE).read_text("utf-8"))}
    expected = {(f"`--{flag}`", "all", f"`{key}`") for flag, key in KEYS.items()}
    for program, keys in OWN_KEYS.items():
        expected |= {(f"`--{flag}`", program, f"`{key}`") for flag, key in keys.items()}
    expected |= {(f"`--{flag}`", why) for flag, why in NEEDLESS.items()}
    assert {row for row in rows if row[0].startswith("`--") and row[0] != "`--system`"} == expected


def test_every_system_is_listed() -> None:
    text = (ROOT / GUIDE).read_text("utf-8")
    rows = [row.split(" | ")[0] for row in ROW.findall(text.split("## Weights")[1])]
    assert SYSTEMS.keys() <= {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
