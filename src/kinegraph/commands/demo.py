"""``kinegraph demo``: the whole way once, from made recordings to a tested ensemble."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import Meter, console, meter, remark, say
from kinegraph.errors import TrainingError
from kinegraph.files import refuse_existing
from kinegraph.training.side_by_side import Child, Job, run_side_by_side, threads_for

if TYPE_CHECKING:
    from kinegraph.evaluation.ensemble import Ensemble
    from kinegraph.evaluation.testing import Tested

RECIPE = "demo"
STREAMS = ("joint", "bone")
EPOCH = "  loss "  # stands in the line that training says after an epoch


class Arguments(BaseModel):
    """Make a data set, train two streams of a narrow CTR-GCN, test and ensemble them.

    Needs no downloads and takes a few minutes on two CPU cores. Everything lies in one folder
    afterwards: data/, joint/, bone/, ensemble.npz and report.html.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    out: Path | None = None
    """Folder of the results; default: runs/demo-TIME."""

    data_seed: Annotated[int, Field(ge=0)] = 0
    """Another number makes other people, cameras and performances."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the training."""

    shuffle_labels: bool = False
    """Control: train on shuffled labels. The accuracy must fall to chance."""

    epochs: Annotated[int | None, Field(ge=1)] = None
    """Other number of epochs than the recipe's."""

    clips_per_class: Annotated[int, Field(ge=2)] = 48
    """Clips of each class in the data set."""

    force: bool = False
    """Write into --out although it exists."""


def run(arguments: Arguments) -> int:
    """Make, train, test, add up and tell.

    Raises:
        KinegraphError: Something cannot be written or trained.
    """
    begin = time.monotonic()
    out = arguments.out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    if arguments.out:
        refuse_existing(out, force=arguments.force)
    remark(f"1/4  making the data set in {out / 'data'}")
    store = _make_data(out / "data", arguments)
    remark("2/4  measuring what has to be beaten: chance and nearest neighbours")
    baselines = _baselines(store)
    remark(f"3/4  training {len(STREAMS)} streams side by side: {', '.join(STREAMS)}")
    _train(out, store, arguments)
    remark("4/4  testing and adding up")
    ensemble, tested = _test(out, baselines)
    report = _report(out, ensemble, tested, baselines)
    console().print(_table(ensemble, baselines))
    say(f"report: {report}")
    remark(f"{time.monotonic() - begin:.0f} s in all")
    return 0


def _make_data(path: Path, arguments: Arguments) -> Path:
    from kinegraph.data.synthetic import make_synthetic

    return make_synthetic(
        path,
        seed=arguments.data_seed,
        clips_per_class=arguments.clips_per_class,
        force=arguments.force,
    )


def _baselines(path: Path) -> dict[str, float]:
    from kinegraph.data.splits import split_rows
    from kinegraph.data.store import open_store
    from kinegraph.evaluation.baselines import measure_baselines

    store = open_store(path)
    return measure_baselines(store, *split_rows(store))


def _train(out: Path, store: Path, arguments: Arguments) -> None:
    """Train every stream in a process of its own; together they use all cores.

    Raises:
        TrainingError: A process failed; its last words are told.
    """
    from kinegraph.recipe import load_recipe

    epochs = arguments.epochs or load_recipe(RECIPE).training.epochs
    jobs = [
        Job(stream, _command(stream, out, store, epochs, arguments), threads_for(len(STREAMS)))
        for stream in STREAMS
    ]
    told: dict[str, int] = {}
    with meter("training", epochs * len(STREAMS)) as shown:
        ended = run_side_by_side(
            jobs,
            at_once=len(STREAMS),
            stopped=lambda: False,
            look=lambda running, ended: _follow((*running, *ended), told, shown),
        )
    for child in ended:
        if child.code != 0:
            stream = child.job.name
            raise TrainingError(f"training of stream '{stream}' failed: {child.last_words()}")


def _command(
    stream: str, out: Path, store: Path, epochs: int, arguments: Arguments
) -> tuple[str, ...]:
    words = [sys.executable, "-m", "kinegraph", "train", RECIPE, "--stream", stream]
    words += ["--data.store", str(store), "--out", str(out / stream)]
    words += ["--seed", str(arguments.seed), "--training.epochs", str(epochs)]
    if arguments.shuffle_labels:
        words += ["--training.shuffle-labels", "true"]
    return (*words, "--force") if arguments.force else tuple(words)


def _follow(children: Sequence[Child], told: dict[str, int], shown: Meter) -> None:
    """Pass on finished epochs: as lines where there is no terminal, and to the meter.

    Args:
        children: The processes.
        told: How many lines of each have been passed on.
        shown: Shows how far they are.
    """
    for child in children:
        stream = child.job.name
        fresh = child.lines[told.get(stream, 0) :]
        told[stream] = told.get(stream, 0) + len(fresh)
        for line in fresh:
            if EPOCH in line and not sys.stderr.isatty():
                remark(f"     {stream:<6} {line}")
    shown.update(sum(EPOCH in line for child in children for line in child.lines))


def _test(out: Path, baselines: Mapping[str, float]) -> tuple[Ensemble, list[Tested]]:
    from kinegraph.evaluation.ensemble import build_ensemble
    from kinegraph.evaluation.scores import save_scores
    from kinegraph.evaluation.testing import save_test, score_run

    tested = [score_run(out / stream) for stream in STREAMS]
    for one in tested:
        save_test(one, baselines=baselines)
    ensemble = build_ensemble([one.scores for one in tested])
    save_scores(out / "ensemble.npz", ensemble.combined)
    return ensemble, tested


def _report(
    out: Path, ensemble: Ensemble, tested: Sequence[Tested], baselines: Mapping[str, float]
) -> Path:
    from kinegraph.evaluation.report import write_report

    first = tested[0]
    assert first.folder is not None
    return write_report(
        out / "report.html",
        ensemble.combined,
        title="kinegraph demo: synthetic actions, joint and bone streams",
        curves=first.folder.read_metrics(),
        recipe_yaml=first.checkpoint.recipe.to_yaml(),
        ensemble=ensemble,
        baselines=baselines,
        provenance=first.provenance(),
        notes=["The learning curves and the recipe are those of the joint stream."],
    )


def _table(ensemble: Ensemble, baselines: Mapping[str, float]) -> Any:
    from rich.table import Table

    table = Table(title=f"{len(ensemble.combined)} test clips of unseen people")
    table.title_justify = "left"
    for heading in ("", "top-1", "top-5", "mean class"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in baselines.items():
        table.add_row(name, f"{value:.2%}", "", "")
    table.add_section()
    names = [*(f"{member.stream} stream" for member in ensemble.members), "ensemble"]
    for name, summary in zip(names, ensemble.summaries(), strict=True):
        if summary is not None:
            cells = (f"{summary.top1:.2%}", f"{summary.top5:.2%}", f"{summary.mean_class:.2%}")
            table.add_row(name, *cells, style="bold" if name == "ensemble" else None)
    return table
