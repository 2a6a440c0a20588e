"""Joint, bone, motion and k-mode streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kinegraph.errors import RecipeError
from kinegraph.skeleton import layout_names, load_layout
from kinegraph.transforms import STREAMS, check_stream
from kinegraph.transforms.streams import bone, k_mode, make_stream, motion

layouts = st.sampled_from(layout_names())


def joints_of(layout: str, seed: int = 0, frames: int = 6) -> Tensor:
    skeleton = load_layout(layout)
    random = torch.Generator().manual_seed(seed)
    shape = (2, frames, skeleton.joint_count, skeleton.coordinates.channels)
    return torch.randn(shape, generator=random)


@given(layouts, st.integers(0, 100))
def test_bone_of_motion_is_motion_of_bone(layout: str, seed: int) -> None:
    skeleton, x = load_layout(layout), joints_of(layout, seed)
    first = motion(bone(x, skeleton), skeleton)
    second = bone(motion(x, skeleton), skeleton)
    torch.testing.assert_close(first, second)
    assert torch.equal(first, make_stream(x, skeleton, "bone-motion"))


@given(layouts, st.integers(0, 100))
def test_bones_do_not_see_where_the_body_stands(layout: str, seed: int) -> None:
    skeleton, x = load_layout(layout), joints_of(layout, seed)
    moved = x.clone()
    moved[..., : skeleton.coordinates.positions] += 3
    torch.testing.assert_close(bone(moved, skeleton), bone(x, skeleton), atol=1e-5, rtol=1e-5)
    assert not bone(x, skeleton)[..., skeleton.root, : skeleton.coordinates.positions].any()


@given(layouts, st.integers(0, 100))
def test_bones_add_up_to_the_joints(layout: str, seed: int) -> None:
    skeleton, x = load_layout(layout), joints_of(layout, seed)
    rebuilt = bone(x, skeleton)
    rebuilt[..., skeleton.root, :] = x[..., skeleton.root, :]
    size = skeleton.coordinates.positions
    for joint in skeleton.order[1:]:
        rebuilt[..., joint, :size] += rebuilt[..., skeleton.parents[joint], :size]
    torch.testing.assert_close(rebuilt, x, atol=1e-5, rtol=1e-5)


@given(layouts, st.integers(0, 100))
def test_motions_add_up_to_the_way(layout: str, seed: int) -> None:
    skeleton, x = load_layout(layout), joints_of(layout, seed)
    size = skeleton.coordinates.positions
    way = motion(x, skeleton)[..., :size].sum(1)
    torch.testing.assert_close(way, (x[:, -1] - x[:, 0])[..., :size], atol=1e-5, rtol=1e-5)
    assert not motion(x, skeleton)[:, -1, :, :size].any()


@given(layouts)
def test_k_mode_1_is_the_bone_but_for_the_root(layout: str) -> None:
    skeleton, x = load_layout(layout), joints_of(layout)
    found, bones = k_mode(x, skeleton, 1), bone(x, skeleton)
    others = [joint for joint in range(skeleton.joint_count) if joint != skeleton.root]
    torch.testing.assert_close(found[..., others, :], bones[..., others, :])
    assert torch.equal(found[..., skeleton.root, :], x[..., skeleton.root, :])


@given(layouts)
def test_k_mode_beyond_the_depth_is_the_joint(layout: str) -> None:
    skeleton, x = load_layout(layout), joints_of(layout)
    torch.testing.assert_close(k_mode(x, skeleton, skeleton.joint_count), x)


def test_k_mode_2_skips_a_joint() -> None:
    skeleton, x = load_layout("ntu25"), joints_of("ntu25")
    wrist, elbow = skeleton.joints.index("left wrist"), skeleton.joints.index("left elbow")
    shoulder = skeleton.parents[elbow]
    expected = x[..., wrist, :] - x[..., shoulder, :]
    torch.testing.assert_close(k_mode(x, skeleton, 2)[..., wrist, :], expected)


@pytest.mark.parametrize("stream", STREAMS)
def test_the_confidence_stays_that_of_the_joint(stream: str) -> None:
    x = joints_of("coco17")
    assert torch.equal(make_stream(x, load_layout("coco17"), stream)[..., 2], x[..., 2])


@pytest.mark.parametrize("stream", STREAMS)
def test_the_joints_are_left_as_they_are(stream: str) -> None:
    x = joints_of("ntu25")
    before = x.clone()
    make_stream(x, load_layout("ntu25"), stream)
    assert torch.equal(x, before)


def test_one_frame_has_no_motion() -> None:
    x = joints_of("ntu25", frames=1)
    assert not make_stream(x, load_layout("ntu25"), "joint-motion").any()


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [("bones", "nearest: 'bone'"), ("k-mode-0", "every input zero"), ("k-mode-x", "unknown")],
)
def test_unknown_streams_are_refused(stream: str, complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        check_stream(stream)


def test_k_mode_3_motion_is_a_stream() -> None:
    skeleton, x = load_layout("ucla20"), joints_of("ucla20")
    found = make_stream(x, skeleton, "k-mode-3-motion")
    operator = torch.from_numpy(np.asarray(skeleton.k_mode(3)))
    torch.testing.assert_close(found[:, 0], operator @ (x[:, 1] - x[:, 0]), atol=1e-5, rtol=1e-5)
