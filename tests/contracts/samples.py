"""Small parts and batches, made from whatever is registered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.backbones.base import Backbone
from kinegraph.batch import Batch
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.registry import Component, Config
from kinegraph.skeleton import Skeleton, layout_names, load_layout

LAYOUTS = layout_names()
# A layout that nobody has: of five joints with two numbers each.
MADE = str(Path(__file__).with_name("five.toml"))
CLASSES = 5
# Objectives that compare maps over joints, and a backbone that keeps none.
REFUSED = {("refine", "tcn"), ("language", "tcn"), ("aimclr", "tcn")}

# Objectives that a backbone is an encoder to, whatever it is: these stand for all in most tests.
ENCODERS = {"skeletonclr": ("tcn",), "aimclr": ("stgcn", "ctrgcn-baseline"), "crossclr": ("stgcn",)}


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return so many combinations that any two values of two axes are together in one of them."""
    pairs = {
        (i, left, j, right)
        for (i, one), (j, other) in itertools.combinations(enumerate(axes), 2)
        for left in range(len(one))
        for right in range(len(other))
    }
    chosen = []
    while pairs:
        i, left, j, right = min(pairs)
        row = {i: left, j: right}
        for axis, values in enumerate(axes):
            if axis not in row:  # the value that is new beside most of what is chosen already
                row[axis] = max(
                    range(len(values)), key=lambda v: len(_pairs({**row, axis: v}) & pairs)
                )
        pairs -= _pairs(row)
        chosen.append(tuple(values[row[axis]] for axis, values in enumerate(axes)))
    return chosen


def _pairs(row: Mapping[int, int]) -> set[tuple[int, int, int, int]]:
    return {(i, row[i], j, row[j]) for i, j in itertools.combinations(sorted(row), 2)}


def small_config(name: str, registry: Mapping[str, Component]) -> Config:
    """Return the default configuration of a part, narrow if it has a width."""
    config = registry[name].config
    # Without chance, so that two of them can be compared while they train.
    small = {"width": 8, "dropout": 0.0, "queue": 6, "streams": ("joint", "joint-motion")}
    narrow = {key: value for key, value in small.items() if key in config.model_fields}
    return config.model_validate({"name": name, **narrow})


def small_backbone(
    name: str, layout: str = "ntu25", persons: int = 2, *, original: bool = False
) -> Backbone:
    """Build a narrow backbone as after some training: no parameter at zero, norms that fit."""
    torch.manual_seed(0)
    config = small_config(name, BACKBONES)
    backbone = build_backbone(config, load_layout(layout), persons=persons, original=original)
    stir(backbone)
    settle(backbone, backbone, some_clips(layout, persons)[0])
    return backbone


def small_objective(
    name: str, backbone: str, layout: str = "ntu25", persons: int = 2, *, original: bool = False
) -> Objective:
    """Build an objective around a narrow backbone."""
    objective = build_objective(
        small_config(name, OBJECTIVES),
        partial(small_backbone, backbone, layout, persons, original=original),
        num_classes=CLASSES,
        skeleton=load_layout(layout),
        original=original,
    )
    stir(objective)
    settle(objective, objective.embed, some_clips(layout, persons)[0])
    return objective


@torch.no_grad()
def stir(module: torch.nn.Module) -> None:
    """Move every parameter and running statistic a little away from its starting value."""
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.1 * torch.randn_like(buffer))


@torch.no_grad()
def settle(module: torch.nn.Module, run: Callable[[Tensor], object], x: Tensor) -> None:
    """Let norms take the statistics of clips; with others, numbers may grow beyond all bounds."""
    norms = [each for each in module.modules() if isinstance(each, torch.nn.BatchNorm1d)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()
    run(x)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def some_clips(
    layout: str = "ntu25", persons: int = 2, *, clips: int = 4, frames: int = 13
) -> tuple[Tensor, Tensor]:
    """Return x (N, C, T, V, M) and present (N, M); every second clip lacks its last person."""
    skeleton = load_layout(layout)
    random = torch.Generator().manual_seed(1)
    shape = (clips, skeleton.coordinates.channels, frames, skeleton.joint_count, persons)
    x = torch.randn(shape, generator=random)
    present = torch.ones(clips, persons, dtype=torch.bool)
    if persons > 1:
        present[1::2, -1] = False
    return x * present[:, None, None, None, :], present


def some_batch(
    layout: str = "ntu25", persons: int = 2, *, clips: int = 4, frames: int = 13
) -> Batch:
    """Return a batch of random clips with labels."""
    x, present = some_clips(layout, persons, clips=clips, frames=frames)
    index = torch.arange(clips)
    return Batch(x=x, label=index % CLASSES, index=index, present=present)


def small_store(folder: Path, skeleton: Skeleton, *, clips: int = 6) -> Store:
    """Write a store: lengths differ, every second clip has two people, the second one late."""
    random = np.random.default_rng(2)
    shape = (skeleton.joint_count, skeleton.coordinates.channels)
    with create_store(folder, skeleton, [f"class {k}" for k in range(CLASSES)], source="") as out:
        for row in range(clips):
            frames = 7 + 9 * row
            drift = random.standard_normal((frames, *shape)).cumsum(0) * 0.05
            joints = random.standard_normal(shape) + drift + 1
            tracks = [Track(joints)]
            if row % 2:
                tracks.append(Track(joints[2 : frames - 1] + 0.5, first=2, person=1))
            out.add(Clip(f"clip {row}", tuple(tracks), frames, label=row % CLASSES))
    return open_store(folder)
