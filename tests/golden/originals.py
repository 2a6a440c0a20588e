"""State dicts of the original programs, made from the golden files: names, shapes, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from .fill import fill, skeleton_input
from .goldens import Golden, golden_files, stated_numbers

PREFIXES = ("stgcn_", "tcn_", "ctrgcn_", "infogcn_", "lst_4part", "frhead_")
COUNTER = "num_batches_tracked"
LAYOUTS = {25: "ntu25", 24: "ntu_edge", 20: "ucla20", 18: "openpose18"}
SYSTEMS = {
    "net.st_gcn.Model": "stgcn",
    "net.st_gcn_twostream.Model": "stgcn-two-stream",
    "model.ctrgcn.Model": "ctrgcn",
    "model.baseline.Model": "ctrgcn-baseline",
}


@dataclass(frozen=True)
class Original:
    """One original network with the weights of a golden file.

    Attributes:
        system: What ``--system`` calls it.
        state: Original names -> tensors, in the order of the original.
        x: (N, C, T, V, M) clips.
        logits: What the original makes of them.
        layout: Name of the layout.
        k: Of its representation, or None.
    """

    system: str
    state: dict[str, Tensor]
    x: Tensor
    logits: Tensor
    layout: str
    k: int | None


def system_of(golden: Golden) -> str | None:
    """Return which system a golden file is about, or None for those without logits of clips."""
    name = golden.path.name
    meta = golden.meta
    if not name.startswith(PREFIXES) or "logits" not in golden.arrays:
        return None
    if name.startswith("infogcn"):
        return "infogcn"
    if name.startswith("frhead"):
        return "frhead" if meta.get("mode") == "eval" else None
    if name.startswith("lst"):
        return "lst"
    if name.startswith("stgcn_v1"):
        return "stgcn-v1"
    return "tcn" if name.startswith("tcn") else SYSTEMS[meta.get("model") or meta["cls"]]


def files() -> list[Any]:
    """Return the golden files with logits of an original network, as parameters of a test."""
    return [
        pytest.param(path, id=f"{path.parent.name}-{path.stem}")
        for path in golden_files()
        if path.name.startswith(PREFIXES) and system_of(Golden.open(path))
    ]


def read(path: Path) -> Original:
    """Make the state dict and clips of a golden file."""
    golden = Golden.open(path)
    system = system_of(golden)
    assert system is not None
    meta = golden.meta
    keys = meta.get("keys") or meta["state_dict"]
    if isinstance(keys, dict):  # name -> shape, or name -> shape and type
        shapes = {n: v[0] if v and isinstance(v[0], list) else v for n, v in keys.items()}
    else:
        shapes = {row[0]: row[1] for row in keys}
    fresh = {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith(COUNTER) else torch.float32)
        for name, shape in shapes.items()
    }
    state = fill(fresh, seed=meta["seed"], gain=meta.get("gain", 1.0))
    for name in meta.get("kept", ()):  # the graphs, which the files hold
        state[name] = _graph(golden, name)
    made = meta["input"]
    if isinstance(made, dict):
        x = skeleton_input(*(made[size] for size in "nctvm"), made["seed"])
    else:
        x = skeleton_input(*stated_numbers(made)[:6])
    maker = meta.get("ctor", {})
    return Original(
        system,
        state,
        x,
        torch.from_numpy(np.asarray(golden.expected("logits"))),
        LAYOUTS[x.shape[3]],
        maker.get("k"),
    )


def _graph(golden: Golden, name: str) -> Tensor:
    """Return the graph that an original network made itself."""
    if "A" in golden.arrays:
        return torch.from_numpy(golden.expected("A")).float()
    from kinegraph.nn.graph import partition
    from kinegraph.skeleton import load_layout

    return torch.as_tensor(partition(load_layout("ntu25"), "spatial", original=True)).float()
