"""Put what `kinegraph reproduce` reached into docs/results.md.

.venv/bin/python tools/reproduction_section.py OUT

OUT is the folder of a reproduction. Its figures go to docs/reproductions, its picture to
docs/images, and its section between the comments that name its plan in docs/results.md. A test
compares the section with the figures, so that neither is changed by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from kinegraph.reproduction.page import page
from kinegraph.reproduction.picture import save_picture
from kinegraph.reproduction.plan import Plan, load_plan
from kinegraph.reproduction.result import Result

DOCS = Path(__file__).resolve().parent.parent / "docs"


def file_name(plan: str) -> str:
    """Return a plan's name as that of a file."""
    return plan.replace(":", "-")


def section(plan: Plan, result: Result) -> str:
    """Return the section of docs/results.md about a result."""
    return page(plan, result, f"images/{file_name(plan.name)}.svg")


def parts(text: str, plan: str) -> tuple[str, str, str]:
    """Return what stands before a plan's section, the section, and what stands after it."""
    name = re.escape(plan)
    found = re.fullmatch(
        rf"(.*<!-- reproduction {name} begin[^\n]*-->\n)(.*?)(<!-- reproduction {name} end -->.*)",
        text,
        re.DOTALL,
    )
    if found is None:
        sys.exit(f"docs/results.md has no comments that enclose the section of '{plan}'")
    before, between, after = found.groups()
    return before, between.strip("\n") + "\n", after


def insert(result: Result) -> None:
    """Write figures, picture and section of a result."""
    plan = load_plan(result.plan)
    name = file_name(plan.name)
    (DOCS / "reproductions").mkdir(exist_ok=True)
    figures = result.model_dump_json(indent=2) + "\n"
    (DOCS / "reproductions" / f"{name}.json").write_text(figures, encoding="utf-8")
    if result.runs:
        save_picture(DOCS / "images" / f"{name}.svg", plan, result)
    file = DOCS / "results.md"
    before, _, after = parts(file.read_text(encoding="utf-8"), plan.name)
    file.write_text(f"{before}\n{section(plan, result)}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: reproduction_section.py OUT")
    insert(Result.model_validate_json(Path(sys.argv[1], "reproduction.json").read_bytes()))
