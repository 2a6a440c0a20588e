"""Chooses ensemble weights, by default on other clips than those that are reported.

Place in the flow: ``ensemble --weights auto``. Weights tuned on the reported clips flatter the
result, so that needs a permission and is named wherever the result stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ScoreError
from kinegraph.evaluation.matching import align
from kinegraph.evaluation.scores import Scores, few

TUNED_ON_REPORTED = "weights tuned on the reported clips"
MAX_MIXTURES = 600  # that the first, coarse search tries
SMALLEST_TRANSFER = 0.005  # of weight, at which the second, fine search ends


@dataclass(frozen=True)
class Tuning:
    """Weights that were searched, and on what.

    Attributes:
        weights: One per member.
        how: A phrase that says how they were found.
        flatters: Whether the clips they were tuned on are, or may be, the reported ones.
    """

    weights: tuple[float, ...]
    how: str
    flatters: bool = False


def tune_on_other_clips(
    members: Sequence[Scores], tuning: Sequence[Scores], *, allow_reported: bool = False
) -> Tuning:
    """Choose the weights of ``members`` on other clips than theirs.

    Args:
        members: The score tables that will be reported.
        tuning: Score tables of the same streams, in the same order, on the clips to tune on.
        allow_reported: Whether the two may share clips. The result then says so.

    Raises:
        ScoreError: There is not one tuning table per member, the clips overlap, or labels lack.
    """
    if len(tuning) != len(members):
        raise ScoreError(
            f"{len(tuning)} score files to tune on for {len(members)} to report; expected one for"
            " each, in the same order"
        )
    for member, other in zip(members, tuning, strict=True):
        if member.num_classes != other.num_classes:
            raise ScoreError(
                f"scores '{other.source}' have {other.num_classes} classes, '{member.source}' has"
                f" {member.num_classes}; weights cannot be carried over"
            )
        if member.stream and other.stream and member.stream != other.stream:
            raise ScoreError(
                f"scores '{other.source}' are of stream '{other.stream}', but their place in"
                f" --tune-on belongs to '{member.source}' of stream '{member.stream}'"
            )
    shared = np.intersect1d(members[0].names, tuning[0].names)
    nameless = members[0].is_positional or tuning[0].is_positional
    if (len(shared) or nameless) and not allow_reported:
        reason = (
            "scores that only number their clips cannot be told apart from the reported ones"
            if nameless
            else f"{len(shared)} of the clips to tune on are among the {len(members[0])} reported"
            f" ones ({few(shared)})"
        )
        raise ScoreError(
            f"{reason}; tuned there, the result would flatter itself. Tune on named scores of"
            " other clips, or allow it with --tune-on-reported"
        )
    aligned = [table.labelled() for table in align(tuning)]
    weights = tune_weights([table.logits for table in aligned], aligned[0].labels)
    clips = len(aligned[0])
    if len(shared):
        return Tuning(weights, TUNED_ON_REPORTED, flatters=True)
    if nameless:
        how = f"weights tuned on {clips} clips that may be the reported ones"
        return Tuning(weights, how, flatters=True)
    return Tuning(weights, f"weights tuned on {clips} other clips")


def tune_weights(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.int64]
) -> tuple[float, ...]:
    """Search the weights, of sum 1, with the highest top-1 accuracy; of equals, the least loss.

    A grid over all mixtures, then ever smaller transfers from one stream to another. It draws no
    random numbers: the same scores give the same weights.

    Args:
        logits: (N, num_classes) of each stream.
        labels: (N,) classes, all known.
    """
    stack = np.stack([scores.astype(np.float64) for scores in logits])  # (S, N, num_classes)
    streams, steps = len(stack), 10
    while math.comb(steps + streams - 1, streams - 1) > MAX_MIXTURES and steps > 1:
        steps -= 1
    search = _Search(np.full(streams, 1 / streams), (-1, -math.inf), stack, labels)
    search.offer(search.best)
    for parts in _compositions(steps, streams):
        search.offer(np.array(parts) / steps)
    transfer = 0.5 / steps
    while transfer >= SMALLEST_TRANSFER:
        moved = [search.offer(candidate) for candidate in _transfers(search, transfer)]
        if not any(moved):
            transfer /= 2
    return tuple(float(weight) for weight in search.best.round(4))


@dataclass
class _Search:
    """The best weights so far."""

    best: NDArray[np.float64]
    reached: tuple[int, float]
    stack: NDArray[np.float64]
    labels: NDArray[np.int64]

    def offer(self, weights: NDArray[np.float64]) -> bool:
        """Take over ``weights`` if they are better than the best."""
        total = np.tensordot(weights, self.stack, axes=1)  # (N, num_classes)
        total -= total.max(axis=1, keepdims=True)
        truth = total[np.arange(len(self.labels)), self.labels]
        right = int((truth >= 0).sum())
        likelihood = float((truth - np.log(np.exp(total).sum(axis=1))).mean())
        if (right, likelihood) <= self.reached:
            return False
        self.best, self.reached = weights, (right, likelihood)
        return True


def _transfers(search: _Search, amount: float) -> Iterator[NDArray[np.float64]]:
    """Yield the best weights so far with ``amount`` moved from one stream to another."""
    streams = len(search.best)
    for source in range(streams):
        for target in range(streams):
            if source != target and search.best[source] >= amount:
                candidate = search.best.copy()
                candidate[source] -= amount
                candidate[target] += amount
                yield candidate


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to write ``total`` as an ordered sum of ``parts`` numbers from 0."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
