"""``kinegraph show``: draws one recording as a GIF or a strip of frames, or a layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import say
from kinegraph.errors import RecipeError
from kinegraph.files import refuse_existing

if TYPE_CHECKING:
    from kinegraph.data.clip import Clip
    from kinegraph.skeleton import Skeleton

ENDINGS = (".gif", ".png", ".svg", ".pdf")
MAX_PICTURES = 300  # of a GIF; longer clips leave out frames and keep their speed
MAX_RATE = 50.0  # pictures a second that programs show; faster recordings leave out frames
DEFAULT_FPS = 30.0


class Arguments(BaseModel):
    """Draw one recording as a GIF or a strip of frames, or a layout of joints.

    Left limbs have cool colours, right limbs warm ones.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """A store, or a file, folder or archive of recordings; left out to draw a --layout."""

    clip: str | None = None
    """Draw the clip of this name."""

    index: int | None = None
    """Draw the clip of this number, from 0; negative numbers count from the end."""

    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Draw the first clip of this class, by name or number."""

    out: Path | None = None
    """File to write (.gif, .png, .svg or .pdf); by default a GIF named after the clip, here."""

    frames: int = Field(default=8, ge=1)
    """How many frames a strip (.png, .svg, .pdf) shows."""

    fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Frames a second of a GIF; by default what the recording tells, else 30."""

    turn: float = Field(default=0.0, allow_inf_nan=False)
    """Degrees to turn 3D recordings about the vertical axis; 25 or so shows depth."""

    stream: str = "joint"
    """Add the vectors of this stream as arrows; those of motion are drawn five times as long."""

    layout: str | None = None
    """Draw this layout; with a source, the layout of recordings that do not tell it."""

    force: bool = False
    """Replace the file if it exists."""


def run(arguments: Arguments) -> int:
    """Draw, and say what was drawn and where it is.

    Raises:
        KinegraphError: There is no such recording, or the file cannot be written.
    """
    if arguments.source is not None:
        message = _show_clip(arguments, arguments.source)
    elif arguments.layout is not None:
        message = _show_layout(arguments, arguments.layout)
    else:
        raise RecipeError(
            "nothing to draw: name a store or a recording, or a layout (--layout ntu25)"
        )
    say(message)
    return 0


def _show_layout(arguments: Arguments, name: str) -> str:
    from kinegraph.skeleton import load_layout

    given = [arguments.clip, arguments.index, arguments.class_name]
    if any(value is not None for value in given):
        raise RecipeError("--clip, --index and --class choose from a source; name one before them")
    skeleton = load_layout(name)
    out = _output(arguments, Path(f"{skeleton.name}.png"))
    if out.suffix == ".gif":
        raise RecipeError(f"'{out}': a layout does not move; expected .png, .svg or .pdf")

    from kinegraph.inference.draw import save_figure
    from kinegraph.inference.layout_sheet import draw_layout

    save_figure(out, draw_layout(skeleton), force=arguments.force)
    return f"layout {skeleton.name}: {skeleton.title}\nwritten: {out}"


def _show_clip(arguments: Arguments, source: Path) -> str:
    from kinegraph.inference.sources import pick

    given = [arguments.clip, arguments.index, arguments.class_name]
    if sum(value is not None for value in given) > 1:
        raise RecipeError("--clip, --index and --class exclude each other; give one of them")
    clip, skeleton, class_names = pick(
        source,
        name=arguments.clip,
        index=arguments.index,
        class_name=arguments.class_name,
        layout=arguments.layout,
    )
    out = _output(arguments, Path(f"{clip.name}.gif"))
    known = 0 <= clip.label < len(class_names)
    heading = f"{clip.name}: {class_names[clip.label]}" if known else clip.name
    if arguments.stream != "joint":
        heading = f"{heading} ({arguments.stream})"
    what = _draw(arguments, clip, skeleton, out, heading)
    persons = f"{len(clip.tracks)} {'person' if len(clip.tracks) == 1 else 'persons'}"
    return f"{heading}\n{clip.frames} frames, {persons}, layout {skeleton.name}; {what}: {out}"


def _draw(arguments: Arguments, clip: Clip, skeleton: Skeleton, out: Path, heading: str) -> str:
    """Write the drawing and return what it is."""
    from kinegraph.inference.draw import draw_strip, save_figure, save_gif

    if out.suffix != ".gif":
        figure = draw_strip(
            clip,
            skeleton,
            arguments.frames,
            turn=arguments.turn,
            stream=arguments.stream,
            title=heading,
        )
        save_figure(out, figure, force=arguments.force)
        return "strip"
    told = clip.extras.get("fps", math.nan)
    fps = arguments.fps or (told if told > 0 and math.isfinite(told) else DEFAULT_FPS)
    step = max(1, math.ceil(fps / MAX_RATE), math.ceil(clip.frames / MAX_PICTURES))
    count = save_gif(
        out,
        clip,
        skeleton,
        fps=fps,
        step=step,
        turn=arguments.turn,
        stream=arguments.stream,
        title=heading,
        force=arguments.force,
    )
    left_out = "" if step == 1 else f" (one for {step} frames)"
    return f"{count} pictures{left_out}"


def _output(arguments: Arguments, default: Path) -> Path:
    out = arguments.out or default
    if out.suffix.lower() not in ENDINGS:
        raise RecipeError(f"'{out}': cannot draw '{out.suffix}'; expected {', '.join(ENDINGS)}")
    refuse_existing(out, force=arguments.force)
    return out
