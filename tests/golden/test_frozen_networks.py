"""Frozen networks compared with the original programs, where they are computed in another way."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
import torch

from kinegraph.backbones import STGCNFirstReleaseConfig
from kinegraph.backbones.frozen.network import FrozenNetwork
from kinegraph.objectives import ClassifyConfig
from kinegraph.skeleton import load_layout

from . import bottleneck, early, networks
from .goldens import SMALL_COPY, Golden, difference

NETWORKS = (
    "stgcn_ntu_spatial_seed0",
    "stgcn_v1_ntu_seed0",
    "ctrgcn_ntu_seed0",
    "frhead_stgcn_ucla_seed0",
    "frhead_aagcn_ucla_seed0",
    "frhead_tcagcn_ucla_seed0",
    "infogcn_ucla_k1_seed0",
)


def filled(golden: Golden) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Return an objective with the weights of a file, its clips, and who is in them."""
    if golden.path.name.startswith("infogcn"):
        joints, x = bottleneck.clips(golden)
        return bottleneck.build(golden), x, networks.present(joints)
    if golden.path.name.startswith("stgcn_v1"):
        config = STGCNFirstReleaseConfig()
        first = early.build(config, ClassifyConfig(), golden, load_layout("ntu25"))
        deque(early.load(golden, "stgcn-v1", first), maxlen=0)
        x = early.clips(golden)
        return first, x, networks.present(x)
    family, objective = networks.build(golden)
    kept = golden.meta["kept" if family == "stgcn" else "kept_for_logits"]
    networks.load_filled(golden, family, objective, kept)
    x = torch.from_numpy(golden["input"])
    return objective, x, networks.present(x)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_frozen_it_equals_the_original(name: str) -> None:
    golden = Golden.open(SMALL_COPY / f"{name}.npz")
    objective, x, present = filled(golden)
    frozen = objective.freeze()
    assert isinstance(frozen.backbone, FrozenNetwork)
    for scale, ending in ((1, ""), (100, "_x100")):
        if (array := f"logits{ending}") in golden.arrays:
            logits = frozen.logits(scale * x, present)
            assert difference(logits, golden.expected(array)) < networks.EXACT, array
