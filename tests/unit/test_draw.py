from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import open_recordings
from kinegraph.errors import ClipError, OutputError, RecipeError
from kinegraph.inference.colours import PALETTE, bone_side, rgb
from kinegraph.inference.draw import draw_strip, save_figure, save_gif
from kinegraph.inference.layout_sheet import draw_layout, rest_pose
from kinegraph.inference.scene import make_scene, project
from kinegraph.skeleton import Skeleton, layout_names, load_layout, parse_layout


def standing(skeleton: Skeleton, frames: int = 6, *, name: str = "clip", persons: int = 1) -> Clip:
    """People of height 1 who walk to the right by 0.1 a frame, 0.8 apart, in any layout's axes."""
    coordinates = skeleton.coordinates
    pose = rest_pose(skeleton) + np.array([0.1, 0.2])
    tracks = []
    for person in range(persons):
        joints = np.ones((frames, skeleton.joint_count, coordinates.channels), dtype=np.float32)
        walk = 0.1 * np.arange(frames)[:, None] + 0.8 * person
        joints[..., 0] = pose[:, 0] + walk
        joints[..., 1] = pose[:, 1] if coordinates.up == "+y" else 2 - pose[:, 1]
        tracks.append(Track(joints, person=person))
    return Clip(name, tuple(tracks), frames)


def seen_colours(image: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}


def inks(person: int) -> set[tuple[int, ...]]:
    sides = [PALETTE[person]["left"], PALETTE[person]["right"]]
    return {tuple(int(v) for v in row) for row in (rgb(sides) * 255).round()}


@pytest.mark.parametrize("name", layout_names())
def test_heads_are_above_feet_and_left_is_not_right(name: str) -> None:
    skeleton = load_layout(name)
    scene = make_scene(standing(skeleton), skeleton)
    head = skeleton.parts["head"][0]
    assert (scene.points[0, :, head, 1] > scene.points[0, :, skeleton.parts["feet"], 1]).all()
    left = scene.points[0, 0, [s == "left" for s in skeleton.sides], 0].mean()
    right = scene.points[0, 0, [s == "right" for s in skeleton.sides], 0].mean()
    assert left < right
    sides = [bone_side(skeleton, child) for child, _ in skeleton.edges]
    assert sides.count("left") == sides.count("right") > 0


@pytest.mark.parametrize("name", layout_names())
def test_rest_pose_is_symmetric_and_every_joint_has_its_own_place(name: str) -> None:
    skeleton = load_layout(name)
    pose = rest_pose(skeleton)
    np.testing.assert_allclose(pose[list(skeleton.mirror)], pose * (-1, 1), atol=1e-12)
    assert len(np.unique(pose.round(3), axis=0)) == skeleton.joint_count


def test_rest_pose_has_the_spine_between_hips_and_shoulders() -> None:
    skeleton = load_layout("ntu25")
    order = ("base of spine", "middle of spine", "spine at shoulders", "neck", "head")
    heights = [rest_pose(skeleton)[skeleton.joints.index(name), 1] for name in order]
    assert heights == sorted(heights)
    assert np.diff(heights).min() > 0.04


def test_unknown_joints_stand_beside_their_parents() -> None:
    skeleton = load_layout("sbu15")
    strange = replace(skeleton, joints=(*skeleton.joints[:14], "right claw"))
    pose = rest_pose(strange)
    knee = strange.parents[14]
    assert pose[14, 0] > pose[knee, 0]


def test_limits_hold_every_joint_of_every_frame() -> None:
    skeleton = load_layout("ntu25")
    scene = make_scene(standing(skeleton, 40), skeleton)
    left, right, bottom, top = scene.limits
    assert left < scene.points[..., 0].min()
    assert scene.points[..., 0].max() < right
    assert bottom < scene.points[..., 1].min()
    assert scene.points[..., 1].max() < top
    assert scene.ground == pytest.approx(0.2)
    assert scene.bar == (2.0, "2 m")


def test_missing_joints_are_not_drawn() -> None:
    skeleton = load_layout("openpose18")
    clip = standing(skeleton)
    joints = clip.tracks[0].joints.copy()
    joints[2, 4] = 0
    joints[3, 5, 2] = 0  # seen with a confidence of zero
    clip = replace(clip, tracks=(Track(joints, first=1),), frames=8)
    missing = np.isnan(make_scene(clip, skeleton).points).any(axis=-1)[0]
    assert missing[[0, 7]].all()
    assert np.argwhere(missing[1:7]).tolist() == [[2, 4], [3, 5]]
    assert make_scene(clip, skeleton).peopled_frames.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_joint_on_which_a_clip_is_centred_is_drawn() -> None:
    skeleton = load_layout("ntu25")
    clip = standing(skeleton)
    joints = clip.tracks[0].joints.copy()
    joints -= joints[:1, 1:2]  # as the cleaning of NTU RGB+D does
    centred = replace(clip, tracks=(Track(joints),))
    assert not joints[0, 1].any()
    assert not np.isnan(make_scene(centred, skeleton).points).any()
    joints[0, 7] = 0  # a hand that was lost is far from there, and so is then the joint
    missing = np.isnan(make_scene(centred, skeleton).points[0, 0]).any(axis=-1)
    assert np.flatnonzero(missing).tolist() == [1, 7]
    lost = clip.tracks[0].joints.copy() + 3
    lost[0, 7] = 0
    missing = np.isnan(make_scene(replace(clip, tracks=(Track(lost),)), skeleton).points[0, 0])
    assert np.flatnonzero(missing.any(axis=-1)).tolist() == [7]


