"""Golden files, and comparing with them.

A golden file is an ``.npz`` of arrays and a JSON text ``meta``. A check reads what it needs as
given and yields what our classes make of it; every array must be one or the other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Data agree to a few roundings of float32; differences of neighbouring frames are small numbers, so
# the same roundings are a larger share of them.
POSITIONS = 5e-6
MOTIONS = 1e-4

SMALL_COPY = Path(__file__).parent / "data"
FURTHER = "KINEGRAPH_GOLDEN"


@dataclass(frozen=True)
class Comparison:
    """One of our results.

    Attributes:
        name: The array of the golden file that it must equal, or a description.
        ours: The result.
        tolerance: Largest difference, relative to the largest magnitude of the golden array.
        theirs: The golden value, where it is not the whole array ``name``.
    """

    name: str
    ours: ArrayLike
    tolerance: float = 1e-6
    theirs: ArrayLike | None = None


@dataclass
class Golden:
    """One golden file.

    Attributes:
        path: Where it lies.
        meta: What it says about itself.
        given: Names of the arrays that a check has taken as input.
        companions: Further files of the folder that a check has read.
    """

    path: Path
    meta: dict[str, Any]
    given: set[str] = field(default_factory=set)
    companions: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, path: Path) -> Golden:
        """Open a file; arrays are read when they are asked for."""
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"])) if "meta" in archive.files else {}
        return cls(path, meta)

    @property
    def arrays(self) -> list[str]:
        """Names of the arrays."""
        with np.load(self.path, allow_pickle=False) as archive:
            return [name for name in archive.files if name != "meta"]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Take an array as input."""
        self.given.add(name)
        return self.expected(name)

    def expected(self, name: str) -> NDArray[Any]:
        """Return an array without taking it as input: its shape may be asked for."""
        with np.load(self.path, allow_pickle=False) as archive:
            return np.asarray(archive[name])

    def companion(self, beginning: str) -> Path:
        """Return the file or folder beside this one whose name begins so.

        Of several, the one that ends as this file does is taken (``..._seed3.npz``).
        """
        found = sorted(self.path.parent.glob(f"{beginning}*"))
        if not found:
            raise FileNotFoundError(f"{self.path.name} needs a {beginning}* in the same folder")
        ending = self.path.stem.rpartition("_")[2]
        path = next((path for path in found if path.stem.endswith(f"_{ending}")), found[0])
        self.companions.add(path.name)
        return path


def stated_numbers(text: str) -> list[int]:
    """Return the whole numbers in a text such as ``skeleton_input(1,3,20,18,2,seed=31)``."""
    return [int(word) for word in re.findall(r"-?\d+", text)]


def tolerance_of(stream: str) -> float:
    """Return the tolerance for data of a stream."""
    return MOTIONS if stream.endswith("motion") else POSITIONS


Check = Callable[[Golden], Iterator[Comparison]]


def difference(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Return the largest difference relative to the largest magnitude of ``theirs``."""
    left, right = np.asarray(ours), np.asarray(theirs)
    if left.shape != right.shape:
        return float("inf")
    if right.size == 0:
        return 0.0
    left, right = left.astype(np.float64), right.astype(np.float64)
    if not np.array_equal(np.isnan(left), np.isnan(right)):
        return float("inf")
    largest = float(np.nanmax(np.abs(right))) if not np.isnan(right).all() else 0.0
    return float(np.nanmax(np.abs(left - right), initial=0.0)) / max(largest, 1e-12)


@dataclass(frozen=True)
class Outcome:
    """What comparing one file gave.

    Attributes:
        arrays: How many arrays were compared.
        worst: The largest relative difference found, as a share of its tolerance.
        failures: One line for each comparison beyond its tolerance.
        untouched: Arrays that were neither compared nor taken as input.
    """

    arrays: int
    worst: float
    failures: list[str]
    untouched: list[str]


def run_check(golden: Golden, check: Check) -> Outcome:
    """Compare everything that a check yields."""
    compared: list[str] = []
    failures: list[str] = []
    worst = 0.0
    for item in check(golden):
        theirs = golden.expected(item.name) if item.theirs is None else item.theirs
        found = difference(item.ours, theirs)
        compared.append(item.name)
        worst = max(worst, found / item.tolerance)
        if not found <= item.tolerance:
            shapes = f"{np.shape(item.ours)} against {np.shape(theirs)}"
            failures.append(f"{item.name}: {found:.1e} > {item.tolerance:.0e} ({shapes})")
    touched = golden.given | set(compared)
    untouched = [name for name in golden.arrays if name not in touched]
    return Outcome(len(compared), worst, failures, untouched)


def folders() -> list[Path]:
    """Return the folders of golden files: the small copy, and the one the environment names."""
    further = os.environ.get(FURTHER)
    return [SMALL_COPY, Path(further)] if further else [SMALL_COPY]


def golden_files() -> list[Path]:
    """Return all golden files, folder by folder."""
    return [path for folder in folders() for path in sorted(folder.glob("*.npz"))]
