"""Checks of the first releases: ST-GCN of January 2018, Temporal Conv, two-stream ST-GCN."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from kinegraph.backbones import (
    STGCNConfig,
    STGCNFirstReleaseConfig,
    TCNConfig,
    build_backbone,
)
from kinegraph.compat.rules import UNUSED
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.nn.graph import directed
from kinegraph.objectives import ClassifyConfig, TwoStreamConfig, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.objectives.two_stream import TwoStream, acceleration
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton, load_layout

from .fill import fill, skeleton_input
from .goldens import POSITIONS, Comparison, Golden, stated_numbers
from .networks import EXACT

# Of the layout of a file's clips, by their number of joints.
JOINTS = {25: "ntu25", 18: "openpose18"}


def build(config: Config, objective: Config, golden: Golden, skeleton: Skeleton) -> Objective:
    """Build an objective with quirks: original."""
    return build_objective(
        objective,
        lambda: build_backbone(config, skeleton, persons=2, original=True),
        num_classes=golden.meta["args"]["num_class"],
        skeleton=skeleton,
        original=True,
    )


def load(golden: Golden, family: str, objective: Objective) -> Iterator[Comparison]:
    """Compare names and shapes, and load the weights that the file was made with."""
    theirs = {row[0]: list(row[1]) for row in golden.meta["keys"]}
    unused = [name for name in theirs if name.endswith(UNUSED.get(family, ("nothing",)))]
    fresh = to_original(family, objective.state_dict())
    shapes = {name: list(tensor.shape) for name, tensor in fresh.items()}
    assert shapes == {name: shape for name, shape in theirs.items() if name not in unused}
    if "n_params" in golden.meta:
        count = sum(parameter.numel() for parameter in objective.parameters())
        carried = [name for name in unused if name.endswith(("weight", "bias"))]
        count += sum(math.prod(theirs[name]) for name in carried)
        yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    filled = fill(fresh, seed=golden.meta["seed"], keep=golden.meta["kept"])
    load_state(objective, family, filled)
    objective.eval()


def clips(golden: Golden) -> torch.Tensor:
    """Make the clips of a file."""
    sizes = stated_numbers(golden.meta["input"])
    return skeleton_input(*sizes[:5], sizes[5])


@torch.no_grad()
def check_first_release(golden: Golden) -> Iterator[Comparison]:
    """Logits of the first ST-GCN, and its graph."""
    skeleton = load_layout("ntu25")
    objective = build(STGCNFirstReleaseConfig(), ClassifyConfig(), golden, skeleton)
    yield from load(golden, "stgcn-v1", objective)
    yield Comparison("A", directed(skeleton), 1e-7)
    yield from _logits(golden, objective)


@torch.no_grad()
def check_temporal_conv(golden: Golden) -> Iterator[Comparison]:
    """Logits of the baseline without joints."""
    skeleton = load_layout(JOINTS[clips(golden).shape[3]])
    config = TCNConfig(normalise=golden.meta["args"]["use_data_bn"])
    objective = build(config, ClassifyConfig(), golden, skeleton)
    yield from load(golden, "tcn", objective)
    yield from _logits(golden, objective)


@torch.no_grad()
def check_two_stream(golden: Golden) -> Iterator[Comparison]:
    """Logits of both streams and their sum, and what the second one sees."""
    arguments = golden.meta["args"]
    config = STGCNConfig(
        strategy=arguments["graph_args"]["strategy"],
        edge_importance=arguments["edge_importance_weighting"],
        dropout=arguments["dropout"],
    )
    objective = build(config, TwoStreamConfig(), golden, load_layout("ntu25"))
    assert isinstance(objective, TwoStream)
    yield from load(golden, "stgcn-two-stream", objective)
    x = clips(golden)
    if "motion_input" in golden.arrays:
        yield Comparison("motion_input", acceleration(x), POSITIONS)
    yield Comparison("logits_origin", objective.origin.logits(x), EXACT)
    yield Comparison("logits_motion", objective.motion.logits(acceleration(x)), EXACT)
    yield from _logits(golden, objective)


def _logits(golden: Golden, objective: Objective) -> Iterator[Comparison]:
    x = clips(golden)
    yield Comparison("input_shape", x.shape)
    for scale, ending in ((1, ""), (100, "_x100")):
        yield Comparison(f"logits{ending}", objective.logits(scale * x), EXACT)
