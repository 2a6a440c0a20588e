"""The recipe: everything that a run depends on, as one schema for YAML, command line, checkpoint.

A recipe needs no torch. Parts are configured by the classes that their registries name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, Any, Literal, get_origin

import yaml
from pydantic import (
    Discriminator,
    Field,
    SerializeAsAny,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from kinegraph.backbones import BACKBONES, CTRGCNConfig
from kinegraph.errors import RecipeError, unknown
from kinegraph.explain import accepts, annotations_at, explain
from kinegraph.objectives import OBJECTIVES, ClassifyConfig
from kinegraph.recipe_files import read_recipe
from kinegraph.registry import Component, Config
from kinegraph.transforms import TRANSFORMS, check_stream
from kinegraph.yaml_text import read_yaml

SEEDS = 2**31  # seeds and draws are below this


class DataConfig(Config):
    """Which recordings."""

    store: str | None = None
    """Folder of the store, made by `kinegraph data import`."""
    split: str | None = None
    """How clips are divided into training and test clips; default: the store's own. A store without
    any label needs none: one that asks for what it does not tell of any clip is passed over."""
    layout: str | None = None
    """Layout that the recipe is made for; a store of another one is refused."""
    as_layout: str | None = None
    """Layout that clips are brought to by the names of their joints; default: the store's own."""
    persons: int | None = Field(None, ge=1)
    """M, person slots; default: as many as the store has, at most 2."""
    label_share: float | None = Field(None, gt=0, le=1)
    """Share of each class's training clips that train, at least one of each; default: all. It is
    for objectives that learn from labels; others refuse it."""
    label_draw: int = Field(0, ge=0, lt=SEEDS)
    """Which ones: another number draws others."""
    place: Literal["auto", "device", "host"] = "auto"
    """Where recordings lie while training: `auto` is on a CUDA device if they take less than half
    of its free memory. Changes no result."""
    precision: Literal["float32", "float16"] = "float32"
    """Numbers of the centred recordings; float16 takes half the memory and rounds to 1 mm or less
    within 4 m of the centre."""


class OptimConfig(Config):
    """The optimiser."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = Field(0.1, gt=0)
    """Learning rate at its highest."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD, or the first beta of AdamW."""
    nesterov: bool = True
    """Nesterov's momentum (SGD)."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay, on all parameters as in the published runs."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest norm of the gradient; longer ones are shortened to it."""


class ScheduleConfig(Config):
    """How the learning rate changes from epoch to epoch."""

    name: Literal["constant", "multi-step", "cosine"] = "multi-step"
    """Stays, drops at some epochs, or falls along half a cosine."""
    warmup: int = Field(0, ge=0)
    """Epochs in which it rises linearly to its full value."""
    steps: tuple[int, ...] = ()
    """Epochs at which it is multiplied by `factor` (multi-step)."""
    factor: float = Field(0.1, gt=0, le=1)
    """See `steps`."""
    minimum: float = Field(0.0, ge=0)
    """Where the cosine ends."""


class TrainingConfig(Config):
    """The training loop."""

    epochs: int = Field(65, ge=1)
    """Times the training clips are gone through."""
    batch_size: int = Field(64, ge=1)
    """Clips in a batch."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged into one step."""
    repeat: int = Field(1, ge=1, le=4096)
    """Times a clip occurs in an epoch, each time augmented anew."""
    repeat_draws: bool = False
    """With `quirks: original`, every epoch augments as the first did, place by place: so did
    programs that seed their workers alike in every epoch."""
    drop_last: bool = True
    """Leave out a last, smaller batch."""
    balanced: bool = False
    """Show every class equally often."""
    shuffle_labels: bool = False
    """Control: train on shuffled labels; the accuracy must fall to chance."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; `auto`: bf16 on CUDA devices made for it, fp32 elsewhere."""
    kernels: Literal["auto", "plain", "fused"] = "auto"
    """Fused kernels where they work, never, or else an error."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the forward pass; `auto`: in long runs on CUDA devices without fused kernels."""
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Record whole steps and replay them; `auto`: on CUDA devices, unless `precision` is fp16."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of a moving average of the weights, which is then what is tested."""
    checkpoint_minutes: float = Field(10.0, gt=0)
    """A checkpoint is written after every epoch and, in long ones, this often."""


