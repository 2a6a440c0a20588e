"""What every backbone offers. It knows no classes, heads or losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from kinegraph.errors import RecipeError, unknown

STAGES = ("low", "mid", "high", "final")


@dataclass(frozen=True)
class Features:
    """What a backbone makes of a batch.

    Attributes:
        pooled: (N, F), mean over joints, frames and people.
        stages: The stage maps that were asked for, each (N, M, C, T, V), zero for absent people.
    """

    pooled: Tensor
    stages: dict[str, Tensor] = field(default_factory=dict)


class Backbone(nn.Module):
    """Base of all backbones.

    Attributes:
        out_channels: F, width of the pooled feature.
        stage_channels: Stage name -> C of its map.
        stage_strides: Stage name -> s; the map has ceil(T / s) frames.
    """

    out_channels: int
    stage_channels: dict[str, int]
    stage_strides: dict[str, int]

    def forward(
        self, x: Tensor, present: Tensor | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """Turn clips into features.

        Args:
            x: (N, C, T, V, M) clips.
            present: (N, M) bool; absent people then have no part in anything. None counts every
                slot as a person, all-zero ones too, as the original programs do.
            stages: Names of stage maps to return as well.

        Raises:
            RecipeError: The backbone has no such stage.
        """
        raise TypeError("Backbone is a base class: use one of its networks")

    def check_stages(self, stages: Sequence[str]) -> None:
        """Raise RecipeError unless this backbone has all these stages."""
        for stage in stages:
            if stage not in self.stage_channels:
                raise RecipeError(unknown("stage", stage, self.stage_channels))
