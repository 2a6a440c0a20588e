"""Convolutions with several dilations, a maximum and a copy over time, in one pass over memory.

What the multi-scale temporal convolution does between its two norms: the first norm and ReLU are
applied on the way, and their result is never stored. The kernels are in
`temporal_branches_kernels`; the plain operations here do the same on any device.

Source: Chen et al., CTR-GCN (ICCV 2021), section 3.4, after MS-G3D (CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.kernels import norm_act
from kinegraph.kernels.dispatch import register_kernel, use_kernels
from kinegraph.kernels.norm_act import Norm, Reduce

NAME = "temporal branches"
WIDEST = 64  # channels of a branch that kernels take


def temporal_branches(
    z: Tensor,
    norm: Norm,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    stride: int,
    dilations: Sequence[int],
) -> Tensor:
    """Return all branches side by side; gradients reach z, the norm, weights and biases.

    The channels of z are those of D + 2 branches of W each. The first D + 1 are normalised and
    rectified; D are convolved over time, each with its dilation, padded with zeros; of the next
    the largest of three frames is taken, of equal ones the first; the last is left as it is.

    Args:
        z: (R, (D + 2) * W, T, V). Kernels read channels-last memory; others are copied first.
        norm: Of (D + 1) * W channels.
        weights: D times (W, W, taps, 1), taps odd.
        biases: D times (W,).
        stride: Takes every frame, or every second one and so on.
        dilations: D distances of taps, in frames.

    Returns:
        (R, (D + 2) * W, ceil(T / stride), V) in z's dtype.
    """
    if not _fused(z, norm, weights):
        return _plain(z, norm, weights, biases, stride, dilations)
    return _by_kernels(z, norm, weights, biases, stride, dilations)


def _fused(z: Tensor, norm: Norm, weights: Sequence[Tensor]) -> bool:
    """Whether kernels do it: for usual widths, and no weights of single channels."""
    usual = len(weights) > 0 and len(weights[0]) <= WIDEST
    return usual and norm_act.fused(z, norm) and use_kernels(NAME, z)


def _by_kernels(
    z: Tensor,
    norm: Norm,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    stride: int,
    dilations: Sequence[int],
) -> Tensor:
    channels = len(norm.scale)
    statistics = norm_act.batch_statistics(z[:, :channels], norm)
    return cast(
        Tensor,
        _Fused.apply(  # type: ignore[no-untyped-call]
            z,
            norm.scale,
            norm.shift,
            torch.stack([weight[..., 0] for weight in weights]),  # (D, W, W, taps)
            torch.stack(list(biases)),
            statistics.mean,
            statistics.variance,
            statistics.count,
            norm.weight,
            norm.epsilon,
            stride,
            list(dilations),
            norm.reduce,
        ),
    )


def _plain(
    z: Tensor,
    norm: Norm,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    stride: int,
    dilations: Sequence[int],
) -> Tensor:
    """Do it by one operation for each step and branch."""
    channels = len(norm.scale)
    # Split, not sliced: of parts, gradients are put side by side, and not added up.
    head, point = torch.split(z, [channels, z.shape[1] - channels], dim=1)
    rectified = norm_act.norm_act(head, norm, relu=True)
    *parts, largest = rectified.chunk(len(weights) + 1, dim=1)
    branches = [
        functional.conv2d(
            part,
            weight.to(part.dtype),
            bias.to(part.dtype),
            stride=(stride, 1),
            padding=(weight.shape[2] // 2 * dilation, 0),
            dilation=(dilation, 1),
        )
        for part, weight, bias, dilation in zip(parts, weights, biases, dilations, strict=True)
    ]
    largest = cast(Tensor, _LargestOfThree.apply(largest, stride))  # type: ignore[no-untyped-call]
    return torch.cat((*branches, largest, point[:, :, ::stride]), dim=1).to(z.dtype)


class _LargestOfThree(torch.autograd.Function):
    """The maximum over three frames, of equal ones the first.

    What max_pool2d computes, which takes 4.8 ms instead of 0.14 on a CPU for 16 rows of 16
    channels, one thread; torch.maximum would give equal frames a half of the gradient each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, stride: int) -> Tensor:
        windows = _windows(functional.pad(x, (0, 0, 1, 1), value=float("-inf")), stride)
        largest = torch.maximum(torch.maximum(windows[0], windows[1]), windows[2])
        ctx.save_for_backward(x, largest)
        ctx.stride = stride
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, largest = ctx.saved_tensors
        (rest,) = gradients
        windows = _windows(functional.pad(x, (0, 0, 1, 1), value=float("-inf")), ctx.stride)
        padded = functional.pad(torch.zeros_like(x, dtype=rest.dtype), (0, 0, 1, 1))
        targets = _windows(padded, ctx.stride)
        for window, target in zip(windows[:2], targets[:2], strict=True):
            taken = rest * (window == largest)
            target += taken
            rest = rest - taken
        targets[2].add_(rest)
        return padded[:, :, 1:-1], None


