"""Configurations of the augmentations, which work on clips of T frames."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kinegraph.registry import Config
from kinegraph.transforms.configs import check_order


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
        check_order("the factor", self.low, self.high)
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
    exchange_only: bool = False
    """Joints change places, but coordinates keep their signs (AimCLR)."""


class NoiseConfig(Config):
    """Add normal noise to every coordinate."""

    name: Literal["noise"] = "noise"
    deviation: float = Field(0.01, ge=0)
    """Standard deviation in units of the coordinates."""
    of_extent: bool = False
    """Noise in a random direction instead, with the deviation as a share of the extent (PYSKL)."""
    probability: float = Field(1.0, ge=0, le=1)
    """Share of the clips that get noise."""


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


class MirrorCropConfig(Config):
    """Lengthen a clip at both ends by its own frames, mirrored, and cut T of them (AimCLR)."""

    name: Literal["mirror_crop"] = "mirror_crop"
    ratio: int = Field(6, ge=1)
    """Each end becomes longer by T / ratio frames."""


class ShearConfig(Config):
    """Slant each clip: every axis gets a random share of the others (AimCLR)."""

    name: Literal["shear"] = "shear"
    amplitude: float = Field(0.5, ge=0)
    """Largest share."""


class RotateAboutAxisConfig(Config):
    """Rotate each clip about one random axis, and a little about the others (AimCLR)."""

    name: Literal["rotate_about_axis"] = "rotate_about_axis"
    main: float = Field(30.0, ge=0, le=360)
    """Largest angle about the chosen axis, degrees; the smallest is 0."""
    others: float = Field(1.0, ge=0, le=360)
    """Likewise about the others."""


class BlurConfig(Config):
    """Blur a clip over time by a random Gaussian (AimCLR)."""

    name: Literal["blur"] = "blur"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the clips that are blurred."""
    taps: int = Field(15, ge=1)
    """Frames that become one; an odd number."""
    low: float = Field(0.1, gt=0)
    """Smallest standard deviation, frames."""
    high: float = Field(2.0, gt=0)
    """Largest standard deviation, frames."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        check_order("the deviation", self.low, self.high)
        if self.taps % 2 == 0:
            raise ValueError(f"taps is {self.taps}, which has no middle; give an odd number")
        return self


class MaskAxisConfig(Config):
    """Set one random axis of a clip to zero (AimCLR)."""

    name: Literal["mask_axis"] = "mask_axis"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the clips that lose an axis."""


class ReverseTimeConfig(Config):
    """Play a clip backwards at random (AimCLR)."""

    name: Literal["reverse_time"] = "reverse_time"
    probability: float = Field(0.5, ge=0, le=1)
    """Share of the clips that are reversed."""
