"""What is watched while an encoder learns without labels, where no accuracy tells how far it is.

Place in the flow: the training loop asks `Monitor.look` at the epochs that are due, puts the
numbers into its metrics, and may choose an epoch by the first of them. Labels are only looked at:
nothing here reaches a gradient. Nothing is drawn from a generator that the run draws from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.errors import TrainingError
from kinegraph.evaluation.curves import ALIGNMENT, KNN, UNIFORMITY
from kinegraph.evaluation.judges import Described, directions, nearest_clips, squared_distances
from kinegraph.evaluation.scoring import score_clips
from kinegraph.objectives.base import Objective
from kinegraph.training.distributed import ALONE, World
from kinegraph.training.setup import RunData

PAIRED = 2048  # clips at most of which two views are compared
SHARPNESS = 2.0  # of the potential in `uniformity`
Rows = NDArray[np.int64]


class Monitor:
    """Looks at the features of an encoder that learns.

    Args:
        data: The recordings of the run.
        part: The clips whose nearest training clips are looked up: ``validation`` or ``test``.
        device: Where to compute.
        world: The processes that share the clips; all get the same numbers.
    """

    def __init__(
        self, data: RunData, part: str, device: torch.device, world: World = ALONE
    ) -> None:
        self.data, self.part, self.device, self.world = data, part, device, world
        self.measure = f"{part}{KNN}"
        self._labels = data.store.clips["label"].astype(np.int64)
        self._train, self._seen = data.rows["train"], data.rows[part]  # all have labels
        self._paired = _some(data.training_rows, PAIRED, data.recipe.seed)

    @property
    def knows_classes(self) -> bool:
        """Whether there are labels by which neighbours can be told right or wrong."""
        return len(self._train) > 0 and len(self._seen) > 0

    def look(
        self,
        objective: Objective,
        *,
        autocast: torch.dtype | None = None,
        after_batch: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Return what can be told of an encoder, by the names that metrics have.

        ``<part>_knn`` is the share of the part's clips whose nearest training clip, by the cosine
        of features through the ``test`` transforms, is of their class. It is missing without
        labels. ``alignment`` and ``uniformity`` are those of two views of up to `PAIRED` training
        clips, the same clips and the same views each time: what changes is the encoder. They are
        missing for objectives that bring no two views together.

        Args:
            objective: The encoder; weights and batch statistics are frozen for the time.
            autocast: Type that the forward pass computes in, or None for float32.
            after_batch: Called after every batch; may raise to stop.

        Raises:
            TrainingError: A feature is not a finite number.
        """

        def features(rows: Rows, views: tuple[str, ...]) -> NDArray[np.float32]:
            size = self.data.recipe.evaluation.batch_size
            found = score_clips(
                objective,
                self.data.ordered_loader(rows, views, size, self.device, self.world),
                autocast=autocast,
                description="watching",
                after_batch=after_batch,
                world=self.world,
                features=True,
            )
            if not np.isfinite(found).all():
                raise TrainingError(
                    "features of clips are not finite numbers; a lower optim.lr, optim.clip_norm or"
                    " training.precision fp32 usually helps"
                )
            return found

        numbers: dict[str, float] = {}
        if self.knows_classes:
            train, seen = (features(rows, ("test",)) for rows in (self._train, self._seen))
            clips = Described(train, self._labels[self._train], seen, self._labels[self._seen])
            numbers[self.measure] = nearest_clips(clips)["top-1"] if self.world.first else 0.0
        if objective.alike is not None and len(self._paired) > 1:
            one, other = np.split(features(self._paired, objective.alike), 2, axis=1)
            numbers[ALIGNMENT] = alignment(one, other)
            numbers[UNIFORMITY] = (uniformity(one) + uniformity(other)) / 2
        return _told(numbers, self.world)


def alignment(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the mean squared distance of two views' features (N, F), scaled to length 1.

    0: the views of a clip are described alike. 2: they have nothing in common.

    Source: Wang & Isola, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere (ICML 2020), with alpha = 2.
    """
    apart = _units(one) - _units(other)
    return float(np.square(apart).sum(axis=1).mean())


def uniformity(x: NDArray[Any]) -> float:
    """Return log mean exp(-2 |a - b|^2) over all pairs of features (N, F), scaled to length 1.

    0: all clips are described by one direction. The less, the more evenly directions are used;
    features that are never negative, as after a ReLU, cannot get below -4.

    Source: Wang & Isola, as `alignment`, with t = 2.
    """
    units = _units(x)
    pairs = np.maximum(squared_distances(units)[np.triu_indices(len(units), k=1)], 0)
    return float(np.log(np.exp(-SHARPNESS * pairs).mean()))


def _units(x: NDArray[Any]) -> NDArray[np.float64]:
    return directions(x).astype(np.float64)


def _some(rows: Rows, limit: int, seed: int) -> Rows:
    """Return at most so many rows, drawn once for a seed, in store order."""
    if len(rows) <= limit:
        return rows
    random = np.random.default_rng([seed, 0x7061])
    return np.sort(random.choice(rows, limit, replace=False))


def _told(numbers: dict[str, float], world: World) -> dict[str, float]:
    """Give all processes the numbers of the first: what follows from them must be the same."""
    if world.size == 1:
        return numbers
    values = torch.tensor(list(numbers.values()), dtype=torch.float64)
    if numbers:
        world.spread(values)
    return dict(zip(numbers, values.tolist(), strict=True))