def _windows(padded: Tensor, stride: int) -> list[Tensor]:
    """See (R, C, 1 + T + 1, V) as the frames before, at and after every ``stride``-th frame."""
    frames = padded.shape[2] - 2
    return [padded[:, :, offset : offset + frames : stride] for offset in range(3)]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        scale: Tensor,
        shift: Tensor,
        weights: Tensor,
        biases: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor | None,
        weight: Tensor | None,
        epsilon: float,
        stride: int,
        dilations: list[int],
        reduce: Reduce | None,
    ) -> Tensor:
        from kinegraph.kernels import temporal_branches_operators as operators

        given = (z, mean, variance, scale, shift, weights)
        ctx.save_for_backward(*given, count, weight)
        ctx.settings = (epsilon, stride, dilations), reduce, biases.dtype
        return cast(Tensor, operators.forward(*given, biases, epsilon, stride, dilations))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from kinegraph.kernels import temporal_branches_operators as operators

        *given, count, weight = ctx.saved_tensors
        z, mean, variance, scale, shift, weights = given
        settings, reduce, biases_dtype = ctx.settings
        (gradient,) = gradients
        dz, sums = operators.backward(gradient, *given, *settings)
        dweights, dbiases = operators.weights_gradient(gradient, *given, *settings)
        totals = sums if reduce is None or count is None else reduce(sums.clone())
        operators.through_norm(
            dz, z, mean, variance, scale, shift, totals, count, weight, settings[0]
        )
        return (
            dz, sums[1].to(scale.dtype), sums[0].to(shift.dtype), dweights.to(weights.dtype),
            dbiases.to(biases_dtype), None, None, None, None, None, None, None, None,
        )  # fmt: skip


def check_branches(device: torch.device) -> float:
    """Compare kernels and plain operations on a device: values and all gradients.

    Plain operations are in float64 where kernels are in float32: convolutions in float32 may use
    TF32, whose rounding alone would be most of what is tolerated.

    Returns:
        The largest difference as a share of the numbers; of bfloat16, which is rounded more, only
        a part counts.
    """
    exact = max(_difference(device, torch.float32, stride) for stride in (1, 2))
    return max(exact, _difference(device, torch.bfloat16, 1) / 64)


def _difference(device: torch.device, dtype: torch.dtype, stride: int) -> float:
    random = torch.Generator().manual_seed(0)
    width, dilations = 16, (1, 2)
    shapes = [(2, 4 * width, 9, 5), (3 * width,), (3 * width,), *[(width, width, 5, 1)] * 2]
    tensors = [torch.randn(shape, generator=random) for shape in (*shapes, (width,), (width,))]
    inputs = [tensor.to(device) for tensor in tensors]
    inputs[0] = inputs[0].to(dtype)
    z, scale, shift, *others = (tensor.requires_grad_() for tensor in inputs)
    weight = torch.tensor([1.0, 3.0], device=device)
    results = []
    for way in (_by_kernels, _plain):
        if way is _plain and dtype == torch.float32:
            z, scale, shift, *others = (tensor.double() for tensor in inputs)
        norm = Norm(scale, shift, weight=weight)
        y = way(z, norm, others[:2], others[2:], stride, dilations)
        arriving = torch.linspace(-1, 1, y.numel(), device=device, dtype=dtype).view(y.shape)
        results.append((y.detach(), *torch.autograd.grad(y, inputs, arriving.to(y.dtype))))
    return max(
        float((one - other).norm() / other.norm()) for one, other in zip(*results, strict=True)
    )


register_kernel(NAME, check_branches)
