"""Plans: what it takes to repeat a published result, as data files.

A plan names a recipe, the streams and seeds to train, the ensembles to add up, and the figures to
compare with. Nothing here imports torch, so that listing plans is quick.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from kinegraph.errors import KinegraphError, RecipeError, unknown
from kinegraph.evaluation.presets import preset_weights
from kinegraph.explain import explain
from kinegraph.registry import Config
from kinegraph.transforms import check_stream
from kinegraph.yaml_text import read_yaml

Percent = Annotated[float, Field(gt=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class EnsemblePlan(Config):
    """Streams to be added up, for every seed that all of them have."""

    streams: Annotated[tuple[str, ...], Field(min_length=2)]
    """The members."""
    preset: str
    """Where their weights come from: `kinegraph list presets`."""


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
        """The figure as tables show it."""
        return "-".join(f"{value:.1f}" for value in self.percent)


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
    recordings: str
    """What has to be at hand."""
    prepare: str
    """The command that makes STORE from it."""
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
            for name, ensemble in self.ensembles.items():
                for stream in ensemble.streams:
                    if stream not in self.runs:
                        raise ValueError(f"{name}: {unknown('stream', stream, self.runs)}")
                preset_weights(ensemble.preset, ensemble.streams)
        except KinegraphError as error:
            raise ValueError(str(error)) from error
        for of in (*(figure.of for figure in (*self.published, *self.reported)), *self.targets):
            if of not in self.subjects:
                raise ValueError(unknown("stream or ensemble", of, self.subjects))
        return self

    @property
    def subjects(self) -> tuple[str, ...]:
        """Everything that gets a figure: streams, then ensembles."""
        return (*self.runs, *self.ensembles)


def plan_names() -> tuple[str, ...]:
    """Return the names of the plans that come with kinegraph, sorted."""
    return tuple(sorted(plan.name for plan in _own_plans()))


def load_plan(name: str) -> Plan:
    """Return a plan by its name, or from a YAML file of your own.

    Raises:
        RecipeError: There is no such plan, or its file is wrong.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        plans = {plan.name: plan for plan in _own_plans()}
        if name not in plans:
            raise RecipeError(unknown("plan", name, plans) + "; or name a .yaml file")
        return plans[name]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(f"plan '{name}' cannot be read: {why}") from error
    plan = parse_plan(text, where=f"plan '{name}'")
    beside = path.parent / plan.recipe
    if beside.suffix in (".yaml", ".yml") and beside.is_file():
        return plan.model_copy(update={"recipe": str(beside)})  # a file is named from the plan's
    return plan


def parse_plan(text: str, *, where: str) -> Plan:
    """Check a plan given as YAML.

    Raises:
        RecipeError: A key or value is wrong; the message names the first one.
    """
    values = read_yaml(text, where=where)
    if not isinstance(values, dict):
        raise RecipeError(f"{where} is not a mapping of keys to values")
    try:
        return Plan.model_validate(values)
    except ValidationError as error:
        raise RecipeError(": ".join(filter(None, (where, *explain(error, values, Plan))))) from None


def _own_plans() -> list[Plan]:
    folder = resources.files("kinegraph") / "reproduction" / "plans"
    files = (file for file in folder.iterdir() if file.name.endswith(".yaml"))
    return [parse_plan(file.read_text("utf-8"), where=f"plan file {file.name}") for file in files]
