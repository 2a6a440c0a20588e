"""The kernels of `aggregate` compile for real devices and keep their numbers in registers."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kinegraph.kernels.aggregate_launch import Blocks, gradient_blocks, mixing_blocks, precision

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None
        or importlib.util.find_spec("triton.backends.nvidia") is None,
        reason="needs Triton with its compiler for NVIDIA devices",
    ),
]

SHARED_LIMIT = 99 * 1024  # bytes that a program may have on the smallest device of capability 8.x
JOINTS = 25
# Channels, frames, and channels of the relation of CTR-GCN's three stages; then without one.
STAGES = [(64, 64, 8), (128, 32, 16), (256, 16, 32), (64, 64, 0)]
NUMBERS = ("base", "expand", "bias", "alpha", "base_parts", "query_parts", "key_parts",
           "expand_parts", "bias_parts")  # fmt: skip
VALUES = ("values", "mixed", "gradient", "query", "key", "left", "right")
REFINEMENTS = {
    "mix_kernel": ("left", "right", "expand", "bias", "alpha"),
    "topology_gradient_kernel": ("query", "key", "expand"),
}


def request(kernel: str, dtype: torch.dtype, relation: int, blocks: Blocks) -> dict[str, Any]:
    """Describe a launch on channels-last values as `aggregate_launch` makes it."""
    short = "bf16" if dtype == torch.bfloat16 else "fp32"
    # Triton takes a stride of one, and what is absent, as constants.
    last = ("values_channel", "mixed_channel" if kernel == "mix_kernel" else "gradient_channel")
    types = {name: f"*{short}" for name in VALUES} | {name: "*fp32" for name in NUMBERS}
    absent = () if relation else REFINEMENTS[kernel]
    strides = ("row", "subset", "frame", "joint")
    return {
        "module": "kinegraph.kernels.aggregate_kernels",
        "kernel": kernel,
        "types": {name: kind for name, kind in types.items() if name not in absent},
        "aligned": [
            "channels",
            "frames",
            *(f"{a}_{b}" for a in ("values", "mixed", "gradient") for b in strides),
        ],
        "options": {"num_warps": blocks.warps, "num_stages": 1},
        "constants": {
            **dict.fromkeys(last, 1),
            **dict.fromkeys(absent),
            "REFINED": bool(relation),
            "NATIVE": dtype == torch.bfloat16,
            "PRECISION": precision(dtype),
            "BLOCK_C": blocks.channels,
            "BLOCK_T": blocks.frames,
            "BLOCK_J": blocks.targets,
            "PADDED_S": blocks.sources,
            "PADDED_Q": blocks.relation,
        },
    }


def requests(dtype: torch.dtype) -> list[dict[str, Any]]:
    found = []
    for channels, frames, relation in STAGES:
        for summed, sign in ((3, 1), (1, -1)):
            blocks = mixing_blocks(channels, frames, JOINTS, relation, summed, dtype)
            each = request("mix_kernel", dtype, relation, blocks)
            each["constants"] |= {"SUMMED": summed, "SIGN": sign}
            found.append(each)
        blocks = gradient_blocks(frames, JOINTS, relation, dtype)
        each = request("topology_gradient_kernel", dtype, relation, blocks)
        each["constants"] |= {"BASE_PER_ROW": not relation}
        found.append(each)
    return found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_fit_their_devices(capability: int, dtype: torch.dtype) -> None:
    asked = [each | {"capability": capability} for each in requests(dtype)]
    environment = {key: os.environ[key] for key in os.environ if key != "TRITON_INTERPRET"}
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_kernels.py"))],
        input=json.dumps(asked),
        env=environment | {"TRITON_DEFAULT_FP_FUSION": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    for each, answer in zip(asked, json.loads(finished.stdout), strict=True):
        # Bytes of each thread that leave the registers: many only in the gradient in float32.
        most = 256 if dtype == torch.bfloat16 else {80: 1280, 90: 640}[capability]
        most = 32 if each["kernel"] == "mix_kernel" else most
        assert answer["stack"] <= most, (each, answer)
        assert answer["shared"] <= SHARED_LIMIT, (each, answer)
