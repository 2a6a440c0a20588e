"""Convolutions over time, on rows (R, C, T, V), each with its norm and what follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from kinegraph.kernels.temporal_branches import temporal_branches
from kinegraph.nn.init import kaiming_fan_out, normal
from kinegraph.nn.norm import BatchNorm

SAFE_CHANNELS = 16  # of fewer, see `TemporalConv._convolve`


class TemporalConv(nn.Module):
    """One convolution over time and its batch norm; T becomes ceil(T / stride)."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            channels,
            (kernel, 1),
            stride=(stride, 1),
            padding=((kernel - 1) * dilation // 2, 0),
            dilation=(dilation, 1),
        )
        self.norm = BatchNorm(channels)
        kaiming_fan_out(self.conv)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(R, C_in, T, V), weights and residual as in `BatchNorm` -> (R, C, T', V)."""
        y: Tensor = self.norm(self._convolve(x), weight, residual=residual, relu=relu)
        return y

    def _convolve(self, x: Tensor) -> Tensor:
        """(R, C_in, T, V) -> (R, C, T', V)."""
        conv, stride = self.conv, self.conv.stride[0]
        pointwise = conv.kernel_size == (1, 1) and stride > 1
        if not pointwise or x.device.type != "cpu" or conv.in_channels >= SAFE_CHANNELS:
            return conv(x)  # type: ignore[no-any-return]
        # The weights' gradient of such a convolution, channels last, writes beyond its memory in
        # oneDNN 3.12 where frames and joints are many: processes die, or numbers are wrong. The
        # frames that count, taken before, give the same.
        return functional.conv2d(x[:, :, ::stride], conv.weight, conv.bias)


class MultiScaleTemporalConv(nn.Module):
    """Four branches side by side: two dilated convolutions, a maximum, and a 1x1 convolution.

    The branches begin with a 1x1 convolution each, which are one product here, and end with a
    norm each, which are one norm here.

    Source: Chen et al., CTR-GCN (ICCV 2021), section 3.4, after MS-G3D (CVPR 2020).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        self.stride, self.dilations = stride, tuple(dilations)
        branches = len(dilations) + 2
        self.width = channels // branches
        self.reduce = nn.Conv2d(in_channels, branches * self.width, 1)
        self.reduce_norm = BatchNorm((branches - 1) * self.width)  # the last branch has none here
        self.dilated = nn.ModuleList(
            nn.Conv2d(
                self.width,
                self.width,
                (kernel, 1),
                stride=(stride, 1),
                padding=((kernel - 1) * dilation // 2, 0),
                dilation=(dilation, 1),
            )
            for dilation in dilations
        )
        self.norm = BatchNorm(branches * self.width)
        kaiming_fan_out(self.reduce, subsets=branches)
        for conv in self.dilated:
            assert isinstance(conv, nn.Conv2d)
            kaiming_fan_out(conv)
        for norm in (self.reduce_norm, self.norm):
            normal(norm.weight, 0.02, mean=1.0)

    def forward(
        self,
        x: Tensor,
        weight: Tensor | None = None,
        *,
        residual: Tensor | None = None,
        relu: bool = False,
    ) -> Tensor:
        """(R, C_in, T, V), weights and residual as in `BatchNorm` -> (R, C, T', V)."""
        convs = cast(list[nn.Conv2d], list(self.dilated))
        y = temporal_branches(
            self.reduce(x),  # (R, 4*W, T, V)
            self.reduce_norm.settings(weight),
            [conv.weight for conv in convs],
            [cast(Tensor, conv.bias) for conv in convs],
            self.stride,
            self.dilations,
        )  # (R, 4*W, T', V)
        return self.norm(y, weight, residual=residual, relu=relu)  # type: ignore[no-any-return]
