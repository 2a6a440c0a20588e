"""Every layout that comes with kinegraph is whole, and a broken layout file says what is wrong."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest

from kinegraph.errors import LayoutError
from kinegraph.skeleton import (
    PARTS,
    Skeleton,
    layout_names,
    load_layout,
    parse_layout,
)

FIRST_SET = {"ntu25", "ucla20", "utd20", "openpose18", "coco17", "sbu15"}
SIDES = {"left": "right", "right": "left", "middle": "middle"}

SMALL = """
name = "small"
title = "Four joints"
centre = "hip"
joints = [
  ["hip", ""],
  ["head", "hip"],
  ["left foot", "hip", "right foot"],
  ["right foot", "hip", "left foot"],
]
[coordinates]
axes = ["x", "y", "z"]
up = "+y"
unit = "metre"
[parts]
head = ["head"]
arms = []
hands = []
hips = ["hip"]
legs = []
feet = ["left foot", "right foot"]
"""


def breadth_first(skeleton: Skeleton, start: int) -> list[int]:
    near: dict[int, set[int]] = {joint: set() for joint in range(skeleton.joint_count)}
    for child, parent in skeleton.edges:
        near[child].add(parent)
        near[parent].add(child)
    hops, queue = {start: 0}, deque([start])
    while queue:
        joint = queue.popleft()
        for other in near[joint] - hops.keys():
            hops[other] = hops[joint] + 1
            queue.append(other)
    return [hops[joint] for joint in range(skeleton.joint_count)]


@pytest.fixture(params=layout_names())
def layout(request: pytest.FixtureRequest) -> Skeleton:
    return load_layout(request.param)


def test_the_first_set_is_there() -> None:
    assert set(layout_names()) >= FIRST_SET


def test_a_layout_carries_its_own_name(layout: Skeleton) -> None:
    assert layout.name in layout_names()
    assert layout.title


def test_mirror_is_an_involution_that_swaps_sides(layout: Skeleton) -> None:
    for joint, other in enumerate(layout.mirror):
        assert layout.mirror[other] == joint
        assert layout.sides[other] == SIDES[layout.sides[joint]]
        assert (joint == other) == (layout.sides[joint] == "middle")


def test_mirror_keeps_the_bones(layout: Skeleton) -> None:
    bones = {frozenset(edge) for edge in layout.edges}
    mirrored = {frozenset(layout.mirror[joint] for joint in edge) for edge in layout.edges}
    assert mirrored == bones


def test_parts_cover_every_joint_and_both_sides(layout: Skeleton) -> None:
    assert tuple(sorted(layout.parts)) == tuple(sorted(PARTS))
    members = [joint for part in layout.parts.values() for joint in part]
    assert set(members) == set(range(layout.joint_count))
    for part in layout.parts.values():
        assert part
        assert {layout.mirror[joint] for joint in part} == set(part)


def test_order_puts_parents_first(layout: Skeleton) -> None:
    place = {joint: i for i, joint in enumerate(layout.order)}
    assert sorted(place) == list(range(layout.joint_count))
    assert all(place[parent] < place[child] for child, parent in layout.edges)


def test_hops_equal_breadth_first_search(layout: Skeleton) -> None:
    expected = [breadth_first(layout, joint) for joint in range(layout.joint_count)]
    np.testing.assert_array_equal(layout.hops, expected)


def test_round_trip_through_a_dict(layout: Skeleton) -> None:
    assert Skeleton.from_dict(layout.to_dict()) == layout
    assert hash(Skeleton.from_dict(layout.to_dict())) == hash(layout)


def test_every_joint_can_be_the_root(layout: Skeleton) -> None:
    bones = {frozenset(edge) for edge in layout.edges}
    for joint in range(layout.joint_count):
        turned = layout.rooted_at(joint)
        assert turned.root == joint
        assert {frozenset(edge) for edge in turned.edges} == bones
        np.testing.assert_array_equal(turned.hops, layout.hops)


def test_k_mode_one_is_the_bone_stream(layout: Skeleton) -> None:
    x = np.random.default_rng(0).normal(size=(layout.joint_count, 3))
    bones = x - x[list(layout.bone_parents)]
    bones[layout.root] = x[layout.root]  # the root stays absolute
    np.testing.assert_allclose(layout.k_mode(1) @ x, bones, atol=1e-6)


def test_k_mode_beyond_the_depth_is_the_joint_stream(layout: Skeleton) -> None:
    np.testing.assert_array_equal(layout.k_mode(layout.joint_count), np.eye(layout.joint_count))


def test_a_layout_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(SMALL)
    skeleton = load_layout(str(file))
    assert skeleton.parents == (-1, 0, 0, 0)
    assert skeleton.mirror == (0, 1, 3, 2)
    file.write_text(SMALL.replace('name = "small"', 'name = "other"'))
    assert load_layout(str(file)).name == "other"  # a changed file is read again


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "small"', "", "name must be a string, found nothing"),
        ('name = "small"', "name = 3", "name must be a string, found 3"),
        ('name = "small"', 'nam = "small"', "unknown field 'nam'; nearest: 'name'"),
        ('name = "small"', 'name = "small', "is not valid TOML"),
        ('centre = "hip"', 'centre = "hop"', "centre names a joint 'hop'; nearest: 'hip'"),
        ('["head", "hip"]', '["head", "hipp"]', "the parent of 'head' names a joint 'hipp'"),
        ('["head", "hip"]', '["head"]', "is not [name, parent]"),
        ('["head", "hip"]', "7", "joint 7 is not [name, parent]"),
        ('["head", "hip"]', '["head", "hip", 3]', "is not [name, parent]"),
        ('["right foot", "hip"', '["left foot", "hip"', "the mirror of 'left foot' names a joint"),
        ('["head", "hip"]', '["head", ""]', "exactly one root"),
        ('["head", "hip"]', '["head", "head"]', "contain a circle"),
        ('"hip", "right foot"]', '"hip"]', "mirror taken twice"),
        ('"+y"', '"y"', "direction up 'y' is no signed axis"),
        ('"+y"', '"+w"', "direction up '+w' is no signed axis"),
        ('["x", "y", "z"]', '["x", "y", "y"]', "two axes have the same name"),
        ('["x", "y", "z"]', '["x"]', "1 axes of position"),
        ('["x", "y", "z"]', '["score", "x", "y"]', "'score' is not the last"),
        ("arms = []", "", "parts.arms must be a list, found nothing"),
        ("arms = []", 'arms = ["haed"]', "arms names a joint 'haed'; nearest: 'head'"),
        ('hips = ["hip"]', "hips = []", "no body part has the joints hip"),
        ("[coordinates]", "[coordinate]", "unknown field 'coordinate'; nearest: 'coordinates'"),
        ("joints = [", "joints = 4\nxs = [", "unknown field 'xs'"),
    ],
)  # fmt: skip
def test_a_malformed_layout_says_what_is_wrong(old: str, new: str, expected: str) -> None:
    assert old in SMALL
    with pytest.raises(LayoutError) as caught:
        parse_layout(SMALL.replace(old, new, 1), where="mine.toml")
    message = str(caught.value)
    assert expected in message
    assert "small" in message or "mine.toml" in message
    assert "\n" not in message


def test_layout_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="cannot be read"):
        load_layout(str(tmp_path / "absent.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LayoutError, match="cannot be read"):
        load_layout(str(tmp_path / "binary.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(LayoutError, match="cannot be read"):
        load_layout(str(tmp_path / "folder.toml"))


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(LayoutError, match=r"unknown layout 'ntu24'; nearest: 'ntu25'"):
        load_layout("ntu24")
    with pytest.raises(LayoutError, match="unknown layout"):
        load_layout("../layouts/ntu25")
