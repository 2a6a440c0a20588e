"""What docs/results.md says of reproductions is what the figures kept beside it say."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from kinegraph.reproduction.plan import load_plan, plan_names
from kinegraph.reproduction.result import Result, verdicts

from .documents import ROOT

FIGURES = ROOT / "docs" / "reproductions"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool that writes the sections."""
    file = ROOT / "tools" / "reproduction_section.py"
    spec = importlib.util.spec_from_file_location("reproduction_section", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", plan_names())
def test_every_plan_has_its_section_and_it_says_what_was_reached(
    tool: ModuleType, name: str
) -> None:
    plan = load_plan(name)
    result = Result.model_validate_json((FIGURES / f"{tool.file_name(name)}.json").read_bytes())
    text = (ROOT / "docs" / "results.md").read_text("utf-8")
    _, section, _ = tool.parts(text, name)
    assert section == tool.section(plan, result)
    assert not result.changed, "a trial is no result"
    for verdict in verdicts(plan, result):
        assert verdict.text in " ".join(section.split())


def test_a_section_is_replaced_and_nothing_else(tool: ModuleType) -> None:
    text = "a\n<!-- reproduction x:y begin: z -->\n\nold\n\n<!-- reproduction x:y end -->\nb\n"
    before, between, after = tool.parts(text, "x:y")
    assert (before.splitlines()[0], between, after.splitlines()[-1]) == ("a", "old\n", "b")
    with pytest.raises(SystemExit, match="no comments that enclose the section of 'x:z'"):
        tool.parts(text, "x:z")
