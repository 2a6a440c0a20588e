"""The Skeleton type on trees of any shape."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.errors import LayoutError
from kinegraph.skeleton import PARTS, Coordinates, Skeleton, load_layout


def tree(parents: list[int]) -> Skeleton:
    joints = range(len(parents))
    return Skeleton(
        name="tree",
        title="A tree",
        joints=tuple(f"joint {joint}" for joint in joints),
        parents=tuple(parents),
        mirror=tuple(joints),
        parts={part: tuple(joints) for part in PARTS},
        centre=0,
        coordinates=Coordinates(axes=("x", "y", "z"), up="+y", unit="metre"),
    )


@st.composite
def trees(draw: st.DrawFn) -> Skeleton:
    """Trees of up to 12 joints, numbered in any order."""
    count = draw(st.integers(1, 12))
    plain = [-1] + [draw(st.integers(0, joint - 1)) for joint in range(1, count)]
    number = draw(st.permutations(range(count)))
    parents = [0] * count
    for joint, parent in enumerate(plain):
        parents[number[joint]] = -1 if parent < 0 else number[parent]
    return tree(parents)


@given(trees())
def test_hops_are_a_metric_of_the_tree(skeleton: Skeleton) -> None:
    hops = skeleton.hops
    assert np.array_equal(hops, hops.T)
    assert not np.diag(hops).any()
    assert all(hops[child, parent] == 1 for child, parent in skeleton.edges)
    assert (hops[:, None, :] <= hops[:, :, None] + hops[None, :, :]).all()


@given(trees(), st.data())
def test_another_root_keeps_the_bones(skeleton: Skeleton, data: st.DataObject) -> None:
    root = data.draw(st.integers(0, skeleton.joint_count - 1))
    turned = skeleton.rooted_at(root)
    assert turned.root == root
    assert {frozenset(e) for e in turned.edges} == {frozenset(e) for e in skeleton.edges}
    assert turned.rooted_at(skeleton.root) == skeleton


@given(trees(), st.integers(1, 5))
def test_k_mode_subtracts_the_kth_ancestor(skeleton: Skeleton, k: int) -> None:
    x = np.arange(1.0, skeleton.joint_count + 1)
    for joint in range(skeleton.joint_count):
        ancestor = joint
        for _ in range(k):
            ancestor = skeleton.parents[ancestor] if ancestor >= 0 else -1
        expected = x[joint] - (x[ancestor] if ancestor >= 0 else 0)
        assert (skeleton.k_mode(k) @ x)[joint] == expected


def test_k_mode_zero_and_foreign_roots_are_refused() -> None:
    skeleton = load_layout("ntu25")
    with pytest.raises(LayoutError, match="k >= 1"):
        skeleton.k_mode(0)
    for root in (25, -1):
        with pytest.raises(LayoutError, match="no joint"):
            skeleton.rooted_at(root)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"joints": (), "parents": (), "mirror": ()}, "no joints"),
        ({"joints": ("a", "a", "b")}, "same name"),
        ({"parents": (-1, 0)}, "parents has 2 of 3"),
        ({"parents": (-1, 0, 3)}, "a parent is no joint"),
        ({"parents": (-1, 0, -2)}, "a parent is no joint"),
        ({"parents": (-1, -1, 0)}, "exactly one root"),
        ({"parents": (1, 0, 0)}, "exactly one root"),
        ({"parents": (-1, 2, 1)}, "circle"),
        ({"mirror": (1, 2, 0)}, "mirror taken twice"),
        ({"mirror": (0, 1, -1)}, "mirror taken twice"),
        ({"mirror": (0, 1)}, "mirror has 2 of 3"),
        ({"centre": 3}, "its centre is no joint"),
        ({"centre": -1}, "its centre is no joint"),
        ({"parts": {"head": (0, 1, 2)}}, "its parts must be"),
        ({"parts": dict.fromkeys(PARTS, (0, 1))}, "no body part has the joints joint 2"),
        ({"parts": dict.fromkeys(PARTS, (0, 1, 2, -1))}, "names a joint that is not there"),
        ({"parts": dict.fromkeys(PARTS, (0, 1, 2, 3))}, "names a joint that is not there"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(LayoutError, match=expected):
        replace(tree([-1, 0, 0]), **changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [("joints", 3), ("parents", ["a"]), ("parts", []), ("coordinates", None), ("centre", None)],
)
def test_a_malformed_description_is_refused(field: str, value: object) -> None:
    fields = tree([-1, 0]).to_dict()
    with pytest.raises(LayoutError, match="malformed"):
        Skeleton.from_dict({**fields, field: value})
    del fields[field]
    with pytest.raises(LayoutError, match="malformed"):
        Skeleton.from_dict(fields)


def test_a_skeleton_is_hashable_and_can_be_pickled() -> None:
    skeleton = load_layout("ntu25")
    copy = pickle.loads(pickle.dumps(skeleton))
    assert copy == skeleton
    assert len({copy, skeleton}) == 1


def test_positions_exclude_the_score() -> None:
    assert load_layout("openpose18").coordinates.positions == 2
    assert load_layout("openpose18").coordinates.channels == 3
    assert load_layout("ntu25").coordinates.positions == 3