def test_image_coordinates_keep_the_proportions_of_the_video() -> None:
    skeleton = load_layout("openpose18")
    clip = standing(skeleton)
    height = float(np.ptp(make_scene(clip, skeleton).points[0, 0, :, 1]))
    tall = replace(clip, extras={"width": 100.0, "height": 2560.0})
    assert np.ptp(make_scene(tall, skeleton).points[0, 0, :, 1]) == pytest.approx(10 * height)


def test_turning_shows_depth_and_leaves_the_middle_in_place() -> None:
    skeleton = load_layout("ntu25")
    front = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 4.0]])
    np.testing.assert_allclose(project(front, skeleton), [[1, 2], [1, 2]])
    turned = project(front, skeleton, turn=30, middle=front[0])
    np.testing.assert_allclose(turned, [[1, 2], [1.5, 2]])


def test_z_may_point_up() -> None:
    skeleton = load_layout("ntu25")
    upright = replace(skeleton.coordinates, up="+z")
    points = project(np.array([[1.0, 2.0, 3.0]]), replace(skeleton, coordinates=upright))
    np.testing.assert_allclose(points, [[1, 3]])


def test_stream_arrows_follow_bones_and_motion() -> None:
    skeleton = load_layout("ntu25")
    clip = standing(skeleton)
    assert make_scene(clip, skeleton).arrows is None
    bones = make_scene(clip, skeleton, stream="bone")
    assert bones.arrows is not None
    np.testing.assert_allclose(bones.arrows[..., 1, :], bones.points)
    parents = bones.points[:, :, list(skeleton.bone_parents)]
    np.testing.assert_allclose(bones.arrows[..., 0, :], parents, atol=1e-6)
    motion = make_scene(clip, skeleton, stream="joint-motion").arrows
    assert motion is not None
    np.testing.assert_allclose(motion[0, :5, :, 1, 0] - motion[0, :5, :, 0, 0], 0.5, atol=1e-5)
    assert np.isnan(motion[0, 5]).all()
    with pytest.raises(RecipeError, match="unknown stream 'bnoe'"):
        make_scene(clip, skeleton, stream="bnoe")


def test_stream_arrows_need_every_joint_they_are_made_of() -> None:
    skeleton = load_layout("ntu25")
    clip = standing(skeleton)
    joints = clip.tracks[0].joints.copy()
    knee, ankle, foot = (skeleton.joints.index(f"left {j}") for j in ("knee", "ankle", "foot"))
    joints[2, knee] = 0
    clip = replace(clip, tracks=(Track(joints),))

    def hidden(stream: str) -> list[list[int]]:
        arrows = make_scene(clip, skeleton, stream=stream).arrows
        assert arrows is not None
        return np.argwhere(np.isnan(arrows[0, :5]).any(axis=(-1, -2))).tolist()

    assert hidden("bone") == [[2, knee], [2, ankle]]
    assert hidden("k-mode-2") == [[2, knee], [2, foot]]
    assert hidden("joint-motion") == [[1, knee], [2, knee]]
    assert hidden("bone-motion") == [[1, knee], [1, ankle], [2, knee], [2, ankle]]


def test_gif_has_one_picture_a_frame_both_sides_in_colour_and_the_speed(tmp_path: Path) -> None:
    skeleton = load_layout("ntu25")
    path = tmp_path / "two.gif"
    assert save_gif(path, standing(skeleton, 12, persons=2), skeleton, fps=30) == 12
    with Image.open(path) as image:
        assert image.n_frames == 12
        assert seen_colours(image) >= inks(0) | inks(1)
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        total = 0
        for frame in range(12):
            image.seek(frame)
            total += image.info["duration"]
        assert image.info["loop"] == 0
    assert total == 400
    assert save_gif(path, standing(skeleton, 12), skeleton, fps=30, step=5) == 3
    with Image.open(path) as image:
        assert [image.seek(f) or image.info["duration"] for f in range(3)] == [170, 160, 170]


