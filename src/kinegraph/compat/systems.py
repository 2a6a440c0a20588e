"""The systems whose published weights are understood, and what their shapes tell.

A table of systems, and one function that reads layout, people, classes and width off the tensors
of a file. Names are the original ones; nothing here builds a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from kinegraph.compat.rules import SUBSETS
from kinegraph.errors import CheckpointError, unknown
from kinegraph.skeleton import Skeleton, load_layout


@dataclass(frozen=True)
class System:
    """One published program.

    Attributes:
        families: Networks whose rules it follows, keys of `rules.RULES`; of several, the names in
            a file tell which.
        objective: Our objective whose test phase is its test phase.
        carried: Beginnings of names that only its training uses: kept, never computed with.
    """

    families: tuple[str, ...]
    objective: str = "classify"
    carried: tuple[str, ...] = ()


SYSTEMS: dict[str, System] = {
    "stgcn": System(("stgcn",)),
    "stgcn-two-stream": System(("stgcn-two-stream",), "two-stream"),
    "stgcn-v1": System(("stgcn-v1",)),
    "tcn": System(("tcn",)),
    "ctrgcn": System(("ctrgcn",)),
    "ctrgcn-baseline": System(("ctrgcn-baseline",)),
    "aagcn": System(("aagcn",)),
    "tcagcn": System(("tcagcn",)),
    "infogcn": System(("infogcn",), "bottleneck"),
    "frhead": System(("ctrgcn", "ctrgcn-baseline", "aagcn", "tcagcn"), carried=("ren_",)),
    "lst": System(("ctrgcn",), carried=("linear_head.", "part_list.", "logit_scale")),
}

# A piece of a name that only one system has; the first one that occurs decides.
MARKS = (
    ("ren_", "frhead"),
    ("part_list.", "lst"),
    ("origin_stream.", "stgcn-two-stream"),
    ("st_gcn_networks.", "stgcn"),
    ("gcn0.", "stgcn-v1"),
    ("unit1.unit1_1.", "tcn"),
    ("pos_embedding", "infogcn"),
    (".conv_rf.", "tcagcn"),
    (".gcn1.conv_a.", "aagcn"),
    (".gcn1.convs.", "ctrgcn"),
    (".gcn1.conv_d.", "ctrgcn-baseline"),
)

# Networks with a module for each graph: how its names begin, what our configuration calls their
# number, and with what value there are the three that published weights have.
GRAPHS = {
    "stgcn-v1": ("gcn0.conv_list.", "strategy", "spatial"),
    "infogcn": ("l1.agcn.conv_d.", "heads", 3),
}

LAYOUTS = {25: "ntu25", 24: "ntu_edge", 20: "ucla20", 18: "openpose18"}  # by joints


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
    """

    family: str
    backbone: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    joints: int | None = None
    persons: int | None = None
    classes: int = 0
    inputs: int = 0


def find_system(name: str) -> System:
    """Return a system by name.

    Raises:
        CheckpointError: There is none.
    """
    if name not in SYSTEMS:
        raise CheckpointError(unknown("system", name, SYSTEMS))
    return SYSTEMS[name]


def recognise(names: Iterable[str]) -> str | None:
    """Return the system that a file's names belong to, or None."""
    names = list(names)
    return next((s for mark, s in MARKS if any(mark in f".{name}" for name in names)), None)


def family_of(system: str, names: Iterable[str]) -> str:
    """Return which of a system's networks has these names.

    Raises:
        CheckpointError: None of them; the message says whose names they are.
    """
    families = find_system(system).families
    names = list(names)
    found = recognise(name for name in names if not name.startswith(SYSTEMS[system].carried))
    if found in families:
        return str(found)
    hint = recognise(names)
    whose = f"its names are those of '{hint}': --system {hint}" if hint else "its names are no"
    whose += "" if hint else " known system's"
    first = ", ".join(f"'{name}'" for name in names[:3]) or "nothing"
    raise CheckpointError(f"this is no state dict of '{system}' (it has {first}, ...): {whose}")


def check_graphs(family: str, names: Iterable[str]) -> None:
    """Raise CheckpointError if a network has another number of graphs than published ones."""
    if family not in GRAPHS:
        return
    beginning, option, value = GRAPHS[family]
    found = {n.removeprefix(beginning).split(".")[0] for n in names if n.startswith(beginning)}
    if found and len(found) != SUBSETS:
        raise CheckpointError(
            f"the file is made for {len(found)} graphs in each block of {family}; files of"
            f" {SUBSETS} can be converted (backbone.{option} {value})"
        )


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
    return readers.get(family, _ctrgcn)(look)


def choose_skeleton(facts: Facts, named: str | None = None) -> tuple[Skeleton, int]:
    """Return the layout and the number of people that a file is made for.

    Args:
        facts: Of the file.
        named: Layout that the user names; default: the one that the original program had.

    Raises:
        CheckpointError: The layout does not fit, or cannot be told and was not named.
        LayoutError: There is no layout of that name.
    """
    names = [named] if named else list(dict.fromkeys(LAYOUTS.values()))
    for name in names:
        skeleton = load_layout(name)
        persons = persons_of(facts, skeleton)
        if persons:
            return skeleton, persons
    joints = facts.joints or f"{facts.inputs} inputs for all"
    if named:
        raise CheckpointError(
            f"layout '{named}' has {load_layout(named).joint_count} joints, but the file is made"
            f" for {joints} joints"
        )
    raise CheckpointError(
        f"the file is made for {joints} joints, which no original layout has; name yours with"
        " --layout"
    )


def persons_of(facts: Facts, skeleton: Skeleton, default: int | None = None) -> int:
    """Return M if a file fits a layout, else 0."""
    if facts.joints is None:
        persons, rest = divmod(facts.inputs, skeleton.joint_count * facts.channels)
        return persons if not rest and persons in (1, 2) else 0
    if facts.joints != skeleton.joint_count:
        return 0
    return facts.persons or default or (1 if skeleton.name == "ucla20" else 2)


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
        classes=look(f"{start}fcn.weight"),
    )


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
