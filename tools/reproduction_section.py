"""Put what `kinegraph reproduce` reached into docs/results.md.

.venv/bin/python tools/reproduction_section.py [OUT]

OUT is the folder of a reproduction. Its figures go to docs/reproductions, its picture to
docs/images, and its section between comments that name its plan in docs/results.md; a first section
of a plan goes in front of the table of plans that were not run. That table is written anew, and
without OUT nothing else. A test compares both with the figures, so that neither is changed by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from kinegraph.reproduction.listing import headline
from kinegraph.reproduction.page import page
from kinegraph.reproduction.picture import save_picture
from kinegraph.reproduction.plan import Plan
from kinegraph.reproduction.published import load_plan, plan_names
from kinegraph.reproduction.result import Result

DOCS = Path(__file__).resolve().parent.parent / "docs"
TABLE = "<!-- plans that were not run begin: written by tools/reproduction_section.py -->\n"
TABLE_END = "<!-- plans that were not run end -->"


def file_name(plan: str) -> str:
    """Return a plan's name as that of a file."""
    return plan.replace(":", "-")


def has_result(plan: str) -> bool:
    """Whether figures of a plan are kept."""
    return (DOCS / "reproductions" / f"{file_name(plan)}.json").is_file()


def section(plan: Plan, result: Result) -> str:
    """Return the section of docs/results.md about a result."""
    return page(plan, result, f"images/{file_name(plan.name)}.svg")


def table(names: Sequence[str]) -> str:
    """Return the table of plans that were not run."""
    lines = ["| command | what it takes | published | reached |", "|---|---|---|---|"]
    for name in names:
        plan = load_plan(name)
        command = f"`kinegraph reproduce {name} --data.store STORE`"
        takes = plan.cost.partition("; made for")[0]
        lines.append(f"| {command} | {takes} | {headline(plan) or 'nothing'} | not run |")
    return "\n".join(lines) + "\n"


def parts(text: str, plan: str) -> tuple[str, str, str]:
    """Return what stands before a plan's section, the section, and what stands after it."""
    begin = f"<!-- reproduction {plan} begin: written by tools/reproduction_section.py -->\n"
    return _enclosed(text, begin, f"<!-- reproduction {plan} end -->")


def table_parts(text: str) -> tuple[str, str, str]:
    """Return what stands before the table of plans that were not run, it, and what follows."""
    return _enclosed(text, TABLE, TABLE_END)


def _enclosed(text: str, begin: str, end: str) -> tuple[str, str, str]:
    found = re.fullmatch(rf"(.*{re.escape(begin)})(.*?)({re.escape(end)}.*)", text, flags=re.DOTALL)
    if found is None:
        sys.exit(f"docs/results.md lacks the comments that enclose this: {begin.strip()}")
    before, between, after = found.groups()
    return before, between.strip("\n") + "\n", after


def with_section(text: str, plan: str, written: str) -> str:
    """Return docs/results.md with the section of a plan, which it need not have had."""
    begin = f"<!-- reproduction {plan} begin: written by tools/reproduction_section.py -->\n"
    if begin not in text:
        place = text.index("## Plans that were not run")
        new = f"{begin}<!-- reproduction {plan} end -->\n\n"
        text = text[:place] + new + text[place:]
    before, _, after = parts(text, plan)
    return f"{before}\n{written}\n{after}"


def with_table(text: str) -> str:
    """Return docs/results.md with the table as it has to be."""
    before, _, after = table_parts(text)
    missing = [name for name in plan_names() if not has_result(name)]
    return f"{before}\n{table(missing)}\n{after}"


def insert(result: Result) -> None:
    """Write figures, picture and section of a result."""
    plan = load_plan(result.plan)
    name = file_name(plan.name)
    (DOCS / "reproductions").mkdir(exist_ok=True)
    figures = result.model_dump_json(indent=2) + "\n"
    (DOCS / "reproductions" / f"{name}.json").write_text(figures, encoding="utf-8")
    save_picture(DOCS / "images" / f"{name}.svg", plan, result)
    file = DOCS / "results.md"
    text = with_section(file.read_text(encoding="utf-8"), plan.name, section(plan, result))
    file.write_text(text, encoding="utf-8")


def main(words: Sequence[str]) -> None:
    """Read a result, if one is named, and write."""
    if len(words) > 1:
        sys.exit("usage: reproduction_section.py [OUT]")
    if words:
        result = Result.model_validate_json(Path(words[0], "reproduction.json").read_bytes())
        if not result.runs:
            sys.exit(f"nothing was run in {words[0]}")
        insert(result)
    file = DOCS / "results.md"
    file.write_text(with_table(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
