"""Adds up the scores of several streams of the same clips.

Place in the flow: after testing each stream. The sum is one of raw scores, as published ensembles
do it, but clips are paired by name. It must not know files or the command line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ScoreError
from kinegraph.evaluation.matching import align
from kinegraph.evaluation.metrics import Summary, are_probabilities, summarise
from kinegraph.evaluation.scores import Scores, few


@dataclass(frozen=True)
class Ensemble:
    """Several streams and their sum.

    Attributes:
        members: Score tables in one clip order.
        weights: One per member.
        how: Where the weights come from, such as ``equal weights``; every table shows it.
        combined: The weighted sum.
        notes: What a reader of the result must know.
    """

    members: tuple[Scores, ...]
    weights: tuple[float, ...]
    how: str
    combined: Scores
    notes: tuple[str, ...]

    def summaries(self) -> tuple[Summary | None, ...]:
        """Return the headline numbers of each member and, last, of the sum; None without labels."""
        return tuple(
            summarise(known.logits, known.labels) if (known := _labelled(table)) else None
            for table in (*self.members, self.combined)
        )


def build_ensemble(
    members: Sequence[Scores],
    weights: Sequence[float] | None = None,
    how: str = "",
    *,
    flatters: bool = False,
    notes: Sequence[str] = (),
) -> Ensemble:
    """Pair the clips of several score tables by name and add up their scores.

    Args:
        members: Score tables of the same clips and classes, in any clip order.
        weights: One per member; by default all are 1.
        how: Where the weights come from; by default ``weights as given`` or ``equal weights``.
        flatters: Whether the weights were tuned on clips that are, or may be, the reported ones;
            ``how`` is then a note of the sum and stays with its scores.
        notes: What else a reader must know; it stays with the scores too.

    Raises:
        ScoreError: Clips, classes, labels or the number of weights do not fit.
    """
    aligned = align(members)
    chosen = check_weights(weights or [1.0] * len(aligned), len(aligned))
    total = weighted_sum([member.logits for member in aligned], chosen)
    if all(are_probabilities(member.logits) for member in aligned):
        total /= sum(chosen)  # what was a distribution stays one
    how = how or ("weights as given" if weights else "equal weights")
    first = (how, *notes) if flatters else tuple(notes)
    all_notes = tuple(dict.fromkeys(first + _notes(aligned)))
    return Ensemble(
        members=aligned,
        weights=chosen,
        how=how,
        combined=replace(
            aligned[0],
            logits=total.astype(np.float32),
            split=aligned[0].split if len({m.split for m in aligned}) == 1 else "",
            stream="ensemble",
            source=" + ".join(
                f"{weight:g} x {member.source}"
                for weight, member in zip(chosen, aligned, strict=True)
            ),
            notes=all_notes,
        ),
        notes=all_notes,
    )


def weighted_sum(
    logits: Sequence[NDArray[np.floating]], weights: Sequence[float]
) -> NDArray[np.float64]:
    """Return (N, num_classes) the sum of scores times weights, in double precision."""
    total = np.zeros(logits[0].shape, dtype=np.float64)
    for scores, weight in zip(logits, weights, strict=True):
        total += weight * scores.astype(np.float64)
    return total


def check_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """Return the weights as floats.

    Raises:
        ScoreError: There are too many or too few, or they are negative, not finite or all zero.
    """
    if len(weights) != members:
        raise ScoreError(f"{len(weights)} weights for {members} score files; expected one for each")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
        found = " ".join(f"{w:g}" for w in weights)
        raise ScoreError(f"weights {found}: expected numbers of at least 0, not all of them 0")
    return tuple(float(w) for w in weights)


def _labelled(scores: Scores) -> Scores | None:
    return scores.labelled() if np.any(scores.labels >= 0) else None


def _notes(members: Sequence[Scores]) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note for member in members for note in member.notes))
    if members[0].is_positional and len(members) > 1:
        checked = "their labels agree" if members[0].has_labels else "nothing confirms it"
        notes.append(f"the files number their clips and were paired by these numbers; {checked}")
    distributions = [are_probabilities(member.logits) for member in members]
    if any(distributions) and not all(distributions):
        sources = [m.source for m, found in zip(members, distributions, strict=True) if found]
        notes.append(f"probabilities are added to raw scores: {few(sources)}")
    unknown = int((members[0].labels < 0).sum())
    if unknown:
        notes.append(f"{unknown} of {len(members[0])} clips have no known label and do not count")
    streams = [member.stream for member in members if member.stream]
    twice = sorted({stream for stream in streams if streams.count(stream) > 1})
    if twice:
        notes.append(f"several members are of stream {few(twice)}")
    return tuple(notes)
