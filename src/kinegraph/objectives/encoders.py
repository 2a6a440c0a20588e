"""Objectives that learn without labels: what they leave behind is encoders, no classifier."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.errors import RecipeError
from kinegraph.nn.init import normal
from kinegraph.nn.persons import Rows, rows_of
from kinegraph.objectives.base import Objective
from kinegraph.skeleton import Skeleton
from kinegraph.transforms.streams import make_stream

CLIPS = "clips"  # the name of an encoder that sees clips as they come
DEVIATION = 0.02  # of the starting weights of the original's heads


class Encoder(nn.Module):
    """A backbone, and the head behind it that maps features to where they are compared.

    Source: Chen et al., SimCLR (ICML 2020), section 2.1.

    Args:
        backbone: The network.
        head: (N, F) -> (N, D).
        count_absent: Absent people are averaged in like present ones, as the originals do.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, *, count_absent: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.count_absent = count_absent

    def features(
        self, x: Tensor, present: Tensor | Rows | None, stages: Sequence[str] = ()
    ) -> tuple[Features, Rows]:
        """Return the backbone's features of (N, C, T, V, M) clips, and the rows they came from."""
        rows = rows_of(x, present, count_absent=self.count_absent)
        found: Features = self.backbone(x, rows, stages=stages)
        return found, rows


def projection(*widths: int, original: bool = False) -> nn.Sequential:
    """Return linear maps with a ReLU between each two: widths F, ..., D.

    Differs from the original: weights start as is usual for linear layers. With ``original`` they
    start as small as there, normal with deviation 0.02 and no bias. Directions do not depend on the
    size of weights, but their gradients grow as weights are smaller, and so small ones let short
    runs collapse to a few directions before they learn anything.
    """
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        linear = nn.Linear(before, after)
        if original:
            normal(linear.weight, DEVIATION)
            nn.init.zeros_(linear.bias)
        layers += [nn.ReLU(), linear] if layers else [linear]
    return nn.Sequential(*layers)


class SelfSupervised(Objective):
    """One or more encoders, each of which sees a stream of the clips. It knows no classes.

    As it stands it is what tests need; objectives derived from it add what training needs.

    Args:
        encoders: Stream, or ``clips`` for what comes as it is, -> encoder.
        skeleton: Layout of the joints, from which streams are made.
        original: Whether ``quirks: original`` is set.

    Attributes:
        query: The encoders.
    """

    classifies = False
    training_only = ("key.", "queue.")

    def __init__(
        self, encoders: Mapping[str, Encoder], skeleton: Skeleton, *, original: bool = False
    ) -> None:
        super().__init__()
        self.query = nn.ModuleDict(encoders)
        self.skeleton, self.original = skeleton, original

    def seen(self, x: Tensor, stream: str) -> Tensor:
        """Return what an encoder sees of clips (N, C, T, V, M): their stream, in that shape."""
        if stream in (CLIPS, "joint"):
            return x
        joints = x.permute(0, 4, 2, 3, 1).contiguous()  # (N, M, T, V, C)
        made = make_stream(joints, self.skeleton, stream, original=self.original)
        return made.permute(0, 4, 2, 3, 1)

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) -> (N, F), the pooled features of all encoders, heads left out."""
        return torch.cat([self.embed_stream(s, x, present) for s in self.query], dim=1)

    def embed_stream(self, stream: str, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """(N, C, T, V, M) joints -> (N, F), the pooled feature of one encoder."""
        encoder: Any = self.query[stream]
        features, _ = encoder.features(self.seen(x, stream), present)
        pooled: Tensor = features.pooled
        return pooled

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """There are no classes to score.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(
            "the run has learned without labels and knows no classes yet: what its features are"
            " worth is told by kinegraph probe RUN"
        )

    def freeze(self) -> SelfSupervised:
        """Return the encoders alone, their backbones frozen, see `Objective.freeze`."""
        twins: dict[str, Encoder] = {}
        for stream, encoder in self.query.items():
            assert isinstance(encoder, Encoder)
            head = copy.deepcopy(encoder.head)
            twins[stream] = Encoder(
                encoder.backbone.freeze(), head, count_absent=encoder.count_absent
            )
        frozen = SelfSupervised(twins, self.skeleton, original=self.original)
        return frozen.eval().requires_grad_(False)
