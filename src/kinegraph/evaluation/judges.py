"""Judges of features that probes of a run and the watching of one share. They know arrays alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ScoreError

NEIGHBOURS = 1
QUERIES = 256  # test clips compared with all training clips at a time


@dataclass(frozen=True)
class Described:
    """Clips described by features.

    Attributes:
        train_x: (N_train, F).
        train_y: (N_train,) classes.
        test_x: (N_test, F).
        test_y: (N_test,) classes.
    """

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]


def refuse_one_class(labels: NDArray[np.int64]) -> None:
    """Raise ScoreError if training clips with these (N,) classes leave nothing to learn."""
    if len(np.unique(labels)) < 2:
        raise ScoreError("all training clips are of one class: there is nothing to tell apart")


def nearest_clips(clips: Described, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Return the accuracy of the most frequent class among the training clips most alike.

    Alike is what has a large cosine. Of classes equally frequent, the one with the nearest clip
    wins; of clips equally near, the earlier one is nearer.

    Args:
        clips: The features.
        neighbours: How many training clips vote.

    Raises:
        ScoreError: There are fewer training clips.
    """
    if neighbours > len(clips.train_y):
        raise ScoreError(
            f"{neighbours} neighbours were asked for, but there are {len(clips.train_y)} training"
            " clips"
        )
    if neighbours == 1:
        return {"top-1": float(np.mean(nearest_of(clips) == clips.test_y))}
    found = []
    for order in ranked(clips):
        near = clips.train_y[order[:, :neighbours]]  # (Q, k), nearest first
        votes = (near[:, :, None] == near[:, None, :]).sum(axis=2)  # (Q, k) for each one's class
        found.append(near[np.arange(len(near)), votes.argmax(axis=1)])
    return {"top-1": float(np.mean(np.concatenate(found) == clips.test_y))}


def nearest_of(clips: Described) -> NDArray[np.int64]:
    """Return the classes (N_test,) of the training clips most alike.

    Nothing is put in order for it, which takes much longer than the cosines.
    """
    found = [clips.train_y[alike.argmax(axis=1)] for alike in _compared(clips)]
    return np.concatenate(found)


def ranked(clips: Described) -> Iterator[NDArray[np.int64]]:
    """Yield (Q, N_train) training clips, nearest first, for some queries at a time."""
    for alike in _compared(clips):
        yield np.argsort(-alike, axis=1, kind="stable")


def _compared(clips: Described) -> Iterator[NDArray[np.float32]]:
    """Yield (Q, N_train) cosines for some queries at a time."""
    train = directions(clips.train_x)
    for start in range(0, len(clips.test_x), QUERIES):
        yield directions(clips.test_x[start : start + QUERIES]) @ train.T


def squared_distances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, N) squared distances of points (N, F); rounding may leave them just below 0."""
    squares = np.square(x).sum(axis=1)
    return np.asarray(squares[:, None] + squares[None, :] - 2 * x @ x.T)


def directions(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale (N, F) rows to length 1; rows of zeros stay and are like nothing."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(length > 0, length, 1)).astype(np.float32)
