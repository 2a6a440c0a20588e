"""FR-Head's contrast: clips of a class are pulled to its prototype, and away from its confusions.

Source: Zhou et al., Learning Discriminative Representations for Skeleton Based Action Recognition
(CVPR 2023), section 3.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.shared import sum_over_processes

Version = Literal["V0", "V1", "V2", "NO FN", "NO FP", "NO FN & FP"]

TEMPERATURE = 0.125  # of the similarities
STRENGTH = 0.125  # of what confusions take from the similarity with the own class
KEPT = 0.9  # share of a prototype that a batch leaves as it was


class Hits(NamedTuple):
    """Which clips belong to a class in which way, each (N, K) of zeros and ones.

    Attributes:
        right: Clips of the class that are taken for it, surely enough.
        missed: Clips of the class that are taken for another (false negatives).
        mistaken: Clips of another class that are taken for it (false positives).
    """

    right: Tensor
    missed: Tensor
    mistaken: Tensor


class Contrast(nn.Module):
    """Compares descriptions of clips with a prototype of each class, at L places at once.

    A prototype is a running mean of the descriptions of clips that are classified rightly. The
    similarity with the own class is lowered where a clip lies far from the clips of its class that
    were missed, or close to those that were mistaken for it: the clip has to come closer.

    Differs from the original: prototypes are saved with the weights, and are those of the whole
    batch also where several processes share it; no autograd graph outlives its step; the threshold
    and the probability map work with every backbone.

    Args:
        places: L, descriptions of a clip that are compared each among themselves.
        num_classes: K.
        width: F of a description.
        version: V0 lowers the similarity of every clip; V1 that of rightly classified ones; V2
            compares confusions with prototypes instead of clips, and weighs clips by how unsure
            they are. The others are V1 without missed clips, without mistaken ones, without both.
        threshold: A right answer of no more than this probability counts for no prototype.
        weigh_by_probability: Confusions weigh as much as the own class is improbable.

    Attributes:
        prototypes: (L, K, F) buffer.
    """

    prototypes: Tensor

    def __init__(
        self,
        places: int,
        num_classes: int,
        width: int,
        *,
        version: Version = "V0",
        threshold: float = 0.0,
        weigh_by_probability: bool = True,
    ) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.randn(places, num_classes, width))
        self.version = version
        self.threshold = threshold
        self.weigh_by_probability = weigh_by_probability

    def forward(
        self, features: Tensor, logits: Tensor, label: Tensor, reduce: Reduce | None = None
    ) -> Tensor:
        """Return the loss of each place (L,); in training, prototypes move on first.

        Args:
            features: (L, N, F) descriptions.
            logits: (N, K) of the classifier; no gradient flows into it.
            label: (N,).
            reduce: Sums a tensor over all processes that share a batch; None where there is one.
        """
        places, clips, _ = features.shape
        wanted = label.expand(places, clips).flatten()  # (L*N,)
        loss = features.new_zeros(())
        for scores in self.scores(features, logits, label, reduce):
            rows = scores.flatten(0, 1)  # (L*N, K)
            loss = loss + functional.cross_entropy(rows, wanted, reduction="none")
        loss = loss.view(places, clips)
        if self.version == "V2":
            sure = _probability(logits).gather(1, label[:, None])[:, 0]  # (N,)
            loss = loss * (1 - sure)
        return loss.mean(1)

    def scores(
        self, features: Tensor, logits: Tensor, label: Tensor, reduce: Reduce | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return similarities with all classes over the temperature, each (L, N, K).

        The first ones are lowered on account of missed clips, the second of mistaken ones.
        """
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        probability = _probability(logits)
        hits = self.hits(probability, label)
        with torch.autocast(features.device.type, enabled=False):
            means, there = _means(features, hits, reduce)  # (L, 3, K, F), (3, K)
            prototypes = self._move(means[:, 0], there[0])
            units = functional.normalize(features, dim=2)
            centres = functional.normalize(prototypes, dim=2)
            confused = functional.normalize(means[:, 1:], dim=3)
            similarity = units @ centres.mT  # (L, N, K)
            weight = self._weight(probability, label, hits.right)
            lowered = []
            for kind, sign in ((0, 1), (1, -1)):
                if self.version == "V2":  # between classes, the same for all clips: (L, 1, K)
                    cosine = (centres * confused[:, kind]).sum(2)[:, None]
                else:
                    cosine = units @ confused[:, kind].mT
                penalty = (sign * cosine - 1) * there[1 + kind]
                lowered.append((similarity + penalty * weight[kind]) / TEMPERATURE)
        return lowered[0], lowered[1]

    def hits(self, probability: Tensor, label: Tensor) -> Hits:
        """Tell right, missed and mistaken clips apart by probabilities (N, K)."""
        classes = probability.shape[1]
        wanted = functional.one_hot(label, classes).to(probability.dtype)
        found = functional.one_hot(probability.argmax(1), classes).to(probability.dtype)
        right = wanted * found
        sure = (probability > self.threshold).to(probability.dtype)
        return Hits(right * sure, wanted - right, found - right)

    def _weight(self, probability: Tensor, label: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much missed and mistaken clips count, each (N, K) or a scalar."""
        if self.version == "V2":
            one = probability.new_ones(())
            return one, one
        weight = STRENGTH * functional.one_hot(label, probability.shape[1]).to(probability.dtype)
        if self.weigh_by_probability:
            weight = weight * (1 - probability)
        if self.version != "V0":
            weight = weight * right
        nothing = torch.zeros_like(weight)
        return (
            nothing if self.version in ("NO FN", "NO FN & FP") else weight,
            nothing if self.version in ("NO FP", "NO FN & FP") else weight,
        )

    def _move(self, means: Tensor, there: Tensor) -> Tensor:
        """Return prototypes (L, K, F), moved towards means of this batch where there are any.

        Gradients flow through the part of this batch.
        """
        if not self.training:
            return self.prototypes
        moved = KEPT * self.prototypes + (1 - KEPT) * means
        moved = torch.where(there[:, None] > 0, moved, self.prototypes)
        with torch.no_grad():
            self.prototypes.copy_(moved)
        return moved


def _probability(logits: Tensor) -> Tensor:
    precise = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    return precise.softmax(1)


def _means(features: Tensor, hits: Hits, reduce: Reduce | None) -> tuple[Tensor, Tensor]:
    """Return means over the clips of each kind (L, 3, K, F), and which there are (3, K)."""
    places, _, width = features.shape
    belongs = torch.cat(hits, dim=1).to(features.dtype)  # (N, 3 * K)
    sums = torch.cat(((belongs.mT @ features).flatten(), belongs.sum(0)))
    sums = sum_over_processes(sums, reduce)  # one exchange for all places
    counts = sums[-belongs.shape[1] :].detach()
    totals = sums[: -belongs.shape[1]].view(places, 3, -1, width)
    means = totals / counts.clamp(min=1).view(3, -1, 1)
    return means, (counts > 0).to(features.dtype).view(3, -1)


class StageHead(nn.Module):
    """Describes the map of a stage twice: where in the body, and when.

    Args:
        channels: C of the map.
        frames: T that the part over time is made for; maps of another length are resampled.
        joints: V.
        width: F of a description.
    """

    def __init__(self, channels: int, frames: int, joints: int, width: int) -> None:
        super().__init__()
        self.frames = frames
        self.over_joints = Description(channels, joints, width)
        self.over_frames = Description(channels, frames, width)

    def forward(self, stage: Tensor, counted: Tensor | None = None) -> Tensor:
        """Describe maps: (N, M, C, T, V), zero where nobody is, -> (2, N, F).

        Args:
            stage: The maps.
            counted: (N, M) bool, which slots are people; None: all.
        """
        people = stage.shape[1] if counted is None else counted.sum(1).clamp(min=1)[:, None, None]
        joints = stage.mean(3).sum(1) / people  # (N, C, V)
        frames = stage.mean(4).sum(1) / people  # (N, C, T)
        return torch.stack(
            (self.over_joints(joints), self.over_frames(resample(frames, self.frames)))
        )


class Description(nn.Module):
    """Squeezes channels until they fit, all positions together, into a description.

    Args:
        channels: C.
        positions: P, joints or frames.
        width: F.
    """

    def __init__(self, channels: int, positions: int, width: int) -> None:
        super().__init__()
        squeezed = max(1, width // positions)
        self.squeeze = nn.Linear(channels, squeezed)
        self.norm = BatchNorm(squeezed)
        self.project = nn.Linear(squeezed * positions, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, P) -> (N, F)."""
        # From the left, so that the result lies in memory as it reads.
        squeezed = self.squeeze.weight @ x + self.squeeze.bias[:, None]  # (N, S, P)
        description: Tensor = self.project(self.norm(squeezed, relu=True).flatten(1))
        return description


def resample(x: Tensor, length: int) -> Tensor:
    """Average neighbouring frames, or repeat them, until there are ``length``: (N, C, T).

    A sum over weights that are made on the device: a recorded step may hold it, and its gradient
    is the same each time, which that of PyTorch's adaptive pooling is not.
    """
    frames = x.shape[2]
    if frames == length:
        return x
    place = torch.arange(length, device=x.device)[:, None]
    frame = torch.arange(frames, device=x.device)
    begin, end = place * frames // length, -(-(place + 1) * frames // length)
    inside = ((frame >= begin) & (frame < end)).to(x.dtype)  # (length, T)
    return x @ (inside / inside.sum(1, keepdim=True)).T
