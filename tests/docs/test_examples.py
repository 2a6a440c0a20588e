"""The examples run, learn, and are as small as they are said to be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.cli import main
from kinegraph.errors import RecipeError
from kinegraph.registry import load_plugin
from kinegraph.skeleton import layout_names, load_layout

from .documents import ROOT

EXAMPLES = ROOT / "examples"
PLUGIN = EXAMPLES / "tiny_backbone.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Import two classes that differ in which wrist moves."""
    random = np.random.default_rng(0)
    x = np.repeat(random.normal(0, 30, (1, 1, 17, 3)), 32, axis=0) + np.zeros((1, 20, 1, 1))
    label = np.arange(32) % 2
    for row in range(32):
        x[row, :, 9 + label[row], 1] += 40 * np.sin(np.arange(20) / 3 + random.uniform(0, 6))
    np.savez(tmp_path / "mine.npz", x=x, label=label, subject=np.arange(32) // 2 + 1)
    out = tmp_path / "store"
    words = ["data", "import", "arrays", str(tmp_path / "mine.npz"), "--layout", "coco17"]
    assert main([*words, "--out", str(out)]) == 0
    return out


def test_the_plugin_is_small() -> None:
    assert len(PLUGIN.read_text("utf-8").splitlines()) < 60


@pytest.mark.slow
def test_the_plugin_trains_and_tests(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], registries: None
) -> None:
    run = str(tmp_path / "run")
    words = ["train", "ctrgcn", "--backbone.name", "tiny", "--data.store", str(store)]
    words += ["--data.split", "subjects", "--training.epochs", "12", "--training.batch_size", "4"]
    words += ["--out", run, "--device", "cpu"]
    assert main(words) == 2
    assert "unknown name 'tiny'" in capsys.readouterr().err
    assert main([*words, "--plugin", str(PLUGIN)]) == 0
    assert main(["test", run]) == 0
    found = re.search(r"(\d+\.\d+)%", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) > 80


def test_a_run_of_a_plugin_asks_for_it_again(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], registries: None
) -> None:
    run = str(tmp_path / "run")
    words = ["train", "ctrgcn", "--plugin", str(PLUGIN), "--backbone.name", "tiny"]
    words += ["--data.store", str(store), "--data.split", "subjects", "--training.epochs", "1"]
    assert main([*words, "--out", run, "--device", "cpu"]) == 0
    del BACKBONES["tiny"]
    assert main(["test", run]) == 2
    assert "--plugin" in capsys.readouterr().err


@pytest.mark.parametrize("layout", layout_names())
def test_the_plugin_keeps_the_contract(layout: str, registries: None) -> None:
    load_plugin(PLUGIN)
    skeleton = load_layout(layout)
    config = BACKBONES["tiny"].config()
    backbone = build_backbone(config, skeleton, persons=2).eval()
    x = torch.randn(3, skeleton.coordinates.channels, 7, skeleton.joint_count, 2)
    present = torch.tensor([[True, True], [True, False], [False, True]])
    x = x * present[:, None, None, None, :]
    features = backbone(x, present, stages=("final",))
    assert features.pooled.shape == (3, backbone.out_channels)
    expected = (3, 2, backbone.stage_channels["final"], 7, skeleton.joint_count)
    assert features.stages["final"].shape == expected
    alone = backbone(x[1:2, ..., :1], present[1:2, :1]).pooled
    torch.testing.assert_close(features.pooled[1:2], alone)
    with pytest.raises(RecipeError, match="unknown stage 'low'"):
        backbone(x, present, stages=("low",))


@pytest.mark.slow
def test_own_arrays_learns(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_arrays.py"), str(tmp_path / "out")],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = re.search(r"top-1 (\d+\.\d)% on 72 clips of people who did not train", done.stdout)
    assert found is not None, done.stdout
    assert float(found[1]) > 90  # a third would be chance
    assert "new.npz: wave" in done.stdout
    assert (tmp_path / "out" / "run" / "report.html").is_file()
