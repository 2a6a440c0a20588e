"""Backbones by name. Their configurations live here and need no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kinegraph.registry import Component, Config, look_up
from kinegraph.skeleton import Skeleton

if TYPE_CHECKING:
    from kinegraph.backbones.base import Backbone


class STGCNConfig(Config):
    """ST-GCN (AAAI 2018): partitioned neighbourhoods, temporal kernel 9."""

    name: Literal["stgcn"] = "stgcn"
    width: int = Field(64, ge=4)
    """Channels of the first four blocks, doubled twice later."""
    last_width: int | None = Field(None, ge=4)
    """Channels of the last block, which are those of the feature; default: four times the width.
    AimCLR's encoder has 256 after a width of 16."""
    strategy: Literal["uniform", "distance", "spatial"] = "spatial"
    """How the neighbourhood of a joint is partitioned."""
    max_hop: int = Field(1, ge=1)
    """Farthest neighbour, in bones."""
    dilation: int = Field(1, ge=1)
    """Step between neighbours, in bones."""
    edge_importance: bool = True
    """Learn a factor for each edge in each block."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """After each temporal convolution but the first."""


class STGCNFirstReleaseConfig(Config):
    """The first release of ST-GCN (January 2018): other graphs, masks, other residuals."""

    name: Literal["stgcn-v1"] = "stgcn-v1"
    width: int = Field(64, ge=4)
    """Channels of the first four blocks, doubled twice later."""
    strategy: Literal["uniform", "distance*", "distance", "spatial", "DAD", "DLD"] = "spatial"
    """Which of the release's graphs joins the joints; published weights are for `spatial`."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Before each temporal convolution but the first."""


class TCNConfig(Config):
    """Temporal Conv (2017): convolutions over time on all coordinates at once; no stages."""

    name: Literal["tcn"] = "tcn"
    width: int = Field(64, ge=4)
    """Channels of the first four layers, doubled twice later."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Inside the residual units."""
    normalise: bool = True
    """Normalise coordinates first."""


class CTRGCNConfig(Config):
    """CTR-GCN (ICCV 2021): a topology refined for every channel of every clip."""

    name: Literal["ctrgcn"] = "ctrgcn"
    width: int = Field(64, ge=4, multiple_of=4)
    """Channels of the first four blocks, doubled twice later."""


class CTRGCNBaselineConfig(Config):
    """The baseline of CTR-GCN: freely learned topologies (FR-Head calls it stgcn)."""

    name: Literal["ctrgcn-baseline"] = "ctrgcn-baseline"
    width: int = Field(64, ge=4)
    """Channels of the first four blocks, doubled twice later."""


class AAGCNConfig(Config):
    """AAGCN (TIP 2020): a topology for every clip, attention to joints, frames and channels."""

    name: Literal["aagcn"] = "aagcn"
    width: int = Field(64, ge=4)
    """Channels of the first four blocks, doubled twice later."""
    attention: bool = True
    """Weigh joints, frames and channels after each graph convolution."""


class TCAGCNConfig(Config):
    """TCA-GCN (2022): CTR-GCN with values that are weighed over time."""

    name: Literal["tcagcn"] = "tcagcn"
    width: int = Field(64, ge=4, multiple_of=4)
    """Channels of the first four blocks, doubled twice later."""


class InfoGCNConfig(Config):
    """InfoGCN (CVPR 2022): attention between the joints of every frame."""

    name: Literal["infogcn"] = "infogcn"
    width: int = Field(64, ge=8, multiple_of=4)
    """Channels of the embedding and the first three blocks, doubled twice later."""
    heads: int = Field(3, ge=1)
    """Attention maps in every frame."""


def _build_stgcn(
    config: STGCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.stgcn import STGCN

    return STGCN(
        skeleton,
        in_channels,
        strategy=config.strategy,
        max_hop=config.max_hop,
        dilation=config.dilation,
        edge_importance=config.edge_importance,
        dropout=config.dropout,
        width=config.width,
        last_width=config.last_width,
        original=original,
    )


def _build_stgcn_v1(
    config: STGCNFirstReleaseConfig,
    skeleton: Skeleton,
    in_channels: int,
    persons: int,
    original: bool,
) -> Backbone:
    from kinegraph.backbones.stgcn_v1 import STGCNFirstRelease

    return STGCNFirstRelease(
        skeleton,
        in_channels,
        persons,
        config.width,
        strategy=config.strategy,
        dropout=config.dropout,
    )


def _build_tcn(
    config: TCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.tcn import TCN

    return TCN(
        skeleton,
        in_channels,
        persons,
        config.width,
        dropout=config.dropout,
        normalise=config.normalise,
    )


def _build_ctrgcn(
    config: CTRGCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.ctrgcn import CTRGCN

    return CTRGCN(skeleton, in_channels, persons, config.width)


def _build_ctrgcn_baseline(
    config: CTRGCNBaselineConfig,
    skeleton: Skeleton,
    in_channels: int,
    persons: int,
    original: bool,
) -> Backbone:
    from kinegraph.backbones.ctrgcn_baseline import CTRGCNBaseline

    return CTRGCNBaseline(skeleton, in_channels, persons, config.width)


def _build_aagcn(
    config: AAGCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.aagcn import AAGCN

    return AAGCN(skeleton, in_channels, persons, config.width, attention=config.attention)


def _build_tcagcn(
    config: TCAGCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.tcagcn import TCAGCN

    return TCAGCN(skeleton, in_channels, persons, config.width, original=original)


def _build_infogcn(
    config: InfoGCNConfig, skeleton: Skeleton, in_channels: int, persons: int, original: bool
) -> Backbone:
    from kinegraph.backbones.infogcn import InfoGCN

    return InfoGCN(skeleton, in_channels, persons, config.width, config.heads)


def _component(config: type[Config], build: Any) -> Component:
    return Component(summary=(config.__doc__ or "").splitlines()[0], config=config, build=build)


# build(config, skeleton, in_channels, persons, original) -> a Backbone
BACKBONES: dict[str, Component] = {
    "stgcn": _component(STGCNConfig, _build_stgcn),
    "stgcn-v1": _component(STGCNFirstReleaseConfig, _build_stgcn_v1),
    "tcn": _component(TCNConfig, _build_tcn),
    "ctrgcn": _component(CTRGCNConfig, _build_ctrgcn),
    "ctrgcn-baseline": _component(CTRGCNBaselineConfig, _build_ctrgcn_baseline),
    "aagcn": _component(AAGCNConfig, _build_aagcn),
    "tcagcn": _component(TCAGCNConfig, _build_tcagcn),
    "infogcn": _component(InfoGCNConfig, _build_infogcn),
}


def build_backbone(
    config: Config,
    skeleton: Skeleton,
    *,
    in_channels: int | None = None,
    persons: int = 2,
    original: bool = False,
) -> Backbone:
    """Make a backbone.

    Args:
        config: Its configuration, with the ``name`` of an entry of `BACKBONES`.
        skeleton: Layout of the joints.
        in_channels: C of the input; default: what the layout's coordinates have.
        persons: M, person slots of the input.
        original: Whether ``quirks: original`` is set.

    Raises:
        RecipeError: There is no such backbone.
    """
    name = str(config.name)  # type: ignore[attr-defined]
    channels = skeleton.coordinates.channels if in_channels is None else in_channels
    backbone: Backbone = look_up("backbone", name, BACKBONES).build(
        config, skeleton, channels, persons, original
    )
    return backbone
