"""What a table of scores is worth: accuracies, confusions, calibration.

Place in the flow: pure functions on arrays, used by testing, ``ensemble``, ``report`` and training
logs. They must not know files, recipes or networks. Throughout, ``logits`` is (N, num_classes) with
higher meaning likelier, ``labels`` is (N,) with classes 0..num_classes-1, and accuracies are
fractions from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kinegraph.errors import ScoreError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def ranking(logits: ArrayLike) -> IntArray:
    """Return (N, num_classes) classes from least to most likely; of equals the later class wins.

    The originals read their top-k from such an ascending sort, so ties fall as they do there.
    """
    return np.argsort(np.asarray(logits), axis=1, kind="stable").astype(np.int64)


def predictions(logits: ArrayLike) -> IntArray:
    """Return (N,) the most likely class of each clip."""
    return ranking(logits)[:, -1]


def hits(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> NDArray[np.bool_]:
    """Return (N,) whether the label is among the ``k`` likeliest classes.

    Raises:
        ScoreError: There are no clips, or a label is not one of the classes.
        ValueError: ``k`` is below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    scores, truth = _checked(logits, labels)
    best = ranking(scores)[:, -k:]  # (N, k), or all classes where there are fewer than k
    found: NDArray[np.bool_] = (best == truth[:, None]).any(axis=1)
    return found


def top_k(logits: ArrayLike, labels: ArrayLike, k: int = 1) -> float:
    """Return the fraction of clips whose label is among the ``k`` likeliest classes.

    With fewer than ``k`` classes that is 1.

    Raises:
        ScoreError: As `hits`.
    """
    return float(hits(logits, labels, k).mean())


def accuracy_by_class(
    logits: ArrayLike, labels: ArrayLike, k: int = 1, *, absent: float = float("nan")
) -> FloatArray:
    """Return (num_classes,) top-k accuracy among the clips of each class.

    Args:
        logits: Scores.
        labels: Classes.
        k: How many of the likeliest classes count.
        absent: Value for classes without clips. The ST-GCN program reports 0.0 there.

    Raises:
        ScoreError: As `hits`.
    """
    found = hits(logits, labels, k)
    truth = np.asarray(labels, dtype=np.int64)
    classes = np.asarray(logits).shape[1]
    clips = np.bincount(truth, minlength=classes)
    return _ratio(np.bincount(truth, weights=found, minlength=classes), clips, absent)


