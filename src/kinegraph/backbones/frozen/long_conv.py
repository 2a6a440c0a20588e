"""Long convolutions over time with five ninths of the multiplications.

A kernel of 3 * G frames is G kernels of 3, each of which gives three frames by five products of
linear combinations instead of nine products (Toom and Cook's polynomial multiplication with the
points 0, 1, -1, 2 and infinity). The combinations of the input serve all G kernels.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(3, 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinegraph.backbones.frozen.products import convolve

TAPS, OUTPUTS, POINTS = 3, 3, 5
# Of each kernel of three: its values as a polynomial at the points, over what tiles leave out.
KERNEL = (
    (1 / 2, 0, 0),
    (-1 / 2, -1 / 2, -1 / 2),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 6, 1 / 3, 2 / 3),
    (0, 0, 1),
)
FEWEST_FRAMES, FEWEST_CHANNELS = 24, 32  # below them combining costs more than it saves


class LongConv(nn.Module):
    """A convolution over time of stride 1 and a kernel of 3 * G frames, by fewer products.

    Its results differ from the direct ones by a few roundings more. Short clips and half
    precision go the direct way.

    Args:
        direct: The same convolution in the ordinary way.
        weight: Its (C', C, 1, 3 * G) weight in float64.
        bias: Its (C',) bias.
    """

    weights: Tensor
    bias: Tensor

    def __init__(self, direct: nn.Module, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.direct = direct
        outputs, inputs, _, frames = weight.shape
        self.groups = frames // TAPS
        grouped = weight.view(outputs, inputs, 1, self.groups, TAPS)
        kernel = torch.tensor(KERNEL, dtype=weight.dtype, device=weight.device)
        combined = torch.einsum("ocngj,pj->pocng", grouped, kernel)  # (5, C', C, 1, G)
        self.register_buffer("weights", combined.float().contiguous())
        self.register_buffer("bias", bias.float())
        self.padding = (frames - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C) -> (R, V, T, C')."""
        rows, joints, frames, channels = x.shape
        if frames < FEWEST_FRAMES or channels < FEWEST_CHANNELS or x.dtype != torch.float32:
            return self.direct(x)  # type: ignore[no-any-return]
        tiles = -(-frames // OUTPUTS) + self.groups - 1
        padded = x.new_zeros(rows, joints, OUTPUTS * (tiles + 1), channels)
        padded[:, :, self.padding : self.padding + frames] = x
        products = [
            convolve(part, weight, self.bias if point == 1 else None)
            for point, (part, weight) in enumerate(
                zip(_combine(padded, tiles), self.weights, strict=True)
            )
        ]
        return _separate(products)[:, :, :frames].contiguous()


def _combine(x: Tensor, tiles: int) -> list[Tensor]:
    """Combine each five frames that begin at a multiple of three: five of (R, V, tiles, C)."""
    first, second, third, fourth, fifth = (
        x[:, :, begin::OUTPUTS][:, :, :tiles] for begin in range(POINTS)
    )
    odd = fourth - second
    return [
        (first - third).mul_(2).add_(odd),
        (odd - second).sub_(third),
        torch.add(odd, second - third, alpha=3),
        odd,
        (fifth - third).sub_(odd, alpha=2),
    ]


def _separate(products: list[Tensor]) -> Tensor:
    """Turn products into frames: five of (R, V, P, C) -> (R, V, 3 * P, C)."""
    zero, one, minus_one, two, infinity = products
    rows, joints, tiles, channels = zero.shape
    y = zero.new_empty(rows, joints, tiles, OUTPUTS, channels)
    both = one + minus_one
    torch.add(zero.add_(both), two, out=y[:, :, :, 0])
    torch.add(one.sub_(minus_one), two, alpha=2, out=y[:, :, :, 1])
    torch.add(infinity.add_(both), two, alpha=4, out=y[:, :, :, 2])
    return y.view(rows, joints, tiles * OUTPUTS, channels)
