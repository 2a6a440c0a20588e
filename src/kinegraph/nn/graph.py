"""Adjacency matrices from a layout: who may listen to whom in a graph convolution.

All matrices are (K, V, V) with source joints as rows and target joints as columns for ST-GCN's
partitions; their columns are normalised. Plain NumPy; networks turn them into buffers.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kinegraph.skeleton import Skeleton

Strategy = Literal["uniform", "distance", "spatial"]
FirstStrategy = Literal["uniform", "distance*", "distance", "spatial", "DAD", "DLD"]
Matrices = NDArray[np.float64]


def normalise_columns(matrix: Matrices) -> Matrices:
    """Divide every column by its sum; all-zero columns stay zero."""
    sums = matrix.sum(axis=-2, keepdims=True)
    normalised: Matrices = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    return normalised


def partition(
    skeleton: Skeleton,
    strategy: Strategy = "spatial",
    max_hop: int = 1,
    dilation: int = 1,
    *,
    original: bool = False,
) -> Matrices:
    """Split the neighbourhood of each joint into K subsets.

    Joints are neighbours when 0, dilation, 2*dilation ... up to ``max_hop`` bones lie between them.
    ``uniform`` makes one subset, ``distance`` one for each number of bones, and ``spatial``
    further splits each distance by whether the source is farther from the layout's centre.

    Source: Yan et al., ST-GCN (AAAI 2018), section 3.3.
    Differs from the original: the distance to the centre is the true one. Theirs is known only up
    to ``max_hop``, so that joints far from the centre all count as equally far; ``original``
    restores that, as published weights need.

    Returns:
        (K, V, V) float64, every column of the sum over K adds up to 1.
    """
    hops = skeleton.hops
    distances = range(0, max_hop + 1, dilation)
    shared = normalise_columns(np.isin(hops, list(distances)).astype(np.float64))
    if strategy == "uniform":
        return shared[None]
    at = [np.where(hops == distance, shared, 0.0) for distance in distances]
    if strategy == "distance":
        return np.stack(at)
    to_centre = hops[:, skeleton.centre].astype(np.float64)
    if original:
        to_centre[to_centre > max_hop] = np.inf
    source, target = to_centre[:, None], to_centre[None, :]
    matrices = [at[0]]
    for values in at[1:]:
        matrices.append(np.where(source >= target, values, 0.0))  # as far, or farther: inwards
        matrices.append(np.where(source < target, values, 0.0))  # nearer: outwards
    return np.stack(matrices)


def directed(skeleton: Skeleton) -> Matrices:
    """Return three matrices: every joint itself, its children, and its parent.

    The second holds a 1 at (parent, child), the third at (child, parent); each is normalised by
    columns.

    Source: Shi et al., 2s-AGCN (CVPR 2019); Chen et al., CTR-GCN (ICCV 2021).

    Returns:
        (3, V, V) float64.
    """
    inward = np.zeros((skeleton.joint_count, skeleton.joint_count))
    for child, parent in skeleton.edges:
        inward[parent, child] = 1
    identity = np.eye(skeleton.joint_count)
    return np.stack((identity, normalise_columns(inward), normalise_columns(inward.T)))


def first_release(skeleton: Skeleton, strategy: FirstStrategy = "spatial") -> Matrices:
    """Return the graphs that the first release of ST-GCN offers, by the names it gives them.

    With N the bones in both directions, normalised by columns, and n the same normalised by rows
    and columns alike: ``uniform`` is N of the bones and the joints themselves, ``distance*``
    I - N, ``distance`` I and N, ``spatial`` that of `directed`, ``DAD`` is n of the bones and the
    joints themselves, and ``DLD`` I - n, the Laplacian.

    Source: Yan et al., ST-GCN (AAAI 2018), as released in January 2018.
    Differs from the original: those of one matrix have an axis of one subset.

    Returns:
        (K, V, V) float64: K is 3 for ``spatial``, 2 for ``distance``, else 1.
    """
    if strategy == "spatial":
        return directed(skeleton)
    identity = np.eye(skeleton.joint_count)
    bones = (skeleton.hops == 1).astype(np.float64)
    match strategy:
        case "uniform":
            matrices = [normalise_columns(bones + identity)]
        case "distance":
            matrices = [identity, normalise_columns(bones)]
        case "distance*":
            matrices = [identity - normalise_columns(bones)]
        case "DAD":
            matrices = [_normalise_both(bones + identity)]
        case "DLD":
            matrices = [identity - _normalise_both(bones)]
    return np.stack(matrices)


def _normalise_both(matrix: Matrices) -> Matrices:
    """Divide a symmetric matrix by the square roots of its column sums, along both axes."""
    roots = np.sqrt(matrix.sum(axis=0))
    both = np.outer(roots, roots)
    normalised: Matrices = np.divide(matrix, both, out=np.zeros_like(matrix), where=both > 0)
    return normalised
