"""AimCLR's linear evaluation on features that were computed once.

Place in the flow: `kinegraph probe --protocol linear --schedule published` hands it to `probe_run`,
as one of the judges.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from kinegraph.console import progress
from kinegraph.data.loader import shuffled
from kinegraph.errors import ScoreError
from kinegraph.evaluation.judges import Described, refuse_one_class
from kinegraph.nn.init import normal

RATE, MOMENTUM, BATCH, EPOCHS = 3.0, 0.9, 128, 100
DROP_AFTER, FACTOR = 80, 0.1  # epochs with the whole rate, and what is left of it afterwards
DEVIATION = 0.02  # of the layer's first weights; its bias begins at zero
EVERY = 5  # epochs between the looks at the test clips of which the best is published
BEST = "top-1 of the best epoch on the test clips"


class PublishedLinear:
    """A judge that trains a linear layer by SGD, as AimCLR does; the last epoch counts.

    The encoder and its batch statistics are frozen and clips are not changed at random, so that a
    clip has the same feature in every epoch: computing it once gives the numbers of going through
    the network each time. A learning rate of 3 suits features of one length, those of the
    encoder. So what is judged first stays as it is, and what follows (a random encoder, raw
    coordinates) is brought to its mean length. They would else learn far slower or faster.

    Source: Guo et al., AimCLR (AAAI 2022), linear evaluation; numbers are those of its program.
    Differs from the original: that reports the best epoch on the test clips, which is kept here as
    `BEST`; epochs are shuffled as those of `kinegraph train` are; a last, smaller batch takes part.

    Args:
        seed: Of the first weights and of the order of clips.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._length: float | None = None

    def __call__(self, clips: Described) -> dict[str, float]:
        """Return the top-1 of the last epoch, and of the best one on the test clips.

        Raises:
            ScoreError: All training clips are of one class, or training diverged.
        """
        refuse_one_class(clips.train_y)
        length = mean_length(clips.train_x)
        if self._length is None:
            self._length = length
        scale = np.float32(self._length / length if length > 0 else 1.0)
        test_x, test_y = torch.from_numpy(clips.test_x * scale), torch.from_numpy(clips.test_y)
        classes = 1 + int(max(clips.train_y.max(), clips.test_y.max()))
        head = first_head(clips.train_x.shape[1], classes, self.seed)
        found: list[float] = []
        epochs = train_head(head, clips.train_x * scale, clips.train_y, seed=self.seed)
        for epoch in progress(epochs, "epochs of a linear layer", EPOCHS):
            if epoch % EVERY == 0 or epoch == EPOCHS:
                with torch.no_grad():
                    found.append(float((head(test_x).argmax(1) == test_y).float().mean()))
        if not bool(head.weight.isfinite().all()):
            raise ScoreError(
                f"the linear layer diverged: a learning rate of {RATE:g} is too high for these"
                " features; --schedule exact has none"
            )
        return {"top-1": found[-1], BEST: max(found)}


def mean_length(x: NDArray[np.float32]) -> float:
    """Return the mean Euclidean length of (N, F) features."""
    return float(np.linalg.norm(x.astype(np.float64), axis=1).mean())


def first_head(features: int, classes: int, seed: int) -> nn.Linear:
    """Return a layer with its first weights."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = nn.Linear(features, classes)
        normal(head.weight, DEVIATION)
    nn.init.zeros_(head.bias)
    return head


def train_head(
    head: nn.Linear, x: NDArray[np.float32], y: NDArray[np.int64], *, seed: int
) -> Iterator[int]:
    """Train a layer in place and yield after each epoch its number, counted from 1.

    Args:
        head: F -> classes.
        x: (N, F) features.
        y: (N,) classes.
        seed: Of the order of clips.
    """
    features, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.SGD(head.parameters(), lr=RATE, momentum=MOMENTUM)
    for epoch in range(1, EPOCHS + 1):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (FACTOR if epoch > DROP_AFTER else 1)
        order = torch.from_numpy(shuffled(len(labels), seed, epoch - 1))
        for rows in torch.split(order, BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(head(features[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield epoch
