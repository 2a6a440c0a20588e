"""The body that CTR-GCN and its relatives share: input norm, nine or ten blocks, pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.nn.norm import BatchNorm, normalise_clips
from kinegraph.nn.persons import Rows, fold, pool, rows_of
from kinegraph.nn.temporal_conv import TemporalConv
from kinegraph.skeleton import Skeleton


@dataclass(frozen=True)
class Plan:
    """How the blocks of a network follow each other.

    Attributes:
        widths: Channels of each block, as a multiple of the network's width.
        strides: Stride of each block over time.
        stages: Stage name -> the block whose output it is.
        bare_first: Whether the first block has no residual.
    """

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    stages: Mapping[str, int]
    bare_first: bool


TEN_BLOCKS = Plan(
    widths=(1, 1, 1, 1, 2, 2, 2, 4, 4, 4),
    strides=(1, 1, 1, 1, 2, 1, 1, 2, 1, 1),
    stages={"low": 0, "mid": 4, "high": 7, "final": 9},
    bare_first=True,
)
NINE_BLOCKS = Plan(
    widths=(1, 1, 1, 2, 2, 2, 4, 4, 4),
    strides=(1, 1, 1, 2, 1, 1, 2, 1, 1),
    stages={"low": 0, "mid": 3, "high": 6, "final": 8},
    bare_first=False,
)

MakeUnit = Callable[[int, int, int], nn.Module]  # in_channels, channels, stride


class SpatialUnit(nn.Module):
    """relu(norm(graph convolution) + residual), whatever the graph convolution is."""

    def __init__(self, conv: nn.Module, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(channels)
        nn.init.constant_(self.norm.weight, 1e-6)  # the unit starts as its residual
        self.residual = None
        if in_channels != channels:
            self.residual = TemporalConv(in_channels, channels, kernel=1)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, T, V)."""
        residual = x if self.residual is None else self.residual(x, weight)
        y: Tensor = self.norm(self.conv(x, weight), weight, residual=residual, relu=True)
        return y


class Block(nn.Module):
    """relu(temporal(spatial(x)) + residual(x)); a bare block has no residual."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        spatial: nn.Module,
        temporal: nn.Module,
        *,
        bare: bool,
    ) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self.bare = bare
        self.residual = None
        if not bare and (in_channels != channels or stride != 1):
            self.residual = TemporalConv(in_channels, channels, kernel=1, stride=stride)

    def forward(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """(R, C_in, T, V) and weights of rows -> (R, C, ceil(T / stride), V)."""
        residual = None if self.bare else x
        if self.residual is not None:
            residual = self.residual(x, weight)
        y: Tensor = self.temporal(self.spatial(x, weight), weight, residual=residual, relu=True)
        return y


class Body(nn.Module):
    """Input norm, blocks and pooling; what a block does in space and time is given.

    Args:
        skeleton: Layout of the joints.
        in_channels: C of the input.
        persons: M; the input norm has channels of its own for each slot.
        width: Channels of the first blocks, doubled twice later.
        spatial: Makes the unit over joints from (in_channels, channels, 1).
        temporal: Makes the unit over time from (channels, channels, stride).
        plan: How many blocks there are, how wide and with which strides.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        width: int,
        spatial: MakeUnit,
        temporal: MakeUnit,
        plan: Plan = TEN_BLOCKS,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.input_norm = BatchNorm(persons * skeleton.joint_count * in_channels)
        channels = [in_channels, *(width * factor for factor in plan.widths)]
        self.blocks = nn.ModuleList(
            Block(
                channels[i],
                channels[i + 1],
                stride,
                spatial(channels[i], channels[i + 1], 1),
                temporal(channels[i + 1], channels[i + 1], stride),
                bare=i == 0 and plan.bare_first,
            )
            for i, stride in enumerate(plan.strides)
        )
        self.out_channels = channels[-1]
        self.stage_channels = {stage: channels[i + 1] for stage, i in plan.stages.items()}
        self.stage_strides = {
            stage: math.prod(plan.strides[: i + 1]) for stage, i in plan.stages.items()
        }

    def forward(self, x: Tensor, present: Tensor | Rows | None, stages: Sequence[str]) -> Features:
        """(N, C, T, V, M) clips -> features."""
        rows = rows_of(x, present)
        x = fold(self.normalise(x, rows), rows)  # (R, C, T, V)
        maps = {}
        for i, block in enumerate(self.blocks):
            x = block(x, rows.weight)
            for stage in stages:
                if self.plan.stages[stage] == i:
                    maps[stage] = rows.unfold(x)  # (N, M, C, T', V)
        return Features(pool(x, rows), maps)

    def normalise(self, x: Tensor, rows: Rows) -> Tensor:
        """Normalise clips (N, C, T, V, M), see `normalise_clips`."""
        return normalise_clips(self.input_norm, x, rows)


class BodyBackbone(Backbone):
    """A backbone that is a body, perhaps with something before it."""

    body: Body

    def stand_on(self, body: Body) -> None:
        """Take a body, its widths and its stages."""
        self.body = body
        self.out_channels = body.out_channels
        self.stage_channels = body.stage_channels
        self.stage_strides = body.stage_strides

    def embed(self, x: Tensor) -> Tensor:
        """Turn clips (N, C, T, V, M) into what the body gets: by default, what they are."""
        return x

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        return self.body(self.embed(x), present, stages)  # type: ignore[no-any-return]

    def freeze(self) -> Backbone:
        """Return the network for inference alone, rearranged on CPUs: see `Backbone.freeze`."""
        if next(self.parameters()).device.type != "cpu":
            return super().freeze()
        from kinegraph.backbones.frozen.families import freeze_body

        return freeze_body(self)
