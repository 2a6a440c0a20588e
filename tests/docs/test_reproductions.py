"""What docs/results.md says of reproductions is what the figures kept beside it say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from kinegraph.recipe import load_recipe
from kinegraph.reproduction.plan import parse_plan
from kinegraph.reproduction.published import load_plan, plan_names
from kinegraph.reproduction.result import Result, nothing_yet, verdicts

from .documents import ROOT, blocks

GUIDE = Path("docs/guides/reproducing.md")
FIGURES = sorted((ROOT / "docs" / "reproductions").glob("*.json"))


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The tool that writes sections and table."""
    file = ROOT / "tools" / "reproduction_section.py"
    spec = importlib.util.spec_from_file_location("reproduction_section", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results() -> str:
    """The page of results."""
    return (ROOT / "docs" / "results.md").read_text("utf-8")


def test_every_result_has_its_section_and_it_says_what_was_reached(
    tool: ModuleType, results: str
) -> None:
    for file in FIGURES:
        result = Result.model_validate_json(file.read_bytes())
        plan = load_plan(result.plan)
        assert file.stem == tool.file_name(plan.name)
        _, section, _ = tool.parts(results, plan.name)
        assert section == tool.section(plan, result)
        assert result.runs, "what was not run stands in the table"
        assert not result.changed, "a trial is no result"
        for verdict in verdicts(plan, result):
            assert verdict.text in " ".join(section.split())
    assert results.count("<!-- reproduction ") == 2 * len(FIGURES)


def test_all_other_plans_stand_in_the_table(tool: ModuleType, results: str) -> None:
    assert tool.with_table(results) == results
    _, table, _ = tool.table_parts(results)
    kept = {file.stem for file in FIGURES}
    for name in plan_names():
        assert (f"`kinegraph reproduce {name} " in table) != (tool.file_name(name) in kept)
    row = next(line for line in table.splitlines() if "lst:nw-ucla" in line)
    assert "| 9 runs of 110 epochs of 5,100 clips, 5.0 million clips in all | 97.2 | not" in row


def test_the_plan_in_the_guide_is_one() -> None:
    (block,) = (one for one in blocks(GUIDE) if one.language == "yaml")
    plan = parse_plan(block.text, where="the guide")
    recipe = load_recipe("ctrgcn", [(key, str(value)) for key, value in plan.options.items()])
    assert recipe.data.split == "subjects"
    assert plan.stream_options["bone"] == {"training.epochs": 70}


def test_a_first_result_gets_a_section_and_leaves_the_table(
    tool: ModuleType, results: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "stgcn:nw-ucla"
    written = tool.section(load_plan(name), nothing_yet(load_plan(name), "last"))
    first = tool.with_section(results, name, written)
    before, section, after = tool.parts(first, name)
    assert section == written
    begin, end = f"<!-- reproduction {name} begin", f"<!-- reproduction {name} end -->\n\n"
    assert before[: before.index(begin)] + after.removeprefix(end) == results
    assert tool.with_section(first, name, "new\n").replace("new\n", written) == first
    monkeypatch.setattr(tool, "has_result", lambda plan: plan == name)
    assert name not in tool.table_parts(tool.with_table(results))[1]
    with pytest.raises(SystemExit, match="lacks the comments that enclose"):
        tool.parts(results, "x:z")
