"""What a plan is and takes, in words for the command line. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from kinegraph.reproduction.plan import Figure, Plan


def plan_line(plan: Plan) -> str:
    """Return a plan in one line."""
    count = sum(map(len, plan.runs.values()))
    figure = headline(plan)
    published = f"published {figure}" if figure else "none published"
    runs = "run " if count == 1 else "runs"
    return f"{plan.name:<22} {count:>2} {runs}  {published:<15} {plan.title}: {plan.summary}"


def headline(plan: Plan) -> str:
    """Return the published figure of all streams together, or of the only one; or nothing."""
    return next((one.text for one in plan.published if one.of == plan.subjects[-1]), "")


def plan_lines(plan: Plan) -> list[str]:
    """Return what a plan takes and what it compares with; what is empty is left out."""
    facts = {
        "plan": plan.name,
        "title": f"{plan.title}: {plan.summary}",
        "source": plan.source,
        "needs": plan.recordings,
        "made by": plan.prepare,
        "before": before_words(plan),
        "recipe": f"{plan.recipe} {as_typed(plan.options)}".rstrip(),
        **{f"- {stream}": as_typed(options) for stream, options in plan.stream_options.items()},
        "runs": ", ".join(f"{stream} x {len(seeds)}" for stream, seeds in plan.runs.items()),
        "cost": plan.cost,
        "published": _figures(plan.published),
        "others": _figures(plan.reported),
        "targets": ", ".join(f"{of} {percent:g}" for of, percent in plan.targets.items()),
    }
    width = max(map(len, facts)) + 2
    return [
        f"{label:<{width}}{line}"
        for name, value in facts.items()
        for label, line in zip_longest([name], value.splitlines(), fillvalue="")
        if value
    ]


def before_words(plan: Plan) -> str:
    """Return what is trained before the runs of a plan, and how often; or nothing."""
    if plan.before is None:
        return ""
    recipe = f"{plan.before.recipe} {as_typed(plan.before.options)}".rstrip()
    often = "for every stream" if plan.before.stream is None else "once for all streams"
    return f"{recipe}, {often}"


def as_typed(options: Mapping[str, Any]) -> str:
    """Return options of a recipe as they are typed."""
    return " ".join(f"--{key} {value}" for key, value in options.items())


def _figures(figures: Sequence[Figure]) -> str:
    """Return figures and whose they are, such as ``joint 90.3, bone 91.1 (the paper)``."""
    by: dict[str, list[str]] = {}
    for one in figures:
        by.setdefault(one.by, []).append(f"{one.of} {one.text}")
    return "; ".join(f"{', '.join(found)} ({whose})" for whose, found in by.items())
