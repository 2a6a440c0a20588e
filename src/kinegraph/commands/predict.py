"""``kinegraph predict``: names the action in recordings, with a trained run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import console, remark, say
from kinegraph.errors import ClipError, RecipeError, SourceError, StoreError

if TYPE_CHECKING:
    from kinegraph.data.clip import Clip
    from kinegraph.inference.predictor import Prediction, Predictor


class Arguments(BaseModel):
    """Name the action in recordings.

    The run's own transforms, stream and weights are used. Recordings of another layout than the
    run was trained on are refused.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: Annotated[Path, tyro.conf.Positional]
    """Run folder (its selected checkpoint) or checkpoint."""

    files: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Recordings: files, folders or archives of them, or stores."""

    top: int = Field(default=5, ge=1)
    """How many of the most probable classes to print for each recording."""

    batch_size: int = Field(default=64, ge=1)
    """Recordings at a time; changes no result."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    layout: str | None = None
    """Layout of recordings that do not tell it."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used, name them, and predict the others."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Sample:
    """One recording to predict: where it came from, and its class if the source tells it."""

    source: Path
    alone: bool  # the only recording of its source
    clip: Clip
    label: str | None


def run(arguments: Arguments) -> int:
    """Predict every recording and print the result.

    Raises:
        KinegraphError: The run or a recording cannot be used, or their layouts differ.
    """
    if not arguments.files:
        raise RecipeError("no recordings given; name files, folders or a store after the run")
    from kinegraph.inference.predictor import Predictor

    predictor = Predictor.from_run(arguments.run, device=arguments.device)
    answers = list(_answers(arguments, predictor))
    if not answers:
        raise ClipError("none of the recordings could be used")
    if arguments.as_json:
        rows = [describe(sample, prediction, arguments.top) for sample, prediction in answers]
        say(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(answers, arguments.top)
    return 0


def describe(sample: Sample, prediction: Prediction, top: int) -> dict[str, Any]:
    """Return one result as plain values; ``label`` is null where the source does not tell it."""
    pairs = zip(prediction.labels[:top], prediction.probabilities[:top], strict=True)
    return {
        "source": str(sample.source),
        "clip": prediction.name,
        "label": sample.label,
        "predictions": [{"label": label, "probability": value} for label, value in pairs],
    }


def _answers(arguments: Arguments, predictor: Predictor) -> Iterator[tuple[Sample, Prediction]]:
    batch: list[Sample] = []
    for sample in _samples(arguments, predictor):
        batch.append(sample)
        if len(batch) == arguments.batch_size:
            yield from _predict(predictor, batch)
            batch = []
    yield from _predict(predictor, batch)


def _predict(predictor: Predictor, batch: list[Sample]) -> Iterator[tuple[Sample, Prediction]]:
    clips = [sample.clip for sample in batch]
    predictions = predictor.predict(clips, predictor.skeleton, batch_size=max(len(clips), 1))
    return zip(batch, predictions, strict=True)


def _samples(arguments: Arguments, predictor: Predictor) -> Iterator[Sample]:
    """Read the recordings one after the other; with ``--skip-bad`` name the bad ones and go on."""
    for path in arguments.files:
        try:
            yield from _samples_of(path, arguments, predictor)
        except (SourceError, StoreError) as error:
            if not arguments.skip_bad:
                raise
            remark(f"left out: {error}")


def _samples_of(path: Path, arguments: Arguments, predictor: Predictor) -> Iterator[Sample]:
    from kinegraph.inference.sources import open_source

    with open_source(path, layout=arguments.layout) as source:
        predictor.check_layout(source.skeleton, where=f"'{path}'")
        for recording in source.items:
            try:
                clip = recording.read()
                predictor.check_clip(clip)
            except ClipError as error:
                if not arguments.skip_bad:
                    raise ClipError(f"'{path}': {error}; --skip-bad predicts the others") from error
                remark(f"left out: '{path}': {error}")
                continue
            known = 0 <= clip.label < len(source.class_names)
            yield Sample(
                source=path,
                alone=source.count == 1,
                clip=clip,
                label=source.class_names[clip.label] if known else None,
            )


def _print_table(answers: list[tuple[Sample, Prediction]], top: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    labelled = any(sample.label is not None for sample, _ in answers)
    table = Table()
    table.add_column("recording", overflow="fold")
    if labelled:
        table.add_column("recorded as", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("probability", justify="right")
    for sample, prediction in answers:
        first = str(sample.source) if sample.alone else prediction.name
        told = [escape(sample.label or "")] if labelled else []
        head = [escape(first), *told]
        pairs = zip(prediction.labels[:top], prediction.probabilities[:top], strict=True)
        for label, probability in pairs:
            table.add_row(*head, escape(label), f"{probability:.1%}")
            head = [""] * len(head)
        if top > 1:
            table.add_section()
    console().print(table)
