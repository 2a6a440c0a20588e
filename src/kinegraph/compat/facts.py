"""What the shapes of a file of original weights tell: width, layout, people, classes, queue.

One reader for each network. Names are the original ones; nothing here builds a network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from kinegraph.compat.contrast_files import is_pretrained
from kinegraph.compat.rules import CLASSIFIERS, CROSSCLR
from kinegraph.errors import CheckpointError


@dataclass(frozen=True)
class Facts:
    """What the tensors of a file tell.

    Attributes:
        family: Key of `rules.RULES`.
        backbone: Values of our backbone's configuration.
        channels: C of the input.
        joints: V, or None where only V times C times M is known.
        persons: M, or None where the network shares its weights among people.
        classes: Rows of the head.
        inputs: Channels of the first layer where joints are unknown.
        objective: Values of our objective's configuration.
    """

    family: str
    backbone: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    joints: int | None = None
    persons: int | None = None
    classes: int = 0
    inputs: int = 0
    objective: Mapping[str, Any] = field(default_factory=dict)


def read_facts(family: str, state: Mapping[str, Tensor]) -> Facts:
    """Read what the shapes of a file tell.

    Args:
        family: Key of `rules.RULES`.
        state: Original names, without ``module.``, -> tensors.

    Raises:
        CheckpointError: A tensor that tells it is missing or has too few axes.
    """
    look = _Shapes(family, state)
    readers: dict[str, Callable[[_Shapes], Facts]] = {
        "stgcn": _stgcn,
        "stgcn-two-stream": _stgcn,
        "stgcn-v1": _stgcn_v1,
        "tcn": _tcn,
        "infogcn": _infogcn,
    }
    if is_pretrained(family) or family in CLASSIFIERS:
        return _encoder(look)
    return readers.get(family, _ctrgcn)(look)


class _Shapes:
    """Asks for shapes by name."""

    def __init__(self, family: str, state: Mapping[str, Tensor]) -> None:
        self.family, self.state = family, state

    def __call__(self, name: str, axis: int = 0) -> int:
        if name not in self.state:
            raise CheckpointError(f"a {self.family} state dict lacks '{name}'")
        shape = self.state[name].shape
        if axis >= len(shape) or not all(shape):
            raise CheckpointError(
                f"'{name}' of a {self.family} state dict has shape {tuple(shape)}, which is none"
                " that this network has"
            )
        return int(shape[axis])

    def has(self, name: str) -> bool:
        return name in self.state

    def people(self, per_person: int) -> int:
        """How many people the first normalisation is for."""
        persons, rest = divmod(self("data_bn.weight"), per_person)
        if rest or not persons:
            raise CheckpointError(
                f"'data_bn.weight' of a {self.family} state dict has {self('data_bn.weight')}"
                f" entries, which is no multiple of {per_person}, those of one person"
            )
        return persons


def _stgcn(look: _Shapes) -> Facts:
    start = "origin_stream." if look.family == "stgcn-two-stream" else ""
    return replace(_graph(look, start), classes=look(f"{start}fcn.weight"))


def _graph(look: _Shapes, start: str) -> Facts:
    """Read an ST-GCN whose names begin so."""
    subsets, joints = look(f"{start}A"), look(f"{start}A", 1)
    backbone: dict[str, Any] = {
        "name": "stgcn",
        "width": look(f"{start}st_gcn_networks.0.tcn.2.weight"),
        "edge_importance": look.has(f"{start}edge_importance.0"),
        # The file brings its graph; what it is called matters for the number of subsets alone.
        "strategy": "uniform" if subsets == 1 else "spatial" if subsets % 2 else "distance",
        "max_hop": max(1, (subsets - 1) // 2 if subsets % 2 else subsets - 1),
    }
    return Facts(
        look.family,
        backbone,
        channels=max(1, look(f"{start}data_bn.weight") // joints),
        joints=joints,
    )


def _encoder(look: _Shapes) -> Facts:
    """Read an encoder of AimCLR and its kin, with its queue or its classifier."""
    pretrained = is_pretrained(look.family)
    start = "encoder_q." if pretrained else f"{look.family}."
    facts = _graph(look, start)
    last = look(f"{start}st_gcn_networks.9.tcn.2.weight")
    backbone = {**facts.backbone, "dropout": 0.5}
    if last != 4 * backbone["width"]:
        backbone["last_width"] = last
    facts = replace(facts, backbone=backbone)
    if not pretrained:
        return replace(facts, classes=look(f"{start}fc.weight"))
    objective: dict[str, Any] = {}
    if look.has(f"{start}fc.2.weight"):
        objective["width"] = look(f"{start}fc.2.weight")
    if look.has("queue"):
        objective |= {"width": look("queue"), "queue": look("queue", 1)}
    if look.family.startswith("crossclr"):
        objective["streams"] = list(CROSSCLR)[: int(look.family[-1])]
    return replace(facts, objective=objective)


def _stgcn_v1(look: _Shapes) -> Facts:
    joints, channels = look("gcn0.mask", 1), look("gcn0.conv_list.0.weight", 1)
    return Facts(
        look.family,
        {"name": "stgcn-v1", "width": look("gcn0.conv_list.0.weight")},
        channels,
        joints,
        look.people(joints * channels),
        look("fcn.weight"),
    )


def _tcn(look: _Shapes) -> Facts:
    return Facts(
        look.family,
        {"name": "tcn", "width": look("conv0.weight")},
        classes=look("fcn.weight"),
        inputs=look("conv0.weight", 1),
    )


def _infogcn(look: _Shapes) -> Facts:
    joints, width = look("pos_embedding", 1), look("pos_embedding", 2)
    return Facts(
        look.family,
        {"name": "infogcn", "width": width, "heads": look("l1.agcn.shared_topology")},
        look("to_joint_embedding.weight", 1),
        joints,
        look.people(joints * width),
        look("decoder.weight"),
    )


def _ctrgcn(look: _Shapes) -> Facts:
    joints = look("l1.gcn1.PA", 1)
    refined = look.family in ("ctrgcn", "tcagcn")
    channels = look(f"l1.gcn1.{'convs.0.conv1' if refined else 'conv_d.0'}.weight", 1)
    backbone: dict[str, Any] = {"name": look.family, "width": look("l1.gcn1.bn.weight")}
    if look.family == "aagcn":
        backbone["attention"] = look.has("l1.gcn1.conv_sa.weight")
    return Facts(
        look.family,
        backbone,
        channels,
        joints,
        look.people(joints * channels),
        look("fc.weight"),
    )
