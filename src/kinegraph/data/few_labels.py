"""A part of the labels: the same share of the clips of each class, for semi-supervised learning."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import SplitError

Rows = NDArray[np.int64]


def labelled_part(
    rows: Rows, labels: NDArray[np.integer], share: float, *, draw: int = 0, original: bool = False
) -> Rows:
    """Draw round(share * n) of the n clips of each class, halves to even, in store order.

    Source: AimCLR's feeder for semi-supervised evaluation; with ``original``, the same clips as
    there for ``random.seed(draw)`` and clips in the same order.
    Differs from the original: a class has at least one clip; there, small ones have none.

    Args:
        rows: (N,) rows of the store.
        labels: Label of every clip of the store.
        share: Above 0, at most 1.
        draw: Which ones.
        original: Whether ``quirks: original`` is set.

    Raises:
        SplitError: No clip is left.
    """
    own = labels[rows]
    drawing = random.Random(draw)  # noqa: S311 - no secret; the original's own generator
    found: list[int] = []
    for label in dict.fromkeys(own.tolist()):  # classes as they first occur, as there
        members = np.flatnonzero(own == label).tolist()
        count = round(share * len(members))
        found += drawing.sample(members, count if original else max(count, 1))
    if not found:
        raise SplitError(
            f"data.label_share {share} leaves no training clip, as classes are too small and"
            " quirks: original rounds down to none: choose a larger share"
        )
    return rows[np.sort(np.array(found, dtype=np.int64))]
