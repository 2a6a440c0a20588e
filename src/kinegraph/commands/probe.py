"""``kinegraph probe``: what the features of an encoder are worth, beside what needs no training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.arguments import UsageError
from kinegraph.commands.test import DataArguments
from kinegraph.console import console, remark, say

if TYPE_CHECKING:
    from kinegraph.evaluation.probe import Judge


class Arguments(BaseModel):
    """Judge the features of an encoder: of a run that learned without labels, or of any other.

    The encoder is frozen, and so are its batch statistics. Training clips with their labels teach
    a simple judge, test clips are judged. A random encoder of the same recipe and raw coordinates
    stand beside it: features have to be clearly better than both.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its selected checkpoint) or a checkpoint."""

    protocol: Literal["knn", "linear", "retrieval"] = "knn"
    """knn: class of the most similar training clips. linear: logistic regression on the features.
    retrieval: whether test clips find training clips of their class."""

    data: DataArguments = DataArguments()

    neighbours: Annotated[int | None, Field(ge=1)] = None
    """knn: how many training clips vote; default 1."""

    strength: Annotated[float | None, Field(ge=1e-9, le=1e9)] = None
    """linear: strength of the penalty on large weights; default 0.001."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    batch_size: Annotated[int | None, Field(ge=1)] = None
    """Clips at a time; changes no result."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def run(arguments: Arguments) -> int:
    """Judge and print.

    Raises:
        KinegraphError: The run or its data cannot be used.
    """
    for option, protocol in (("neighbours", "knn"), ("strength", "linear")):
        if getattr(arguments, option) is not None and arguments.protocol != protocol:
            raise UsageError(
                f"--{option} belongs to --protocol {protocol}, not to {arguments.protocol}"
            )
    from kinegraph.evaluation.probe import doubts, probe_run

    judge, settings = _judge(arguments)
    probed = probe_run(
        arguments.run,
        judge,
        store=arguments.data.store,
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
    if arguments.as_json:
        say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return 0
    console().print(_table(facts))
    for note in notes:
        say(f"note: {note}")
    for doubt in doubtful:
        remark(doubt)
    return 0


def _judge(arguments: Arguments) -> tuple[Judge, dict[str, float]]:
    """Return the judge of the protocol, and its settings by name."""
    from kinegraph.evaluation.judges import NEIGHBOURS, nearest_clips
    from kinegraph.evaluation.probe import STRENGTH, linear, retrieval

    if arguments.protocol == "knn":
        neighbours = arguments.neighbours or NEIGHBOURS
        return partial(nearest_clips, neighbours=neighbours), {"neighbours": neighbours}
    if arguments.protocol == "linear":
        strength = arguments.strength or STRENGTH
        return partial(linear, strength=strength), {"strength": strength}
    return retrieval, {}


def _table(facts: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(
        title=f"{facts['protocol']}, {facts['test_clips']} test clips",
        title_justify="left",
    )
    rows: dict[str, dict[str, float]] = facts["rows"]
    table.add_column("")
    for measure in rows["encoder"]:
        table.add_column(measure, justify="right")
    for name, numbers in rows.items():
        style = "bold" if name == "encoder" else None
        table.add_row(name, *(f"{value:.2%}" for value in numbers.values()), style=style)
    return table
