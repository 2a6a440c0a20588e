"""Metrics equal what can be counted by hand, and what the originals print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from kinegraph.errors import ScoreError
from kinegraph.evaluation import metrics

GOLDEN = Path(__file__).parents[1] / "golden/data/feeder_tools_stgcn.npz"
LOGITS = np.array([[3.0, 1, 0], [0, 2, 1], [0, 1, 2], [5, 1, 0]])
LABELS = np.array([0, 1, 1, 2])


def random_scores(seed: int, clips: int = 60, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(clips, classes)), rng.integers(0, classes, clips)


def test_hand_counted_accuracies() -> None:
    assert metrics.top_k(LOGITS, LABELS) == 0.5
    assert metrics.top_k(LOGITS, LABELS, 2) == 0.75
    assert metrics.accuracy_by_class(LOGITS, LABELS).tolist() == [1.0, 0.5, 0.0]
    assert metrics.mean_class_accuracy(LOGITS, LABELS) == 0.5
    assert metrics.confusion_matrix(LOGITS, LABELS).tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_ties_fall_to_the_later_class() -> None:
    flat = np.zeros((1, 4))
    assert metrics.predictions(flat).tolist() == [3]
    assert metrics.top_k(flat, [2], 2) == 1.0
    assert metrics.top_k(flat, [1], 2) == 0.0


def test_ties_among_many_classes_fall_the_same_way(rng: np.random.Generator) -> None:
    logits = rng.integers(0, 3, (50, 400)).astype(float)
    for row, found in zip(logits.tolist(), metrics.ranking(logits), strict=True):
        assert found.tolist() == sorted(range(400), key=row.__getitem__)


def test_top_five_of_three_classes_is_one() -> None:
    assert metrics.top_k(LOGITS, LABELS, 5) == 1.0


def test_k_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        metrics.top_k(LOGITS, LABELS, 0)


def test_classes_without_clips() -> None:
    logits, labels = np.eye(4)[[0, 0, 3]], np.array([0, 0, 0])
    by_class = metrics.accuracy_by_class(logits, labels)
    np.testing.assert_allclose(by_class, [2 / 3, np.nan, np.nan, np.nan])
    assert metrics.accuracy_by_class(logits, labels, absent=0.0).tolist() == [2 / 3, 0, 0, 0]
    assert metrics.mean_class_accuracy(logits, labels) == pytest.approx(2 / 3)
    found = metrics.class_metrics(metrics.confusion_matrix(logits, labels))
    np.testing.assert_allclose(found.precision, [1, np.nan, np.nan, 0])
    np.testing.assert_allclose(found.f1, [0.8, np.nan, np.nan, 0])
    zeros = metrics.class_metrics(metrics.confusion_matrix(logits, labels), undefined=0.0)
    assert zeros.recall.tolist() == [2 / 3, 0, 0, 0]


@given(st.integers(0, 10_000))
def test_equal_to_scikit_learn(seed: int) -> None:
    logits, labels = random_scores(seed)
    answers, classes = metrics.predictions(logits), np.arange(7)
    confusion = metrics.confusion_matrix(logits, labels)
    np.testing.assert_array_equal(confusion, sklearn_confusion(labels, answers, labels=classes))
    assert metrics.top_k(logits, labels, 3) == pytest.approx(
        top_k_accuracy_score(labels, logits, k=3, labels=classes)
    )
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, answers, labels=classes, zero_division=0.0
    )
    found = metrics.class_metrics(confusion, undefined=0.0)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.f1, f1)


@given(st.integers(0, 10_000))
def test_clip_order_does_not_matter(seed: int) -> None:
    logits, labels = random_scores(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    one, other = metrics.summarise(logits, labels), metrics.summarise(logits[order], labels[order])
    for name in vars(one):
        assert getattr(one, name) == pytest.approx(getattr(other, name)), name


def test_hardest_pairs_come_first() -> None:
    confusion = np.array([[10, 3, 0], [3, 2, 0], [1, 0, 50]])
    pairs = metrics.hardest_pairs(confusion)
    assert [(p.label, p.predicted, p.count) for p in pairs] == [(1, 0, 3), (0, 1, 3), (2, 0, 1)]
    assert pairs[0].share == pytest.approx(3 / 5)
    assert metrics.hardest_pairs(confusion, 1) == pairs[:1]
    assert confusion[0, 0] == 10, "the caller's matrix is left alone"


def test_calibration_by_hand() -> None:
    # Two clips at confidence 0.75, one right; two at 0.95, both right.
    scores = np.array([[0.75, 0.25], [0.25, 0.75], [0.95, 0.05], [0.95, 0.05]])
    found = metrics.calibration(scores, [0, 0, 0, 0], bins=10)
    assert found.error == pytest.approx((0.25 + 0.05) / 2)
    assert found.clips.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 0, 2]
    assert found.accuracy[7] == 0.5
    assert np.isnan(found.accuracy[0])


def test_a_confidence_on_a_border_belongs_to_the_lower_bin() -> None:
    found = metrics.calibration([[1.0, 0.0], [0.5, 0.5]], [0, 0], bins=2)
    assert found.clips.tolist() == [1, 1]


def test_probabilities_are_not_passed_through_softmax_again() -> None:
    scores = np.array([[0.7, 0.3], [0.2, 0.8]])
    np.testing.assert_array_equal(metrics.probabilities(scores), scores)
    np.testing.assert_allclose(metrics.probabilities(np.log(scores)), scores)
    assert metrics.negative_log_likelihood(scores, [0, 0]) == pytest.approx(
        metrics.negative_log_likelihood(np.log(scores), [0, 0])
    )


def test_confident_mistakes_stay_finite() -> None:
    assert metrics.negative_log_likelihood([[2000.0, 0.0]], [1]) == pytest.approx(2000)
    assert np.isfinite(metrics.negative_log_likelihood([[1.0, 0.0]], [1]))


@pytest.mark.parametrize("labels", [[0, 1, 1, 3], [0, 1, 1, -1], [0, 1], []])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(ScoreError):
        metrics.top_k(LOGITS[: len(labels)] if len(labels) < 2 else LOGITS, labels)


def test_equal_to_the_st_gcn_program() -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    scores, labels = golden["scores"], golden["labels"]
    for k in (1, 5):
        ours = metrics.accuracy_by_class(scores, labels, k, absent=0.0)
        np.testing.assert_allclose(ours, golden[f"top{k}_by_category"])
    assert metrics.top_k(scores, labels, 1) == pytest.approx(1 / 3)
    assert metrics.top_k(scores, labels, 3) == pytest.approx(7 / 12)
    found = metrics.class_metrics(metrics.confusion_matrix(scores, labels))
    np.testing.assert_allclose(found.precision, golden["precision"])
    np.testing.assert_allclose(found.recall, golden["recall"])
