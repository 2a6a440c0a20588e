"""The order in which the original programs keep the clips of a split.

CTR-GCN and its relatives gather the rows of their files subject by subject (or camera by camera,
setup by setup), and their score files know clips only as ``test_0``, ``test_1`` and so on. Whoever
pairs such numbers with clips, or writes such files, needs that order.
"""

from __future__ import annotations

import numpy as np

from kinegraph.data.clip import UNKNOWN
from kinegraph.data.splits import Rows, split_rows
from kinegraph.data.store import Store

GROUPED_BY = {"xsub": "subject", "xview": "camera", "xset": "setup"}


def original_rows(store: Store, split: str = "") -> tuple[Rows, Rows]:
    """Return the rows that train and those that test, each in the order of the originals' files.

    For NTU's splits that is by ascending subject, camera or setup, and by name inside one; the
    published lists of all of them ascend. Other splits, and clips of which the number is not
    known, keep the order of the store.

    Raises:
        SplitError: There is no such split, or it leaves nothing to train or to test on.
    """
    split = split or store.default_split
    train, test = split_rows(store, split)
    field = GROUPED_BY.get(split)
    if field is None or np.any(store.clips[field][np.concatenate((train, test))] == UNKNOWN):
        return train, test
    return _grouped(store, train, field), _grouped(store, test, field)


def _grouped(store: Store, rows: Rows, field: str) -> Rows:
    clips = store.clips[rows]
    return rows[np.lexsort((clips["name"], clips[field]))]