class EvaluationConfig(Config):
    """Testing, and which epoch counts."""

    batch_size: int = Field(64, ge=1)
    """Clips in a batch; changes no result."""
    every: int = Field(5, ge=1)
    """Epochs between evaluations while training. `selection: test` is among these; a classifier
    with `selection: validation` is evaluated after every epoch."""
    selection: Literal["last", "validation", "test"] = "last"
    """Which epoch counts: the last; the best on training subjects set aside; or the best on the
    test clips, as the original programs did. Without labels, the best is that of k-NN."""
    patience: int | None = Field(None, ge=1)
    """Evaluations without a better one after which training ends (selection: validation, test)."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the training subjects that is set aside (selection: validation)."""

    @model_validator(mode="after")
    def _patience_waits_for_something(self) -> EvaluationConfig:
        if self.patience is not None and self.selection == "last":
            raise ValueError(
                f"patience {self.patience} waits for a better epoch, but with selection last none"
                " is compared with another: set selection to validation (or test)"
            )
        return self


class StartConfig(Config):
    """What weights the encoder begins with; heads always begin anew."""

    run: str | None = None
    """Run folder or checkpoint whose encoder this one begins as; default: random weights."""
    learns: Literal["all", "head"] = "all"
    """Everything, or the head alone on an encoder that stays as it is (linear evaluation)."""
    statistics: Literal["moving", "kept"] = "moving"
    """Batch statistics of the encoder move as usual, or stay those of `run`, its dropout off, as
    AimCLR's fine-tuning has it."""


class Recipe(Config):
    """A run, stated completely. Use `parse_recipe`, which knows plug-ins' parts as well."""

    summary: str = ""
    """One line for `kinegraph list`."""
    seed: int = Field(0, ge=0, lt=SEEDS)
    """Fixes everything random."""
    stream: str = "joint"
    """What of the joints the network sees, see `kinegraph list streams`."""
    quirks: Literal["none", "original"] = "none"
    """`original` restores what the original programs do differently from what is right."""
    data: DataConfig = Field(default_factory=DataConfig)
    transforms: dict[str, tuple[SerializeAsAny[Config], ...]] = Field(default_factory=dict)
    backbone: SerializeAsAny[Config] = Field(default_factory=CTRGCNConfig)
    objective: SerializeAsAny[Config] = Field(default_factory=ClassifyConfig)
    start: StartConfig = Field(default_factory=StartConfig)
    optim: OptimConfig = Field(default_factory=OptimConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)

    @field_validator("stream")
    @classmethod
    def _known_stream(cls, stream: str) -> str:
        try:
            return check_stream(stream)
        except RecipeError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _labels_are_chosen_for_who_looks_at_them(self) -> Recipe:
        if self.data.label_share is not None and not self.needs_labels:
            name = getattr(self.objective, "name", "")
            raise ValueError(
                f"data.label_share {self.data.label_share:g} chooses clips by labels that objective"
                f" {name} does not look at: leave it out, and set it in the run with labels that"
                " begins from this one (start.run)"
            )
        return self

    @property
    def original(self) -> bool:
        """Whether ``quirks: original`` is set."""
        return self.quirks == "original"

    @property
    def needs_labels(self) -> bool:
        """Whether the objective learns from labels; without, clips that have none train, too."""
        return getattr(self.objective, "needs_labels", True)

    def to_yaml(self) -> str:
        """Return the whole recipe as YAML."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
        )


def recipe_class() -> type[Recipe]:
    """Return the schema with the parts that are registered now, plug-ins included."""
    registries = (BACKBONES, OBJECTIVES, TRANSFORMS)
    return _recipe_class(tuple(part.config for parts in registries for part in parts.values()))


@lru_cache(maxsize=4)
def _recipe_class(registered: tuple[type[Config], ...]) -> type[Recipe]:
    transform = _choice(TRANSFORMS)
    return create_model(
        "Recipe",
        __base__=Recipe,
        backbone=(_choice(BACKBONES), Field(default_factory=CTRGCNConfig)),
        objective=(_choice(OBJECTIVES), Field(default_factory=ClassifyConfig)),
        transforms=(dict[str, tuple[transform, ...]], {}),  # type: ignore[valid-type]
    )


def _choice(registry: Mapping[str, Component]) -> Any:
    """Return the type "one of these configurations, told apart by their name"."""
    configs = [component.config for component in registry.values()]
    if len(configs) == 1:
        return configs[0]
    return Annotated[reduce(or_, configs), Discriminator("name")]


def parse_recipe(
    values: Mapping[str, Any], *, where: str = "recipe", given: Collection[str] = ()
) -> Recipe:
    """Check a recipe given as plain values.

    Args:
        values: The recipe.
        where: What names it in messages.
        given: Dotted keys that were given as options, which messages then name instead.

    Raises:
        RecipeError: A key or value is wrong; the message names the first one.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where} is not a mapping of keys to values")
    try:
        return recipe_class().model_validate(dict(values))
    except ValidationError as error:
        place, sentence = explain(error, values, recipe_class())
    if any(place == key or place.startswith(f"{key}.") for key in given):
        raise RecipeError(f"--{place}: {sentence}")
    raise RecipeError(": ".join(filter(None, (where, place, sentence))))


