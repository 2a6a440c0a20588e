"""The protocols of ``kinegraph probe`` that train: what they print, and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from kinegraph.console import console, remark, say, to_json

if TYPE_CHECKING:
    from kinegraph.commands.probe import Arguments
    from kinegraph.evaluation.probe_runs import Protocol

Result = Mapping[str, Any]  # of one draw: share, draw, train_clips, and three numbers
Summary = dict[str, Any]  # of all draws of a share; its "rows" are mean and deviation by name


def run_protocol(arguments: Arguments) -> int:
    """Train what is missing and print the three numbers; return 0, or 128 + the stopping signal.

    Raises:
        KinegraphError: The run, its data or a wish cannot be used, or a run cannot be trained.
    """
    from kinegraph.evaluation.probe_recipe import Wishes
    from kinegraph.evaluation.probe_runs import (
        judge_raw,
        look_at_all,
        plan_protocol,
        results,
        train_protocol,
    )
    from kinegraph.training.guards import Interrupted
    from kinegraph.training.setup import choose_device

    choose_device(arguments.device)
    protocol = plan_protocol(
        arguments.protocol,
        arguments.run,
        Wishes(
            recipe=arguments.recipe,
            epochs=arguments.epochs,
            lr=arguments.lr,
            original=arguments.original,
            split=arguments.data.split,
            stream=arguments.stream,
        ),
        store=arguments.data.store,
        shares=arguments.shares,
        draws=arguments.draws,
        out=arguments.out,
    )
    states = look_at_all(protocol, force=arguments.force)
    if arguments.dry_run:
        return _list(protocol, states, as_json=arguments.as_json)
    raw = judge_raw(protocol)  # first: what it finds missing is missed before any training
    try:
        train_protocol(protocol, device=arguments.device, force=arguments.force)
    except Interrupted as stop:
        remark(f"{stop}; the same command goes on")
        return 128 + stop.signal
    _tell(arguments, protocol, results(protocol, raw))
    return 0


def _list(protocol: Protocol, states: Sequence[str], *, as_json: bool) -> int:
    """Print every run and how far it is."""
    rows = [
        {"run": str(run.folder.path), "what": run.describe(), "state": str(state)}
        for run, state in zip(protocol.runs, states, strict=True)
    ]
    if as_json:
        say(to_json({"protocol": protocol.name, "runs": rows}))
        return 0
    for row in rows:
        say(f"{row['run']}: {row['what']}; {row['state']}")
    return 0


def summarise(found: Sequence[Result]) -> list[Summary]:
    """Return mean and standard deviation over the draws of each share, of the three numbers.

    The deviation is that of a sample (n - 1); of a single draw there is none.
    """
    from kinegraph.evaluation.probe import ENCODER, RANDOM, RAW

    summaries = []
    for share in dict.fromkeys(result["share"] for result in found):
        draws = [result for result in found if result["share"] == share]
        rows = {}
        for name in (ENCODER, RANDOM, RAW):
            values = [result[name] for result in draws]
            deviation = stdev(values) if len(values) > 1 else None
            rows[name] = {"top-1": fmean(values), "deviation": deviation}
        clips = draws[0]["train_clips"]  # the same in every draw
        summaries.append({"share": share, "train_clips": clips, "draws": len(draws), "rows": rows})
    return summaries


def _tell(arguments: Arguments, protocol: Protocol, found: Sequence[Result]) -> None:
    """Print the numbers, and what is doubtful about them."""
    data, recipe = protocol.opened.data, protocol.runs[0].recipe
    summaries = summarise(found)
    notes = (*protocol.opened.notes("test"), *protocol.notes)
    doubtful = [sentence for summary in summaries for sentence in _doubts(summary)]
    facts = {
        "run": str(arguments.run),
        "store": str(data.store.path),
        "protocol": protocol.name,
        "out": str(protocol.out),
        "epochs": recipe.training.epochs,
        "lr": recipe.optim.lr,
        "statistics": recipe.start.statistics,
        "test_clips": len(data.rows["test"]),
        "epoch": protocol.opened.checkpoint.epoch,
        "summaries": summaries,
        "results": found,
        "runs": [str(run.folder.path) for run in protocol.runs],
        "notes": list(notes),
        "doubts": doubtful,
    }
    title = f"{protocol.name}, {len(data.rows['test'])} test clips, top-1"
    written = _write(protocol, facts, f"{data.store.path.name}, {title}")
    if arguments.as_json:
        say(to_json(facts | written))
        return
    console().print(_by_share(title, summaries) if found[0]["share"] else _by_row(title, summaries))
    for note in notes:
        say(f"note: {note}")
    say(f"runs: {protocol.out}")
    for kind, path in written.items():
        say(f"{kind}: {path}")
    for doubt in doubtful:
        remark(doubt)


def _write(protocol: Protocol, facts: Mapping[str, Any], title: str) -> dict[str, str]:
    """Keep the numbers beside the runs, and of several shares a picture; return what and where."""
    from kinegraph.files import remove_files, write_text

    written = {"result": protocol.result}
    remove_files(protocol.picture)  # an earlier call may have had several shares, or others
    write_text(protocol.result, to_json(facts) + "\n")
    if len(facts["summaries"]) > 1:
        from kinegraph.evaluation.labels_picture import save_labels_picture

        written["picture"] = protocol.picture
        save_labels_picture(protocol.picture, facts["summaries"], title)
    return {kind: str(path) for kind, path in written.items()}


def _doubts(summary: Summary) -> list[str]:
    from kinegraph.evaluation.probe import doubts

    share = summary["share"]
    of = "" if share is None else f"with {_percent(share)} of the labels: "
    return [of + sentence for sentence in doubts(summary["rows"])]


def _by_row(title: str, summaries: Sequence[Summary]) -> Any:
    """A line for each of the three, as the protocols without training have it."""
    from rich.table import Table

    from kinegraph.evaluation.probe import ENCODER

    (summary,) = summaries
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("top-1", justify="right")
    for name, numbers in summary["rows"].items():
        table.add_row(name, _number(numbers), style="bold" if name == ENCODER else None)
    return table


def _by_share(title: str, summaries: Sequence[Summary]) -> Any:
    """A line for each share of the labels."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in ("labels", "clips", *summaries[0]["rows"]):
        table.add_column(heading, justify="right")
    for summary in summaries:
        numbers = map(_number, summary["rows"].values())
        table.add_row(_percent(summary["share"]), str(summary["train_clips"]), *numbers)
    return table


def _number(numbers: Mapping[str, float | None]) -> str:
    mean, deviation = numbers["top-1"], numbers["deviation"]
    return f"{mean:.2%}" if deviation is None else f"{mean:.2%} ± {100 * deviation:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
