"""What all tests share: one thread, fixed seeds, and honest skips where something is not at hand.

Nothing here imports torch for a test that does not: many tests never need it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Before anything imports torch; two threads on a busy machine are several times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A property test is the same everywhere: no clock, no database, the same examples every time.
settings.register_profile("kinegraph", deadline=None, derandomize=True, database=None)
settings.load_profile("kinegraph")

SHARED = "KINEGRAPH_SHARED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``shared`` or ``gpu`` where the recordings or the device are missing."""
    skips = {}
    if not os.environ.get(SHARED):
        skips["shared"] = f"needs real recordings; set {SHARED} to their folder"
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            skips["gpu"] = "needs a CUDA device"
    for item in items:
        for marker in skips.keys() & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.skip(reason=skips[marker]))


@pytest.fixture(autouse=True)
def _reproducible_torch() -> None:
    """Give each test that has torch one thread and the same start of its global generator."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of real recordings and golden numbers; skips the test where there is none."""
    name = os.environ.get(SHARED)
    if not name:
        pytest.skip(f"needs real recordings; set {SHARED} to their folder")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"{SHARED} names {folder}, which is not a folder")
    return folder
