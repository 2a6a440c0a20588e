"""Configurations and builders of the objectives that learn without labels. No torch at the top."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from kinegraph.errors import RecipeError
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton
from kinegraph.transforms import check_stream

if TYPE_CHECKING:
    from kinegraph.backbones.base import Backbone
    from kinegraph.objectives.base import Objective
    from kinegraph.objectives.encoders import Encoder
    from kinegraph.objectives.momentum_contrast import MomentumContrast

ORIGINAL_STREAMS = (("joint", "joint-motion"), ("joint", "joint-motion", "bone"))


class MomentumContrastConfig(Config):
    """What all methods of momentum contrast can be told."""

    needs_labels: ClassVar[bool] = False
    queue: int = Field(32768, ge=1)
    """Keys of earlier clips that a clip is told from. With fewer training clips than this, the
    queue holds each of them as it was in several epochs, and a clip is told from itself as well:
    choose less than there are clips. It need not be a multiple of the batch."""
    momentum: float = Field(0.999, ge=0, lt=1)
    """Share of the key encoder's weights that a step leaves; less suits short runs."""
    temperature: float = Field(0.07, gt=0)
    """By which cosines are divided."""
    width: int = Field(128, ge=1)
    """Numbers in a key."""


class SkeletonCLRConfig(MomentumContrastConfig):
    """SkeletonCLR: momentum contrast of two views of each clip, without labels."""

    name: Literal["skeletonclr"] = "skeletonclr"


class AimCLRConfig(MomentumContrastConfig):
    """AimCLR: SkeletonCLR, an extreme view, attention drop and neighbours, without labels."""

    name: Literal["aimclr"] = "aimclr"
    mining_epoch: int = Field(150, ge=0)
    """Epoch, counted from 0, from which nearest neighbours in the queue are positives, too."""
    top_k: int = Field(1, ge=1)
    """Neighbours that each of the three kinds of query finds."""
    keep: float = Field(0.7, gt=0.6225, lt=1)
    """Joints and numbers with an attention from this on are dropped; attention is from 0.6225 for
    what is as the mean to 1."""


class CrosSCLRConfig(MomentumContrastConfig):
    """CrosSCLR: SkeletonCLR of several streams that take over neighbours, without labels."""

    name: Literal["crossclr"] = "crossclr"
    streams: tuple[str, ...] = Field(("joint", "joint-motion", "bone"), min_length=2)
    """What the encoders see, one each, made of the joints: leave the recipe's own `stream` at
    `joint`."""
    cross_epoch: int = Field(150, ge=0)
    """Epoch, counted from 0, from which streams take over each other's neighbours."""
    top_k: int = Field(1, ge=1)
    """Neighbours that a stream takes over."""
    context: bool = True
    """Keys are compared once more as two streams see them together."""


Settings = SkeletonCLRConfig | AimCLRConfig | CrosSCLRConfig


def _encoders(
    config: Settings, make_backbone: Callable[[], Backbone], original: bool
) -> dict[str, Encoder]:
    """Make an encoder for each stream, with a head of its own or before the one that is shared."""
    from torch import nn

    from kinegraph.objectives.crossclr import FIRST
    from kinegraph.objectives.encoders import CLIPS, Encoder, projection

    made = {}
    for stream in getattr(config, "streams", (CLIPS,)):
        backbone = make_backbone()
        width = backbone.out_channels
        head = projection(width, width, config.width, original=original)
        if original and stream not in (CLIPS, FIRST):
            head = nn.Sequential(*projection(width, width, original=True), nn.ReLU())
        made[stream] = Encoder(backbone, head, count_absent=original)
    return made


def build_contrast(
    config: Settings,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    """Make an objective of momentum contrast."""
    from kinegraph.objectives.aimclr import AimCLR
    from kinegraph.objectives.crossclr import CrosSCLR
    from kinegraph.objectives.momentum_contrast import SkeletonCLR

    _check(config, original)
    kinds: dict[str, type[MomentumContrast]] = {
        "skeletonclr": SkeletonCLR,
        "aimclr": AimCLR,
        "crossclr": CrosSCLR,
    }
    objective = kinds[config.name](
        _encoders(config, make_backbone, original),
        skeleton,
        keys=_encoders(config, make_backbone, original) if original else None,
        original=original,
        **config.model_dump(exclude={"name", "streams"}),
    )
    if original:  # whose keys follow before each pass, not after each step
        objective.after_step()
    return objective


def build_bare_contrast(
    config: Settings,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    """Make the encoders alone, without those of keys and the queues."""
    from kinegraph.objectives.encoders import SelfSupervised

    encoders = _encoders(config, make_backbone, original)
    return SelfSupervised(encoders, skeleton, original=original)


def _check(config: Settings, original: bool) -> None:
    """Raise RecipeError for settings that make no sense together."""
    neighbours = getattr(config, "top_k", 1)
    if neighbours > config.queue:
        raise RecipeError(
            f"objective.top_k {neighbours} is more than the {config.queue} keys of objective.queue"
        )
    streams = getattr(config, "streams", ())
    for stream in streams:
        check_stream(stream)
    if len(set(streams)) < len(streams):
        raise RecipeError(f"objective.streams names one twice: {', '.join(streams)}")
    if original and streams and streams not in ORIGINAL_STREAMS:
        raise RecipeError(
            f"objective.streams are {', '.join(streams)}, but the original of CrosSCLR knows only"
            " joint, joint-motion and perhaps bone: name these, or leave out quirks: original"
        )
