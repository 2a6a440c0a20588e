"""Two-stream ST-GCN: joints and their motion through a network each, logits added, one loss.

Source: the two-stream model of Yan et al., ST-GCN (AAAI 2018), as released.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.nn.persons import Rows
from kinegraph.objectives.base import Objective
from kinegraph.objectives.classify import Classify, score


class TwoStream(Objective):
    """Cross-entropy on the sum of two classifiers' logits.

    Args:
        origin: Sees the clips as they are.
        motion: Sees their `acceleration`.
        label_smoothing: Share of the target that is spread over all classes.
    """

    def __init__(self, origin: Classify, motion: Classify, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.origin = origin
        self.motion = motion
        self.label_smoothing = label_smoothing

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss`` (mean cross-entropy) and ``accuracy`` of one view."""
        (batch,) = batches
        return score(self.logits(batch.x, batch.people), batch.label, self.label_smoothing)

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, classes)."""
        return self.origin.logits(x, present) + self.motion.logits(acceleration(x), present)

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, 2 * F), the pooled features of both."""
        features = self.origin.embed(x, present), self.motion.embed(acceleration(x), present)
        return torch.cat(features, dim=1)

    def freeze(self) -> TwoStream:
        """Return a copy for inference alone whose backbones are frozen, see `Objective.freeze`."""
        frozen = TwoStream(self.origin.freeze(), self.motion.freeze())
        return frozen.eval().requires_grad_(False)


def acceleration(x: Tensor) -> Tensor:
    """Return each frame minus the mean of its neighbours; zero in the first and the last frame.

    Minus half the second difference over time, of (N, C, T, V, M) as given.
    """
    between = (x[:, :, 2:] + x[:, :, :-2]) / 2
    change = torch.zeros_like(x)
    change[:, :, 1:-1] = x[:, :, 1:-1] - between
    return change
