"""What accuracy is worth beating: guessing, and the nearest neighbour on raw coordinates.

Place in the flow: result tables show these beside the networks. They read a store directly and must
not share code with the transforms they are compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from kinegraph.data.clip import Track
from kinegraph.data.store import Store
from kinegraph.errors import ScoreError

FRAMES = 32
UNBALANCED = 0.005  # of accuracy that the most frequent class must gain over chance to be told


def chance(num_classes: int) -> float:
    """Return the accuracy of drawing a class at random."""
    return 1.0 / num_classes


def majority(train_y: NDArray[np.integer[Any]], test_y: NDArray[np.integer[Any]]) -> float:
    """Return the accuracy of always naming the most frequent training class.

    Args:
        train_y: (N,) classes of the training clips, at least one.
        test_y: (N,) classes of the test clips, at least one.
    """
    return float(np.mean(test_y == np.bincount(train_y).argmax()))


def nearest_neighbour(
    train_x: NDArray[np.floating[Any]],
    train_y: NDArray[np.integer[Any]],
    test_x: NDArray[np.floating[Any]],
    test_y: NDArray[np.integer[Any]],
) -> float:
    """Return the accuracy of the label of the nearest training clip in Euclidean distance.

    Args:
        train_x: (N_train, features), as from `raw_coordinates`.
        train_y: (N_train,) classes.
        test_x: (N_test, features).
        test_y: (N_test,) classes.

    Raises:
        ScoreError: There are no training or no test clips.
    """
    if not len(train_x) or not len(test_x):
        raise ScoreError(
            f"nearest neighbours need training and test clips, found {len(train_x)} and"
            f" {len(test_x)}"
        )
    classifier = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(train_x, train_y)
    return float(np.mean(classifier.predict(test_x) == test_y))


def measure_baselines(
    store: Store, train: NDArray[np.integer[Any]], test: NDArray[np.integer[Any]]
) -> dict[str, float]:
    """Return the accuracy of guessing and of the nearest training clip on the test clips.

    The most frequent class is among them where classes differ so much in size that naming it
    beats chance by more than `UNBALANCED`.

    Args:
        store: The clips, labelled.
        train: Rows that train.
        test: Rows that test.
    """
    labels = store.clips["label"]
    found = {"chance": chance(len(store.class_names))}
    frequent = majority(labels[train], labels[test])
    if frequent - found["chance"] > UNBALANCED:
        found["most frequent class"] = frequent
    nearest = nearest_neighbour(
        raw_coordinates(store, train), labels[train], raw_coordinates(store, test), labels[test]
    )
    return {**found, "1-NN, raw coordinates": nearest}


def raw_coordinates(
    store: Store, rows: NDArray[np.integer[Any]], frames: int = FRAMES
) -> NDArray[np.float32]:
    """Return the clips as flat rows of coordinates: (N, persons * frames * V * C).

    Every clip is resampled to ``frames`` frames by linear interpolation from its first to its last
    one and shifted so that the hips of the first person (the first joint that the layout counts to
    them) start at the origin. Persons stand one after the other; where one is absent there are
    zeros.

    Args:
        store: The clips.
        rows: Which of them.
        frames: Length after resampling.
    """
    joints, channels = store.joints.shape[1:]
    hips = store.skeleton.parts["hips"][0]
    result = np.zeros((len(rows), store.max_persons, frames, joints, channels), dtype=np.float32)
    for out, row in zip(result, rows, strict=True):
        clip = store.clip(int(row))
        first = min(clip.tracks, key=_slot)
        origin = first.joints[0, hips].astype(np.float32)  # (C,)
        for track in clip.tracks:
            whole = np.zeros((clip.frames, joints, channels), dtype=np.float32)
            whole[track.first : track.first + len(track.joints)] = track.joints - origin
            out[track.person] = _resample(whole, frames)
    return result.reshape(len(rows), -1)


def _slot(track: Track) -> int:
    return track.person


def _resample(x: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Interpolate (T, V, C) at ``frames`` equal steps from the first to the last frame."""
    position = np.linspace(0, len(x) - 1, frames)
    before = position.astype(np.int64)
    after = np.minimum(before + 1, len(x) - 1)
    share = (position - before).astype(np.float32)[:, None, None]
    return x[before] * (1 - share) + x[after] * share
