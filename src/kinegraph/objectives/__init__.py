"""Objectives by name: what a backbone is trained for. Configurations live here, without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kinegraph.registry import Component, Config, look_up
from kinegraph.skeleton import Skeleton

if TYPE_CHECKING:
    from kinegraph.backbones.base import Backbone
    from kinegraph.objectives.base import Objective


class ClassifyConfig(Config):
    """Cross-entropy on one linear head."""

    name: Literal["classify"] = "classify"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the pooled feature, before the head."""
    head_deviation: float | None = Field(None, gt=0)
    """Standard deviation of the head's starting weights, its bias then zero (ST-GCN: 0.02);
    default: sqrt(2 / classes), as CTR-GCN."""


class TwoStreamConfig(Config):
    """Joints and motion through a network each, logits added (two-stream ST-GCN)."""

    name: Literal["two-stream"] = "two-stream"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the pooled features, before the heads."""
    head_deviation: float | None = Field(None, gt=0)
    """Standard deviation of the heads' starting weights, as in `classify`."""


class BottleneckConfig(Config):
    """InfoGCN's bottleneck: a noisy latent whose class means are pulled to orthogonal places."""

    name: Literal["bottleneck"] = "bottleneck"
    noise: float = Field(0.5, ge=0)
    """Factor of the log-variance in the exponent of the latent's deviation."""
    gain: float = Field(3.0, gt=0)
    """Length of the classes' places."""
    conditional: float = Field(0.1, ge=0)
    """Weight of the distance of class means from their places (lambda 2)."""
    marginal: float = Field(1e-4, ge=0)
    """Weight of the length of the mean latent (lambda 1)."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the feature from which the latent is made."""


def _build_classify(
    config: ClassifyConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    from kinegraph.objectives.classify import Classify

    return Classify(
        make_backbone(),
        num_classes,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        head_deviation=config.head_deviation,
        count_absent=original,
    )


def _build_two_stream(
    config: TwoStreamConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    from kinegraph.objectives.classify import Classify
    from kinegraph.objectives.two_stream import TwoStream

    def make() -> Classify:
        return Classify(
            make_backbone(),
            num_classes,
            dropout=config.dropout,
            head_deviation=config.head_deviation,
            count_absent=original,
        )

    return TwoStream(make(), make(), label_smoothing=config.label_smoothing)


def _build_bottleneck(
    config: BottleneckConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    from kinegraph.objectives.bottleneck import Bottleneck

    return Bottleneck(
        make_backbone(),
        num_classes,
        noise=config.noise,
        gain=config.gain,
        conditional=config.conditional,
        marginal=config.marginal,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        count_absent=original,
    )


# build(config, make_backbone, num_classes, skeleton, original) -> an Objective
OBJECTIVES: dict[str, Component] = {
    "classify": Component(
        summary="Cross-entropy on one linear head.", config=ClassifyConfig, build=_build_classify
    ),
    "two-stream": Component(
        summary="Joints and their motion through a network each, logits added.",
        config=TwoStreamConfig,
        build=_build_two_stream,
    ),
    "bottleneck": Component(
        summary="InfoGCN's bottleneck: noisy latents, class means at orthogonal places.",
        config=BottleneckConfig,
        build=_build_bottleneck,
    ),
}


def build_objective(
    config: Config,
    make_backbone: Callable[[], Any],
    *,
    num_classes: int,
    skeleton: Skeleton,
    original: bool = False,
) -> Objective:
    """Make an objective.

    Args:
        config: Its configuration, with the ``name`` of an entry of `OBJECTIVES`.
        make_backbone: Makes a fresh backbone; an objective may want several.
        num_classes: Number of classes.
        skeleton: Layout of the joints.
        original: Whether ``quirks: original`` is set.

    Raises:
        RecipeError: There is no such objective.
    """
    name = str(config.name)  # type: ignore[attr-defined]
    objective: Objective = look_up("objective", name, OBJECTIVES).build(
        config, make_backbone, num_classes, skeleton, original
    )
    return objective
