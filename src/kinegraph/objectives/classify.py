"""Supervised classification: one backbone, one linear head, cross-entropy."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones.base import Backbone
from kinegraph.batch import Batch
from kinegraph.nn.init import normal
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.objectives.base import Objective


class Classify(Objective):
    """Cross-entropy on the pooled feature.

    Args:
        backbone: The network.
        num_classes: Number of classes.
        label_smoothing: Share of the target that is spread over all classes.
        dropout: On the pooled feature.
        head_deviation: Of the head's starting weights, with a zero bias as ST-GCN has it; default:
            sqrt(2 / classes) and the usual bias of a linear layer, as CTR-GCN.
        count_absent: Absent people are averaged in like present ones, as the originals do.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        head_deviation: float | None = None,
        count_absent: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.out_channels, num_classes)
        self.label_smoothing = label_smoothing
        self.count_absent = count_absent
        normal(self.head.weight, head_deviation or math.sqrt(2 / num_classes))
        if head_deviation:
            nn.init.zeros_(self.head.bias)

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss`` (mean cross-entropy) and ``accuracy`` of one view."""
        (batch,) = batches
        return score(self.logits(batch.x, batch.people), batch.label, self.label_smoothing)

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, classes)."""
        return self.head(self.dropout(self.embed(x, present)))  # type: ignore[no-any-return]

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, F), the pooled feature."""
        rows = rows_of(x, present, count_absent=self.count_absent)
        pooled: Tensor = self.backbone(x, rows).pooled
        return pooled

    def freeze(self) -> Classify:
        """Return a copy for inference alone whose backbone is frozen, see `Objective.freeze`."""
        twin = copy.deepcopy(self)
        twin.backbone = self.backbone.freeze()
        return twin.eval().requires_grad_(False)


def score(logits: Tensor, label: Tensor, label_smoothing: float) -> dict[str, Tensor]:
    """Return ``loss`` (mean cross-entropy) and ``accuracy`` of logits (N, K)."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = functional.cross_entropy(precise, label, label_smoothing=label_smoothing)
    with torch.no_grad():
        accuracy = (logits.argmax(1) == label).float().mean()
    return {"loss": loss, "accuracy": accuracy}
