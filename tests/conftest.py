"""What all tests share: one thread, fixed seeds, and honest skips where something is not at hand.

Nothing here imports torch for a test that does not: many tests never need it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# Before anything imports torch; two threads on a busy machine are several times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels run interpreted where no GPU is at hand. Triton asks when it is first imported.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A property test is the same everywhere: no clock, no database, the same examples every time.
settings.register_profile("kinegraph", deadline=None, derandomize=True, database=None)
settings.load_profile("kinegraph")

# A shell that runs tests in the background has Ctrl-C ignored, and processes inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session", autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """Keep a run's way to ask for memory out of the process of all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kinegraph.memory.keep_memory", lambda: False)
        yield


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


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a small store: two or more classes that can be told apart."""

    def make(
        name: str = "store", *, layout: str = "coco17", per_class: int = 6, classes: int = 2
    ) -> Path:
        from kinegraph.data.clip import Clip, Track
        from kinegraph.data.store_writer import create_store
        from kinegraph.skeleton import load_layout

        skeleton = load_layout(layout)
        shape = (skeleton.joint_count, skeleton.coordinates.channels)
        random = np.random.default_rng(0)
        names = [f"class {label}" for label in range(classes)]
        with create_store(tmp_path / name, skeleton, names, source="a test") as writer:
            for number in range(per_class * classes):
                label, frames = number % classes, int(random.integers(9, 15))
                joints = random.normal(label, 0.3, (frames, *shape)).astype(np.float32)
                track = Track(person=0, joints=joints)
                # Numbers that give every rule of `data.splits` both training and test clips.
                turn = number // classes
                writer.add(
                    Clip(f"clip {number}", (track,), frames, label=label, subject=1 + turn % 4,
                         camera=1 + turn % 3, setup=1 + turn % 2)
                )  # fmt: skip
            writer.default_split = "subjects"
        return tmp_path / name

    return make


@pytest.fixture
def tiny_recipe() -> Callable[..., dict[str, Any]]:
    """Return a function that gives the values of a recipe of seconds; arguments are sections."""

    def values(**sections: dict[str, Any] | str | int) -> dict[str, Any]:
        recipe: dict[str, Any] = {
            "transforms": {
                "train": [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}],
                "test": [{"name": "crop_resize", "length": 6}],
            },
            "backbone": {"name": "stgcn", "width": 4},
            "optim": {"lr": 0.05},
            "schedule": {"name": "cosine"},
            "training": {"epochs": 2, "batch_size": 4},
            "evaluation": {"every": 1},
        }
        for name, section in sections.items():
            if isinstance(section, dict) and isinstance(recipe.get(name), dict):
                section = recipe[name] | section
            recipe[name] = section
        return recipe

    return values


@pytest.fixture
def sentence_encoder(tmp_path: Path) -> Path:
    """A folder with a tiny, untrained sentence encoder; skips the test without `transformers`."""
    library = pytest.importorskip("transformers", reason="needs the extra [text]")
    import torch

    folder = tmp_path / "tiny"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sit", "down", "stand", "up", "wave"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = library.BertConfig(
        vocab_size=len(words), hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    library.BertModel(config).save_pretrained(folder)
    library.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