def mean_class_accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of the per-class accuracies over the classes that have clips.

    Raises:
        ScoreError: As `hits`.
    """
    return float(np.nanmean(accuracy_by_class(logits, labels)))


def confusion_matrix(logits: ArrayLike, labels: ArrayLike) -> IntArray:
    """Return (num_classes, num_classes) clip counts: row = label, column = prediction.

    Raises:
        ScoreError: As `hits`.
    """
    scores, truth = _checked(logits, labels)
    classes = scores.shape[1]
    cells = np.bincount(truth * classes + predictions(scores), minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True)
class ClassMetrics:
    """Per-class numbers, each (num_classes,); undefined ratios (0/0) hold the chosen value.

    Attributes:
        precision: Right predictions of a class over all predictions of it.
        recall: Right predictions of a class over all clips of it: its accuracy.
        f1: Harmonic mean of the two.
        clips: Clips of the class.
        predicted: Predictions of the class.
    """

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    clips: IntArray
    predicted: IntArray


def class_metrics(
    confusion: NDArray[np.integer[Any]], *, undefined: float = float("nan")
) -> ClassMetrics:
    """Return precision, recall and F1 of every class.

    Args:
        confusion: (num_classes, num_classes) counts: row = label, column = prediction.
        undefined: Value for 0/0, that is for classes never predicted or never present.
    """
    right = np.diag(confusion)
    clips, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassMetrics(
        precision=_ratio(right, predicted, undefined),
        recall=_ratio(right, clips, undefined),
        f1=_ratio(2 * right, clips + predicted, undefined),
        clips=clips.astype(np.int64),
        predicted=predicted.astype(np.int64),
    )


@dataclass(frozen=True)
class ConfusedPair:
    """Clips of class ``label`` that were taken for class ``predicted``.

    Attributes:
        label: The true class.
        predicted: The class it was taken for.
        count: How many clips.
        share: ``count`` over all clips of the true class.
    """

    label: int
    predicted: int
    count: int
    share: float


def hardest_pairs(confusion: NDArray[np.integer[Any]], limit: int = 10) -> list[ConfusedPair]:
    """Return the most frequent confusions, most clips first; of equals the larger share first."""
    wrong = np.array(confusion, dtype=np.int64)
    np.fill_diagonal(wrong, 0)
    share = _ratio(wrong, np.asarray(confusion).sum(axis=1, keepdims=True), 0.0)
    rows, columns = np.nonzero(wrong)
    order = np.lexsort((columns, rows, -share[rows, columns], -wrong[rows, columns]))[:limit]
    return [
        ConfusedPair(int(i), int(j), int(wrong[i, j]), float(share[i, j]))
        for i, j in zip(rows[order], columns[order], strict=True)
    ]


def are_probabilities(logits: ArrayLike) -> bool:
    """Say whether every row is a distribution already, as some programs write their scores."""
    scores = np.asarray(logits, dtype=np.float64)
    return bool(np.all(scores >= 0) and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def probabilities(logits: ArrayLike) -> FloatArray:
    """Return (N, num_classes) the softmax of raw logits; rows that sum to 1 stay as they are."""
    scores = np.asarray(logits, dtype=np.float64)
    if are_probabilities(scores):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -log p(label) in nats.

    Raises:
        ScoreError: As `hits`.
    """
    scores, truth = _checked(logits, labels)
    rows = np.arange(len(truth))
    if are_probabilities(scores):
        chosen = np.log(np.maximum(scores[rows, truth], np.finfo(np.float64).tiny))
    else:  # in logarithms: a confident mistake must not become log 0
        shifted = scores - scores.max(axis=1, keepdims=True)
        chosen = shifted[rows, truth] - np.log(np.exp(shifted).sum(axis=1))
    return float(-chosen.mean())


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be taken at its word.

    Attributes:
        error: Expected calibration error: mean of |accuracy - confidence| over bins, by clips.
        edges: (bins + 1,) borders of the confidence bins.
        clips: (bins,) clips in each bin.
        confidence: (bins,) their mean confidence, NaN where there are none.
        accuracy: (bins,) their accuracy, NaN where there are none.
    """

    error: float
    edges: FloatArray
    clips: IntArray
    confidence: FloatArray
    accuracy: FloatArray


def calibration(logits: ArrayLike, labels: ArrayLike, bins: int = 15) -> Calibration:
    """Compare the confidence of the likeliest class with its accuracy in bins of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, equation 3.

    Raises:
        ScoreError: As `hits`.
    """
    right = hits(logits, labels)
    confidence = probabilities(logits).max(axis=1)
    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    clips = np.bincount(rows, minlength=bins)
    mean_confidence = _ratio(
        np.bincount(rows, weights=confidence, minlength=bins), clips, float("nan")
    )
    accuracy = _ratio(np.bincount(rows, weights=right, minlength=bins), clips, float("nan"))
    gaps = np.abs(accuracy - mean_confidence)[clips > 0]
    return Calibration(
        error=float(np.average(gaps, weights=clips[clips > 0])),
        edges=edges,
        clips=clips.astype(np.int64),
        confidence=mean_confidence,
        accuracy=accuracy,
    )


@dataclass(frozen=True)
class Summary:
    """The headline numbers of one table of scores.

    Attributes:
        clips: Labelled clips that were counted.
        top1: Top-1 accuracy.
        top5: Top-5 accuracy; 1 with five classes or fewer.
        mean_class: Mean of the per-class accuracies.
        nll: Mean negative log-likelihood in nats.
        ece: Expected calibration error.
    """

    clips: int
    top1: float
    top5: float
    mean_class: float
    nll: float
    ece: float


def summarise(logits: ArrayLike, labels: ArrayLike) -> Summary:
    """Return the headline numbers.

    Raises:
        ScoreError: As `hits`.
    """
    return Summary(
        clips=len(np.asarray(labels)),
        top1=top_k(logits, labels, 1),
        top5=top_k(logits, labels, 5),
        mean_class=mean_class_accuracy(logits, labels),
        nll=negative_log_likelihood(logits, labels),
        ece=calibration(logits, labels).error,
    )


def _checked(logits: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise ScoreError(
            f"scores of shape {scores.shape} and labels of shape {truth.shape} do not fit;"
            " expected (clips, classes) and (clips,)"
        )
    if not len(truth):
        raise ScoreError("there are no labelled clips to measure an accuracy on")
    outside = np.flatnonzero((truth < 0) | (truth >= scores.shape[1]))
    if len(outside):
        raise ScoreError(
            f"{len(outside)} of {len(truth)} labels are not among the {scores.shape[1]} classes,"
            f" the first is {truth[outside[0]]}"
        )
    return scores, truth


def _ratio(part: ArrayLike, whole: ArrayLike, undefined: float) -> FloatArray:
    """Divide counts; where the whole is 0 the result is ``undefined``."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    result = np.full(np.broadcast_shapes(part.shape, whole.shape), undefined)
    return np.asarray(
        np.divide(part, whole, out=result, where=np.broadcast_to(whole > 0, result.shape))
    )
