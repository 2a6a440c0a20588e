"""Two processes on two GPUs, by NCCL: what the tests of several processes do on a CPU.

Not yet run: it needs a machine with two CUDA devices.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from kinegraph.evaluation.testing import score_run
from kinegraph.training.run_folder import RunFolder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]

# Ends one of two processes while the other waits for it in an exchange on the GPU.
DEADLY = """
import os
from kinegraph.objectives.classify import Classify

forward, steps = Classify.forward, [0]


def deadly(self, *batches):
    steps[0] += 1
    if steps[0] == 3 and os.environ["RANK"] == "1":
        os._exit(9)
    return forward(self, *batches)


Classify.forward = deadly
"""


def cli(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kinegraph", *words]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def weights_of(run: Path) -> dict[str, np.ndarray]:
    with safe_open(RunFolder(run).last, framework="np") as file:
        names = [key for key in file.keys() if key.startswith("model/")]  # noqa: SIM118
        return {key: file.get_tensor(key) for key in names}


@pytest.fixture
def recipe(
    tmp_path: Path, make_store: Callable[..., Path], tiny_recipe: Callable[..., dict[str, Any]]
) -> str:
    make_store(per_class=8)
    values = tiny_recipe(
        data={"store": "store"},
        optim={"lr": 0.001},
        training={"epochs": 2, "batch_size": 5, "precision": "fp32", "drop_last": False},
    )
    values["backbone"] = {"name": "ctrgcn", "width": 16}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "deadly.py").write_text(DEADLY)
    return "recipe.yaml"


def test_two_gpus_are_one(tmp_path: Path, recipe: str) -> None:
    for name, devices in (("one", ("0",)), ("two", ("0", "1"))):
        done = cli(tmp_path, "train", recipe, "--out", name, "--device", *devices)
        assert done.returncode == 0, done.stderr
    one, two = weights_of(tmp_path / "one"), weights_of(tmp_path / "two")
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-3, atol=1e-3, err_msg=key)
    done = cli(tmp_path, "test", "one", "--out", "two.npz", "--device", "0", "1")
    assert done.returncode == 0, done.stderr
    expected = score_run(tmp_path / "one", store=tmp_path / "store", device="cuda:0").scores.logits
    np.testing.assert_allclose(np.load(tmp_path / "two.npz")["logits"], expected, atol=1e-3)


def test_a_process_that_dies_leaves_nobody_waiting(tmp_path: Path, recipe: str) -> None:
    words = ("train", recipe, "--out", "run", "--device", "0", "1")
    dead = cli(tmp_path, *words, "--plugin", "deadly.py")
    assert dead.returncode == 2
    assert "rank 1 (cuda:1) ended with exit code 9" in dead.stderr
    assert "go on with: kinegraph train --resume run --device cuda:0 cuda:1" in dead.stderr
    done = cli(tmp_path, "train", "--resume", "run", "--device", "0", "1")
    assert done.returncode == 0, done.stderr
