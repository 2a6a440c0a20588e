"""``kinegraph ensemble``: adds up the scores of several streams of the same clips."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict
from rich.markup import escape
from rich.table import Table

from kinegraph.console import console, say, to_json
from kinegraph.data.store import Store, open_store
from kinegraph.errors import OutputError, RecipeError, ScoreError, nearest
from kinegraph.evaluation.ensemble import Ensemble, build_ensemble
from kinegraph.evaluation.matching import with_labels_of
from kinegraph.evaluation.metrics import Summary
from kinegraph.evaluation.orders import ORDERS, protocol_order
from kinegraph.evaluation.presets import assumed_streams, find_preset, preset_weights
from kinegraph.evaluation.scores import Scores, load_scores, read_order, save_scores
from kinegraph.evaluation.tuning import Tuning, tune_on_other_clips
from kinegraph.files import refuse_existing

Order = tuple[str, ...] | None


class DataArguments(BaseModel):
    """Where labels and class names come from."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    store: Path | None = None
    """Store that holds the clips; needed where the score files hold no labels."""


class Arguments(BaseModel):
    """Add up the scores of several streams of the same clips.

    Clips are paired by name. Run folders, our score files and the pickles of other programs are
    read; nothing in a pickle is executed.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    members: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, checkpoints or score files, one per stream; what has no scores is tested now."""

    weights: tuple[str, ...] | None = None
    """One number per member, or `auto` to tune them on --tune-on; equal by default."""

    preset: str | None = None
    """Published weights, such as frhead:nw-ucla, ctrgcn, infogcn, lst or aimclr."""

    streams: tuple[str, ...] | None = None
    """Stream of each member, for score files that do not tell it."""

    tune_on: tuple[Path, ...] | None = None
    """Scores of other clips, one file per member in the same order, to tune the weights on."""

    tune_on_reported: bool = False
    """Allow the tuning clips to be among the reported ones; the result then says so."""

    order: str | None = None
    """Clip names, one per line, for score files that number their clips; or ntu60-xsub,
    ntu60-xview, ntu120-xsub or ntu120-xset for those of the original programs, whose clips are then
    found in --data.store (with -train for scores of training clips)."""

    tune_order: str | None = None
    """Likewise for the files of --tune-on."""

    data: DataArguments = DataArguments()

    split: str | None = None
    """Which scores of the run folders; by default their only ones, or `test`."""

    out: Path | None = None
    """Write the summed scores to this .npz file."""

    report: Path | None = None
    """Write a report of the sum to this .html file."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""

    force: bool = False
    """Replace --out and --report if they exist."""


def run(arguments: Arguments) -> int:
    """Add up, print the result and, with ``--out``, write the sum.

    Raises:
        KinegraphError: The files or options do not fit together.
    """
    _check(arguments)
    store = open_store(arguments.data.store) if arguments.data.store else None
    order = _order(arguments.order, store)
    members = [_load(path, arguments.split, order, store) for path in arguments.members]
    members, notes = _with_streams(arguments, members)
    chosen = _weights(arguments, members, store)
    ensemble = (
        build_ensemble(members, chosen.weights, chosen.how, flatters=chosen.flatters, notes=notes)
        if chosen
        else build_ensemble(members)
    )
    if arguments.report or not arguments.out:
        ensemble.members[0].labelled()  # without labels there is nothing to tell
    if arguments.out:
        save_scores(arguments.out, ensemble.combined, force=arguments.force)
    if arguments.report:
        _report(arguments.report, ensemble)
    if arguments.as_json:
        say(to_json(describe(ensemble)))
        return 0
    console().print(table(ensemble))
    for note in ensemble.notes:
        say(f"note: {note}")
    for kind, path in (("scores", arguments.out), ("report", arguments.report)):
        if path:
            say(f"{kind}: {path}")
    return 0


def describe(ensemble: Ensemble) -> dict[str, Any]:
    """Return the result as plain values; accuracies are fractions, null without labels."""
    *members, total = (asdict(s) if s else None for s in ensemble.summaries())
    return {
        "clips": len(ensemble.combined),
        "num_classes": ensemble.combined.num_classes,
        "weights": ensemble.how,
        "members": [
            {"source": m.source, "stream": m.stream, "weight": weight, "metrics": metrics}
            for m, weight, metrics in zip(ensemble.members, ensemble.weights, members, strict=True)
        ],
        "ensemble": total,
        "notes": list(ensemble.notes),
    }


def table(ensemble: Ensemble) -> Table:
    """Return the result as a table in percent: one row per member, then the ensemble."""
    clips = f"{ensemble.combined.split} clips" if ensemble.combined.split else "clips"
    title = escape(f"{len(ensemble.combined)} {clips}, {ensemble.how}")
    rows = Table(title=title, title_justify="left")
    rows.add_column("stream")
    rows.add_column("scores", overflow="fold")
    for heading in ("weight", "top-1", "top-5", "mean class"):
        rows.add_column(heading, justify="right")
    *members, total = ensemble.summaries()
    sources = _short([member.source for member in ensemble.members])
    for member, source, weight, summary in zip(
        ensemble.members, sources, ensemble.weights, members, strict=True
    ):
        cells = (member.stream or "?", source, f"{weight:g}")
        rows.add_row(*map(escape, cells), *_percent(summary, member.num_classes))
    rows.add_section()
    rows.add_row("ensemble", "", "", *_percent(total, ensemble.combined.num_classes), style="bold")
    return rows


def _short(paths: list[str]) -> list[str]:
    """Leave out the folders that all paths share."""
    if len(paths) < 2:
        return paths
    parts = [Path(path).parts for path in paths]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return [str(Path(*p[shared:])) for p in parts]


def _percent(summary: Summary | None, num_classes: int) -> tuple[str, str, str]:
    if summary is None:
        return "-", "-", "-"
    top5 = f"{summary.top5:.2%}" if num_classes > 5 else "-"  # of five classes all are right
    return f"{summary.top1:.2%}", top5, f"{summary.mean_class:.2%}"


def _check(arguments: Arguments) -> None:
    if not arguments.members:
        hint = _hint_of_swallowed(arguments)
        raise RecipeError(
            f"no score files given; name one run folder or score file per stream{hint}"
        )
    automatic = arguments.weights == ("auto",)
    if arguments.weights == ():
        raise RecipeError("--weights is empty; expected one number per member, or auto")
    if arguments.weights and arguments.preset:
        raise RecipeError("--weights and --preset exclude each other; give one of them")
    if arguments.preset:
        find_preset(arguments.preset)
    if automatic and not (arguments.tune_on or arguments.tune_on_reported):
        raise RecipeError(
            "--weights auto needs scores of other clips to tune on: --tune-on FILE ..., one per"
            " member (or --tune-on-reported, which flatters the result)"
        )
    if not automatic and (arguments.tune_on or arguments.tune_on_reported or arguments.tune_order):
        raise RecipeError("--tune-on, --tune-on-reported and --tune-order need --weights auto")
    if arguments.streams and len(arguments.streams) != len(arguments.members):
        raise RecipeError(
            f"--streams names {len(arguments.streams)} streams for"
            f" {len(arguments.members)} score files; expected one for each"
        )
    _check_outputs(arguments)


def _check_outputs(arguments: Arguments) -> None:
    for option, path, suffix in (
        ("--out", arguments.out, ".npz"),
        ("--report", arguments.report, ".html"),
    ):
        if path:
            if path.suffix != suffix:
                raise OutputError(f"{option} {path}: expected a name that ends in {suffix}")
            refuse_existing(path, force=arguments.force)


def _hint_of_swallowed(arguments: Arguments) -> str:
    """Tell where members belong, if an option that takes many values may have taken them."""
    if not (arguments.weights or arguments.streams or arguments.tune_on):
        return ""
    return "; members come first: kinegraph ensemble RUN_A RUN_B --weights 0.6 0.4"


def _report(path: Path, ensemble: Ensemble) -> None:
    from kinegraph.evaluation.report import write_report  # jinja2 is needed only here

    members = len(ensemble.members)
    write_report(
        path,
        ensemble.combined,
        title=f"Ensemble of {members} streams",
        ensemble=ensemble,
        provenance={"weights": ensemble.how},
    )


def is_untested_run(path: Path) -> bool:
    """Whether a path is a checkpoint, or a run folder that holds no scores yet."""
    if path.suffix == ".safetensors":
        return True
    return (path / "recipe.yaml").is_file() and not any((path / "scores").glob("*.npz"))


def _order(order: str | None, store: Store | None) -> Order:
    """Return the clip name of each number: from a file, or from the store and a known protocol."""
    if order is None:
        return None
    if order in ORDERS:
        if store is None:
            raise ScoreError(
                f"--order {order} finds the names of the clips in a store: give --data.store STORE"
            )
        return protocol_order(order, store)
    if not Path(order).exists():
        hint = nearest(order, ORDERS)
        raise ScoreError(
            f"order file '{order}': there is none{hint}; known orders: {', '.join(ORDERS)}"
        )
    return read_order(order)


def _load(path: Path, split: str | None, order: Order, store: Store | None) -> Scores:
    if is_untested_run(path):
        from kinegraph.evaluation.testing import score_run

        return score_run(path, store=store.path if store else None, part=split or "test").scores
    scores = load_scores(path, order=order, split=split)
    return with_labels_of(scores, store) if store else scores


def _with_streams(
    arguments: Arguments, members: list[Scores]
) -> tuple[list[Scores], tuple[str, ...]]:
    """Give the members the streams that were named or that a preset assumes, which is noted."""
    streams, note = arguments.streams, ""
    if arguments.preset and not streams:
        streams = assumed_streams(arguments.preset, [member.stream for member in members])
        order = ", ".join(streams)
        note = f"streams are assumed to be in this order: {order}; name them with --streams"
    if not streams:
        return members, ()
    named = zip(members, streams, strict=True)
    return [replace(member, stream=stream) for member, stream in named], (note,) if note else ()


def _weights(arguments: Arguments, members: list[Scores], store: Store | None) -> Tuning | None:
    """Return the weights and where they come from; None for equal ones."""
    if arguments.preset:
        weights = preset_weights(arguments.preset, [member.stream for member in members])
        return Tuning(weights, f"weights of preset {arguments.preset}")
    if arguments.weights == ("auto",):
        tune_order = _order(arguments.tune_order, store)
        tuning = [_load(path, None, tune_order, store) for path in arguments.tune_on or ()]
        return tune_on_other_clips(
            members, tuning or members, allow_reported=arguments.tune_on_reported
        )
    if arguments.weights:
        try:
            return Tuning(tuple(float(weight) for weight in arguments.weights), "")
        except ValueError as error:
            raise RecipeError(
                f"--weights {' '.join(arguments.weights)}: expected numbers, or auto alone"
            ) from error
    return None
