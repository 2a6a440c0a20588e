"""``kinegraph predict``: names the action in recordings, with a trained run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import console, remark, say
from kinegraph.errors import ClipError, RecipeError, SourceError, StoreError
from kinegraph.training.launch import run_ranks, several

if TYPE_CHECKING:
    from kinegraph.data.clip import Clip
    from kinegraph.inference.predictor import Prediction, Predictor
    from kinegraph.training.distributed import World

WHO = "kinegraph predict"


class Arguments(BaseModel):
    """Name the action in recordings.

    The run's own transforms, stream and weights are used. Recordings of another layout than the
    run was trained on are refused, unless the run has data.as_layout, which brings them over.
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
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one; several, such as 0 1,
    start a process for each GPU."""

    layout: str | None = None
    """Layout of recordings that do not tell it."""

    cleaning: str | None = None
    """How bodies in .skeleton files become people, as in the import that the run was trained on."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used, name them, and predict the others."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""

    typed: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The words of the command line, for the processes of several devices."""


@dataclass(frozen=True)
class Sample:
    """One recording to predict: where it came from, and its class if the source tells it.

    Attributes:
        number: Its place among all recordings that were given.
        source: The file, folder, archive or store.
        alone: Whether it is the only recording of its source.
        clip: The recording.
        label: Its class, if known.
    """

    number: int
    source: Path
    alone: bool
    clip: Clip
    label: str | None


@dataclass(frozen=True)
class Answer:
    """What is to be said of one recording.

    Attributes:
        number: Its place among all recordings that were given.
        alone: Whether it is the only recording of its source.
        facts: As `describe` returns them.
    """

    number: int
    alone: bool
    facts: dict[str, Any]


def run(arguments: Arguments) -> int:
    """Predict every recording and print the result.

    Raises:
        KinegraphError: The run or a recording cannot be used, or their layouts differ.
    """
    if not arguments.files:
        raise RecipeError("no recordings given; name files, folders or a store after the run")
    if devices := several(arguments.device):
        return run_ranks(arguments.typed, devices, who=WHO)
    from kinegraph.inference.predictor import Predictor
    from kinegraph.training.distributed import join

    with join(arguments.device, WHO) as world:
        predictor = Predictor.from_run(arguments.run, device=world.device)
        work = _Work(arguments, predictor, world)
        answers = work.gather(list(work.answers()))
        if not answers:
            raise ClipError("none of the recordings could be used")
    if not world.first:
        return 0
    if arguments.as_json:
        rows = [answer.facts for answer in answers]
        say(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(answers)
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


class _Work:
    """The recordings that this process predicts: every so many-th of all that were given."""

    def __init__(self, arguments: Arguments, predictor: Predictor, world: World) -> None:
        self.arguments, self.predictor, self.world = arguments, predictor, world
        self.left_out: list[str] = []
        self._told: set[str] = set()

    def answers(self) -> Iterator[Answer]:
        """Predict recordings as they are read, a batch at a time."""
        batch: list[Sample] = []
        for sample in self._samples():
            batch.append(sample)
            if len(batch) == self.arguments.batch_size:
                yield from self._predict(batch)
                batch = []
        yield from self._predict(batch)

    def gather(self, answers: list[Answer]) -> list[Answer]:
        """Return the answers of all processes in the order of the recordings."""
        if self.world.size == 1:
            return answers
        own = {"answers": list(map(astuple, answers)), "left_out": self.left_out}
        everything = list(map(json.loads, self.world.collect(json.dumps(own).encode())))
        for others in everything[1:]:  # the first process has named its own
            for what in others["left_out"]:
                remark(what)
        found = [Answer(*values) for one in everything for values in one["answers"]]
        return sorted(found, key=lambda answer: answer.number)

    def _predict(self, batch: list[Sample]) -> Iterator[Answer]:
        clips = [sample.clip for sample in batch]
        predictions = self.predictor.predict(
            clips, self.predictor.skeleton, batch_size=max(len(clips), 1)
        )
        for sample, prediction in zip(batch, predictions, strict=True):
            facts = describe(sample, prediction, self.arguments.top)
            yield Answer(sample.number, sample.alone, facts)

    def _samples(self) -> Iterator[Sample]:
        """Read recordings one after the other; with ``--skip-bad`` name the bad ones and go on."""
        numbers = count()
        for path in self.arguments.files:
            try:
                yield from self._samples_of(path, numbers)
            except (SourceError, StoreError) as error:
                if not self.arguments.skip_bad:
                    raise
                remark(f"left out: {error}")  # all processes find it; the first speaks

    def _samples_of(self, path: Path, numbers: Iterator[int]) -> Iterator[Sample]:
        from kinegraph.inference.sources import open_source

        arguments = self.arguments
        with open_source(path, layout=arguments.layout, cleaning=arguments.cleaning) as source:
            joint_map = self.predictor.joint_map(source.skeleton, where=f"'{path}'")
            if joint_map is not None and joint_map.filled:
                self._tell_once(joint_map.describe())
            for recording in source.items:
                number = next(numbers)
                if number % self.world.size != self.world.rank:
                    continue
                try:
                    clip = self.predictor.bring(recording.read(), source.skeleton)
                    self.predictor.check_clip(clip)
                except ClipError as error:
                    if not self.arguments.skip_bad:
                        raise ClipError(
                            f"'{path}': {error}; --skip-bad predicts the others"
                        ) from error
                    self._leave_out(f"left out: '{path}': {error}")
                    continue
                known = 0 <= clip.label < len(source.class_names)
                yield Sample(
                    number=number,
                    source=path,
                    alone=source.count == 1,
                    clip=clip,
                    label=source.class_names[clip.label] if known else None,
                )

    def _tell_once(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            remark(what)

    def _leave_out(self, what: str) -> None:
        remark(what)
        self.left_out.append(what)


def _print_table(answers: list[Answer]) -> None:
    from rich.markup import escape
    from rich.table import Table

    labelled = any(answer.facts["label"] is not None for answer in answers)
    table = Table()
    table.add_column("recording", overflow="fold")
    if labelled:
        table.add_column("recorded as", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("probability", justify="right")
    for answer in answers:
        facts = answer.facts
        first = facts["source"] if answer.alone else facts["clip"]
        told = [escape(facts["label"] or "")] if labelled else []
        head = [escape(first), *told]
        for guess in facts["predictions"]:
            table.add_row(*head, escape(guess["label"]), f"{guess['probability']:.1%}")
            head = [""] * len(head)
        if len(facts["predictions"]) > 1:
            table.add_section()
    console().print(table)
