"""Prints, after the tests, what was compared with the original programs and what was not."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from .goldens import folders

PROPERTY = "golden"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print files and arrays compared for each family, and every file that no test used."""
    found = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if not found:
        return
    terminalreporter.section("parity with the original programs")
    families: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in found:
        families[item["family"]].append(item)
    for family, items in families.items():
        arrays = sum(item["arrays"] for item in items)
        worst = max(item["worst"] for item in items)
        terminalreporter.line(
            f"{family:24} {len(items):3} files {arrays:5} arrays,"
            f" largest difference {100 * worst:.3g} % of the tolerance"
        )
    used = {path for item in found for path in item["used"]}
    for folder in folders():
        unused = [
            path.name
            for path in sorted(folder.iterdir())
            if (path.suffix == ".npz" or path.is_dir()) and str(path) not in used
        ]
        terminalreporter.line(f"{folder}: {len(unused)} that no test used")
        for name in unused:
            terminalreporter.line(f"  {name}")
