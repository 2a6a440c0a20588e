"""Pairs scores with a store and with each other, by clip name and class name, never by position.

Place in the flow: between reading score files and adding them up. Whatever does not fit is an error
that names the clips or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kinegraph.data.store import Store
from kinegraph.errors import ScoreError, nearest
from kinegraph.evaluation.scores import UNKNOWN_LABEL, Scores, few


def with_labels_of(scores: Scores, store: Store) -> Scores:
    """Fill in labels and class names from a store, by clip name.

    Raises:
        ScoreError: Clips are not in the store, or labels or classes contradict it.
    """
    where = f"scores '{scores.source}'"
    if scores.is_positional:
        raise ScoreError(
            f"{where} number their clips instead of naming them, so store '{store.path}' cannot"
            " tell their labels; give the clip names, one per line, with --order FILE"
        )
    row_of = {str(name): row for row, name in enumerate(store.clips["name"])}
    strangers = [str(name) for name in scores.names if str(name) not in row_of]
    if strangers:
        raise ScoreError(
            f"{where}: {len(strangers)} of {len(scores)} clips are not in store '{store.path}':"
            f" {few(strangers)}{nearest(strangers[0], row_of)}"
        )
    check_classes(
        scores.num_classes, scores.classes, where,
        len(store.class_names), store.class_names, f"store '{store.path}'",
    )  # fmt: skip
    labels = store.clips["label"][[row_of[str(name)] for name in scores.names]].astype(np.int64)
    known = (labels != UNKNOWN_LABEL) & (scores.labels != UNKNOWN_LABEL)
    wrong = scores.names[known & (labels != scores.labels)]
    if len(wrong):
        raise ScoreError(
            f"{where}: {len(wrong)} labels contradict store '{store.path}': {few(wrong)}"
        )
    labels = np.where(labels == UNKNOWN_LABEL, scores.labels, labels)
    return replace(scores, labels=labels, classes=store.class_names)


def check_classes(
    count: int, names: Sequence[str], where: str,
    other_count: int, other_names: Sequence[str], other: str,
) -> None:  # fmt: skip
    """Check that two sides speak of the same classes in the same order.

    Raises:
        ScoreError: They do not; the message names the first difference.
    """
    if count != other_count:
        raise ScoreError(f"{where} score {count} classes, but {other} {other_count}")
    if names and other_names and tuple(names) != tuple(other_names):
        row = next(i for i in range(count) if names[i] != other_names[i])
        kind = "in another order" if sorted(names) == sorted(other_names) else "other ones"
        raise ScoreError(
            f"the classes of {where} and {other} are {kind}: class {row} is '{names[row]}' here and"
            f" '{other_names[row]}' there"
        )


def align(members: Sequence[Scores]) -> tuple[Scores, ...]:
    """Bring score tables of the same clips and classes into the clip order of the first.

    Labels and class names that one member knows hold for all.

    Raises:
        ScoreError: Clips are missing or extra, or classes or labels contradict each other.
    """
    first = members[0]
    aligned = [first]
    for other in members[1:]:
        check_classes(
            first.num_classes, first.classes, f"scores '{first.source}'",
            other.num_classes, other.classes, f"scores '{other.source}'",
        )  # fmt: skip
        _check_clips(first, other)
        row_of = {name: row for row, name in enumerate(other.names.tolist())}
        aligned.append(other.select(np.array([row_of[name] for name in first.names.tolist()])))
    labels = first.labels
    for other in aligned[1:]:
        known = (labels != UNKNOWN_LABEL) & (other.labels != UNKNOWN_LABEL)
        wrong = first.names[known & (labels != other.labels)]
        if len(wrong):
            raise ScoreError(
                f"scores '{first.source}' and '{other.source}' give {len(wrong)} clips other"
                f" labels: {few(wrong)}" + (_NOT_THE_SAME if first.is_positional else "")
            )
        labels = np.where(labels == UNKNOWN_LABEL, other.labels, labels)
    classes = next((member.classes for member in members if member.classes), ())
    return tuple(replace(member, labels=labels, classes=classes) for member in aligned)


_NOT_THE_SAME = "; both only number their clips, so they may list them in other orders"


def _check_clips(first: Scores, other: Scores) -> None:
    if first.is_positional != other.is_positional:
        numbered = first if first.is_positional else other
        raise ScoreError(
            f"scores '{numbered.source}' number their clips instead of naming them, so they cannot"
            " be paired with the others; give the clip names, one per line, with --order FILE"
        )
    missing = first.names[~np.isin(first.names, other.names)]
    extra = other.names[~np.isin(other.names, first.names)]
    if len(missing) or len(extra):
        parts = [
            f"{len(names)} {kind} ({few(names)})"
            for names, kind in ((missing, "missing"), (extra, "extra"))
            if len(names)
        ]
        raise ScoreError(
            f"scores '{other.source}' do not hold the clips of '{first.source}': "
            + " and ".join(parts)
        )
