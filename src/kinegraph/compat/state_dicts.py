"""State dicts of the original programs -> ours, and back, by the rules of ``rules``.

Pure: dicts of tensors in, dicts of tensors out. Reading files is somebody else's task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from kinegraph.compat.rules import OWN, RULES, UNUSED, Rule
from kinegraph.errors import CheckpointError, unknown

StateDict = dict[str, Tensor]
Value = TypeVar("Value")

_COUNTER = ".num_batches_tracked"


def from_original(family: str, state: Mapping[str, Tensor]) -> StateDict:
    """Turn the state dict of an original network into one of ours.

    A ``module.`` that data-parallel training left in the names is removed, and the batch counters
    that files of old PyTorch versions lack start at zero.

    Args:
        family: Name of the backbone: a key of `rules.RULES`.
        state: Original names -> tensors.

    Returns:
        Our names -> tensors, for the backbone in the objective ``classify``.

    Raises:
        CheckpointError: The family is unknown, or names are missing or not known.
    """
    rules = _rules(family)
    left = {name.rsplit("module.", 1)[-1]: tensor for name, tensor in state.items()}
    left = present_names(family, left)
    unused = UNUSED.get(family, ())
    left = {name: tensor for name, tensor in left.items() if not name.endswith(unused)}
    known = {name for rule in rules for name in rule.theirs}
    extra = [name for name in left if name not in known]
    if extra:
        raise CheckpointError(
            f"a {family} state dict has {_some(extra)}, which this network does not know"
        )
    absent = _absent_parts(rules, left)
    ours: StateDict = {}
    missing: list[str] = []
    for rule in rules:
        if rule.part in absent:
            continue
        if rule.ours.endswith(_COUNTER) and rule.theirs[0] not in left:
            ours[rule.ours] = torch.zeros((), dtype=torch.int64)
            continue
        lacking = [name for name in rule.theirs if name not in left]
        missing += lacking
        if not lacking:
            ours[rule.ours] = _join(rule, [left[name] for name in rule.theirs])
    if missing:
        raise CheckpointError(f"a {family} state dict lacks {_some(missing)}")
    return ours


def to_original(family: str, state: Mapping[str, Tensor]) -> StateDict:
    """Turn a state dict of ours (backbone in ``classify``) into one of the original network.

    Raises:
        CheckpointError: The family is unknown, or ``state`` has names that it does not know.
    """
    rules = _rules(family)
    known = {*(rule.ours for rule in rules), *OWN.get(family, ())}
    extra = [name for name in state if name not in known]
    if extra:
        raise CheckpointError(f"{_some(extra)} have no place in an original {family} state dict")
    theirs: StateDict = {}
    for rule in rules:
        if rule.ours in state:
            theirs.update(_parts(rule, state[rule.ours]))
    return theirs


def load_state(objective: nn.Module, family: str, state: Mapping[str, Tensor]) -> None:
    """Load an original state dict into an objective, strictly.

    Raises:
        CheckpointError: Names or shapes do not fit; the message uses the original names.
    """
    converted = from_original(family, state)
    expected = to_original(family, objective.state_dict())
    found = to_original(family, converted)
    missing = [name for name in expected if name not in found]
    if missing:
        raise CheckpointError(f"a {family} state dict lacks {_some(missing)}")
    extra = [name for name in found if name not in expected]
    if extra:
        raise CheckpointError(
            f"a {family} state dict has {_some(extra)}, which this configuration does not"
        )
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"'{name}' of a {family} state dict has shape {tuple(tensor.shape)}, expected"
                f" {tuple(expected[name].shape)}: another layout, width or number of classes"
            )
    own = {name: objective.state_dict()[name] for name in OWN.get(family, ())}
    objective.load_state_dict(converted | own, strict=True)


def present_names(family: str, state: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the blocks of InfoGCN's first version, which counted them from 2 to 10."""
    if family != "infogcn" or not any(name.startswith("l10.") for name in state):
        return dict(state)
    renamed = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"l(\d+)\.(.+)", name)
        renamed[f"l{int(block[1]) - 1}.{block[2]}" if block else name] = tensor
    return renamed


def _rules(family: str) -> tuple[Rule, ...]:
    if family not in RULES:
        raise CheckpointError(unknown("original network", family, RULES))
    return RULES[family]


def _absent_parts(rules: Iterable[Rule], state: Mapping[str, Tensor]) -> set[str]:
    """Parts of which nothing is there: a residual that is an identity, unused edge weights."""
    parts = {rule.part: False for rule in rules}
    for rule in rules:
        parts[rule.part] |= any(name in state for name in rule.theirs)
    return {part for part, there in parts.items() if not there}


def _join(rule: Rule, tensors: list[Tensor]) -> Tensor:
    # Parts of one tensor of ours are equal in shape: on the way back it is cut into equal parts.
    pieces = rule.join in ("rows", "columns", "shared")
    unlike = pieces and len({tensor.shape for tensor in tensors}) > 1
    try:
        if unlike:
            raise RuntimeError("parts of different shapes")
        match rule.join:
            case "same" | "shared":
                return tensors[-1]
            case "squeeze" | "squeeze-1d":
                return tensors[0].flatten(1)  # (K, F, 1[, 1]) -> (K, F)
            case "stack":
                return torch.stack(tensors)
            case "rows" | "columns":
                return torch.cat(tensors, dim=0 if rule.join == "rows" else 1)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise CheckpointError(f"{_some(rule.theirs)} have shapes that do not fit: {shapes}") from (
            error
        )


def _parts(rule: Rule, tensor: Tensor) -> StateDict:
    """Return the original tensors that one of ours is made of, by name."""
    try:
        return dict(zip(rule.theirs, _split(rule, tensor), strict=True))
    except (IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"'{rule.ours}' has shape {tuple(tensor.shape)}, of which {_some(rule.theirs)} cannot"
            " be made"
        ) from error


def _split(rule: Rule, tensor: Tensor) -> list[Tensor]:
    match rule.join:
        case "same":
            return [tensor]
        case "shared":
            return [tensor] * len(rule.theirs)
        case "squeeze":
            return [tensor[:, :, None, None]]
        case "squeeze-1d":
            return [tensor[:, :, None]]
        case "stack":
            return list(tensor.unbind(0))
        case "rows" | "columns":
            dim = 0 if rule.join == "rows" else 1
            return [part.contiguous() for part in tensor.chunk(len(rule.theirs), dim)]


def _some(names: Sequence[str], shown: int = 4) -> str:
    """Name the first few of a list, and say how many more there are."""
    listed = ", ".join(f"'{name}'" for name in names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"
