"""What a reproduction reached, as a section of Markdown and as rows of a table.

The section stands on its own: what was not run says so, and what departs from the plan is named
before any figure. Nothing here imports torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from kinegraph.reproduction.listing import as_typed, before_words
from kinegraph.reproduction.plan import Figure, Plan
from kinegraph.reproduction.result import (
    Accuracy,
    Result,
    RunResult,
    Session,
    planned_seeds,
    spread,
    verdicts,
)

WIDTH = 100
CHOSEN_ON = {
    "validation": "best epoch on validation clips",
    "test": "best epoch on the test clips",
}


def headings(result: Result) -> tuple[str, ...]:
    """Return the headings of `rows`."""
    return ("", "seeds", "last epoch", *_selected(result), "published", "others report")


def _selected(result: Result) -> tuple[str, ...]:
    """Return the heading of the selected epoch, unless that is the last one anyway."""
    return () if result.selection == "last" else (CHOSEN_ON[result.selection],)


def rows(plan: Plan, result: Result) -> list[tuple[str, ...]]:
    """Return a row for every stream and ensemble of a plan, as `headings` says."""
    return [
        (
            of,
            ranges(result.seeds(of) or planned_seeds(plan, of)),
            spread(result.accuracies(of, "last")),
            *(spread(result.accuracies(of, "best")) for _ in _selected(result)),
            _figures(plan.published, of),
            _figures(plan.reported, of),
        )
        for of in plan.subjects
    ]


def ranges(numbers: Sequence[int]) -> str:
    """Return numbers as ``1-3, 7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in parts)


def _figures(figures: Sequence[Figure], of: str) -> str:
    return ", ".join(figure.text for figure in figures if figure.of == of)


def departures(result: Result) -> list[str]:
    """Return what a reader must know before any figure, each as a sentence."""
    told = []
    if result.changed:
        told.append(f"A trial, not the published schedule: {'; '.join(result.changed)}.")
    if not result.runs:
        told.append("Not run.")
    elif result.lacking:
        told.append(f"Only a part of the plan, without {'; '.join(result.lacking)}.")
    if result.unfinished and result.runs:
        told.append(f"Not finished: {', '.join(result.unfinished)}.")
    return told


def page(plan: Plan, result: Result, picture: str = "") -> str:
    """Return the section of Markdown about a result.

    Args:
        plan: The plan.
        result: What was reached.
        picture: Address of its picture, which is shown if anything was run.
    """
    parts = [
        f"## {plan.title}",
        *(_fill(f"**{sentence}**") for sentence in departures(result)),
        _fill(f"{plan.source} Recipe {_recipe(plan)}; {plan.recordings}. The plan: {plan.cost}."),
        f"```bash\n{plan.prepare}\nkinegraph reproduce {plan.name} --data.store STORE\n```",
        _table(headings(result), rows(plan, result)),
        _fill(_legend(plan, result)),
        _targets(plan, result),
    ]
    if result.runs:
        parts += [f"![Accuracy of every seed beside the figures of others]({picture})"] * bool(
            picture
        )
        parts += [_runs(result), _fill(_how(result))]
    return "\n\n".join(filter(None, parts)) + "\n"


def _recipe(plan: Plan) -> str:
    """Return the recipe with the options that the plan sets, for all runs and for streams."""
    told = f"`{plan.recipe} {as_typed(plan.options)}".rstrip() + "`"
    told += "".join(
        f", {stream} with `{as_typed(options)}`" for stream, options in plan.stream_options.items()
    )
    if plan.before is None:
        return told
    recipe, _, often = before_words(plan).rpartition(", ")
    return f"{told}, on the encoder of `{recipe}`, which is trained before, {often}"


def _legend(plan: Plan, result: Result) -> str:
    clips = f" of {result.clips} test clips" if result.clips else ""
    chosen = {
        "test": " The best epoch was chosen on the test clips themselves, which flatters; the last"
        " one was not chosen at all.",
        "validation": " The best epoch was chosen on training subjects set aside.",
        "last": "",
    }[result.selection]
    others = sorted({figure.by for figure in plan.reported})
    reported = f" Others: {', '.join(others)}." if others else ""
    weights = "".join(
        f" {name[:1].upper()}{name[1:]}: {', '.join(one.streams)} of one seed, weights of preset"
        f" `{one.preset}`{', as ' if one.weighed_as else ''}{', '.join(one.weighed_as)}."
        for name, one in plan.ensembles.items()
    )
    return (
        f"Top-1 accuracy in percent{clips}; mean and standard deviation over seeds.{chosen}"
        f" Published: {plan.protocol}.{reported}{weights}"
    )


def _targets(plan: Plan, result: Result) -> str:
    return "\n".join(target_lines(plan, result))


def target_lines(plan: Plan, result: Result) -> list[str]:
    """Return a line for every target of a plan."""
    return [
        f"- target for {one.of}, mean of the last epochs {one.percent:.2f}: {one.text}"
        for one in verdicts(plan, result)
    ]


def _runs(result: Result) -> str:
    head = ("run", "last epoch", *_selected(result), "top-5, last epoch", "training")
    body: list[tuple[str, ...]] = []
    for run in result.runs:
        chosen = f" (epoch {run.best_epoch} of {run.epochs})"
        body.append((
            f"{run.stream}, seed {run.seed}", _percent(run.last.top1),
            *(_best(run.best, chosen) for _ in _selected(result)),
            _percent(run.last.top5), _training(run),
        ))  # fmt: skip
    for one in result.ensembles:
        body.append((
            f"{one.name}, seed {one.seed}", _percent(one.last.top1),
            *(_best(one.best) for _ in _selected(result)), _percent(one.last.top5), "",
        ))  # fmt: skip
    return _table(head, body)


def _training(run: RunResult) -> str:
    """Return how long a run was trained, and what came before it."""
    if run.before is None:
        return duration(run.seconds)
    before = f"{run.before.run}, {run.before.epochs} epochs, {duration(run.before.seconds)}"
    return f"{duration(run.seconds)} after {before}"


def _best(found: Accuracy | None, where: str = "") -> str:
    return "" if found is None else f"{_percent(found.top1)}{where}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"


def _how(result: Result) -> str:
    """Tell where the runs were trained, how long that took, and with which versions."""
    sessions = result.sessions
    machines = dict.fromkeys(f"{one.device}, {one.at_once} at a time" for one in sessions)
    total = duration(sum(one.seconds for one in sessions))
    calls = "one call" if len(sessions) == 1 else f"{len(sessions)} calls"
    used = dict.fromkeys(_versions(one) for one in sessions)
    return (
        f"Trained on {'; '.join(machines)}: {total} by the clock in {calls}, start-up and"
        f" evaluation included; the times of the runs are those of their training batches alone,"
        f" while others ran beside them. Versions: {'; '.join(used)}. Written {result.written}."
    )


def _versions(session: Session) -> str:
    return ", ".join(f"{name} {version}" for name, version in session.versions.items())


def duration(seconds: float) -> str:
    """Return a time in words: ``42 s``, ``7 min 05 s``, ``3 h 12 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fill(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
