"""Links between documents lead to files, and to headings that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .documents import DOCUMENTS, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as they are made on the web."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
        for title in HEADING.findall(text)
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text("utf-8")
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{document}: {link}"


def test_every_guide_and_example_is_linked() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for guide in (ROOT / "docs" / "guides").glob("*.md"):
        assert f"docs/guides/{guide.name}" in readme
    listed = (ROOT / "examples" / "README.md").read_text("utf-8")
    for example in (ROOT / "examples").glob("*.py"):
        assert f"]({example.name})" in listed


def test_decisions_are_numbered_and_short() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text("utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert [h for h in HEADING.findall(text)][1:] == ["Context", "Decision", "Consequences"]
