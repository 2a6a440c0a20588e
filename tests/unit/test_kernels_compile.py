"""The kernels of norm and branches compile for real devices, and fit in their registers.

That of the aggregation is tested beside its numbers.
"""

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None
        or importlib.util.find_spec("triton.backends.nvidia") is None,
        reason="needs Triton with its compiler for NVIDIA devices",
    ),
]

SHARED_LIMIT = 99 * 1024  # bytes that a program may have on the smallest device of capability 8.x
NUMBERS = ("mean", "variance", "scale", "shift", "means", "squares", "counts", "count", "sums",
           "running_mean", "running_variance", "weight", "biases", "partial")  # fmt: skip
ACTIVATIONS = ("x", "y", "z", "gradient", "residual", "dx", "dresidual", "out", "arrived",
               "weights")  # fmt: skip


def compile_all(requests: list[dict[str, Any]], capability: int, dtype: str) -> list[Any]:
    """Compile kernels in a process that does not interpret."""
    types = {name: f"*{dtype}" for name in ACTIVATIONS} | {name: "*fp32" for name in NUMBERS}
    types |= {"epsilon": "fp32", "momentum": "fp32", "batches": "*i64"}
    common = {
        "capability": capability,
        "types": types,
        "aligned": ["channels", "width", "pitch", "gradient_pitch", "residual_pitch", "dx_pitch"],
    }
    environment = {key: os.environ[key] for key in os.environ if key != "TRITON_INTERPRET"}
    finished = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_kernels.py"))],
        input=json.dumps([common | {"options": {}} | request for request in requests]),
        env=environment | {"TRITON_DEFAULT_FP_FUSION": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    answers: list[Any] = json.loads(finished.stdout)
    return answers


@pytest.mark.parametrize("capability", [80, 90])
def test_norm(capability: int) -> None:
    from kinegraph.kernels.norm_act_operators import COMBINED, PROGRAMS, blocks

    module = "kinegraph.kernels.norm_act_kernels"
    positions, channels = blocks(200 * 64 * 25, 128)
    block = {"BLOCK_P": positions, "BLOCK_C": channels}
    requests = [
        {"kernel": "statistics_kernel", "constants": block | {"WEIGHTED": True}},
        {
            "kernel": "combine_kernel",
            "constants": {"RUNNING": True, "PADDED": PROGRAMS, "BLOCK_C": COMBINED // PROGRAMS},
            "options": {"num_warps": 8},
        },
        {"kernel": "apply_kernel", "constants": block | {"RESIDUAL": True, "RELU": True}},
        *(
            {"kernel": "backward_sums_kernel", "constants": block | {"MASK": mask}}
            for mask in (0, 1, 2)
        ),
        *(
            {
                "kernel": "backward_kernel",
                "constants": block
                | {"MASK": mask, "COUNTED": True, "WEIGHTED": True, "RESIDUAL": mask == 1},
            }
            for mask in (0, 1, 2)
        ),
    ]
    for dtype in ("bf16", "fp32"):
        answers = compile_all([{"module": module} | each for each in requests], capability, dtype)
        for request, answer in zip(requests, answers, strict=True):
            assert answer["stack"] == 0, (request, answer)
            assert answer["registers"] <= 128, (request, answer)  # four programs at a time
            assert answer["shared"] <= SHARED_LIMIT, (request, answer)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("capability", [80, 90])
def test_branches(capability: int, dtype: str) -> None:
    """The branches of networks that are 64 to 256 channels wide."""
    from kinegraph.kernels import temporal_branches_operators as operators

    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    requests = []
    for width in (16, 32, 64):
        weights = torch.empty(2, width, width, 5)
        for stride in (1, 2) if width > 16 else (1,):
            z = torch.empty(0, 4 * width, 16, 25, dtype=torch_dtype)
            sizes = operators._sizes(z, weights, stride)
            constants = operators._constants(stride, [1, 2], weights, sizes) | {"NATIVE": True}
            stages = {"num_stages": constants.pop("num_stages")}
            block, warps = operators._tile(z, sizes)
            requests += [
                {
                    "kernel": kernel,
                    "constants": constants | {"BLOCK_P": block},
                    "options": stages | {"num_warps": warps},
                }
                for kernel in ("forward_kernel", "backward_kernel")
            ]
            summed = operators.summed(z)
            requests.append(
                {
                    "kernel": "weights_kernel",
                    "constants": constants
                    | {"BLOCK_P": summed, "BLOCK_J": operators.PAIRS, "WIDTH": width},
                    "options": stages | {"num_warps": 8},
                }
            )
    module = {"module": "kinegraph.kernels.temporal_branches_kernels"}
    answers = compile_all([module | each for each in requests], capability, dtype)
    for request, answer in zip(requests, answers, strict=True):
        assert answer["stack"] <= (16 if dtype == "bf16" else 128), (request, answer)
        assert answer["shared"] <= SHARED_LIMIT, (request, answer)
