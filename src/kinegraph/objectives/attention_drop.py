"""AimCLR's attention drop: what stands out most in a map is taken out of it.

Source: Guo et al., Contrastive Learning from Extremely Augmented Skeleton Sequences (AAAI 2022),
section on energy-based attention-guided drop; the energy is that of Yang et al., SimAM (ICML 2021).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kinegraph.kernels.norm_act_plain import Reduce

LAMBDA = 1e-4  # keeps the energy of a flat map finite


class Kept(NamedTuple):
    """Which parts of a map (N, M, C, T, V) are kept, as zeros and ones.

    Attributes:
        joints: (N, M, 1, 1, V).
        places: (N, M, C, T, V).
    """

    joints: Tensor
    places: Tensor


def energy(x: Tensor) -> Tensor:
    """Return how much each number of maps (N, M, C, T, V) stands out: from 0.62 to 1.

    That is in its channel, among all frames and joints of a person.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    squares = (x - x.mean((3, 4), keepdim=True)).square()
    variance = squares.sum((3, 4), keepdim=True) / max(x.shape[3] * x.shape[4] - 1, 1)
    return torch.sigmoid(squares / (4 * (variance + LAMBDA)) + 0.5)


def masks(x: Tensor, keep: float) -> Kept:
    """Keep joints whose mean energy, and single numbers whose energy, is below ``keep``."""
    attention = energy(x)
    joints = attention.mean((2, 3), keepdim=True) < keep
    return Kept(joints.to(attention.dtype), (attention < keep).to(attention.dtype))


def attention_drop(
    x: Tensor,
    keep: float = 0.7,
    *,
    counted: Tensor | None = None,
    whole_batch: bool = False,
    reduce: Reduce | None = None,
) -> Tensor:
    """Set what stands out to zero, and make the rest larger by as much as was taken.

    The first mask is of joints, through all frames. The second one, which the original names after
    time, is of single numbers, there as here: each channel, frame and joint has its own. No
    gradient flows into the masks.

    Differs from the original: how much was taken is counted for each person, so that no clip
    depends on the others of its batch; a map of which nothing is left is zero, not NaN; maps have
    any number of joints. ``whole_batch`` restores the first.

    Args:
        x: (N, M, C, T, V).
        keep: Energy from which on a joint or a number is dropped.
        counted: (N, M) bool, which slots are people; None: all.
        whole_batch: Whether what was taken is counted over all people of the batch.
        reduce: Sums a tensor over all processes that share a batch; None where there is one.

    Returns:
        (N, M, C, T, V).
    """
    with torch.no_grad():
        kept = masks(x, keep)
        scale = _of_batch(kept, counted, reduce) if whole_batch else _of_people(kept)
        factor = (kept.joints * kept.places * scale).to(x.dtype)
    return x * factor


def _of_people(kept: Kept) -> Tensor:
    """Return by what the map of each person is multiplied, (N, M, 1, 1, 1)."""
    scale = torch.ones_like(kept.joints[..., :1])
    for mask in kept:
        total = mask[0, 0].numel() if len(mask) else 1
        scale = scale * total / mask.sum((2, 3, 4), keepdim=True).clamp(min=1)
    return scale


def _of_batch(kept: Kept, counted: Tensor | None, reduce: Reduce | None) -> Tensor:
    """Return by what all maps are multiplied, a scalar."""
    numbers = []
    for mask in kept:
        each = mask.sum((2, 3, 4))  # (N, M)
        size = torch.full_like(each, mask.shape[2] * mask.shape[3] * mask.shape[4])
        people = each.new_ones(each.shape) if counted is None else counted.to(each.dtype)
        numbers += [(each * people).sum(), (size * people).sum()]
    left = torch.stack(numbers)
    left = left if reduce is None else reduce(left)
    joints, all_joints, places, all_places = left.unbind()
    return (all_joints / joints.clamp(min=1)) * (all_places / places.clamp(min=1))
