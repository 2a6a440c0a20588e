"""Transforms and streams by name. Their configurations live here and need no torch.

A recipe lists transforms in order: any that need whole clips, exactly one that samples T frames,
then any that work on batches of fixed length. The stream is made last.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from kinegraph.errors import LayoutError, RecipeError, unknown
from kinegraph.registry import Component, Config
from kinegraph.skeleton import Skeleton

STREAMS: dict[str, str] = {
    "joint": "positions as they are",
    "bone": "joint minus its parent; the root is zero",
    "joint-motion": "next frame minus this one; the last is zero",
    "bone-motion": "motion of the bones",
    "k-mode-1": "joint minus its k-th ancestor, the root stays; any k >= 1 (k-mode-2, ...)",
    "k-mode-1-motion": "motion of a k-mode stream",
}


def check_stream(stream: str) -> str:
    """Return the name of a stream if there is such a stream.

    Raises:
        RecipeError: There is none, or its k is 0.
    """
    found = re.fullmatch(r"k-mode-(\d+)(-motion)?", stream)
    if found and int(found[1]) == 0:
        raise RecipeError("stream 'k-mode-0' would make every input zero; k must be at least 1")
    if not found and stream not in STREAMS:
        raise RecipeError(unknown("stream", stream, STREAMS))
    return stream


SPINES = (  # names of the lowest two joints of the spine in the layouts that have one
    ("base of spine", "middle of spine"),
    ("hip centre", "spine"),
    ("torso", "neck"),
)
Share = Annotated[float, Field(gt=0, le=1)]


def _check_order(name: str, low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"{name} goes from {low:g} down to {high:g}; the smaller one comes first")


class CropResizeConfig(Config):
    """Take a part of each clip and resize it in time by linear interpolation."""

    name: Literal["crop_resize"] = "crop_resize"
    length: int = Field(64, ge=1)
    """T, frames after sampling."""
    proportion: Share | tuple[Share, Share] = 0.95
    """One number: the middle part of the clip. Two: a random part between them."""
    minimum: int = Field(64, ge=1)
    """A random part has at least this many frames, as far as the clip has them."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if isinstance(self.proportion, tuple):
            _check_order("proportion", *self.proportion)
        return self


class PickFramesConfig(Config):
    """Pick frames without interpolation: evenly spread, or a random sorted choice."""

    name: Literal["pick_frames"] = "pick_frames"
    length: int = Field(52, ge=1)
    """T, frames after sampling."""
    random: bool = False
    """Random sorted choice instead of evenly spread frames."""


class WindowConfig(Config):
    """Cut a window of T frames; a shorter clip is surrounded by zeros."""

    name: Literal["window"] = "window"
    length: int = Field(300, ge=1)
    """T, frames after sampling."""
    random: bool = False
    """Random place of the window, or of a short clip in it."""


class UniformFramesConfig(Config):
    """Take one frame from each of T equal parts of the clip, without interpolation (PYSKL)."""

    name: Literal["uniform_frames"] = "uniform_frames"
    length: int = Field(100, ge=1)
    """T, frames after sampling."""
    random: bool = False
    """A random frame of each part instead of the middle one."""
    proportion: tuple[Share, Share] = (1.0, 1.0)
    """With ``random``: of a random part of the clip between these shares of it."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _check_order("proportion", *self.proportion)
        return self


class RotateConfig(Config):
    """Rotate each clip by random angles about x, y and z."""

    name: Literal["rotate"] = "rotate"
    limits: tuple[float, float, float] = (0.3, 0.3, 0.3)
    """Largest angle about each axis, radians."""


class ScaleConfig(Config):
    """Scale each clip by one random factor."""

    name: Literal["scale"] = "scale"
    low: float = Field(0.9, gt=0)
    """Smallest factor."""
    high: float = Field(1.1, gt=0)
    """Largest factor."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _check_order("the factor", self.low, self.high)
        return self


class ScaleAxesConfig(Config):
    """Scale each axis of each clip by a random factor of its own (PYSKL)."""

    name: Literal["scale_axes"] = "scale_axes"
    limit: float = Field(0.1, ge=0, lt=1)
    """Largest relative change."""


