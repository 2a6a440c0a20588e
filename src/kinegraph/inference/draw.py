"""Drawing clips and layouts as stick figures: PNG or SVG strips, animated GIFs, labelled layouts.

Pure functions from a clip and its skeleton to a figure or a file. They know no store and no command
line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from kinegraph.data.clip import Clip
from kinegraph.errors import ClipError
from kinegraph.files import atomic_file
from kinegraph.inference.colours import FAINT, INK, PALETTE, bone_side, gif_palette, rgb
from kinegraph.inference.scene import Floats, Scene, make_scene
from kinegraph.skeleton import Skeleton

PANEL_HEIGHT = 2.3  # inches of one panel of a strip
STRIP_WIDTH = 14.0  # inches before a strip goes on in a second row


def draw_strip(
    clip: Clip,
    skeleton: Skeleton,
    frames: int = 8,
    *,
    turn: float = 0.0,
    stream: str = "joint",
    title: str = "",
) -> Figure:
    """Draw evenly spaced frames of a clip side by side, all within the same limits.

    Args:
        clip: Tracks of (T, V, C) joints.
        skeleton: Their layout.
        frames: How many of the frames with a person to show; shorter clips show all they have.
        turn: Degrees about the vertical axis, for 3D clips.
        stream: A stream to add as arrows, see `arrows`.
        title: Heading; the name of the clip by default.

    Raises:
        ClipError: ``frames`` is below 1.
    """
    if frames < 1:
        raise ClipError(f"a strip needs at least 1 frame, got {frames}")
    scene = make_scene(clip, skeleton, turn=turn, stream=stream)
    peopled = scene.peopled_frames
    count = min(frames, len(peopled))
    chosen = peopled[np.linspace(0, len(peopled) - 1, count).round().astype(int)]
    width = float(np.clip(PANEL_HEIGHT * scene.aspect, 0.8, STRIP_WIDTH))
    rows = -(-count // max(1, int(STRIP_WIDTH / width)))
    columns = -(-count // rows)
    figure = Figure(figsize=(max(columns * width, 4.0), rows * (PANEL_HEIGHT + 0.25) + 0.75))
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place < count:
            _draw_background(axes, scene)
            _StickFigures(axes, scene, skeleton).move_to(int(chosen[place]))
            axes.set_title(f"frame {chosen[place]}", fontsize=8, color=INK, pad=2)
        else:
            axes.set_axis_off()
    top = 1 - 0.42 / figure.get_figheight()
    figure.subplots_adjust(0.01, 0.34 / figure.get_figheight(), 0.99, top - 0.03, 0.03, 0.12)
    figure.text(
        0.5, top + 0.02, title or clip.name, ha="center", va="bottom", fontsize=11, parse_math=False
    )
    _draw_legend(figure, scene.persons)
    return figure


def save_gif(
    path: Path,
    clip: Clip,
    skeleton: Skeleton,
    *,
    fps: float = 30.0,
    step: int = 1,
    turn: float = 0.0,
    stream: str = "joint",
    title: str = "",
    force: bool = True,
) -> int:
    """Write a clip as an animated GIF that repeats for ever, in the speed of the recording.

    Args:
        path: The file; it appears only when it is whole.
        clip: Tracks of (T, V, C) joints.
        skeleton: Their layout.
        fps: Frames a second of the recording. Players show at most 50 pictures a second, so faster
            recordings need a ``step``.
        step: Draw every ``step``-th frame.
        turn: Degrees about the vertical axis, for 3D clips.
        stream: A stream to add as arrows, see `arrows`.
        title: Heading; the name of the clip by default.
        force: Whether an existing file may be replaced.

    Returns:
        The number of pictures drawn.

    Raises:
        ClipError: ``fps`` or ``step`` is not positive.
        OutputError: The file exists and may not be replaced, or the disk refuses.
    """
    if not fps > 0 or step < 1:
        raise ClipError(f"a GIF needs fps > 0 and step >= 1, got fps {fps} and step {step}")
    scene = make_scene(clip, skeleton, turn=turn, stream=stream)
    chosen = range(0, scene.frame_count, step)
    pictures = [
        Image.fromarray(picture).quantize(palette=gif_palette(), dither=Image.Dither.NONE)
        for picture in _render(scene, skeleton, chosen, title or clip.name)
    ]
    # GIF counts hundredths of a second; rounding ends instead of steps keeps the overall speed.
    ends = np.round(np.arange(len(pictures) + 1) * 100 * step / fps).astype(int)
    durations = [10 * max(2, int(length)) for length in np.diff(ends)]
    with atomic_file(path, force=force) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=durations,
            loop=0,
            optimize=False,
        )
    return len(pictures)


def save_figure(path: Path, figure: Figure, *, force: bool = True, dpi: int = 130) -> None:
    """Write a figure in the format that the ending of ``path`` names, whole or not at all.

    Raises:
        OutputError: The file exists and may not be replaced, or the disk refuses.
    """
    kind = path.suffix.lstrip(".").lower()
    # Without dates and random names the same clip gives the same file.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    settings = rc_context({"svg.hashsalt": "kinegraph"})
    with settings, atomic_file(path, force=force) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, facecolor="white", metadata=metadata)


class _StickFigures:
    """The people of a scene in one axes; `move_to` puts them into a frame."""

    def __init__(self, axes: Axes, scene: Scene, skeleton: Skeleton) -> None:
        self._points = scene.points
        self._arrows = scene.arrows
        self._edges = np.array(skeleton.edges, dtype=int).reshape(-1, 2)
        styles = [PALETTE[person % len(PALETTE)] for person in scene.persons]
        self._bone_colours = rgb(
            [style[bone_side(skeleton, child)] for style in styles for child, _ in skeleton.edges]
        )
        self._joint_colours = rgb([style[side] for style in styles for side in skeleton.sides])
        if scene.arrows is not None:  # the body steps back
            self._bone_colours[:] = rgb([FAINT])
        self._bones = LineCollection([], linewidths=2.0, capstyle="round", zorder=2)
        self._shafts = LineCollection([], linewidths=1.6, capstyle="round", zorder=2.5)
        axes.add_collection(self._bones, autolim=False)
        axes.add_collection(self._shafts, autolim=False)
        self._joints = axes.scatter([], [], s=11, linewidths=0, zorder=3)
        self._numbers = [
            axes.text(0, 0, str(person + 1), fontsize=7, color=INK, ha="center", va="bottom")
            for person in scene.persons
            if len(scene.persons) > 1
        ]

    @property
    def artists(self) -> list[Artist]:
        """What has to be drawn again after `move_to`."""
        return [self._bones, self._shafts, self._joints, *self._numbers]

    def move_to(self, frame: int) -> None:
        """Show one frame of the clip."""
        points = self._points[:, frame]  # (M, V, 2)
        bones = points[:, self._edges].reshape(-1, 2, 2)  # (M * bones, both ends, xy)
        _set_lines(self._bones, bones, self._bone_colours)
        joints = points.reshape(-1, 2)  # (M * V, xy)
        if self._arrows is not None:  # dots mark the heads of the arrows instead of the joints
            arrows = self._arrows[:, frame].reshape(-1, 2, 2)  # (M * V, both ends, xy)
            _set_lines(self._shafts, arrows, self._joint_colours)
            joints = arrows[:, 1]
        known = ~np.isnan(joints).any(axis=1)
        self._joints.set_offsets(joints[known])
        self._joints.set_facecolor([tuple(colour) for colour in self._joint_colours[known]])
        for number, person in zip(self._numbers, points, strict=False):
            visible = person[~np.isnan(person).any(axis=1)]
            number.set_visible(len(visible) > 0)
            if len(visible):
                number.set_position(tuple(visible[visible[:, 1].argmax()]))


def _set_lines(lines: LineCollection, ends: Floats, colours: Floats) -> None:
    """Show the lines (L, 2, 2) whose both ends are known, in their colours (L, 3)."""
    known = ~np.isnan(ends).any(axis=(1, 2))
    lines.set_segments(list(ends[known]))
    lines.set_color([tuple(colour) for colour in colours[known]])


def _draw_background(axes: Axes, scene: Scene) -> None:
    left, right, bottom, top = scene.limits
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if scene.ground is not None:
        axes.axhline(scene.ground, color=FAINT, linewidth=1.0, zorder=1)
    if scene.bar is not None:
        length, label = scene.bar
        edge = 0.03 * (right - left)
        height = bottom + 0.25 * edge
        axes.plot((right - edge - length, right - edge), (height, height), color=INK, linewidth=1.5)
        axes.text(right - edge - length / 2, height, label, fontsize=6, color=INK, ha="center",
                  va="bottom")  # fmt: skip


def _draw_legend(figure: Figure, persons: Sequence[int]) -> None:
    handles = []
    for person in persons[: len(PALETTE)]:
        who = f" {person + 1}" if len(persons) > 1 else ""
        for side in ("left", "right"):
            colour = PALETTE[person % len(PALETTE)][side]
            handles.append(Line2D([], [], color=colour, linewidth=3, label=f"{side}{who}"))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=7,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def _render(
    scene: Scene, skeleton: Skeleton, frames: Sequence[int], title: str
) -> Iterator[NDArray[np.uint8]]:
    """Yield (height, width, 3) pictures; the background is painted once, the people each time."""
    width = float(np.clip(4.2 * scene.aspect, 2.6, 7.5))
    figure = Figure(figsize=(width, width / scene.aspect + 0.7), dpi=100)
    canvas = FigureCanvasAgg(figure)
    high = figure.get_figheight()
    axes = figure.add_axes((0.01, 0.32 / high, 0.98, 1 - 0.7 / high))
    _draw_background(axes, scene)
    _draw_legend(figure, scene.persons)
    figure.text(0.5, 1 - 0.08 / high, title, ha="center", va="top", fontsize=9, parse_math=False)
    counter = figure.text(0.985, 0.1 / high, "", ha="right", va="bottom", fontsize=7, color=INK)
    people = _StickFigures(axes, scene, skeleton)
    for artist in (counter, *people.artists):
        artist.set_animated(True)
    canvas.draw()  # type: ignore[no-untyped-call]
    background = canvas.copy_from_bbox(figure.bbox)  # type: ignore[no-untyped-call]
    for frame in frames:
        canvas.restore_region(background)  # type: ignore[no-untyped-call]
        counter.set_text(f"{frame}/{scene.frame_count - 1}")
        people.move_to(frame)
        for artist in (*people.artists, counter):
            figure.draw_artist(artist)
        pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
        yield np.array(pixels)[..., :3]
