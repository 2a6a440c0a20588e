"""Every person turned into axes of its own: the hips along x, the spine along z.

Source: Chi et al., InfoGCN (CVPR 2022), data preparation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.cleaning.bodies import Joints, Sightings
from kinegraph.data.cleaning.denoised import clean
from kinegraph.errors import ClipError

PELVIS, SPINE, LEFT_HIP, RIGHT_HIP = 0, 1, 12, 16  # joints of layout ntu25


def clean_and_align(sightings: Sightings) -> Joints:
    """Return the people of a recording, (M, T, V, 3), cleaned and each in its own axes.

    Raises:
        ClipError: Nobody is left, or nobody can be turned.
    """
    turned = align(clean(sightings))
    if not turned.any():
        raise ClipError(
            "nobody is seen in its first frame, which says how to turn a person; --cleaning"
            " denoised does without"
        )
    return turned


def align(people: Joints) -> Joints:
    """Turn each person of (M, T, V, 3) into the axes that its first frame gives.

    As published, and as published numbers need it: a person who is not seen in frame 0 becomes all
    zero; two people are turned each for itself, so how they stand to each other is lost; and the
    axes are left-handed, so that everything is mirrored.

    Raises:
        ClipError: Hips and spine of a person lie on one line.
    """
    turned = np.zeros_like(people)
    for person, joints in enumerate(people):
        axes = _axes(joints[0].astype(np.float64))
        if axes is not None:
            # The inverse of orthonormal columns is their transpose: x' = R^-1 x, as rows x R.
            turned[person] = joints.astype(np.float64) @ axes
    return turned


def _axes(pose: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return (3, 3) axes as columns from one pose (V, 3), or None where nobody is seen."""
    spine = pose[SPINE] - pose[PELVIS]
    length = np.linalg.norm(spine)
    if length == 0:
        return None
    up = spine / length
    hips = pose[LEFT_HIP] - pose[RIGHT_HIP]
    side = hips - (up @ hips) * up
    width = np.linalg.norm(side)
    if width == 0:
        raise ClipError(
            "hips and spine of a person lie on one line in its first frame, so that it cannot be"
            " turned; --cleaning denoised does without"
        )
    side = side / width
    return np.stack((side, np.cross(side, up), up), axis=1)
