"""``kinegraph test``: scores the test clips with a trained run and writes a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import console, remark, say, to_json
from kinegraph.errors import OutputError
from kinegraph.files import refuse_existing
from kinegraph.training.launch import run_ranks, several

WHO = "kinegraph test"


class DataArguments(BaseModel):
    """Where the recordings are."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    store: Path | None = None
    """Store to test on; default: the one that the run was trained on."""


class Arguments(BaseModel):
    """Score the test clips with a trained run.

    Writes scores/test.npz and report.html into the run folder; of a checkpoint that lies in none,
    such as converted weights, it prints the table alone. `kinegraph ensemble` adds up the scores
    of several runs.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its selected checkpoint) or a checkpoint."""

    data: DataArguments = DataArguments()

    part: str = "test"
    """Which clips: test, train or validation."""

    out: Path | None = None
    """Write the scores to this .npz file instead of into the run folder, and no report."""

    baselines: bool = False
    """Measure chance and nearest neighbours on raw coordinates as well, for table and report."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one; several, such as 0 1,
    start a process for each GPU."""

    batch_size: Annotated[int | None, Field(ge=1)] = None
    """Clips at a time; changes no result."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""

    force: bool = False
    """Replace the results of an earlier test."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The words of the command line, for the processes of several devices."""


def run(arguments: Arguments) -> int:
    """Score, write and print.

    Raises:
        KinegraphError: The run or its data cannot be used.
    """
    if devices := several(arguments.device):
        return run_ranks(arguments.typed, devices, who=WHO)
    from kinegraph.evaluation.baselines import measure_baselines
    from kinegraph.evaluation.metrics import summarise
    from kinegraph.evaluation.scores import save_scores
    from kinegraph.evaluation.testing import save_test, score_run
    from kinegraph.training.distributed import join

    _check_place(arguments)
    with join(arguments.device, WHO) as world:
        tested = score_run(
            arguments.run,
            store=arguments.data.store,
            part=arguments.part,
            device=world.device,
            batch_size=arguments.batch_size,
            world=world,
        )
    if not world.first:
        return 0
    scores, data = tested.scores, tested.data
    baselines: dict[str, float] = {}
    if arguments.baselines:
        baselines = measure_baselines(data.store, data.rows["train"], data.rows[arguments.part])
    if arguments.out:
        save_scores(arguments.out, scores, force=arguments.force)
        written = {"scores": str(arguments.out)}
    elif tested.folder:
        report = save_test(tested, baselines=baselines, force=arguments.force)
        written = {"scores": str(tested.folder.scores(scores.split)), "report": str(report)}
    else:  # converted weights, or a checkpoint that was moved
        written = {}
    labelled = scores.labelled()
    summary = summarise(labelled.logits, labelled.labels)
    facts: dict[str, Any] = {
        "run": str(arguments.run),
        "part": scores.split,
        "stream": scores.stream,
        "clips": len(scores.names),
        "epoch": tested.checkpoint.epoch,
        "top1": summary.top1,
        "top5": summary.top5,
        "mean_class": summary.mean_class,
        "baselines": baselines,
        "notes": list(scores.notes),
        **written,
    }
    if arguments.as_json:
        say(to_json(facts))
        return 0
    console().print(_table(facts, len(scores.classes)))
    for note in scores.notes:
        say(f"note: {note}")
    for kind, path in written.items():
        say(f"{kind}: {path}")
    if not written:
        remark("scores not kept: the checkpoint lies in no run folder; --out FILE.npz keeps them")
    return 0


def _check_place(arguments: Arguments) -> None:
    """Raise OutputError if the results have no place or stand there already."""
    from kinegraph.evaluation.testing import refuse_tested

    if arguments.out:
        if arguments.out.suffix != ".npz":
            raise OutputError(f"--out {arguments.out}: expected a name that ends in .npz")
        refuse_existing(arguments.out, force=arguments.force)
    elif not arguments.force:
        refuse_tested(arguments.run, arguments.part)


def _table(facts: dict[str, Any], num_classes: int) -> Any:
    from rich.table import Table

    table = Table(
        title=f"{facts['clips']} {facts['part']} clips, epoch {facts['epoch']}",
        title_justify="left",
    )
    for heading in ("", "top-1", "top-5", "mean class"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, value in facts["baselines"].items():
        table.add_row(name, f"{value:.2%}")
    top5 = f"{facts['top5']:.2%}" if num_classes > 5 else "-"  # of five classes all are right
    name = f"{facts['stream']} stream"
    table.add_row(name, f"{facts['top1']:.2%}", top5, f"{facts['mean_class']:.2%}", style="bold")
    return table
