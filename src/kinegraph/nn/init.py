"""Starting values, as the published networks have them."""

from __future__ import annotations

import math

from torch import Tensor, nn


def kaiming_fan_out(convolution: nn.Conv2d, *, subsets: int = 1) -> None:
    """He-normal by fan-out, zero bias.

    ``subsets`` convolutions that are kept in one tensor start as if each stood alone.
    """
    fan_out = convolution.out_channels // subsets * math.prod(convolution.kernel_size)
    nn.init.normal_(convolution.weight, 0.0, math.sqrt(2 / fan_out))
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


def normal(weight: Tensor, deviation: float, mean: float = 0.0) -> None:
    """Fill a tensor with normal numbers."""
    nn.init.normal_(weight, mean, deviation)
