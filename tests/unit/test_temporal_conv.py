"""Convolutions over time on a CPU."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from kinegraph.nn.temporal_conv import TemporalConv

# Frames and joints enough for oneDNN to write beyond its memory, were it asked for the stride.
MANY_STEPS = """
import torch
from kinegraph.nn.temporal_conv import TemporalConv
for seed in range(20):
    torch.manual_seed(seed)
    conv = TemporalConv(8, 16, kernel=1, stride=2)
    x = torch.randn(16, 8, 64, 25).to(memory_format=torch.channels_last).requires_grad_()
    conv(x).square().mean().backward()
    blocks = [torch.randn(size) for size in (10, 300, 6_000, 20_000)]
"""


def test_few_channels_with_a_stride_leave_memory_whole() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_STEPS], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()[-500:]


@pytest.mark.parametrize("channels", [3, 8, 15, 16, 24])
@pytest.mark.parametrize("frames", [7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_pointwise_convolutions_take_every_so_many_frames(
    channels: int, frames: int, stride: int
) -> None:
    torch.manual_seed(0)
    conv = TemporalConv(channels, 8, kernel=1, stride=stride).eval()
    bias = conv.conv.bias
    assert bias is not None
    x = torch.randn(2, channels, frames, 5).to(memory_format=torch.channels_last)
    every = conv.conv.weight[:, :, 0, 0] @ x[:, :, ::stride].flatten(2)  # (R, C', T' * V)
    expected = conv.norm((every + bias[:, None]).view(2, 8, -1, 5))
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
