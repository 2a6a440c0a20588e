"""Checkpoints: one safetensors file with everything that resuming or using a run needs.

Tensors are named ``model/...``, ``ema/...``, ``optimizer/...`` and ``random/...``; a JSON header
has the recipe, the skeleton, the classes, versions and where in the run it was written. Nothing in
the file can execute code.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kinegraph import __version__
from kinegraph.backbones import build_backbone
from kinegraph.data.clip import MAX_PERSONS
from kinegraph.errors import CheckpointError, LayoutError, OutputError, RecipeError
from kinegraph.files import atomic_file
from kinegraph.objectives import build_objective
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.skeleton import Skeleton

FORMAT_VERSION = 2
HEADER = "kinegraph"
LARGEST = 2**31  # no honest count of epochs or steps is larger


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        recipe: What was trained.
        skeleton: Layout of the joints.
        class_names: Names of the classes, in label order; none where nothing was labelled.
        persons: M, person slots of the network.
        epoch: Epochs that are finished.
        step: Optimiser steps of the epoch that was under way, 0 between epochs.
        progress: Plain values that the training loop wants back.
        versions: Of kinegraph, torch, NumPy and Python.
        tensors: All tensors by their full name.
    """

    recipe: Recipe
    skeleton: Skeleton
    class_names: tuple[str, ...]
    persons: int
    epoch: int
    step: int = 0
    progress: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run has nothing left to train; asked of the last checkpoint of a run.

        It is so after its last epoch, and where ``evaluation.patience`` ended it.
        """
        last = self.epoch >= self.recipe.training.epochs
        return last or self.progress.get("stopped") is True

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix/``, without it."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}

    def build(self) -> Objective:
        """Make the objective with the trained weights: the moving average where there is one.

        It is for tests; what only training needs may be missing.

        Raises:
            CheckpointError: The weights do not fit what the recipe builds.
        """
        objective = make_objective(
            self.recipe, self.skeleton, len(self.class_names), persons=self.persons, bare=True
        )
        trained = self.group("ema") or self.group("model")
        spare = objective.training_only
        load_weights(objective, {k: v for k, v in trained.items() if not k.startswith(spare)})
        return objective.eval()


def make_objective(
    recipe: Recipe, skeleton: Skeleton, num_classes: int, *, persons: int, bare: bool = False
) -> Objective:
    """Build the objective of a recipe, with fresh weights; ``bare``: as far as tests need it."""

    def make_backbone() -> torch.nn.Module:
        return build_backbone(recipe.backbone, skeleton, persons=persons, original=recipe.original)

    return build_objective(
        recipe.objective,
        make_backbone,
        num_classes=num_classes,
        skeleton=skeleton,
        original=recipe.original,
        bare=bare,
    )


def load_weights(module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state strictly.

    Raises:
        CheckpointError: Names or shapes differ; the first few are named.
    """
    wanted = module.state_dict()
    missing = sorted(set(wanted) - set(state))
    extra = sorted(set(state) - set(wanted))
    wrong = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or extra or wrong:
        parts = [f"missing {', '.join(missing[:3])}"] if missing else []
        parts += [f"not known {', '.join(extra[:3])}"] if extra else []
        parts += ["; ".join(wrong[:3])] if wrong else []
        raise CheckpointError(
            f"the checkpoint does not fit its recipe's network ({'; '.join(parts)})"
        )
    module.load_state_dict(dict(state))


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {
        "kinegraph": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        OutputError: The disk refuses.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "recipe": checkpoint.recipe.model_dump(mode="json"),
        "skeleton": checkpoint.skeleton.to_dict(),
        "class_names": list(checkpoint.class_names),
        "persons": checkpoint.persons,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "progress": dict(checkpoint.progress),
        "versions": dict(checkpoint.versions) or versions(),
    }
    with atomic_file(path) as temporary:
        try:
            save_file(_apart(checkpoint.tensors), temporary, metadata={HEADER: json.dumps(header)})
        except SafetensorError as error:  # how it reports what the system refuses
            raise OutputError(f"cannot write '{path}': {error}") from error


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU, none sharing memory with another, as the format wants."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        memory = value.untyped_storage()
        if memory.data_ptr() in seen or memory.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        apart[name] = value
    return apart


def load_checkpoint(path: Path, *, weights: bool = True) -> Checkpoint:
    """Read a checkpoint, or without ``weights`` only what is known about it, which is quick.

    Raises:
        CheckpointError: There is none, it is damaged, of another version or not ours.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}' does not exist")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(HEADER)
            names = file.keys() if weights else ()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"'{path}' is not a readable checkpoint: {error}") from error
    if text is None:
        raise CheckpointError(f"'{path}' is a safetensors file, but not a kinegraph checkpoint")
    try:
        header = json.loads(text)
        version = header["format_version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint '{path}' has a damaged header: {error!r}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint '{path}' has format version {version!r}, this kinegraph reads"
            f" {FORMAT_VERSION}"
        )
    return _from_header(path, header, tensors)


def _from_header(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> Checkpoint:
    try:
        names = header["class_names"]
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError("class_names is not a list of names")
        recipe = parse_recipe(header["recipe"], where=f"recipe in checkpoint '{path}'")
        if not names and recipe.needs_labels:
            raise ValueError("class_names is empty")
        numbers = {key: header[key] for key in ("persons", "epoch", "step")}
        for key, value in numbers.items():
            if type(value) is not int or not 0 <= value <= LARGEST:
                raise ValueError(f"{key} is {value!r}")
        for key in ("progress", "versions"):
            if not isinstance(header[key], dict):
                raise TypeError(f"{key} is {header[key]!r}")
        if not 1 <= numbers["persons"] <= MAX_PERSONS:
            raise ValueError(f"persons is {numbers['persons']}")
        return Checkpoint(
            recipe=recipe,
            skeleton=Skeleton.from_dict(header["skeleton"]),
            class_names=tuple(names),
            **numbers,
            progress=header["progress"],
            versions=header["versions"],
            tensors=tensors,
        )
    except RecipeError as error:
        raise CheckpointError(f"{error}; parts of your own need --plugin FILE.py") from error
    except (KeyError, TypeError, ValueError, LayoutError) as error:
        raise CheckpointError(f"checkpoint '{path}' has a damaged header: {error!r}") from error
