"""Original weights as a network: from a state dict to what maps clips to logits, and its parts.

``converting`` makes checkpoints of the same parts. Dicts of tensors in; no files here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.compat.contrast_files import begun_anew, carried_by, is_pretrained
from kinegraph.compat.facts import Facts, read_facts
from kinegraph.compat.rules import UNUSED
from kinegraph.compat.state_dicts import (
    StateDict,
    from_original,
    load_state,
    present_names,
    to_original,
)
from kinegraph.compat.systems import (
    check_graphs,
    family_of,
    find_system,
    objective_of,
    persons_of,
    recognise,
)
from kinegraph.errors import CheckpointError
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.skeleton import Skeleton, load_layout

NTU_60, NTU_120 = 60, 120


@dataclass(frozen=True)
class Taken:
    """A state dict of an original program, taken apart.

    Attributes:
        system: Key of `systems.SYSTEMS`.
        facts: What its shapes tell.
        names: Its names in their order, as they stand in the file.
        ours: Our names -> tensors.
        theirs: Plain original names -> tensors, all of them.
        carried: Plain names that are kept but never computed with.
        counters: Our names of batch counters that the file lacks and that start at zero.
    """

    system: str
    facts: Facts
    names: tuple[str, ...]
    ours: StateDict
    theirs: StateDict
    carried: tuple[str, ...]
    counters: tuple[str, ...]


def take_apart(system: str | None, state: Mapping[str, Tensor], *, stream: str = "joint") -> Taken:
    """Read a state dict of an original program.

    Args:
        system: Key of `systems.SYSTEMS`; None: what the names tell.
        state: Names as in the file -> tensors.
        stream: Which of CrosSCLR's classifiers is wanted.

    Raises:
        CheckpointError: No such system, or names are missing, left over or another system's.
    """
    theirs: StateDict = {}
    for name, tensor in state.items():
        plain = name.rsplit("module.", 1)[-1]
        if plain in theirs:
            raise CheckpointError(f"two tensors of the state dict are called '{plain}'")
        theirs[plain] = tensor
    system = system or recognise(theirs)
    if system is None:
        raise CheckpointError(
            "the names in the file are those of no known system; name one with --system"
        )
    family = family_of(system, theirs, stream)
    today = present_names(family, theirs)
    check_graphs(family, today)
    endings = UNUSED.get(family, ())
    beginnings = (*find_system(system).carried, *carried_by(family))
    carried = [n for n in today if n.startswith(beginnings) or (endings and n.endswith(endings))]
    ours = from_original(family, {n: t for n, t in today.items() if n not in carried})
    back = to_original(family, ours)
    counters = [name for name in back if name not in today]
    return Taken(
        system=system,
        facts=read_facts(family, today),
        names=tuple(state),
        ours=ours,
        theirs=today,
        carried=tuple(carried),
        counters=tuple(counters),
    )


def load_original(
    system: str,
    state_dict: Mapping[str, Tensor],
    *,
    skeleton: Skeleton | str,
    num_classes: int = 0,
    persons: int | None = None,
    k: int | None = None,
    normalise: bool = True,
    stream: str = "joint",
) -> nn.Module:
    """Build the network of an original state dict, ready for inference.

    Args:
        system: ``stgcn``, ``stgcn-two-stream``, ``stgcn-v1``, ``tcn``, ``ctrgcn``,
            ``ctrgcn-baseline``, ``aagcn``, ``tcagcn``, ``infogcn``, ``frhead``, ``lst``,
            ``aimclr``, ``skeletonclr`` or ``crossclr``.
        state_dict: Original names, with or without ``module.``, -> tensors.
        skeleton: Layout of the joints, or its name.
        num_classes: Number of classes. Weights for NTU RGB+D 60 with a head for 120 classes are
            cut to the first 60, which are the ones that were trained. Pre-trained encoders have
            none.
        persons: M, people of a clip, where the weights do not tell it (ST-GCN).
        k: The k of InfoGCN's and LST's representation, which no file holds: the network makes it
            from joints as the original does. None: clips are that representation already.
        normalise: Whether the Temporal-Conv baseline normalises its input (``use_data_bn``).
        stream: Which of CrosSCLR's classifiers is wanted, where the weights have several.

    Returns:
        A module in eval mode; it maps (N, C, T, V, M) clips to (N, num_classes) logits, or, a
        pre-trained encoder, to (N, F) features. Absent people count, as in the originals.
        Pre-trained encoders of CrosSCLR take joints; a classifier takes clips of its stream.

    Raises:
        CheckpointError: Names or shapes do not fit.
        LayoutError: There is no such layout.
    """
    skeleton = load_layout(skeleton) if isinstance(skeleton, str) else skeleton
    taken = take_apart(system, state_dict, stream=stream)
    people = persons_of(taken.facts, skeleton, persons)
    if not people or (persons and people != persons):
        raise CheckpointError(
            f"the file is made for {_made_for(taken.facts)}, not for layout '{skeleton.name}'"
            f" ({skeleton.joint_count} joints){f' and {persons} people' if persons else ''}"
        )
    settings = dict(taken.facts.backbone)
    if taken.facts.family == "tcn":
        settings["normalise"] = normalise
    config = BACKBONES[settings["name"]].config.model_validate(settings)
    name = objective_of(system, taken.facts.family)
    objective = build_objective(
        OBJECTIVES[name].config.model_validate({"name": name, **taken.facts.objective}),
        lambda: build_backbone(
            config,
            skeleton,
            in_channels=taken.facts.channels,
            persons=people,
            original=True,
        ),
        num_classes=num_classes,
        skeleton=skeleton,
        original=True,
    )
    ours, _ = cut_head(taken, num_classes)
    fill_objective(objective, taken.facts.family, ours)
    return OriginalNetwork(objective, _operator(skeleton, k))


def fill_objective(objective: Objective, family: str, ours: StateDict) -> None:
    """Load converted weights; what the original never saved, or the file lacks, stays as it is.

    Raises:
        CheckpointError: They do not fit.
    """
    if is_pretrained(family):
        ours = {**begun_anew(objective.state_dict(), ours), **ours}
    load_state(objective, family, to_original(family, ours))


def cut_head(taken: Taken, num_classes: int) -> tuple[StateDict, StateDict]:
    """Return our tensors with a head for the classes that are there, and the rows cut off it.

    Raises:
        CheckpointError: The head has another number of rows, and is not NTU RGB+D 120's for 60.
    """
    rows = taken.facts.classes
    if rows == num_classes or is_pretrained(taken.facts.family):
        return dict(taken.ours), {}
    if (rows, num_classes) != (NTU_120, NTU_60):
        raise CheckpointError(
            f"the head of the file has {rows} classes, expected {num_classes}; only the 120 of"
            " NTU RGB+D 120 are cut to the first 60"
        )
    kept, cut = dict(taken.ours), {}
    for name in taken.ours:
        if name.endswith(("head.weight", "head.bias")):
            kept[name], cut[name] = kept[name][:num_classes], kept[name][num_classes:]
    return kept, cut


class OriginalNetwork(nn.Module):
    """An objective with original weights; calling it gives logits, or features without classes.

    Args:
        objective: With the weights.
        operator: (V, V) what makes the network's input of joints, or None for nothing.
    """

    def __init__(self, objective: Objective, operator: Tensor | None = None) -> None:
        super().__init__()
        self.objective = objective
        self.register_buffer("operator", operator, persistent=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, V, M) clips -> (N, K) logits or (N, F) features."""
        operator: Any = self.operator
        if operator is not None:
            x = torch.einsum("uv,nctvm->nctum", operator.to(x.dtype), x)
        return self.objective.logits(x) if self.objective.classifies else self.objective.embed(x)


def _operator(skeleton: Skeleton, k: int | None) -> Tensor | None:
    if k is None:
        return None
    if k == 0:  # I - P^0: the original's default, which leaves nothing of the input
        return torch.zeros(skeleton.joint_count, skeleton.joint_count)
    return torch.from_numpy(skeleton.k_mode(k, original=True))


def _made_for(facts: Facts) -> str:
    if facts.joints is None:
        return f"{facts.inputs} coordinates in a frame"
    people = "" if facts.persons is None else f" and {facts.persons} people"
    return f"{facts.joints} joints{people}"
