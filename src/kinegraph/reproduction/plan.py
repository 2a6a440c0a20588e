"""Plans: what it takes to repeat a published result.

A plan names a recipe, the streams and seeds to train, the ensembles to add up, and the figures to
compare with. Those that come with kinegraph lie in files by system, see ``published``; a file of
the user's holds one. Nothing here imports torch, so that listing plans is quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from kinegraph.errors import KinegraphError, RecipeError, unknown
from kinegraph.evaluation.presets import preset_weights
from kinegraph.explain import explain
from kinegraph.recipe import SEEDS
from kinegraph.registry import Config
from kinegraph.transforms import check_stream
from kinegraph.yaml_text import read_yaml

Percent = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]
Options = dict[str, Any]  # key of the recipe -> value


class EnsemblePlan(Config):
    """Streams to be added up, for every seed that all of them have."""

    streams: Annotated[tuple[str, ...], Field(min_length=2)]
    """The members."""
    preset: str
    """Where their weights come from: `kinegraph list presets`."""
    weighed_as: tuple[str, ...] = ()
    """The preset's streams that the members stand for, in their order, where names differ: a
    k-mode-1 is weighed as the bone stream."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The streams by which the preset finds the weights."""
        return self.weighed_as or self.streams


class Before(Config):
    """Runs that are trained first: the plan's own begin from their encoders."""

    recipe: str
    """Their recipe; stream and seed are set as for the plan's own runs."""
    options: Options = Field(default_factory=dict)
    """Keys of that recipe that the plan sets."""
    stream: str | None = None
    """One run of this stream for all streams of a seed, as it has an encoder for each; default: a
    run for every stream."""


class Figure(Config):
    """An accuracy that somebody else reached."""

    of: str
    """A stream or an ensemble of the plan."""
    percent: Annotated[tuple[Percent, ...], Field(min_length=1, max_length=2)]
    """Top-1 accuracy, or the ends of a range."""
    by: str
    """Whose figure it is."""

    @property
    def text(self) -> str:
        """The figure as tables show it, with the one or two decimals that it was given."""
        decimals = [1 if value == round(value, 1) else 2 for value in self.percent]
        return "-".join(f"{value:.{n}f}" for value, n in zip(self.percent, decimals, strict=True))


class Plan(Config):
    """How a published result is repeated."""

    name: str
    """``method:data-set``."""
    title: str
    """Heading of the result."""
    summary: str
    """One line for the list of plans."""
    source: str
    """The publication."""
    recipe: str
    """Recipe of every run; its stream and seed are set by the plan."""
    options: Options = Field(default_factory=dict)
    """Keys of the recipe that the plan sets for every run, such as ``data.split: xview``."""
    stream_options: dict[str, Options] = Field(default_factory=dict)
    """Stream -> further keys for its runs alone."""
    before: Before | None = None
    """What is trained first."""
    recordings: str
    """What has to be at hand."""
    prepare: str
    """The command that makes STORE from it, or several, each on a line."""
    cost: str
    """What the runs take."""
    device_gib: Annotated[float, Field(gt=0)]
    """Device memory that one run gets, in GiB, when runs are packed side by side."""
    runs: Annotated[dict[str, tuple[Seed, ...]], Field(min_length=1)]
    """Stream -> seeds."""
    ensembles: dict[str, EnsemblePlan] = Field(default_factory=dict)
    """Name -> members and weights."""
    published: tuple[Figure, ...] = ()
    """Figures of the publication."""
    reported: tuple[Figure, ...] = ()
    """Figures of others who ran the original program."""
    protocol: str
    """How the published figures chose their epoch."""
    targets: dict[str, Percent] = Field(default_factory=dict)
    """Stream or ensemble -> the mean over seeds, at the last epoch, that has to be reached."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        try:
            for stream, seeds in self.runs.items():
                check_stream(stream)
                if not seeds or len(set(seeds)) < len(seeds):
                    raise ValueError(f"stream '{stream}' needs seeds, each of them once")
            self._options_fit()
            self._ensembles_fit()
        except KinegraphError as error:
            raise ValueError(str(error)) from error
        for of in (*(figure.of for figure in (*self.published, *self.reported)), *self.targets):
            if of not in self.subjects:
                raise ValueError(unknown("stream or ensemble", of, self.subjects))
        return self

    def _options_fit(self) -> None:
        for stream in self.stream_options:
            if stream not in self.runs:
                raise ValueError(f"stream_options: {unknown('stream', stream, self.runs)}")
        own = {"stream", "seed"}
        if self.before is not None:
            check_stream(self.before.stream or "joint")
            if taken := own & self.before.options.keys():
                raise ValueError(f"before: option '{min(taken)}' is set by runs")
            own |= {"start.run"}
        for options in (self.options, *self.stream_options.values()):
            if taken := own & options.keys():
                raise ValueError(f"option '{min(taken)}' is set by runs")

    def _ensembles_fit(self) -> None:
        for name, ensemble in self.ensembles.items():
            for stream in ensemble.streams:
                if stream not in self.runs:
                    raise ValueError(f"{name}: {unknown('stream', stream, self.runs)}")
            if len(ensemble.roles) != len(ensemble.streams):
                raise ValueError(f"{name}: weighed_as needs a name for each of its streams")
            preset_weights(ensemble.preset, ensemble.roles)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everything that gets a figure: streams, then ensembles."""
        return (*self.runs, *self.ensembles)

    @property
    def prepare_line(self) -> str:
        """The commands of `prepare` in one line."""
        return " && ".join(self.prepare.splitlines())

    def options_of(self, stream: str) -> Options:
        """The keys of the recipe that the plan sets for the runs of a stream."""
        return self.options | self.stream_options.get(stream, {})


def read_plan(file: Path) -> Plan:
    """Return the plan of a YAML file of the user's.

    Raises:
        RecipeError: The file is no plan.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(f"plan '{file}' cannot be read: {why}") from error
    plan = parse_plan(text, where=f"plan '{file}'")
    update: dict[str, Any] = {"recipe": _beside(file, plan.recipe)}
    if plan.before is not None:
        recipe = _beside(file, plan.before.recipe)
        update["before"] = plan.before.model_copy(update={"recipe": recipe})
    return plan.model_copy(update=update)


def _beside(file: Path, recipe: str) -> str:
    """Return a recipe as it can be read: a file is named from that of the plan."""
    beside = file.parent / recipe
    return str(beside) if beside.suffix in (".yaml", ".yml") and beside.is_file() else recipe


def parse_plan(text: str, *, where: str) -> Plan:
    """Check a plan given as YAML.

    Raises:
        RecipeError: A key or value is wrong; the message names the first one.
    """
    values = read_yaml(text, where=where)
    if not isinstance(values, dict):
        raise RecipeError(f"{where} is not a mapping of keys to values")
    return make_plan(values, where=where)


def make_plan(values: Mapping[str, Any], *, where: str) -> Plan:
    """Check a plan given as plain values.

    Raises:
        RecipeError: A key or value is wrong; the message names the first one.
    """
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise RecipeError(": ".join(filter(None, (where, *explain(error, values, Plan))))) from None
