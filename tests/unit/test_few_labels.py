"""A share of the labels of each class."""

from __future__ import annotations

import numpy as np
import pytest

from kinegraph.data.few_labels import labelled_part
from kinegraph.errors import SplitError

LABELS = np.repeat([2, 0, 1], [40, 15, 3])
ROWS = np.arange(1, 58)  # not all clips train


def counts(rows: np.ndarray) -> list[int]:
    return np.bincount(LABELS[rows], minlength=3).tolist()


def test_every_class_gives_its_share() -> None:
    rows = labelled_part(ROWS, LABELS, 0.1)
    assert counts(rows) == [2, 1, 4]  # 1.5 of 15 to even, 0.2 of 2: one at least, 3.9 of 39
    assert set(rows) <= set(ROWS)
    assert list(rows) == sorted(set(rows)), "in store order, none twice"
    assert counts(labelled_part(ROWS, LABELS, 0.1, original=True)) == [2, 0, 4]
    np.testing.assert_array_equal(labelled_part(ROWS, LABELS, 1.0), ROWS)


def test_draws_differ_and_repeat() -> None:
    first = labelled_part(ROWS, LABELS, 0.2, draw=1)
    np.testing.assert_array_equal(first, labelled_part(ROWS, LABELS, 0.2, draw=1))
    assert not np.array_equal(first, labelled_part(ROWS, LABELS, 0.2, draw=2))


def test_nothing_left_is_an_error() -> None:
    assert counts(labelled_part(ROWS, LABELS, 0.001)) == [1, 1, 1]
    with pytest.raises(SplitError, match=r"data.label_share 0.001 leaves no training clip"):
        labelled_part(ROWS, LABELS, 0.001, original=True)