class MirrorConfig(Config):
    """Swap left and right of a clip at random."""

    name: Literal["mirror"] = "mirror"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the clips that are mirrored."""


class NoiseConfig(Config):
    """Add normal noise to every coordinate."""

    name: Literal["noise"] = "noise"
    deviation: float = Field(0.01, ge=0)
    """Standard deviation in units of the coordinates."""
    of_extent: bool = False
    """Noise in a random direction instead, with the deviation as a share of the extent (PYSKL)."""


class RandomMoveConfig(Config):
    """Turn, scale and shift a clip in the x-y plane, slowly changing over time (ST-GCN)."""

    name: Literal["random_move"] = "random_move"
    segments: int = Field(1, ge=1)
    """Segments in time between which new parameters are drawn."""


class ScaleBonesConfig(Config):
    """Change the length of every bone by its own factor, alike left and right (FR-Head)."""

    name: Literal["scale_bones"] = "scale_bones"
    limit: float = Field(0.2, ge=0, lt=1)
    """Largest relative change."""
    root: int | str = 0
    """Joint, by number or name, that stays where it is."""


class MaskFramesConfig(Config):
    """Set a share of the frames to zero (FR-Head)."""

    name: Literal["mask_frames"] = "mask_frames"
    share: float = Field(0.25, ge=0, le=1)
    """Share of the frames, drawn with replacement."""


class CentreConfig(Config):
    """Subtract one joint of the first person in its first frame from everything."""

    name: Literal["centre"] = "centre"
    joint: int | str | None = None
    """Joint by number or name; default: the layout's centre."""


class AlignBodyConfig(Config):
    """Centre each clip, turn the spine to z and the shoulders to x (PYSKL)."""

    name: Literal["align_body"] = "align_body"
    centre: int | str | None = None
    """Joint by number or name; default: the upper end of the spine."""
    spine: tuple[int | str, int | str] | None = None
    """Lower and upper joint; default: the lowest two joints of the layout's spine."""
    shoulders: tuple[int | str, int | str] = ("left shoulder", "right shoulder")
    """Left and right joint."""


class FitImageConfig(Config):
    """Bring the pixels of 2D joints to -1 .. 1 (PYSKL)."""

    name: Literal["fit_image"] = "fit_image"
    width: float = Field(1920, gt=0)
    """Of pictures of which the clip does not tell it."""
    height: float = Field(1080, gt=0)
    """Likewise."""
    least_score: float = Field(0.01, ge=0)
    """Joints with this score or less are missing."""


