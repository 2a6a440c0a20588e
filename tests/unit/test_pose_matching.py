"""Following people whom a pose estimator does not name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.data.pose_matching import follow_people, match_people


def walkers(people: int, frames: int = 12, seed: int = 0) -> np.ndarray:
    """Return (T, M, V, 3): people far apart who walk slowly; the first is the surest."""
    random = np.random.default_rng(seed)
    poses = random.random((1, people, 5, 3)) + np.arange(people)[None, :, None, None] * 10
    steps = 0.1 * random.standard_normal((frames, people, 5, 3)).cumsum(0)
    poses = poses + steps
    poses[..., 2] = np.linspace(0.9, 0.5, people)[None, :, None]
    return poses


@given(st.integers(1, 5), st.integers(0, 1000), st.booleans())
def test_people_who_keep_apart_are_found_again(people: int, seed: int, original: bool) -> None:
    poses = walkers(people, seed=seed)
    random = np.random.default_rng(seed)
    mixed = poses.copy()
    for frame in range(1, len(poses)):
        mixed[frame] = poses[frame, random.permutation(people)]
    np.testing.assert_array_equal(match_people(mixed, original=original), poses)


@given(st.integers(1, 5), st.integers(0, 1000), st.booleans())
def test_nobody_is_lost_or_doubled(people: int, seed: int, original: bool) -> None:
    poses = np.random.default_rng(seed).random((8, people, 4, 3))
    following = follow_people(poses, original=original)
    np.testing.assert_array_equal(np.sort(following, axis=1), np.tile(np.arange(people), (8, 1)))
    np.testing.assert_array_equal(following[0], np.arange(people))


def test_the_surest_chooses_first() -> None:
    """Three people compete; scores rank them 2, 0, 1, a cycle that is not its own inverse."""
    x = np.array([[0.0, 1.0, 5.0], [0.9, 4.0, 9.0]])  # (T, M) on a line
    poses = np.zeros((2, 3, 1, 3))
    poses[..., 0, 0] = x
    poses[..., 0, 2] = np.array([0.5, 0.1, 0.9])
    # Person 2 takes 4; then person 0 takes 0.9; person 1 gets what is left.
    assert follow_people(poses)[1].tolist() == [0, 2, 1]
    # In the original person 1 chooses first and takes 0.9; then 2 takes 4, and 0 the rest.
    assert follow_people(poses, original=True)[1].tolist() == [2, 0, 1]


def test_the_surest_person_comes_first() -> None:
    poses = walkers(3)[:, ::-1]
    assert match_people(poses)[..., 2].mean((0, 2)).tolist() == pytest.approx([0.9, 0.7, 0.5])


def test_one_frame() -> None:
    poses = walkers(2, frames=1)
    np.testing.assert_array_equal(match_people(poses), poses)
