"""Which clip each number of a score file stands for, where a published protocol says so.

CTR-GCN, InfoGCN, FR-Head and LST call the clips of NTU RGB+D ``test_0``, ``test_1`` and so on, in
the order of the files that they prepare. A store that holds the clips tells that order.
"""

from __future__ import annotations

from kinegraph.data.formats.ntu import NTU_60, NTU_120, DataSet
from kinegraph.data.row_order import original_rows
from kinegraph.data.store import Store
from kinegraph.errors import ScoreError

PROTOCOLS: dict[str, tuple[DataSet, str]] = {  # name -> data set and split
    "ntu60-xsub": (NTU_60, "xsub"),
    "ntu60-xview": (NTU_60, "xview"),
    "ntu120-xsub": (NTU_120, "xsub"),
    "ntu120-xset": (NTU_120, "xset"),
}
TRAIN = "-train"  # ends the name of an order of training clips

ORDERS = tuple(name + end for end in ("", TRAIN) for name in PROTOCOLS)


def protocol_order(name: str, store: Store) -> tuple[str, ...]:
    """Return the clip name of each number in score files of a protocol.

    Args:
        name: One of `ORDERS`: a protocol, for the numbers of its test clips, or with ``-train`` for
            those of its training clips.
        store: Holds the clips, all that the score files know; one of NTU RGB+D 120 does for NTU
            RGB+D 60 as well.

    Raises:
        ScoreError: The store has no such clips.
        SplitError: Its clips do not tell subject, camera or setup.
    """
    data_set, split = PROTOCOLS[name.removesuffix(TRAIN)]
    train, test = original_rows(store, split)
    names = store.clips["name"][train if name.endswith(TRAIN) else test].tolist()
    kept = tuple(clip for clip in names if data_set.has(clip))
    if not kept:
        raise ScoreError(
            f"--order {name}: store '{store.path}' has no clip of {data_set.title}; first one"
            f" found: {names[0]}"
        )
    return kept
