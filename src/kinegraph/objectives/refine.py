"""FR-Head: classification, and a contrast on every stage of the network while it is trained.

Source: Zhou et al., Learning Discriminative Representations for Skeleton Based Action Recognition
(CVPR 2023), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import STAGES, Backbone
from kinegraph.batch import Batch
from kinegraph.errors import RecipeError
from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.objectives.base import Objective
from kinegraph.objectives.classify import Classify, score
from kinegraph.objectives.contrast import Contrast, StageHead, Version


class Refine(Objective):
    """Cross-entropy, and a contrast of the maps of four stages, over joints and over frames.

    The contrast has a part in training alone: `logits`, `embed` and `freeze` are those of the
    classifier.

    Differs from the original: clips may have any length, absent people are left out of the means
    unless asked for, and the sum is not built anew when the contrast sets in: until then it weighs
    nothing.

    Args:
        backbone: A network that keeps the joints apart.
        num_classes: Number of classes.
        joints: V.
        frames: T of the clips that the parts over time are made for; those of other clips are
            resampled.
        width: Numbers in a description.
        weight: Of the contrast beside the cross-entropy.
        level_weights: Of the stages low, mid, high and final in the contrast.
        start_epoch: Epoch, counted from 0, from which the contrast has a part in the loss.
        version: See `Contrast`.
        threshold: See `Contrast`.
        weigh_by_probability: See `Contrast`.
        label_smoothing: Share of the target that is spread over all classes.
        dropout: On the pooled feature.
        count_absent: Absent people are averaged in like present ones, as the original does.

    Attributes:
        reduce: Sums a tensor over all processes that share a batch; None where there is one.

    Raises:
        RecipeError: The backbone has no such stages.
    """

    reduce: Reduce | None = None
    level_weights: Tensor
    applied: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        joints: int,
        *,
        frames: int = 64,
        width: int = 256,
        weight: float = 0.1,
        level_weights: Sequence[float] = (0.1, 0.2, 0.5, 1.0),
        start_epoch: int = 0,
        version: Version = "V0",
        threshold: float = 0.0,
        weigh_by_probability: bool = True,
        label_smoothing: float = 0.0,
        dropout: float = 0.0,
        count_absent: bool = False,
    ) -> None:
        super().__init__()
        _check_stages(backbone)
        self.classifier = Classify(
            backbone, num_classes, dropout=dropout, count_absent=count_absent
        )
        self.stages = nn.ModuleDict(
            {
                stage: StageHead(
                    backbone.stage_channels[stage],
                    math.ceil(frames / backbone.stage_strides[stage]),
                    joints,
                    width,
                )
                for stage in STAGES
            }
        )
        self.contrast = Contrast(
            2 * len(STAGES),
            num_classes,
            width,
            version=version,
            threshold=threshold,
            weigh_by_probability=weigh_by_probability,
        )
        # Both are recipe, not state; as buffers they lie on the device, where a step needs them.
        by_place = torch.tensor(level_weights, dtype=torch.float32).repeat_interleave(2)
        self.register_buffer("level_weights", by_place, persistent=False)
        self.register_buffer("applied", torch.tensor(float(start_epoch == 0)), persistent=False)
        self.weight, self.start_epoch = weight, start_epoch
        self.label_smoothing = label_smoothing

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss``, its parts ``classification`` and ``contrast``, and ``accuracy``."""
        (batch,) = batches
        absent = self.classifier.count_absent
        rows = rows_of(batch.x, batch.people, count_absent=absent)
        features = self.classifier.backbone(batch.x, rows, stages=STAGES)
        logits = self.classifier.head(self.classifier.dropout(features.pooled))
        scored = score(logits, batch.label, self.label_smoothing)
        described = [
            head(features.stages[stage], rows.counted) for stage, head in self.stages.items()
        ]
        # (2, N, F) of each stage -> (8, N, F)
        losses = self.contrast(torch.cat(described), logits, batch.label, self.reduce)
        contrast = (losses * self.level_weights).sum()
        return {
            "loss": scored["loss"] + self.weight * self.applied * contrast,
            "classification": scored["loss"],
            "contrast": contrast,
            "accuracy": scored["accuracy"],
        }

    def begin_epoch(self, epoch: int) -> None:
        """Let the contrast have a part in the loss from its epoch on."""
        self.applied.fill_(float(epoch >= self.start_epoch))

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, classes)."""
        return self.classifier.logits(x, present)

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, F), the pooled feature."""
        return self.classifier.embed(x, present)

    def freeze(self) -> Classify:
        """Return the classifier alone, frozen: nothing of the contrast is left."""
        return self.classifier.freeze()


def _check_stages(backbone: Backbone) -> None:
    lacking = [stage for stage in STAGES if stage not in backbone.stage_channels]
    if lacking:
        raise RecipeError(
            "objective 'refine' compares maps over joints at four stages of the backbone, and"
            f" {type(backbone).__name__} has none of {', '.join(lacking)}: choose one that keeps"
            " the joints apart, such as ctrgcn"
        )
