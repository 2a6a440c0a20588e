"""Augmentation and normalisation of people."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from kinegraph.errors import LayoutError, RecipeError
from kinegraph.skeleton import Skeleton, layout_names, load_layout
from kinegraph.transforms import TRANSFORMS, ScaleConfig, TurnViewConfig
from kinegraph.transforms.augment import (
    MaskFrames,
    Mirror,
    Noise,
    RandomMove,
    Rotate,
    Scale,
    ScaleBones,
    missing_points,
    rotation_matrices,
)
from kinegraph.transforms.normalise import Centre, MinMax, TurnView
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import FixedTracks, RaggedTracks

layouts = st.sampled_from(layout_names())
flat_layouts = [n for n in layout_names() if load_layout(n).coordinates.positions == 2]
solid_layouts = [n for n in layout_names() if load_layout(n).coordinates.positions == 3]
seeds = st.integers(0, 1000)


def tracks_of(layout: str, seed: int = 0, frames: int = 5) -> FixedTracks:
    """Return three clips, the middle one with two people."""
    skeleton = load_layout(layout)
    random = torch.Generator().manual_seed(seed)
    shape = (4, frames, skeleton.joint_count, skeleton.coordinates.channels)
    return FixedTracks(
        joints=torch.randn(shape, generator=random),
        clip=torch.tensor([0, 1, 1, 2]),
        person=torch.tensor([0, 0, 1, 0]),
        clips=3,
        persons=2,
        skeleton=skeleton,
    )


def ragged_of(layout: str, seed: int = 0) -> RaggedTracks:
    """Return two clips of 4 and 3 frames, the second with a person who comes late."""
    skeleton = load_layout(layout)
    random = torch.Generator().manual_seed(seed)
    shape = (9, skeleton.joint_count, skeleton.coordinates.channels)
    return RaggedTracks(
        joints=torch.randn(shape, generator=random),
        offset=torch.tensor([0, 4, 7]),
        length=torch.tensor([4, 3, 2]),
        first=torch.tensor([0, 0, 1]),
        clip=torch.tensor([0, 1, 1]),
        person=torch.tensor([0, 0, 1]),
        frames=torch.tensor([4, 3]),
        persons=2,
        skeleton=skeleton,
    )


def draws(seed: int = 0, clips: int = 3) -> ClipRandom:
    return ClipRandom(seed, 0, torch.arange(clips))


def apply(transform: object, tracks: FixedTracks, seed: int = 0) -> FixedTracks:
    drawn = transform.draw(draws(seed), tracks)  # type: ignore[attr-defined]
    moved: FixedTracks = transform.apply(tracks, drawn)  # type: ignore[attr-defined]
    return moved


def bone_lengths(joints: Tensor, skeleton: Skeleton) -> Tensor:
    points = joints[..., : skeleton.coordinates.positions]
    return (points - points[..., list(skeleton.bone_parents), :]).norm(dim=-1)


@given(layouts, seeds)
def test_rotation_keeps_bone_lengths(layout: str, seed: int) -> None:
    tracks = tracks_of(layout, seed)
    turned = apply(Rotate((1.0, 2.0, 3.0)), tracks, seed)
    assert not torch.allclose(turned.joints, tracks.joints, atol=0.05)
    expected = bone_lengths(tracks.joints, tracks.skeleton)
    torch.testing.assert_close(
        bone_lengths(turned.joints, tracks.skeleton), expected, atol=1e-4, rtol=1e-4
    )


@given(seeds)
def test_rotation_matrices_are_rotations(seed: int) -> None:
    angles = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) * 3
    matrices = rotation_matrices(angles)
    identity = torch.eye(3).expand(5, 3, 3)
    torch.testing.assert_close(matrices @ matrices.mT, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(5))


@pytest.mark.parametrize("layout", flat_layouts)
def test_a_flat_layout_turns_in_its_plane(layout: str) -> None:
    tracks = tracks_of(layout)
    angles = torch.tensor([[9.0, 9.0, math.pi / 2]]).expand(3, 3)
    turned = Rotate((1, 1, 1)).apply(tracks, {"angles": angles}).joints
    torch.testing.assert_close(turned[..., 0], tracks.joints[..., 1])
    torch.testing.assert_close(turned[..., 1], -tracks.joints[..., 0])
    assert torch.equal(turned[..., 2:], tracks.joints[..., 2:])


def test_people_of_a_clip_turn_together() -> None:
    tracks = tracks_of("ntu25")
    turned = apply(Rotate((1, 1, 1)), tracks).joints
    before = (tracks.joints[1] - tracks.joints[2]).norm(dim=-1)
    torch.testing.assert_close((turned[1] - turned[2]).norm(dim=-1), before)


def test_angles_stay_within_their_limits() -> None:
    limits = (0.1, 0.2, 0.3)
    tracks = replace(tracks_of("ntu25"), clips=4000)
    angles = Rotate(limits).draw(draws(clips=4000), tracks)["angles"]
    for axis, limit in enumerate(limits):
        assert angles[:, axis].abs().max() <= limit
        assert angles[:, axis].max() > 0.99 * limit
        assert angles[:, axis].min() < -0.99 * limit


@given(layouts, seeds)
def test_mirroring_twice_gives_the_clip_back(layout: str, seed: int) -> None:
    tracks = tracks_of(layout, seed)
    swap = {"swap": torch.tensor([True, False, True])}
    once = Mirror(0.5).apply(tracks, swap)
    assert torch.equal(once.joints[1:3], tracks.joints[1:3])
    assert not torch.equal(once.joints[0], tracks.joints[0])
    assert torch.equal(Mirror(0.5).apply(once, swap).joints, tracks.joints)


def test_mirroring_exchanges_the_sides() -> None:
    tracks = tracks_of("ntu25")
    mirrored = Mirror(1.0).apply(tracks, {"swap": torch.ones(3, dtype=torch.bool)}).joints
    left = tracks.skeleton.joints.index("left hand")
    right = tracks.skeleton.joints.index("right hand")
    expected = tracks.joints[:, :, left] * torch.tensor([-1.0, 1, 1])
    assert torch.equal(mirrored[:, :, right], expected)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_share_of_the_clips_is_mirrored(probability: float) -> None:
    tracks = replace(tracks_of("ntu25"), clips=4000)
    swap = Mirror(probability).draw(draws(clips=4000), tracks)["swap"]
    assert abs(float(swap.float().mean()) - probability) < 0.04


@given(layouts, seeds)
def test_scaling_scales_bones(layout: str, seed: int) -> None:
    tracks = tracks_of(layout, seed)
    factor = Scale(0.5, 2.0).draw(draws(seed), tracks)["factor"]
    assert ((factor >= 0.5) & (factor <= 2)).all()
    scaled = apply(Scale(0.5, 2.0), tracks, seed)
    expected = bone_lengths(tracks.joints, tracks.skeleton) * factor[tracks.clip][:, None, None]
    torch.testing.assert_close(
        bone_lengths(scaled.joints, tracks.skeleton), expected, atol=1e-4, rtol=1e-4
    )


@given(layouts, seeds)
def test_bones_change_alike_on_both_sides(layout: str, seed: int) -> None:
    tracks = tracks_of(layout, seed)
    root = tracks.skeleton.root
    scaled = apply(ScaleBones(0.2, root), tracks, seed)
    before = bone_lengths(tracks.joints, tracks.skeleton)
    ratio = bone_lengths(scaled.joints, tracks.skeleton) / before
    others = [joint for joint in range(tracks.skeleton.joint_count) if joint != root]
    ratio = ratio[..., others]
    assert (ratio > 0.79).all()
    assert (ratio < 1.21).all()
    per_bone = ratio[:, 0]
    torch.testing.assert_close(ratio, per_bone[:, None].expand_as(ratio), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(per_bone[1], per_bone[2], atol=2e-3, rtol=2e-3)
    mirrored = [others.index(tracks.skeleton.mirror[joint]) for joint in others
                if tracks.skeleton.mirror[joint] != root]  # fmt: skip
    whole = [others.index(j) for j in others if tracks.skeleton.mirror[j] != root]
    torch.testing.assert_close(per_bone[:, whole], per_bone[:, mirrored], atol=2e-3, rtol=2e-3)
    positions = tracks.skeleton.coordinates.positions
    assert torch.equal(scaled.joints[:, :, root, :positions], tracks.joints[:, :, root, :positions])


def test_noise_falls_on_what_is_there() -> None:
    tracks = tracks_of("ntu25", frames=40)
    tracks.joints[0, 7] = 0
    noisy = apply(Noise(0.1), tracks).joints
    added = noisy - tracks.joints
    assert not added[0, 7].any()
    assert abs(float(added[1:].std()) - 0.1) < 0.005
    assert not torch.allclose(added[1], added[2])


def test_joints_without_confidence_are_missing() -> None:
    tracks = tracks_of("coco17")
    tracks.joints[2, 3, 4, 2] = 0
    missing = missing_points(tracks.joints, tracks.skeleton)
    assert missing.nonzero().tolist() == [[2, 3, 4, 0]]
    for transform in (Noise(1.0), RandomMove()):
        moved = apply(transform, tracks, seed=5)
        assert torch.equal(moved.joints[2, 3, 4], tracks.joints[2, 3, 4])
        assert torch.equal(moved.joints[..., 2], tracks.joints[..., 2])


def test_a_joint_at_the_origin_is_not_missing() -> None:
    tracks = tracks_of("ntu25")
    tracks.joints[0, 0, 20] = 0
    nodes = {name: torch.full((3, 2), value) for name, value in
             {"angle": 0.0, "scale": 1.0, "shift_x": 0.2, "shift_y": -0.1}.items()}  # fmt: skip
    moved = RandomMove().apply(tracks, nodes).joints
    torch.testing.assert_close(moved[0, 0, 20], torch.tensor([0.2, -0.1, 0.0]))


def test_random_move_leaves_absent_people_and_empty_frames() -> None:
    tracks = tracks_of("ntu25")
    tracks.joints[0, 2] = 0
    moved = apply(RandomMove(), tracks, seed=3)
    assert not moved.joints[0, 2].any()
    assert len(moved.joints) == 4
    everyone = apply(RandomMove(move_missing=True), tracks, seed=3)
    assert len(everyone.joints) == 6
    assert everyone.dense()[0, :, 2, :, 0].abs().sum() > 0


def test_random_move_interpolates_between_nodes() -> None:
    tracks = tracks_of("ntu25", frames=9)
    angle = torch.tensor([[0.0, 10.0, -10.0]]).expand(3, 3)
    flat = torch.zeros(3, 3)
    nodes = {"angle": flat, "scale": flat + 1, "shift_x": angle / 100, "shift_y": flat}
    moved = RandomMove(segments=2).apply(tracks, nodes).joints
    shift = (moved - tracks.joints)[0, :, 0, 0]
    # Round halves go to even numbers: the first segment has frames 0 to 3, the second 4 to 8.
    expected = torch.cat((torch.linspace(0, 0.1, 4), torch.linspace(0.1, -0.1, 5)))
    torch.testing.assert_close(shift, expected, atol=1e-6, rtol=1e-5)


@given(seeds)
def test_masked_frames_are_zero(seed: int) -> None:
    tracks = tracks_of("ntu25", seed, frames=12)
    frame = MaskFrames(0.25).draw(draws(seed), tracks)["frame"]
    assert frame.shape == (3, 3)
    masked = apply(MaskFrames(0.25), tracks, seed).joints
    for row, clip in enumerate(tracks.clip.tolist()):
        empty = {t for t in range(12) if not masked[row, t].any()}
        assert empty == set(frame[clip].tolist())
        kept = [t for t in range(12) if t not in empty]
        assert torch.equal(masked[row, kept], tracks.joints[row, kept])


@given(layouts, seeds)
def test_centring_puts_the_first_persons_joint_at_the_origin(layout: str, seed: int) -> None:
    tracks = ragged_of(layout, seed)
    size = tracks.skeleton.coordinates.positions
    centred = Centre(2).apply(tracks, {}).joints
    for clip, rows, first in ((0, slice(0, 4), 0), (1, slice(4, 9), 4)):
        assert not centred[first, 2, :size].any(), clip
        shift = tracks.joints[rows, :, :size] - centred[rows, :, :size]
        torch.testing.assert_close(shift, shift[:1, :1].expand_as(shift), atol=1e-5, rtol=1e-5)
    assert torch.equal(centred[..., size:], tracks.joints[..., size:])


def test_centring_leaves_missing_joints() -> None:
    tracks = ragged_of("ntu25")
    tracks.joints[5, 7] = 0
    assert not Centre(2).apply(tracks, {}).joints[5, 7].any()
    assert Centre(2, move_missing=True).apply(tracks, {}).joints[5, 7].any()


@given(layouts, seeds)
def test_min_max_fills_the_cube(layout: str, seed: int) -> None:
    tracks = ragged_of(layout, seed)
    size = tracks.skeleton.coordinates.positions
    scaled = MinMax().apply(tracks, {}).joints
    for rows in (slice(0, 4), slice(4, 9)):
        flat = scaled[rows, :, :size].reshape(-1, size)
        torch.testing.assert_close(flat.amin(0), -torch.ones(size), atol=1e-6, rtol=0)
        torch.testing.assert_close(flat.amax(0), torch.ones(size), atol=1e-6, rtol=0)
    assert torch.equal(scaled[..., size:], tracks.joints[..., size:])


def test_an_axis_without_extent_becomes_zero() -> None:
    tracks = ragged_of("ntu25")
    tracks.joints[:4, :, 1] = 3.0
    scaled = MinMax().apply(tracks, {}).joints
    assert scaled.isfinite().all()
    assert not scaled[:4, :, 1].any()


@pytest.mark.parametrize("layout", solid_layouts)
def test_turning_the_view_scales_and_rotates(layout: str) -> None:
    tracks = ragged_of(layout)
    drawn = TurnView(60, 0.5, 1.5).draw(draws(clips=2), tracks)
    assert drawn["degrees"].abs().max() <= 60
    turned = TurnView(60, 0.5, 1.5).apply(tracks, drawn).joints
    scale = drawn["scale"][tracks.clip_of_frame()][:, None]
    expected = bone_lengths(tracks.joints, tracks.skeleton) * scale
    found = bone_lengths(turned, tracks.skeleton)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_views_reach_both_limits() -> None:
    tracks = replace(ragged_of("ntu25"), frames=torch.ones(5000))
    degrees = TurnView(3, 1, 1).draw(draws(clips=5000), tracks)["degrees"]
    assert degrees.unique().tolist() == [-3, -2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize("layout", flat_layouts)
def test_a_flat_layout_has_no_view_to_turn(layout: str) -> None:
    with pytest.raises(LayoutError, match=f"'{layout}' is 2D"):
        TurnView(60, 0.5, 1.5).apply(ragged_of(layout), {})


@pytest.mark.parametrize("config", [ScaleConfig, TurnViewConfig])
def test_ranges_go_upwards(config: type) -> None:
    with pytest.raises(ValidationError, match="the smaller one comes first"):
        config(low=1.4, high=1.2)


@pytest.mark.parametrize(
    ("joint", "complaint"), [("nose", "unknown joint of layout 'ntu25'"), (25, "outside 0..24")]
)
def test_joints_that_are_not_there(joint: object, complaint: str) -> None:
    component = TRANSFORMS["centre"]
    config = component.config.model_validate({"joint": joint})
    with pytest.raises(RecipeError, match=complaint):
        component.build(config, load_layout("ntu25"), False)


def test_joints_go_by_name_or_number() -> None:
    component, skeleton = TRANSFORMS["centre"], load_layout("ntu25")
    by_name = component.build(component.config.model_validate({"joint": "neck"}), skeleton, False)
    by_number = component.build(component.config.model_validate({"joint": 2}), skeleton, False)
    assert by_name == by_number == Centre(2)
    assert component.build(component.config(), skeleton, True) == Centre(20, move_missing=True)


def ragged(joints: Tensor, skeleton: Skeleton) -> RaggedTracks:
    """One clip of one person."""
    length = torch.tensor([len(joints)])
    zero = torch.tensor([0])
    return RaggedTracks(joints, zero, length, zero, zero, zero, length, 1, skeleton)


def seen_but_one(joint: int, frame: int) -> tuple[Tensor, Skeleton]:
    """A person in pixels whose every joint is seen, but for one in one frame."""
    skeleton = load_layout("coco17")
    joints = torch.rand(6, 17, 3) * 100 + 300
    joints[..., 2] = 0.9
    joints[frame, joint] = 0
    return joints, skeleton


def test_centring_takes_the_first_frame_in_which_the_joint_was_seen() -> None:
    joints, skeleton = seen_but_one(skeleton_centre := load_layout("coco17").centre, 0)
    centred = Centre(skeleton_centre).apply(ragged(joints, skeleton), {}).joints
    torch.testing.assert_close(centred[1, skeleton_centre, :2], torch.zeros(2))
    torch.testing.assert_close(
        centred[2:, 5, :2], joints[2:, 5, :2] - joints[1, skeleton_centre, :2]
    )
    original = Centre(skeleton_centre, move_missing=True).apply(ragged(joints, skeleton), {}).joints
    torch.testing.assert_close(original, joints)  # as the original: nothing to subtract


def test_a_clip_is_not_centred_on_anyone_but_its_first_person() -> None:
    tracks = ragged_of("ntu25")  # the second clip: rows 4 to 6, then 7 and 8 of someone else
    tracks.joints[4:7, 20] = 0
    centred = Centre(20).apply(tracks, {}).joints
    assert torch.equal(centred[4:], tracks.joints[4:]), "there is nothing to centre on"
    assert not centred[0, 20].any()


def test_min_max_leaves_out_what_is_missing() -> None:
    joints, skeleton = seen_but_one(7, 3)
    scaled = MinMax().apply(ragged(joints, skeleton), {}).joints[..., :2]
    assert scaled[3, 7].tolist() == [0.0, 0.0]
    there = torch.ones(6, 17, dtype=torch.bool)
    there[3, 7] = False
    torch.testing.assert_close(scaled[there].amin(0), -torch.ones(2))
    torch.testing.assert_close(scaled[there].amax(0), torch.ones(2))
    original = MinMax(move_missing=True).apply(ragged(joints, skeleton), {}).joints[..., :2]
    assert original[3, 7].tolist() == [-1.0, -1.0]  # the zero was the smallest


def test_scaled_bones_do_not_hang_on_missing_joints() -> None:
    joints, skeleton = seen_but_one(7, 3)  # the left elbow; the left wrist hangs on it
    zero = torch.tensor([0])
    tracks = FixedTracks(joints[None], zero, zero, 1, 1, skeleton)
    draws = {"factor": torch.full((1, 17), 1.2)}
    scaled = ScaleBones(0.2, 0).apply(tracks, draws).joints[0]
    assert scaled[3, 7].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(scaled[3, 9], joints[3, 9])
    assert not torch.equal(scaled[2, 9], joints[2, 9])
    original = ScaleBones(0.2, 0, move_missing=True).apply(tracks, draws).joints[0]
    assert not torch.equal(original[3, 9], joints[3, 9])
