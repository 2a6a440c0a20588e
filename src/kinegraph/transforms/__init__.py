"""Transforms and streams by name. Neither they nor their configurations need torch.

A recipe lists transforms in order: any that need whole clips, exactly one that samples T frames,
then any that work on batches of fixed length. The stream is made last.
"""

from __future__ import annotations

import re
from typing import Any

from kinegraph.errors import LayoutError, RecipeError, unknown
from kinegraph.registry import Component, Config
from kinegraph.skeleton import Skeleton
from kinegraph.transforms.augment_configs import (
    BlurConfig,
    MaskAxisConfig,
    MaskFramesConfig,
    MirrorConfig,
    MirrorCropConfig,
    NoiseConfig,
    RandomMoveConfig,
    ReverseTimeConfig,
    RotateAboutAxisConfig,
    RotateConfig,
    ScaleAxesConfig,
    ScaleBonesConfig,
    ScaleConfig,
    ShearConfig,
)
from kinegraph.transforms.configs import (
    AlignBodyConfig,
    CentreConfig,
    CropResizeConfig,
    FitImageConfig,
    MinMaxConfig,
    PickFramesConfig,
    TurnViewConfig,
    UniformFramesConfig,
    WindowConfig,
)

__all__ = (
    "STREAMS", "TRANSFORMS", "CropResizeConfig", "PickFramesConfig", "RotateConfig", "ScaleConfig",
    "TurnViewConfig", "check_stream",
)  # fmt: skip

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
            return augment.Mirror(config.probability, config.exchange_only)
        case NoiseConfig():
            return augment.Noise(config.deviation, config.of_extent, config.probability, original)
        case RandomMoveConfig():
            return augment.RandomMove(move_missing=original, segments=config.segments)
        case ScaleBonesConfig():
            return augment.ScaleBones(config.limit, _joint(skeleton, config.root), original)
        case _:
            return augment.MaskFrames(config.share)


def _build_contrastive(config: Any, skeleton: Skeleton, original: bool) -> Any:
    from kinegraph.transforms import contrastive

    match config:
        case MirrorCropConfig():
            return contrastive.MirrorCrop(config.ratio)
        case ShearConfig():
            return contrastive.Shear(config.amplitude)
        case RotateAboutAxisConfig():
            return contrastive.RotateAboutAxis(config.main, config.others)
        case BlurConfig():
            return contrastive.Blur(
                config.probability, config.taps, config.low, config.high, original
            )
        case MaskAxisConfig():
            return contrastive.MaskAxis(config.probability)
        case _:
            return contrastive.ReverseTime(config.probability)


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
    "mirror_crop": _component(MirrorCropConfig, _build_contrastive),
    "shear": _component(ShearConfig, _build_contrastive),
    "rotate_about_axis": _component(RotateAboutAxisConfig, _build_contrastive),
    "blur": _component(BlurConfig, _build_contrastive),
    "mask_axis": _component(MaskAxisConfig, _build_contrastive),
    "reverse_time": _component(ReverseTimeConfig, _build_contrastive),
}
