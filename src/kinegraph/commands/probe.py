"""``kinegraph probe``: what the features of an encoder are worth, beside what needs no training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.arguments import UsageError
from kinegraph.commands.test import DataArguments
from kinegraph.console import console, remark, say, to_json
from kinegraph.errors import OutputError
from kinegraph.files import refuse_existing

if TYPE_CHECKING:
    from kinegraph.evaluation.probe import Judge, Probed


FROZEN = ("knn", "linear", "retrieval", "tsne")
TRAINED = ("finetune", "semi", "transfer")
# Options that belong to some protocols alone.
OPTIONS = {
    "neighbours": ("knn",),
    "strength": ("linear",),
    "schedule": ("linear",),
    **dict.fromkeys(("batch_size", "no_report"), FROZEN),
    "shares": ("semi",),
    **dict.fromkeys(("recipe", "stream", "epochs", "lr"), TRAINED),
    **dict.fromkeys(("draws", "original", "dry_run"), TRAINED),
}


class ProbeData(DataArguments):
    """Where the recordings are, and how they are divided."""

    split: str | None = None
    """How they are divided into training and test clips; default: as in the run, for transfer as
    the store itself says."""


class Arguments(BaseModel):
    """Judge the features of an encoder: of a run that learned without labels, or of any other.

    Training clips with their labels teach a judge, test clips are judged. A random encoder of the
    same recipe and raw coordinates stand beside it: features have to be clearly better than both.

    knn, linear, retrieval and tsne keep the encoder frozen, its batch statistics included. On small
    sets they take seconds; on raw coordinates of tens of thousands of clips linear takes minutes to
    hours, fewer with --schedule published. They write a page with curves, a picture of the features
    and nearest neighbours into the run folder: report.html, or report-probe.html where tests write
    that. Each probe writes it anew.

    finetune, semi and transfer train all of its weights: ordinary runs in RUN/probes/PROTOCOL,
    beside the same network from random weights with the same schedule. Raw coordinates meet linear
    first, for as long as it takes. The same command goes on where it was stopped.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its selected checkpoint) or a checkpoint."""

    protocol: Literal["knn", "linear", "retrieval", "tsne", "finetune", "semi", "transfer"] = "knn"
    """knn: class of the most similar training clips. linear: a linear classifier on the features.
    retrieval: whether test clips find training clips of their class. tsne: a picture of test clips
    on a plane, and how many have a nearest point of their class there; written as tsne.svg, too.
    finetune: all weights are trained with the labels. semi: the same with a few labels of each
    class. transfer: as finetune, on --data.store OTHER, whose classes and layout may be others."""

    data: ProbeData = ProbeData()

    neighbours: Annotated[int | None, Field(ge=1)] = None
    """knn: how many training clips vote; default 1."""

    schedule: Literal["exact", "published"] | None = None
    """linear: exact (default) is logistic regression, which has one optimum. published is
    AimCLR's: SGD for 100 epochs from a learning rate of 3."""

    strength: Annotated[float | None, Field(ge=1e-9, le=1e9)] = None
    """linear, exact: strength of the penalty on large weights; default 0.001."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = None
    """semi: shares of the labels of each class; default 0.01 0.05 0.1 0.2."""

    draws: Annotated[int | None, Field(ge=1, le=1000)] = None
    """finetune, semi, transfer: how often labels, weights and order are drawn and trained; default
    3 for semi, else 1."""

    recipe: str | None = None
    """finetune, semi, transfer: a recipe whose transforms, optimiser and schedule are used, with
    the run's backbone, stream and split."""

    stream: str | None = None
    """finetune, semi, transfer: what of the joints is seen. A run of several encoders (crossclr)
    gives the one of this stream; default: joint there, else the run's."""

    epochs: Annotated[int | None, Field(ge=1)] = None
    """finetune, semi, transfer: epochs; default 30, or as the recipe says."""

    lr: Annotated[float | None, Field(gt=0)] = None
    """finetune, semi, transfer: learning rate; default 0.05, falling along a cosine, or as the
    recipe says."""

    original: bool = False
    """finetune, semi, transfer: fine-tune as AimCLR's program does: batch statistics stay those of
    the run, dropout is off; semi shortens gradients to a norm of 2."""

    dry_run: bool = False
    """finetune, semi, transfer: list the runs and how far each is, and stop."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    batch_size: Annotated[int | None, Field(ge=1)] = None
    """Clips at a time where features are computed; changes no result."""

    out: Path | None = None
    """Write the page to this .html file, or the picture of --protocol tsne to this .svg file,
    instead of into the run folder. finetune, semi, transfer: folder for the runs; default:
    RUN/probes/PROTOCOL."""

    force: bool = False
    """Replace the file that --out names. finetune, semi, transfer: replace runs that were trained
    in another way."""

    no_report: bool = False
    """Write no page and no picture, which take some seconds."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def run(arguments: Arguments) -> int:
    """Judge and print.

    Raises:
        KinegraphError: The run or its data cannot be used.
    """
    _check_options(arguments)
    if arguments.protocol in TRAINED:
        from kinegraph.commands.probe_training import run_protocol

        return run_protocol(arguments)
    _check_place(arguments)
    from kinegraph.evaluation.probe import doubts, probe_run

    judge, settings = _judge(arguments)
    probed = probe_run(
        arguments.run,
        judge,
        store=arguments.data.store,
        split=arguments.data.split,
        device=arguments.device,
        batch_size=arguments.batch_size,
    )
    notes, doubtful = probed.opened.notes("test"), doubts(probed.rows)
    facts: dict[str, Any] = {
        "run": str(arguments.run),
        "store": str(probed.opened.data.store.path),
        "protocol": arguments.protocol,
        **settings,
        "train_clips": probed.train,
        "test_clips": probed.test,
        "features": probed.features,
        "epoch": probed.opened.checkpoint.epoch,
        "rows": probed.rows,
        "notes": list(notes),
        "doubts": doubtful,
    }
    if arguments.protocol == "tsne":
        facts["drawn"] = _drawn(judge, probed)
    if arguments.as_json:
        facts |= _write(arguments, probed, judge, settings)
        say(to_json(facts))
        return 0
    console().print(_table(probed, arguments.protocol))
    for note in notes:
        say(f"note: {note}")
    for doubt in doubtful:
        remark(doubt)
    if "drawn" in facts:
        say(
            "drawn: {clips} test clips of {classes} classes, perplexity {perplexity:g}".format(
                **facts["drawn"]
            )
        )
    for kind, path in _write(arguments, probed, judge, settings).items():
        say(f"{kind}: {path}")
    return 0


