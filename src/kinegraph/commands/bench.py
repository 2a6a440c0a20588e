"""``kinegraph bench``: how fast a recipe trains and scores here, and what holds it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import console, remark, say
from kinegraph.files import refuse_existing, write_text
from kinegraph.recipe import load_recipe


class Arguments(BaseModel):
    """Measure how fast a recipe trains and scores on a device, and what holds it back.

    Says clips a second for training and inference, the latency of one clip, peak memory, how a
    training step divides among data, forward, backward and optimiser, and how near arithmetic and
    traffic come to what the device can do. Nothing is trained that is worth keeping.

    Without --data.store STORE it makes random recordings for the time: in the recipe's layout, or
    NTU's 25 joints where the recipe fits all, of two people unless --data.persons says otherwise.
    Two-person recordings are also measured with 80 % of the clips showing one person, as in NTU.

    Every key of the recipe is an option too: `kinegraph bench ctrgcn --training.precision bf16
    --training.compile on` measures a switch.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    recipe: Annotated[str, tyro.conf.Positional]
    """Name of a recipe (kinegraph list recipes), or a YAML file of your own."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps ...; auto takes an accelerator if there is one."""

    batch_size: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Batch sizes to measure, one after another; default: the recipe's own."""

    rounds: Annotated[int, Field(ge=1)] = 5
    """Rounds of each measurement; the median is shown."""

    seconds: Annotated[float, Field(gt=0)] = 2.0
    """Time for the rounds of a measurement together; slow devices take at least a step a round."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print everything as JSON, all rounds included, instead of tables."""

    out: Path | None = None
    """Write the JSON to this file as well."""

    force: bool = False
    """Replace --out if it exists."""

    overrides: Annotated[tuple[tuple[str, str], ...], tyro.conf.Suppress] = ()
    """Keys of the recipe that were given as options."""


def run(arguments: Arguments) -> int:
    """Measure and tell.

    Raises:
        KinegraphError: The recipe, its recordings or the device cannot be used.
    """
    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if arguments.out is not None:
        refuse_existing(arguments.out, force=arguments.force)
    from kinegraph.benchmarking.measure import Settings, measure_recipe
    from kinegraph.benchmarking.table import show
    from kinegraph.training.setup import choose_device

    result = measure_recipe(
        arguments.recipe,
        recipe,
        choose_device(arguments.device),
        Settings(arguments.batch_size, arguments.rounds, arguments.seconds),
        say=remark,
    )
    text = json.dumps(result.document(), indent=2, ensure_ascii=False)
    if arguments.out is not None:
        write_text(arguments.out, text + "\n")
    if arguments.as_json:
        say(text)
    else:
        console().print(show(result))
    return 0
