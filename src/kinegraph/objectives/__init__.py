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


# build(config, make_backbone, num_classes, skeleton, original) -> an Objective
OBJECTIVES: dict[str, Component] = {
    "classify": Component(
        summary="Cross-entropy on one linear head.", config=ClassifyConfig, build=_build_classify
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
