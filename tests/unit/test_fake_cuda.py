"""Steps and transforms on a CUDA device, as far as they can be followed without one.

Types, devices and memory orders are those of the real thing; numbers there are none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parent / "fake_cuda.py"
LIBRARIES = Path(torch.__file__).parent

pytestmark = [
    pytest.mark.skipif(torch.version.cuda is not None, reason="for PyTorch without CUDA"),
    pytest.mark.skipif(sys.platform != "linux", reason="preloads a library"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that PyTorch takes for a CUDA device."""
    folder = tmp_path_factory.mktemp("fake-cuda")
    subprocess.run(
        ["g++", "-std=c++20", "-shared", "-fPIC", f"-I{LIBRARIES / 'include'}",
         f"-L{LIBRARIES / 'lib'}", str(SCRIPT.with_suffix(".cpp")), "-o", "device.so",
         "-lc10", "-ltorch_cpu"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "device.so"


def follow(library: Path, *words: str) -> Any:
    environment = {
        **os.environ, "LD_PRELOAD": str(library), "LD_LIBRARY_PATH": str(LIBRARIES / "lib"),
        "TRITON_INTERPRET": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("network", "precision", "frames", "width", "gib"),
    [
        ("ctrgcn", "bf16", "64", "64", 6.0),
        ("ctrgcn", "fp32", "64", "64", 12.0),
        ("stgcn", "bf16", "300", "64", 24.0),
        ("ctrgcn-baseline", "bf16", "64", "16", 6.0),
    ],
)
def test_a_step_asks_the_device_nothing_and_copies_nothing(
    library: Path, network: str, precision: str, frames: str, width: str, gib: float
) -> None:
    found = follow(library, "train", network, precision, frames, width)
    assert found["mixed"] == []
    assert found["missing"] == []
    assert found["types"] == ["torch.float64"]
    assert found["turned"] == [] or network == "ctrgcn-baseline"  # which has no kernel
    assert found["peak_gib"] < gib


@pytest.mark.parametrize(
    ("network", "precision", "width", "method"),
    [
        ("ctrgcn", "bf16", "64", "refine"),
        ("ctrgcn", "fp32", "64", "refine"),
        ("stgcn", "bf16", "16", "aimclr"),
    ],
)
def test_a_contrast_asks_the_device_nothing(
    library: Path, network: str, precision: str, width: str, method: str
) -> None:
    found = follow(library, "train", network, precision, "50", width, method)
    assert found["mixed"] == []
    assert found["missing"] == []
    assert found["types"] == ["torch.float64"]


@pytest.mark.parametrize(
    ("layout", "stream"), [("ntu25", "bone-motion"), ("coco17", "k-mode-2-motion")]
)
def test_transforms_ask_the_device_nothing(library: Path, layout: str, stream: str) -> None:
    found = follow(library, "transform", layout, stream)
    assert {"centre", "rotate", "min_max", "pick_frames"} <= set(found)
    assert not any(found.values()), found
