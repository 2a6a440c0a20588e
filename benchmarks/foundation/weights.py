"""Today's networks, computed as the first release did."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from foundation.base import Backbone as Foundation
from foundation.ctrgcn import CTRGCN
from foundation.ctrgcn_baseline import CTRGCNBaseline
from foundation.stgcn import STGCN
from kinegraph.backbones import build_backbone
from kinegraph.backbones.base import Backbone
from kinegraph.nn.norm import BatchNorm
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton

# Of each network, what has another name today.
SPATIAL_RESIDUAL = {
    r"spatial\.residual\.conv": "spatial.residual.0",
    r"spatial\.residual\.norm": "spatial.residual.1",
}
MOVED = {
    "stgcn": {
        r"spatial_norm": "temporal.0",
        r"temporal\.conv": "temporal.2",
        r"temporal\.norm": "temporal.3",
        r"residual\.conv": "residual.0",
        r"residual\.norm": "residual.1",
    },
    "ctrgcn": {**SPATIAL_RESIDUAL, r"temporal\.dilated\.(\d)": r"temporal.dilated.\1.conv"},
    "ctrgcn-baseline": SPATIAL_RESIDUAL,
}
# What is one module for all branches of CTR-GCN today and was one for each.
DIVIDED = {
    "temporal.reduce": ("reduce.0.0", "reduce.1.0", "reduce.2.0", "point.0"),
    "temporal.reduce_norm": ("reduce.0.1", "reduce.1.1", "reduce.2.1"),
    "temporal.norm": ("dilated.0.norm", "dilated.1.norm", "maximum.1", "point.1"),
}


def build_both(
    config: Config, skeleton: Skeleton, persons: int, *, alpha: float = 0.3
) -> tuple[Backbone, Foundation]:
    """Make a network of today and the same one of the first release, both in eval mode.

    Weights are random, and statistics are those of random clips, as if the network had been
    trained; nothing is zero that training would move away from zero.
    """
    torch.manual_seed(0)
    network = build_backbone(config, skeleton, persons=persons).train()
    for name, parameter in network.named_parameters():
        if name.endswith("alpha"):
            torch.nn.init.constant_(parameter, alpha)
        elif name.endswith(("norm.weight", "norm.bias")):
            torch.nn.init.uniform_(parameter, 0.2, 1.0)
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of one batch
    with torch.no_grad():
        network(torch.randn(4, skeleton.coordinates.channels, 32, skeleton.joint_count, persons))
    for norm in norms:
        norm.momentum = 0.1
    name, width = str(config.name), int(config.width)  # type: ignore[attr-defined]
    old: Foundation
    if name == "stgcn":
        old = STGCN(skeleton, skeleton.coordinates.channels, width=width)
    else:
        kind = {"ctrgcn": CTRGCN, "ctrgcn-baseline": CTRGCNBaseline}[name]
        old = kind(skeleton, skeleton.coordinates.channels, persons, width)
    state = {}
    for key, tensor in network.state_dict().items():
        state |= _old(key, tensor, name)
    old.load_state_dict(state)
    return network.eval(), old.eval()


def _old(name: str, tensor: Tensor, family: str) -> dict[str, Tensor]:
    """Return the names that a tensor, or its parts, had in the first release."""
    found = re.fullmatch(r"(.*\.)(temporal\.\w+)\.(\w+)", name)
    if family == "ctrgcn" and found and found[2] in DIVIDED:
        parts = DIVIDED[found[2]]
        values = tensor.chunk(len(parts)) if tensor.ndim else [tensor] * len(parts)
        names = [f"{found[1]}temporal.{part}.{found[3]}" for part in parts]
        return dict(zip(names, values, strict=True))
    for today, before in MOVED[family].items():
        name = re.sub(today + r"(?=\.\w+$)", before, name)
    return {name: tensor}
