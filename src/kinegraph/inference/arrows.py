"""Streams as arrows on a body: what a network that is given bones or motion sees.

A bone arrow runs from the parent (or the k-th ancestor) to the joint, a motion arrow from the joint
to where it goes. Used by `scene`; knows no paper and no ink.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinegraph.skeleton import Skeleton
from kinegraph.transforms import check_stream

MAGNIFY = 5.0  # motion from one frame to the next is too short to be seen


def stream_arrows(
    positions: NDArray[np.float64], seen: NDArray[np.bool_], skeleton: Skeleton, stream: str
) -> NDArray[np.float64] | None:
    """Return (M, T, V, 2, 2 or 3) beginnings and ends of arrows, NaN where a joint was missing.

    Args:
        positions: (M, T, V, 2 or 3) joints.
        seen: (M, T, V) whether they were seen.
        skeleton: Their layout.
        stream: Name of the stream; ``joint`` gives None, there is nothing to add to the body.

    Raises:
        RecipeError: There is no such stream.
    """
    if check_stream(stream) == "joint":
        return None
    import torch

    from kinegraph.transforms.streams import make_stream

    vectors = make_stream(torch.from_numpy(positions.copy()), skeleton, stream).numpy()
    if stream.endswith("motion"):
        ends = np.stack([positions, positions + MAGNIFY * vectors], axis=-2)
    else:
        ends = np.stack([positions - vectors, positions], axis=-2)
    ends[~_known(seen, skeleton, stream)] = np.nan
    return ends


def _known(seen: NDArray[np.bool_], skeleton: Skeleton, stream: str) -> NDArray[np.bool_]:
    """Return whether every joint that a stream's vector is made of was seen."""
    steps = int(stream.split("-")[2]) if stream.startswith("k-mode") else stream.startswith("bone")
    ancestor = np.arange(skeleton.joint_count)
    for _ in range(steps):
        ancestor = np.asarray(skeleton.bone_parents)[ancestor]
    known = seen & seen[..., ancestor]
    if stream.endswith("motion"):
        known[:, :-1] &= known[:, 1:]
        known[:, -1] = False
    return known
