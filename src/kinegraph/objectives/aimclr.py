"""AimCLR: momentum contrast that also learns from extremely augmented clips.

Source: Guo et al., Contrastive Learning from Extremely Augmented Skeleton Sequences for
Self-supervised Action Recognition (AAAI 2022), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kinegraph.backbones.base import Features
from kinegraph.batch import Batch
from kinegraph.errors import RecipeError
from kinegraph.nn.persons import Rows
from kinegraph.objectives.attention_drop import attention_drop
from kinegraph.objectives.encoders import CLIPS, Encoder
from kinegraph.objectives.momentum_contrast import (
    MomentumContrast,
    compare,
    nearest,
    never_comes,
    positives_loss,
)
from kinegraph.skeleton import Skeleton

FINAL = "final"  # the stage whose map loses what stands out


class AimCLR(MomentumContrast):
    """SkeletonCLR, and two divergences: of an extreme view, and of the same with less to look at.

    How alike the usual view is to the own key and to all others of the queue is a distribution. The
    extreme view, and its map after `attention_drop`, which takes out whole joints and single
    numbers of a channel, frame and joint, are to have the same; no gradient flows into the
    distribution that they are to have. From an epoch on, the nearest neighbours that any of the
    three finds in the queue are positives like the own key.

    Differs from the original: see `MomentumContrast` and `attention_drop`; the divergences are
    computed from logarithms of the softmax, which cannot be infinite.

    Args:
        encoders: ``clips`` -> encoder of queries.
        skeleton: Layout of the joints.
        mining_epoch: Epoch, counted from 0, from which neighbours are positives.
        top_k: How many each of the three finds.
        keep: See `attention_drop`.
        keys: See `MomentumContrast`, like what follows.
        queue: K.
        width: D.
        momentum: Of the key encoder.
        temperature: By which cosines are divided.
        original: Whether ``quirks: original`` is set.

    Raises:
        RecipeError: The backbone mixes its joints.
    """

    views = ("extreme", "query", "key")
    mining: Tensor

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        skeleton: Skeleton,
        *,
        mining_epoch: int = 150,
        top_k: int = 1,
        keep: float = 0.7,
        keys: Mapping[str, Encoder] | None = None,
        queue: int = 32768,
        width: int = 128,
        momentum: float = 0.999,
        temperature: float = 0.07,
        original: bool = False,
    ) -> None:
        if FINAL not in encoders[CLIPS].backbone.stage_channels:
            raise RecipeError(
                "objective aimclr drops joints from the backbone's last map, but this backbone"
                " mixes its joints: choose one that keeps the joints apart"
            )
        super().__init__(
            encoders,
            skeleton,
            keys=keys,
            queue=queue,
            width=width,
            momentum=momentum,
            temperature=temperature,
            original=original,
        )
        self.mining_epoch, self.top_k, self.keep = mining_epoch, top_k, keep
        # Recipe, not state; as a buffer it lies on the device, where a step needs it.
        self.register_buffer("mining", torch.tensor(float(mining_epoch == 0)), persistent=False)

    def remarks(self, epochs: int, clips: int) -> tuple[str, ...]:
        """Say so, too, if no neighbour will be mined."""
        never = never_comes("mining_epoch", self.mining_epoch, epochs, "no neighbours are mined")
        return (*super().remarks(epochs, clips), *never)

    def begin_epoch(self, epoch: int) -> None:
        """Let neighbours be positives from their epoch on."""
        self.mining.fill_(float(epoch >= self.mining_epoch))

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss``, and its parts ``contrast``, ``extreme`` and ``dropped``."""
        extreme, query, key = batches
        queue: Any = self.queue[CLIPS]
        usual = self.describe(self.query, CLIPS, query)
        hard, harder = self.describe_twice(extreme)
        keys = self.keys_of(CLIPS, key)
        negatives = queue.negatives()
        cosines = [compare(each, keys, negatives) for each in (usual, hard, harder)]
        logits = [each / self.temperature for each in cosines]
        contrast = positives_loss(logits[0], self.positives(cosines))
        target = self.target(logits[0])
        first, second = (divergence(target, each) for each in logits[1:])
        self.enqueue(CLIPS, keys, key.whole)
        return {
            "loss": contrast + (first + second) / 2,
            "contrast": contrast,
            "extreme": first,
            "dropped": second,
        }

    def describe_twice(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the directions (N, D) of clips, and those after the attention drop."""
        encoder: Any = self.query[CLIPS]
        features, rows = encoder.features(batch.x, batch.people, stages=(FINAL,))
        dropped = self.pool_dropped(features, rows)
        return (
            self.project(self.query, CLIPS, features.pooled),
            self.project(self.query, CLIPS, dropped),
        )

    def pool_dropped(self, features: Features, rows: Rows) -> Tensor:
        """Return the mean (N, F) over people of the last map after the attention drop."""
        left = attention_drop(
            features.stages[FINAL],
            self.keep,
            counted=rows.counted,
            whole_batch=self.original,
            reduce=self.reduce,
        )
        people: Tensor | int = rows.persons
        if rows.counted is not None:
            people = rows.counted.sum(1, keepdim=True).clamp(min=1)
        return left.mean((3, 4)).sum(1) / people  # (N, M, C, T, V) -> (N, M, C) -> (N, C)

    def positives(self, cosines: list[Tensor]) -> Tensor:
        """Return a mask (N, 1 + K): the own key, and neighbours that any of the three found."""
        found = torch.stack([nearest(each[:, 1:], self.top_k) for each in cosines]).amax(0)
        return torch.cat((torch.ones_like(found[:, :1]), found * self.mining), dim=1)

    @staticmethod
    def target(logits: Tensor) -> Tensor:
        """Return the distribution (N, 1 + K) that extreme views are to have."""
        return logits.detach().softmax(1)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of softmax(logits) (N, L) with distributions (N, L)."""
    return -(target * logits.log_softmax(1)).sum(1).mean()
