"""Objectives by name: what a backbone is trained for. Configurations live here, without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kinegraph.errors import RecipeError
from kinegraph.objectives.without_labels import (
    AimCLRConfig,
    CrosSCLRConfig,
    SkeletonCLRConfig,
    build_bare_contrast,
    build_contrast,
)
from kinegraph.registry import Component, Config, look_up
from kinegraph.skeleton import Skeleton

if TYPE_CHECKING:
    from kinegraph.backbones.base import Backbone
    from kinegraph.objectives.base import Objective
    from kinegraph.objectives.language_texts import Texts


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


class LanguageConfig(Config):
    """LST: cross-entropy, and contrast of the body and its parts with texts about the action."""

    name: Literal["language"] = "language"
    texts: str = "ntu120"
    """Text features: `ntu120`, `nw-ucla`, `pku-mmd`, `utd-mhad`, `sbu`, or a file made by
    `kinegraph text encode`; with an encoder, descriptions: one of these names, or a `.toml` file.
    Of more classes than there are, the first ones (NTU RGB+D 60)."""
    encoder: str | None = None
    """A text encoder that is trained with the network: a folder, a name on the hub, or
    `all-minilm-l6-v2`; default: none, text features stay as they are."""
    weight: float = Field(0.8, ge=0)
    """Weight of the contrast (alpha)."""
    original_parts: Literal["joints", "bones"] = "joints"
    """Which of the original's two lists of joints makes the parts with `quirks: original`."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the pooled feature, before the head."""


class RefineConfig(Config):
    """FR-Head: a contrast on every stage of the network, in training alone."""

    name: Literal["refine"] = "refine"
    version: Literal["V0", "V1", "V2", "NO FN", "NO FP", "NO FN & FP"] = "V0"
    """Which clips are pushed away from confusions: all, the rightly classified ones, or whole
    classes; and V1 without missed clips, mistaken ones, or both."""
    weight: float = Field(0.1, ge=0)
    """Weight of the contrast beside the cross-entropy."""
    level_weights: tuple[float, float, float, float] = (0.1, 0.2, 0.5, 1.0)
    """Weights of the stages low, mid, high and final in the contrast."""
    start_epoch: int = Field(0, ge=0)
    """Epoch, counted from 0, from which the contrast has a part in the loss."""
    threshold: float = Field(0.0, ge=0, lt=1)
    """A right answer of no more than this probability moves no prototype."""
    weigh_by_probability: bool = True
    """Confusions weigh as much as the own class is improbable."""
    frames: int = Field(64, ge=1)
    """Frames that the heads over time are made for; other clips are resampled there."""
    width: int = Field(256, ge=1)
    """Numbers in a description that is compared."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all classes."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """On the pooled feature, before the head."""


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


def _build_language(
    config: LanguageConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    from kinegraph.objectives.language import Language
    from kinegraph.objectives.language_parts import part_lists

    return Language(
        make_backbone(),
        num_classes,
        texts=_language_texts(config, num_classes),
        joints=part_lists(skeleton, original=config.original_parts if original else None),
        joint_count=skeleton.joint_count,
        weight=config.weight,
        label_smoothing=config.label_smoothing,
        dropout=config.dropout,
        count_absent=original,
    )


def _language_texts(config: LanguageConfig, num_classes: int) -> Texts:
    """Return the texts of a configuration, with the encoder if one is to be trained."""
    from kinegraph.objectives.language_texts import TableTexts, TrainedTexts
    from kinegraph.text.description import load_descriptions
    from kinegraph.text.encoder import open_encoder
    from kinegraph.text.table import ENDING, load_table

    if config.encoder is None:
        return TableTexts(load_table(config.texts))
    if config.texts.endswith(ENDING):
        raise RecipeError(
            f"objective.texts '{config.texts}' is a table of features, but objective.encoder has to"
            " be given the texts themselves: name the descriptions that the table was made of"
        )
    descriptions = load_descriptions(config.texts)[:num_classes]
    return TrainedTexts(open_encoder(config.encoder), descriptions)


def _build_bare_language(
    config: LanguageConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    """Make what `Language.bare` returns; neither texts nor their encoder need be at hand."""
    plain = ClassifyConfig(label_smoothing=config.label_smoothing, dropout=config.dropout)
    bare = _build_classify(plain, make_backbone, num_classes, skeleton, original)
    bare.training_only = ("language.",)
    return bare


def _build_refine(
    config: RefineConfig,
    make_backbone: Callable[[], Backbone],
    num_classes: int,
    skeleton: Skeleton,
    original: bool,
) -> Objective:
    from kinegraph.objectives.refine import Refine

    return Refine(
        make_backbone(),
        num_classes,
        skeleton.joint_count,
        frames=config.frames,
        width=config.width,
        weight=config.weight,
        level_weights=config.level_weights,
        start_epoch=config.start_epoch,
        version=config.version,
        threshold=config.threshold,
        weigh_by_probability=config.weigh_by_probability,
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
    "refine": Component(
        summary="FR-Head: a contrast on every stage, dropped after training.",
        config=RefineConfig,
        build=_build_refine,
    ),
    "language": Component(
        summary="LST: cross-entropy, body and parts contrasted with texts about the action.",
        config=LanguageConfig,
        build=_build_language,
        build_bare=_build_bare_language,
    ),
    "skeletonclr": Component(
        summary="SkeletonCLR, without labels: two views of a clip, told from a queue of others.",
        config=SkeletonCLRConfig,
        build=build_contrast,
        build_bare=build_bare_contrast,
    ),
    "aimclr": Component(
        summary="AimCLR, without labels: an extreme view, attention drop, nearest neighbours.",
        config=AimCLRConfig,
        build=build_contrast,
        build_bare=build_bare_contrast,
    ),
    "crossclr": Component(
        summary="CrosSCLR, without labels: streams take over each other's neighbours.",
        config=CrosSCLRConfig,
        build=build_contrast,
        build_bare=build_bare_contrast,
    ),
}


def build_objective(
    config: Config,
    make_backbone: Callable[[], Any],
    *,
    num_classes: int,
    skeleton: Skeleton,
    original: bool = False,
    bare: bool = False,
) -> Objective:
    """Make an objective.

    Args:
        config: Its configuration, with the ``name`` of an entry of `OBJECTIVES`.
        make_backbone: Makes a fresh backbone; an objective may want several.
        num_classes: Number of classes.
        skeleton: Layout of the joints.
        original: Whether ``quirks: original`` is set.
        bare: Whether it is for tests alone; what only training needs may then be left out.

    Raises:
        RecipeError: There is no such objective.
    """
    name = str(config.name)  # type: ignore[attr-defined]
    component = look_up("objective", name, OBJECTIVES)
    build = (component.build_bare if bare else None) or component.build
    objective: Objective = build(config, make_backbone, num_classes, skeleton, original)
    return objective
