"""The systems whose published weights are understood, and which of them a file is of.

Names are the original ones; nothing here builds a network. What shapes tell is in ``facts``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kinegraph.compat.contrast_files import CONTRAST, family_in
from kinegraph.compat.facts import Facts
from kinegraph.compat.rules import CLASSIFIERS, SUBSETS
from kinegraph.errors import CheckpointError, unknown
from kinegraph.skeleton import Skeleton, load_layout


@dataclass(frozen=True)
class System:
    """One published program.

    Attributes:
        families: Networks whose rules it follows, keys of `rules.RULES`; of several, the names in
            a file tell which.
        objective: Our objective whose test phase is its test phase; of pre-trained encoders, the
            one that trained them.
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
    "aimclr": System(("aimclr", "encoder_q"), "aimclr"),
    "skeletonclr": System(("skeletonclr", "encoder_q"), "skeletonclr"),
    "crossclr": System(("crossclr-3", "crossclr-2", *CLASSIFIERS), "crossclr"),
}

# A piece of a name that only one system has; the first one that occurs decides.
MARKS = (
    ("ren_", "frhead"),
    ("part_list.", "lst"),
    ("origin_stream.", "stgcn-two-stream"),
    (".encoder_q_", "crossclr"),
    (".encoder_q.", "aimclr"),  # or skeletonclr
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


def family_of(system: str, names: Iterable[str], stream: str = "joint") -> str:
    """Return which of a system's networks has these names.

    Args:
        system: Key of `SYSTEMS`.
        names: Plain original names.
        stream: Which of several networks in one file is wanted.

    Raises:
        CheckpointError: None of them; the message says whose names they are.
    """
    families = find_system(system).families
    names = list(names)
    found = recognise(name for name in names if not name.startswith(SYSTEMS[system].carried))
    if found and found == CONTRAST.get(system):
        return family_in(system, names, stream)
    if found in families and system not in CONTRAST:
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


def objective_of(system: str, family: str) -> str:
    """Return the name of our objective for one of a system's networks."""
    return "classify" if family in CLASSIFIERS else SYSTEMS[system].objective


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