def load_recipe(name: str, overrides: Sequence[tuple[str, str]] = ()) -> Recipe:
    """Read a recipe and apply overrides such as ``("optim.lr", "0.05")``; they win.

    Raises:
        RecipeError: The recipe or an override is wrong.
    """
    values = read_recipe(name)
    # A component is named before its values are set, in whatever order they were given.
    for path, text in sorted(overrides, key=_is_no_name):
        override(values, path, read_value(path, text))
    return parse_recipe(values, where=f"recipe '{name}'", given=[path for path, _ in overrides])


def _is_no_name(item: tuple[str, str]) -> bool:
    return not item[0].endswith(".name")


def read_value(path: str, text: str) -> Any:
    """Read the value of an option as YAML.

    Where only text may stand, it is taken as it is; where only a list may, one value is a list.

    Raises:
        RecipeError: It is no YAML.
    """
    wanted = annotations_at(recipe_class(), path.split("."))
    if text in ("", "null", "~", "none", "None") and accepts(wanted, type(None)):
        return None
    if wanted and all(annotation in (str, type(None)) for annotation in wanted):
        return text
    value = read_yaml(text, where=f"--{path}")
    only_lists = bool(wanted) and all(get_origin(annotation) is tuple for annotation in wanted)
    return [value] if only_lists and not isinstance(value, list) else value


def override(values: dict[str, Any], path: str, value: Any) -> None:
    """Set one value by its dotted path; naming another component drops the old one's values.

    Raises:
        RecipeError: The path runs through something that has no keys.
    """
    *parents, last = path.split(".")
    target: Any = values
    for depth, word in enumerate(parents):
        here = ".".join(parents[: depth + 1])
        place: Any = word
        if isinstance(target, list):
            place = _position(path, ".".join(parents[:depth]), word, target)
        elif word not in target and depth == 0:
            target[word] = _start(word)
        elif word not in target:
            raise RecipeError(f"--{path}: {unknown('key', here, _full(parents[:depth], target))}")
        # A copy: YAML's aliases make one list of several views, of which one alone is meant.
        target[place] = copy(target[place])
        target = target[place]
        if not isinstance(target, dict | list):
            raise RecipeError(f"--{path}: '{here}' is a single value, it has no '{last}'")
    if isinstance(target, list):
        target[_position(path, ".".join(parents), last, target)] = value
        return
    is_component = parents[:1] in (["backbone"], ["objective"], ["transforms"])
    if is_component and last == "name" and target.get("name", value) != value:
        target.clear()
    target[last] = value


def _position(path: str, here: str, word: str, entries: list[Any]) -> int:
    if not (word.isascii() and word.isdigit() and int(word) < len(entries)):
        expected = f"entries 0 to {len(entries) - 1}" if entries else "no entries"
        raise RecipeError(f"--{path}: '{here}' has {expected}, found '{word}'")
    return int(word)


def _start(section: str) -> dict[str, Any]:
    """Return what a section that a recipe leaves out begins with: its default component."""
    defaults = {"backbone": CTRGCNConfig, "objective": ClassifyConfig}
    return {"name": defaults[section]().name} if section in defaults else {}


def _full(parents: Sequence[str], known: Iterable[str]) -> list[str]:
    return [".".join((*parents, key)) for key in known]
