"""From the bodies that a depth sensor followed to the people of a clip: one module per way.

``CLEANINGS`` is what ``kinegraph data import ntu60 --cleaning`` chooses from. Pure functions on
arrays: nothing here knows files or stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.cleaning.aligned import clean_and_align
from kinegraph.data.cleaning.as_recorded import every_body
from kinegraph.data.cleaning.bodies import Sightings
from kinegraph.data.cleaning.denoised import clean
from kinegraph.data.cleaning.first_two import first_two
from kinegraph.data.cleaning.pyskl import clean_as_pyskl

People = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Cleaning:
    """One way to make people of bodies.

    Attributes:
        summary: One line for people.
        people: Turns what a sensor saw into (M, T, V, 3), zero where a person is not seen; raises
            ClipError where nobody is left.
        up: The axis that points up afterwards.
    """

    summary: str
    people: Callable[[Sightings], People]
    up: str = "+y"


CLEANINGS: dict[str, Cleaning] = {
    "denoised": Cleaning(
        "noise dropped, broken tracks joined, at most two people, moved to the first frame"
        " (CTR-GCN, InfoGCN, FR-Head, LST)",
        clean,
    ),
    "aligned": Cleaning(
        "denoised, then each person turned into the axes of its own first frame (InfoGCN)",
        clean_and_align,
        up="+z",
    ),
    "stgcn": Cleaning(
        "the first two bodies of each frame, as they stand there (ST-GCN, AimCLR)", first_two
    ),
    "pyskl": Cleaning(
        "noise dropped, broken tracks joined, at most two people, not moved (PYSKL)",
        clean_as_pyskl,
    ),
    "none": Cleaning("every body that the sensor followed, as recorded", every_body),
}
