"""Configurations of what works on whole clips and of what samples T frames of them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from kinegraph.registry import Config

Share = Annotated[float, Field(gt=0, le=1)]


def check_order(name: str, low: float, high: float) -> None:
    """Refuse an interval that begins above its end."""
    if low > high:
        raise ValueError(f"{name} goes from {low:g} down to {high:g}; the smaller one comes first")


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
        check_order("the scale", self.low, self.high)
        return self


class MinMaxConfig(Config):
    """Stretch each axis of each clip to [-1, 1]."""

    name: Literal["min_max"] = "min_max"


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
            check_order("proportion", *self.proportion)
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
        check_order("proportion", *self.proportion)
        return self