def test_gif_of_one_frame_and_of_a_person_who_is_never_seen(tmp_path: Path) -> None:
    skeleton = load_layout("coco17")
    assert save_gif(tmp_path / "one.gif", standing(skeleton, 1), skeleton) == 1
    empty = Clip("empty", (Track(np.zeros((3, 17, 3), dtype=np.float32)),), 3)
    assert save_gif(tmp_path / "none.gif", empty, skeleton) == 3
    assert draw_strip(empty, skeleton)


def test_gif_refuses_senseless_speed_and_existing_files(tmp_path: Path) -> None:
    skeleton = load_layout("coco17")
    clip = standing(skeleton)
    for fps, step in ((0.0, 1), (float("nan"), 1), (30.0, 0)):
        with pytest.raises(ClipError, match="needs fps > 0"):
            save_gif(tmp_path / "a.gif", clip, skeleton, fps=fps, step=step)
    (tmp_path / "a.gif").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        save_gif(tmp_path / "a.gif", clip, skeleton, force=False)
    assert (tmp_path / "a.gif").read_bytes() == b"mine"
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


def test_strip_shows_evenly_spread_frames_in_one_scale() -> None:
    skeleton = load_layout("ntu25")
    figure = draw_strip(standing(skeleton, 21), skeleton, frames=5)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == [f"frame {f}" for f in (0, 5, 10, 15, 20)]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert len(draw_strip(standing(skeleton, 2), skeleton, frames=5).axes) == 2
    late = Clip("late", (Track(standing(skeleton, 3).tracks[0].joints, first=50),), 90)
    titles = [axes.get_title() for axes in draw_strip(late, skeleton, frames=5).axes]
    assert titles == ["frame 50", "frame 51", "frame 52"]
    with pytest.raises(ClipError, match="at least 1 frame"):
        draw_strip(standing(skeleton), skeleton, frames=0)


@pytest.mark.parametrize("name", ["strip.png", "strip.svg", "strip.pdf"])
def test_figures_are_the_same_bytes_each_time(tmp_path: Path, name: str) -> None:
    skeleton = load_layout("sbu15")
    clip = standing(skeleton, name="$\\frac$ <b>", persons=2)
    for folder in ("a", "b"):
        save_figure(tmp_path / folder / name, draw_strip(clip, skeleton))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_png_strip_has_both_sides_in_colour(tmp_path: Path) -> None:
    skeleton = load_layout("ucla20")
    save_figure(tmp_path / "a.png", draw_strip(standing(skeleton), skeleton))
    with Image.open(tmp_path / "a.png") as image:
        assert seen_colours(image) >= inks(0)


def test_layout_drawing_names_every_joint() -> None:
    for name in layout_names():
        skeleton = load_layout(name)
        texts = {text.get_text() for text in draw_layout(skeleton).axes[0].texts}
        assert texts >= set(skeleton.joints) | {str(j) for j in range(skeleton.joint_count)}
    pose = standing(load_layout("coco17")).tracks[0].joints[0]
    assert draw_layout(load_layout("coco17"), pose).axes


def test_the_guides_own_layout_can_be_read_and_drawn() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "layouts.md"
    text = guide.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    skeleton = parse_layout(text, where=str(guide))
    assert draw_layout(skeleton).axes
    rows = [line.split("|") for line in guide.read_text(encoding="utf-8").splitlines()]
    rows = [[cell.strip(" `") for cell in row] for row in rows if len(row) == 7]
    table = {row[1]: (int(row[2]), row[4]) for row in rows if row[2].isdigit()}
    layouts = map(load_layout, layout_names())
    assert table == {one.name: (one.joint_count, one.coordinates.up) for one in layouts}


@pytest.mark.shared
def test_left_is_left_in_real_recordings(shared_folder: Path) -> None:
    """A person's left is up x forward, and toes point forward."""
    skeleton = load_layout("ucla20")
    hips, feet, ankles = (
        [skeleton.joints.index(f"{side} {joint}") for side in ("left", "right")]
        for joint in ("hip", "foot", "ankle")
    )
    upright, left = [], []
    with open_recordings(shared_folder / "data" / "nw-ucla" / "all_sqe.zip") as recordings:
        for recording in islice(recordings.items, 0, None, 40):
            joints = recording.read().tracks[0].joints.astype(np.float64)
            forward = (joints[:, feet] - joints[:, ankles]).sum(1)
            across = joints[:, hips[0]] - joints[:, hips[1]]
            left.append(np.mean((np.cross([0, 1, 0], forward) * across).sum(1) > 0))
            points = project(joints, skeleton)
            head = points[:, skeleton.joints.index("head"), 1]
            upright.append(np.mean(head > points[:, feet, 1].max(1)))
    assert np.mean(left) > 0.8
    assert np.mean(upright) > 0.95
