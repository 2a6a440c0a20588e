"""Which clips train and which test: rules over subject, camera and setup, by name.

Training, testing and ``data info`` ask `split_rows`. A store may bring splits of its own that no
rule yields; they come before rules of the same name. Nothing here reads joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN
from kinegraph.data.store import Store
from kinegraph.errors import SplitError, nearest

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Training subjects of NTU RGB+D 120. Those up to 40 are the ones of NTU RGB+D (60): one rule serves
# both. Sources: Liu et al., NTU RGB+D 120 (TPAMI 2019); Shahroudy et al. (CVPR 2016).
NTU_TRAINING_SUBJECTS = (
    1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38, 45, 46, 47, 49, 50,
    52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95,
    97, 98, 100, 103,
)  # fmt: skip
# Layouts of sets that number their people otherwise: NTU's list would look like a protocol there.
NOT_NTU = ("ucla20", "utd20", "sbu15")
MIN_SUBJECTS = 3  # with fewer, leaving one out for validation would cost too much training data


@dataclass(frozen=True)
class Split:
    """A rule that divides clips.

    Attributes:
        summary: One line for ``kinegraph list``.
        needs: The field of ``clips.npy`` that it looks at, or empty.
        part: Returns (clips,) whether a clip trains, from that field, the labels and a seed.
        test_values: The values of the field that test; None for all that do not train.
        not_for: Layouts of data sets for which the rule was not made.
    """

    summary: str
    needs: str
    part: Callable[[Rows, Rows, int], Mask]
    test_values: tuple[int, ...] | None = None
    not_for: tuple[str, ...] = ()


def _among(values: tuple[int, ...], field: Rows, labels: Rows, seed: int) -> Mask:
    return np.isin(field, values)


def _parity(remainder: int, field: Rows, labels: Rows, seed: int) -> Mask:
    return np.asarray(field % 2 == remainder)


def _drawn(test_share: float, field: Rows, labels: Rows, seed: int) -> Mask:
    """Draw the clips that test from every class; a class of one clip and no class at all train."""
    random = np.random.default_rng(seed)
    trains = np.ones(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        count = min(max(round(test_share * len(rows)), 1), len(rows) - 1)
        trains[rows[:count]] = False
    trains[labels == UNKNOWN] = True  # only now, so that the draws of classes do not depend on it
    return trains


def _view(train: tuple[int, int], test: int) -> Split:
    summary = f"NW-UCLA: cameras {train[0]} and {train[1]} train, camera {test} tests"
    return Split(summary, "camera", partial(_among, train), (test,))


SPLITS: dict[str, Split] = {
    "view3": _view((1, 2), 3),
    "view2": _view((1, 3), 2),
    "view1": _view((2, 3), 1),
    "xsub": Split(
        "NTU RGB+D 60 and 120: the published half of the subjects trains",
        "subject",
        partial(_among, NTU_TRAINING_SUBJECTS),
        not_for=NOT_NTU,
    ),
    "xview": Split(
        "NTU RGB+D 60: cameras 2 and 3 train, camera 1 tests",
        "camera",
        partial(_among, (2, 3)),
        (1,),
        not_for=NOT_NTU,
    ),
    "xset": Split(
        "NTU RGB+D 120: even setups train, odd ones test",
        "setup",
        partial(_parity, 0),
        not_for=NOT_NTU,
    ),
    "subjects": Split(
        "any set with subjects (UTD-MHAD): odd subjects train, even ones test",
        "subject",
        partial(_parity, 1),
    ),
    "random": Split(
        "last resort: a seeded quarter of each class tests, the same people on both sides",
        "",
        partial(_drawn, 0.25),
    ),
}


def split_rows(store: Store, split: str = "", *, seed: int = 0) -> tuple[Rows, Rows]:
    """Return the rows of ``store.clips`` that train and those that test, both in store order.

    Clips without a label, and clips of which the source does not tell what the rule needs, are in
    neither.

    Args:
        store: The clips.
        split: A key of `SPLITS` or of the store's own splits; by default the store's.
        seed: For the split ``random``; the same whatever the seed of a run is.

    Raises:
        SplitError: There is no such split, or it leaves nothing to train or to test on.
    """
    split = split or store.default_split
    if not split:
        raise SplitError(f"store '{store.path}' has no split of its own; {_working(store, split)}")
    if split not in SPLITS and split not in store.stored_splits:
        hint = nearest(split, [*SPLITS, *store.stored_splits])
        raise SplitError(f"unknown split '{split}'{hint}; {_working(store, split)}")
    train, test = _divide(store, split, seed)
    if len(train) == 0 or len(test) == 0:
        why = _lack(store, split, "test" if len(train) else "train")
        if np.all(store.clips["label"] == UNKNOWN):
            why = f"split '{split}': no clip of store '{store.path}' has a label"
        raise SplitError(f"{why}; {_working(store, split)}")
    return train, test


def unlabelled_rows(store: Store, split: str = "", *, seed: int = 0) -> Rows:
    """Return the rows without a label that would train if they had one, in store order.

    Clips of which the source does not tell what the rule needs are left out: they may show people
    who test. A store without any label divides nothing, and all of it trains, if there is no split
    or the source tells what the rule needs of none of its clips.

    Args:
        store: The clips.
        split: As for `split_rows`.
        seed: As for `split_rows`.

    Raises:
        SplitError: There is no such split, or no clip has a label and it leaves none to train on.
    """
    unlabelled = store.clips["label"] == UNKNOWN
    split, needless = split or store.default_split, bool(unlabelled.all())
    if needless and (not split or _is_blind(store, split)):
        return np.flatnonzero(unlabelled)
    hint = ""
    if needless and not store.default_split:
        hint = ". No clip has a label, so no split is needed: --data.split null trains on all"
    if split not in SPLITS and split not in store.stored_splits:
        if not needless:
            split_rows(store, split, seed=seed)  # which says what is wrong
        near = nearest(split, [*SPLITS, *store.stored_splits])
        raise SplitError(f"unknown split '{split}'{near}, for store '{store.path}'{hint}")
    trains, _ = _sides(store, split, seed)
    rows = np.flatnonzero(trains & unlabelled)
    if needless and len(rows) == 0:
        raise SplitError(f"{_lack(store, split, 'train')}{hint}")
    return rows


def people_aside(store: Store, train_rows: Rows, aside_rows: Rows) -> Rows:
    """Return whose clips are all set aside; most people are on both sides if clips were drawn."""
    subjects = store.clips["subject"]
    train = np.append(subjects[train_rows], UNKNOWN)
    return np.setdiff1d(subjects[aside_rows], train).astype(np.int64)


def working_splits(store: Store) -> dict[str, tuple[int, int]]:
    """Return every split that works on a store, with the numbers of clips that train and test."""
    sizes = {}
    for split in dict.fromkeys((*store.stored_splits, *SPLITS)):
        train, test = _divide(store, split, 0)
        if len(train) > 0 and len(test) > 0:
            sizes[split] = (len(train), len(test))
    return sizes


def validation_rows(
    store: Store, train_rows: Rows, fraction: float = 0.2, *, seed: int = 0
) -> tuple[Rows, Rows]:
    """Carve clips for validation out of the training clips, whole subjects where possible.

    A subject stays in training if it alone shows some class. With fewer than three subjects, or if
    none can be spared, clips are drawn from every class instead.

    Args:
        store: The clips.
        train_rows: Rows that train, from `split_rows`.
        fraction: Share of the subjects (or clips) to carve out, between 0 and 1.
        seed: Which ones.

    Returns:
        Rows that still train, and rows that validate.
    """
    if not 0 < fraction < 1:
        raise SplitError(f"a validation fraction of {fraction} is not between 0 and 1")
    rows = np.asarray(train_rows, dtype=np.int64)
    subjects = store.clips["subject"][rows]
    labels = store.clips["label"][rows].astype(np.int64)
    known = np.unique(subjects[subjects != UNKNOWN])
    validates = np.zeros(len(rows), dtype=bool)
    if len(known) >= MIN_SUBJECTS:
        wanted = max(round(fraction * len(known)), 1)
        for subject in np.random.default_rng(seed).permutation(known):
            longer = validates | (subjects == subject)
            if wanted > 0 and np.isin(labels, labels[~longer]).all():
                validates, wanted = longer, wanted - 1
    if not validates.any():
        validates = ~_drawn(fraction, labels, labels, seed)
    if not validates.any():
        raise SplitError(f"{len(rows)} training clips are too few to spare some for validation")
    return rows[~validates], rows[validates]


def _divide(store: Store, split: str, seed: int) -> tuple[Rows, Rows]:
    labelled = store.clips["label"] != UNKNOWN
    trains, tests = _sides(store, split, seed)
    return np.flatnonzero(trains & labelled), np.flatnonzero(tests & labelled)


def _sides(store: Store, split: str, seed: int) -> tuple[Mask, Mask]:
    """Return whether each clip trains, and whether it tests, with a label or without."""
    labels = store.clips["label"].astype(np.int64)
    if split in store.stored_splits:
        part = store.stored_splits[split]
        trains, tests = part == 1, part == 2
    else:
        rule = SPLITS[split]
        field = store.clips[rule.needs or "label"].astype(np.int64)
        known = field != UNKNOWN if rule.needs else np.ones(len(labels), dtype=bool)
        known &= store.skeleton.name not in rule.not_for
        trains = rule.part(field, labels, seed) & known
        tests = ~trains & known
        if rule.test_values is not None:
            tests &= np.isin(field, rule.test_values)
    return trains, tests


def _needs(store: Store, split: str) -> str:
    """Return the field that a split looks at in a store, or nothing."""
    return SPLITS[split].needs if split in SPLITS and split not in store.stored_splits else ""


def _is_blind(store: Store, split: str) -> bool:
    """Whether a split looks at what the source tells of no clip."""
    needs = _needs(store, split)
    return bool(needs and np.all(store.clips[needs] == UNKNOWN))


def _lack(store: Store, split: str, side: str) -> str:
    """Say why a split leaves nothing to train or to test on."""
    needs = _needs(store, split)
    layout = store.skeleton.name
    if needs and layout in SPLITS[split].not_for:
        return f"split '{split}' was not made for store '{store.path}' of layout '{layout}'"
    if _is_blind(store, split):
        return f"split '{split}' needs the {needs} of each clip, which store '{store.path}' lacks"
    found = ""
    if needs:
        values = [str(v) for v in np.unique(store.clips[needs]) if v != UNKNOWN]
        found = f" (its {needs}s: {', '.join(values[:12])}{', ...' if len(values) > 12 else ''}"
        silent = int(np.sum(store.clips[needs] == UNKNOWN))
        found += f"; {silent} clips do not tell it)" if silent else ")"
    return f"split '{split}' leaves no clip to {side} on in store '{store.path}'{found}"


def _working(store: Store, split: str) -> str:
    """Name the splits that would work, the one most like ``split`` first."""
    names = list(working_splits(store))
    if not names:
        return "no split works on it: it needs at least two labelled clips of one class"
    needs: Any = SPLITS[split].needs if split in SPLITS else ""
    names.sort(key=partial(_distance, needs, store.default_split))
    return f"these work here: {', '.join(names)} (--data.split {names[0]})"


def _distance(needs: str, default: str, name: str) -> int:
    """Order splits for a hint: the store's own, those that look at the same field, the others."""
    if name == default:
        return 0
    if name not in SPLITS or (needs and SPLITS[name].needs == needs):
        return 1
    return 3 if name == "random" else 2