def _check_place(arguments: Arguments) -> None:
    """Refuse a place for what is written that cannot be used, before anything is computed."""
    if arguments.out is None:
        if arguments.force:
            raise UsageError("--force replaces what --out names, and there is no --out")
        return
    if arguments.no_report:
        raise UsageError("--out says where to write, --no-report that nothing is written")
    ending = ".svg" if arguments.protocol == "tsne" else ".html"
    if arguments.out.suffix != ending:
        raise OutputError(
            f"--out {arguments.out}: expected a name that ends in {ending} (--protocol"
            f" {arguments.protocol})"
        )
    refuse_existing(arguments.out, force=arguments.force)


def _write(
    arguments: Arguments, probed: Probed, judge: Judge, settings: dict[str, Any]
) -> dict[str, str]:
    """Write page and picture where they belong, and return what they are and where."""
    if arguments.no_report:
        return {}
    from kinegraph.evaluation.embedding_picture import write_svg
    from kinegraph.evaluation.plane import PlaneJudge
    from kinegraph.evaluation.probe_report import page_of, picture_of, write_probe_report

    run = probed.opened.folder
    written: dict[str, Path] = {}
    clouds = None
    if isinstance(judge, PlaneJudge):
        clouds = dict(zip(probed.rows, judge.placed, strict=True))
        if picture := arguments.out or (run.tsne if run else None):
            write_svg(picture, picture_of(probed, clouds))
            written["picture"] = picture
    page = page_of(probed, run) if run else None
    if arguments.out is not None:
        page = arguments.out if clouds is None else None
    if page is not None:
        write_probe_report(
            page, probed, protocol=arguments.protocol, settings=settings, clouds=clouds
        )
        written["report"] = page
    if not written:
        remark("no page kept: the checkpoint lies in no run folder; --out FILE keeps it")
    return {kind: str(path) for kind, path in written.items()}


def _drawn(judge: Any, probed: Probed) -> dict[str, float]:
    """Return what the picture of --protocol tsne shows."""
    from kinegraph.evaluation.plane import perplexity_for

    clips = judge.placed[0].clips
    classes = len(set(probed.clips.test_y[clips].tolist()))
    return {"clips": len(clips), "classes": classes, "perplexity": perplexity_for(len(clips))}


def _check_options(arguments: Arguments) -> None:
    """Raise UsageError if an option says nothing to the protocol."""
    for option, protocols in OPTIONS.items():
        if getattr(arguments, option) in (None, False) or arguments.protocol in protocols:
            continue
        raise UsageError(
            f"--{option.replace('_', '-')} belongs to --protocol {' or '.join(protocols)}, not to"
            f" {arguments.protocol}"
        )
    if arguments.strength is not None and arguments.schedule == "published":
        raise UsageError("--strength belongs to --schedule exact, not to published")
    if arguments.protocol == "transfer" and arguments.data.store is None:
        raise UsageError("--protocol transfer needs --data.store OTHER: where to transfer to")


def _judge(arguments: Arguments) -> tuple[Judge, dict[str, Any]]:
    """Return the judge of the protocol, and its settings by name."""
    from kinegraph.evaluation.judges import NEIGHBOURS, nearest_clips
    from kinegraph.evaluation.probe import STRENGTH, linear, retrieval

    if arguments.protocol == "knn":
        neighbours = arguments.neighbours or NEIGHBOURS
        return partial(nearest_clips, neighbours=neighbours), {"neighbours": neighbours}
    if arguments.schedule == "published":
        from kinegraph.evaluation.published_linear import PublishedLinear

        return PublishedLinear(), {"schedule": "published"}
    if arguments.protocol == "linear":
        strength = arguments.strength or STRENGTH
        judge = partial(linear, strength=strength, remedy="a larger --strength helps")
        return judge, {"schedule": "exact", "strength": strength}
    if arguments.protocol == "tsne":
        from kinegraph.evaluation.plane import PlaneJudge

        return PlaneJudge(), {}
    return retrieval, {}


def _table(probed: Probed, protocol: str) -> Any:
    from rich.table import Table

    from kinegraph.evaluation.probe import ENCODER

    table = Table(title=f"{protocol}, {probed.test} test clips", title_justify="left")
    table.add_column("")
    for measure in probed.measures:
        table.add_column(measure, justify="right")
    for name, numbers in probed.rows.items():
        shown = (f"{numbers[measure]:.2%}" for measure in probed.measures)
        table.add_row(name, *shown, style="bold" if name == ENCODER else None)
    return table
