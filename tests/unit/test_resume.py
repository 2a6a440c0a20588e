"""A run that was killed or stopped anywhere ends like one that never was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open

DRIVER = Path(__file__).with_name("interrupted_runs.py")


def tensors_of(run: Path, name: str = "last") -> dict[str, bytes]:
    with safe_open(run / "checkpoints" / f"{name}.safetensors", framework="np") as file:
        return {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow
def test_killed_and_stopped_runs_end_bit_identically(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
) -> None:
    recipe = tiny_recipe(
        backbone={"dropout": 0.2},
        objective={"name": "classify", "dropout": 0.3},
        optim={"name": "adamw", "lr": 0.01, "clip_norm": 1.0},
        # The tiny time between checkpoints has one written after every step.
        training={"epochs": 3, "repeat": 3, "accumulate": 2, "ema": 0.9, "balanced": True,
                  "checkpoint_minutes": 1e-9, "batch_size": 2},
        evaluation={"selection": "test", "every": 1},
    )  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [
        sys.executable,
        DRIVER,
        tmp_path / "recipe.yaml",
        make_store(per_class=4),
        tmp_path / "runs",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout.splitlines()[-1])

    whole = tmp_path / "runs" / "whole"
    assert results["whole"] == 0
    assert [row["epoch"] for row in rows_of(whole)] == [1, 2, 3]
    runs = [*results["random"], *results["saving"], *results["asked"]]
    assert len(results["random"]) == 10
    for run in runs:
        folder = tmp_path / "runs" / run["name"]
        assert run["end"] == 0, run
        assert rows_of(folder) == rows_of(whole), run
        for name in ("last", "best"):
            assert tensors_of(folder, name) == tensors_of(whole, name), run

    # They were stopped where the test wants them to be.
    assert any(run["step"] > 0 for run in results["random"])
    assert len({(run["epoch"], run["step"]) for run in results["random"]}) > 3
    for run in results["saving"]:
        assert run["killed"] == -signal.SIGKILL
        assert run["parts"] == 1, "the killed process left its unfinished file"
        assert run["left"] == [], "and the next one removed it"
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143}
    for run in results["asked"]:
        assert run["code"] == codes[int(run["name"].split("-")[1])]
        assert run["step"] > 0, "it was saved in the middle of an epoch"
