"""Features on a plane: t-SNE, the same picture each time, and a number for what it shows.

Source: van der Maaten & Hinton, Visualizing Data using t-SNE (JMLR 2008); the search as in
scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import ScoreError
from kinegraph.evaluation.judges import Described, directions, squared_distances

LIMIT = 2000  # clips at most: t-SNE takes seconds for these, and more are a smear of ink
PERPLEXITY = 30.0
FEWEST = 4  # clips; three points are a triangle, whatever they are of
SEED = 0
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Placed:
    """Clips on a plane.

    Attributes:
        clips: (N,) which of the given ones, in their order.
        points: (N, 2); only who is whose neighbour means something.
        separation: Share of the points whose nearest other point is of their class.
    """

    clips: Integers
    points: NDArray[np.float64]
    separation: float


class PlaneJudge:
    """A judge of features by what their picture shows; keeps the pictures.

    Attributes:
        placed: The test clips of every call.
    """

    def __init__(self) -> None:
        self.placed: list[Placed] = []

    def __call__(self, clips: Described) -> dict[str, float]:
        """Return the `Placed.separation` of test clips.

        Raises:
            ScoreError: There are too few.
        """
        self.placed.append(place(clips.test_x, clips.test_y))
        return {"top-1": self.placed[-1].separation}


def place(x: NDArray[np.float32], labels: Integers) -> Placed:
    """Lay features (N, F) of clips with (N,) labels out on a plane; of many clips only some.

    Raises:
        ScoreError: There are fewer than `FEWEST` clips.
    """
    clips = some_of_each_class(labels, LIMIT)
    points = embed_on_plane(x[clips])
    return Placed(clips, points, separation(points, labels[clips]))


def some_of_each_class(labels: Integers, limit: int) -> Integers:
    """Return at most ``limit`` places of (N,) labels, as equally many of each class as there are.

    Which ones is drawn, but always in the same way.
    """
    random = np.random.default_rng(SEED)
    decks = [
        random.permutation(np.flatnonzero(labels == label))
        for label in random.permutation(np.unique(labels))
    ]
    turns = np.concatenate([np.arange(len(deck)) for deck in decks] or [np.empty(0, np.int64)])
    dealt = np.concatenate(decks or [np.empty(0, np.int64)])[np.argsort(turns, kind="stable")]
    return np.sort(dealt[:limit])


def perplexity_for(clips: int) -> float:
    """Return how many neighbours of a clip t-SNE looks at: 30, or less for few clips."""
    return min(PERPLEXITY, (clips - 1) / 3)


def embed_on_plane(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return t-SNE (N, 2) of features (N, F): by cosine, from their principal components on.

    The same features give the same points. One thread alone works: the sums of several would
    depend on how they were shared out. Features that are all alike stay in one point.

    Raises:
        ScoreError: There are fewer than `FEWEST` clips.
    """
    if len(x) < FEWEST:
        raise ScoreError(f"a picture of features needs at least {FEWEST} test clips, not {len(x)}")
    units = directions(x).astype(np.float64)
    if np.ptp(units, axis=0).max() < 1e-6:
        return np.zeros((len(x), 2))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = "pca" if units.shape[1] > 1 else "random"
    with threadpool_limits(limits=1):
        found = TSNE(
            perplexity=perplexity_for(len(x)), metric="cosine", init=start, random_state=SEED
        ).fit_transform(units)
    return np.asarray(found, dtype=np.float64)


def separation(points: NDArray[np.float64], labels: Integers) -> float:
    """Return the share of points (N, 2) whose nearest other point has their label."""
    apart = squared_distances(points)
    np.fill_diagonal(apart, np.inf)
    return float(np.mean(labels[apart.argmin(axis=1)] == labels))