class TurnViewConfig(Config):
    """Turn each clip about x and y by whole degrees and scale it (NW-UCLA)."""

    name: Literal["turn_view"] = "turn_view"
    degrees: int = Field(60, ge=0, le=180)
    """Largest angle, degrees."""
    low: float = Field(0.5, gt=0)
    """Smallest scale."""
    high: float = Field(1.5, gt=0)
    """Largest scale."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        _check_order("the scale", self.low, self.high)
        return self


class MinMaxConfig(Config):
    """Stretch each axis of each clip to [-1, 1]."""

    name: Literal["min_max"] = "min_max"


def _joint(skeleton: Skeleton, joint: int | str | None) -> int:
    if joint is None:
        return skeleton.centre
    if isinstance(joint, str):
        if joint not in skeleton.joints:
            raise RecipeError(unknown(f"joint of layout '{skeleton.name}'", joint, skeleton.joints))
        return skeleton.joints.index(joint)
    if not 0 <= joint < skeleton.joint_count:
        raise RecipeError(
            f"joint {joint} is outside 0..{skeleton.joint_count - 1} of layout '{skeleton.name}'"
        )
    return joint


def _build_sampler(config: Any, skeleton: Skeleton, original: bool) -> Any:
    from kinegraph.transforms import sampling

    match config:
        case CropResizeConfig():
            return sampling.CropResize(config.length, config.proportion, config.minimum)
        case UniformFramesConfig():
            return sampling.UniformFrames(config.length, config.random, config.proportion)
        case PickFramesConfig():
            return sampling.PickFrames(config.length, config.random)
        case _:
            return sampling.Window(config.length, config.random)


def _build_augmentation(config: Any, skeleton: Skeleton, original: bool) -> Any:
    from kinegraph.transforms import augment

    match config:
        case RotateConfig():
            return augment.Rotate(config.limits)
        case ScaleConfig():
            return augment.Scale(config.low, config.high)
        case ScaleAxesConfig():
            return augment.ScaleAxes(config.limit)
        case MirrorConfig():
            return augment.Mirror(config.probability)
        case NoiseConfig():
            return augment.Noise(config.deviation, config.of_extent)
        case RandomMoveConfig():
            return augment.RandomMove(move_missing=original, segments=config.segments)
        case ScaleBonesConfig():
            return augment.ScaleBones(config.limit, _joint(skeleton, config.root), original)
        case _:
            return augment.MaskFrames(config.share)


def _build_normalisation(config: Any, skeleton: Skeleton, original: bool) -> Any:
    from kinegraph.transforms import normalise

    match config:
        case CentreConfig():
            return normalise.Centre(_joint(skeleton, config.joint), move_missing=original)
        case AlignBodyConfig():
            return _build_alignment(config, skeleton, original)
        case FitImageConfig():
            return normalise.FitImage(config.width, config.height, config.least_score, original)
        case TurnViewConfig():
            return normalise.TurnView(config.degrees, config.low, config.high)
        case _:
            return normalise.MinMax(move_missing=original)


def _build_alignment(config: AlignBodyConfig, skeleton: Skeleton, original: bool) -> Any:
    from kinegraph.transforms.align import AlignBody

    if skeleton.coordinates.positions != 3:
        raise LayoutError(
            f"align_body needs 3D joints, layout '{skeleton.name}' is 2D: use fit_image"
        )
    lower, upper = config.spine or _lower_spine(skeleton)
    left, right = config.shoulders
    return AlignBody(
        _joint(skeleton, upper if config.centre is None else config.centre),
        (_joint(skeleton, lower), _joint(skeleton, upper)),
        (_joint(skeleton, left), _joint(skeleton, right)),
        original,
    )


def _lower_spine(skeleton: Skeleton) -> tuple[int | str, int | str]:
    """Return the lowest two joints of the layout's spine."""
    for pair in SPINES:
        if set(pair) <= set(skeleton.joints):
            return pair
    raise RecipeError(
        f"align_body knows no spine of layout '{skeleton.name}': give spine, two of its joints"
    )


def _component(config: type[Config], build: Any) -> Component:
    return Component(summary=(config.__doc__ or "").splitlines()[0], config=config, build=build)


# build(config, skeleton, original) -> a transform with stage, draw and apply
TRANSFORMS: dict[str, Component] = {
    "centre": _component(CentreConfig, _build_normalisation),
    "align_body": _component(AlignBodyConfig, _build_normalisation),
    "fit_image": _component(FitImageConfig, _build_normalisation),
    "turn_view": _component(TurnViewConfig, _build_normalisation),
    "min_max": _component(MinMaxConfig, _build_normalisation),
    "crop_resize": _component(CropResizeConfig, _build_sampler),
    "pick_frames": _component(PickFramesConfig, _build_sampler),
    "uniform_frames": _component(UniformFramesConfig, _build_sampler),
    "window": _component(WindowConfig, _build_sampler),
    "rotate": _component(RotateConfig, _build_augmentation),
    "scale": _component(ScaleConfig, _build_augmentation),
    "scale_axes": _component(ScaleAxesConfig, _build_augmentation),
    "mirror": _component(MirrorConfig, _build_augmentation),
    "noise": _component(NoiseConfig, _build_augmentation),
    "random_move": _component(RandomMoveConfig, _build_augmentation),
    "scale_bones": _component(ScaleBonesConfig, _build_augmentation),
    "mask_frames": _component(MaskFramesConfig, _build_augmentation),
}
