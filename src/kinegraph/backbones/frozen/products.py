"""The convolutions and products of frozen networks, by the quickest way a CPU offers.

PyTorch leaves convolutions of few clips on one thread to a general matrix product. Asked for by
name, oneDNN does the same two to six times as fast on CPUs with AVX-512.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NONE, ONE = (0, 0), (1, 1)
ONEDNN_TYPES = (torch.float32, torch.bfloat16)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """Convolve over time, which is the last but one axis.

    Args:
        x: (R, H, T, C), best contiguous.
        weight: (C', C, h, k): over h of the H as well, without padding and with stride 1.
        bias: (C',).
        stride: Over time.
        padding: Over time.
        dilation: Over time.

    Returns:
        (R, H - h + 1, T', C'), contiguous.
    """
    image = x.permute(0, 3, 1, 2)  # (R, C, H, T), channels last in memory
    steps, edges, gaps = (1, stride), (0, padding), (1, dilation)
    if _has_onednn(x):
        y = torch.mkldnn_convolution(image, weight, bias, edges, steps, gaps, 1)
    else:
        y = functional.conv2d(image, weight, bias, steps, edges, gaps)
    return y.permute(0, 2, 3, 1).contiguous()


def project(weight: Tensor, x: Tensor) -> Tensor:
    """Return the product of (O, C) and the transpose of (P, C), of which the result lies as (O, P).

    As a convolution the weight is the image and ``x`` the kernel: the result then lies by outputs,
    as a mixture over joints wants it, and no transposition is needed.

    Args:
        weight: (1, C, 1, O), channels last in memory.
        x: (P, C, 1, 1), contiguous.

    Returns:
        (1, 1, O, P), contiguous.
    """
    if _has_onednn(x):
        y = torch.mkldnn_convolution(weight, x, None, NONE, ONE, ONE, 1)  # (1, P, 1, O)
    else:
        y = functional.conv2d(weight, x)
    return y.permute(0, 2, 3, 1).contiguous()


def _has_onednn(x: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype not in ONEDNN_TYPES:
        return False
    mkldnn = torch.backends.mkldnn
    return bool(mkldnn.enabled) and bool(mkldnn.is_available())  # type: ignore[no-untyped-call]
