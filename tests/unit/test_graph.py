"""Adjacency matrices of layouts."""

from __future__ import annotations

import numpy as np
import pytest

from kinegraph.nn.graph import directed, normalise_columns, partition
from kinegraph.skeleton import layout_names, load_layout

every_layout = pytest.mark.parametrize("layout", layout_names())


@every_layout
@pytest.mark.parametrize("strategy", ["uniform", "distance", "spatial"])
@pytest.mark.parametrize(("max_hop", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("original", [False, True])
def test_partitions_share_out_each_neighbourhood(
    layout: str, strategy: str, max_hop: int, dilation: int, original: bool
) -> None:
    skeleton = load_layout(layout)
    matrices = partition(skeleton, strategy, max_hop, dilation, original=original)  # type: ignore[arg-type]
    distances = range(0, max_hop + 1, dilation)
    expected = {"uniform": 1, "distance": len(distances), "spatial": 2 * len(distances) - 1}
    assert len(matrices) == expected[strategy]
    np.testing.assert_allclose(matrices.sum((0, 1)), 1)
    assert ((matrices > 0).sum(0) <= 1).all(), "each pair belongs to one partition"
    np.testing.assert_array_equal(matrices.sum(0) > 0, np.isin(skeleton.hops, list(distances)))


def test_the_true_distance_to_the_centre_splits_evenly() -> None:
    skeleton = load_layout("ntu25")
    nonzero = [int((matrix > 0).sum()) for matrix in partition(skeleton)]
    assert nonzero == [25, 24, 24]  # every bone once inwards, once outwards
    original = [int((matrix > 0).sum()) for matrix in partition(skeleton, original=True)]
    assert original == [25, 40, 8]


@every_layout
def test_inwards_comes_from_joints_farther_from_the_centre(layout: str) -> None:
    skeleton = load_layout(layout)
    distance = skeleton.hops[skeleton.centre]
    _, inwards, outwards = partition(skeleton)
    source, target = np.nonzero(inwards)
    assert (distance[source] >= distance[target]).all()
    source, target = np.nonzero(outwards)
    assert (distance[source] < distance[target]).all()


@every_layout
def test_directed_graphs_follow_the_tree(layout: str) -> None:
    skeleton = load_layout(layout)
    itself, children, parents = directed(skeleton)
    np.testing.assert_array_equal(itself, np.eye(skeleton.joint_count))
    assert {(c, p) for p, c in np.argwhere(children).tolist()} == set(skeleton.edges)
    assert {(c, p) for c, p in np.argwhere(parents).tolist()} == set(skeleton.edges)
    np.testing.assert_allclose(children.sum(0)[[c for c, _ in skeleton.edges]], 1)


def test_empty_columns_stay_empty() -> None:
    matrix = np.array([[2.0, 0.0], [2.0, 0.0]])
    np.testing.assert_array_equal(normalise_columns(matrix), [[0.5, 0], [0.5, 0]])
