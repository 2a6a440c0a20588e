"""The kernels of `temporal_branches` as operators, which torch.compile does not look into."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.library import custom_op

from kinegraph.kernels import norm_act_kernels
from kinegraph.kernels import temporal_branches_kernels as kernels
from kinegraph.kernels.dispatch import interpreted
from kinegraph.kernels.norm_act_operators import as_matrix, blocks, channels_last, positions_each

TILE = 2048  # numbers of one block: 16 for each of 128 threads; half as many of float32
FEWEST = 64  # positions of a block: fewer leave Hopper's tensor cores idle
PAIRS = 128  # of tap and channel, which `weights_kernel` takes at once
PROGRAMS = 528  # of `weights_kernel`, four for each multiprocessor of the largest devices
SMALLEST = 16  # side of what a tensor core multiplies


class Sizes(NamedTuple):
    """Sizes of one call."""

    rows: int
    frames: int
    joints: int
    width: int  # channels of a branch
    shorter: int  # frames of the result


def _sizes(z: Tensor, weights: Tensor, stride: int) -> Sizes:
    rows, channels, frames, joints = z.shape
    width = channels // (len(weights) + 2)
    return Sizes(rows, frames, joints, width, (frames - 1) // stride + 1)


def _result(z: Tensor, sizes: Sizes) -> Tensor:
    """Return channels-last memory (R, C, T', V)."""
    shape = (sizes.rows, sizes.shorter, sizes.joints, z.shape[1])
    return torch.empty(shape, dtype=z.dtype, device=z.device).permute(0, 3, 1, 2)


def _packed(weights: Tensor, z: Tensor) -> Tensor:
    """(D, O, I, taps) -> (D, taps, I, O), side by side in z's dtype."""
    return weights.permute(0, 3, 2, 1).to(z.dtype).contiguous()


def _tile(z: Tensor, sizes: Sizes) -> tuple[int, int]:
    """Return positions of a block, and warps that work on it."""
    padded = _padded(sizes)
    positions = max(FEWEST, TILE // padded)
    warps = min(8, max(4, positions * padded // 512))
    return (positions if z.element_size() == 2 else positions // 2), warps


def summed(z: Tensor) -> int:
    """Return how many positions `weights_kernel` takes at once."""
    return FEWEST if z.element_size() == 2 else FEWEST // 2


def _padded(sizes: Sizes) -> int:
    return max(SMALLEST, int(triton.next_power_of_2(sizes.width)))


def _constants(
    stride: int, dilations: list[int], weights: Tensor, sizes: Sizes
) -> dict[str, object]:
    """Return what `forward_kernel`, `backward_kernel` and `weights_kernel` are compiled for."""
    return {
        "STRIDE": stride,
        "DILATIONS": tuple(dilations),
        "TAPS": weights.shape[3],
        "NATIVE": not interpreted(),
        "PADDED": _padded(sizes),
        "num_stages": 2,  # more take registers that programs at the same time need
    }


@custom_op("kinegraph::temporal_branches", mutates_args=())
def forward(
    z: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    weights: Tensor,
    biases: Tensor,
    epsilon: float,
    stride: int,
    dilations: list[int],
) -> Tensor:
    """Return all branches side by side, (R, C, T', V).

    Weights are (D, O, I, taps), biases (D, O).
    """
    sizes = _sizes(z, weights, stride)
    out, matrix = _result(z, sizes), as_matrix(z)
    positions = sizes.rows * sizes.shorter * sizes.joints
    if positions == 0:
        return out
    block, warps = _tile(z, sizes)
    kernels.forward_kernel[(triton.cdiv(positions, block),)](
        matrix,
        mean,
        variance,
        scale,
        shift,
        _packed(weights, z),
        biases.contiguous(),
        out,
        positions,
        sizes.frames,
        sizes.shorter,
        sizes.joints,
        sizes.width,
        matrix.stride(0),
        epsilon,
        BLOCK_P=block,
        num_warps=warps,
        **_constants(stride, dilations, weights, sizes),
    )
    return out


@forward.register_fake
def _(
    z: Tensor, _m: Tensor, _v: Tensor, _a: Tensor, _b: Tensor, weights: Tensor, _c: Tensor,
    _e: float, stride: int, _d: list[int],
) -> Tensor:  # fmt: skip
    return _result(z, _sizes(z, weights, stride))


@custom_op("kinegraph::temporal_branches_backward", mutates_args=())
def backward(
    gradient: Tensor,
    z: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    weights: Tensor,
    epsilon: float,
    stride: int,
    dilations: list[int],
) -> tuple[Tensor, Tensor]:
    """Return the gradient in front of ReLU, like z, and (2, (D + 1) * W) as the norm sums it."""
    sizes = _sizes(z, weights, stride)
    arrived, matrix = channels_last(z), as_matrix(z)
    positions, channels = matrix.shape
    if positions == 0:
        return arrived, torch.zeros(2, channels - sizes.width, device=z.device)
    block, warps = _tile(z, sizes)
    programs = triton.cdiv(positions, block)
    sums = torch.empty(programs, 2, channels - sizes.width, device=z.device)
    kernels.backward_kernel[(programs,)](
        as_matrix(gradient).contiguous(),
        matrix,
        mean,
        variance,
        scale,
        shift,
        _packed(weights, z),
        arrived,
        sums,
        positions,
        sizes.frames,
        sizes.shorter,
        sizes.joints,
        sizes.width,
        matrix.stride(0),
        epsilon,
        BLOCK_P=block,
        num_warps=warps,
        **_constants(stride, dilations, weights, sizes),
    )
    return arrived, sums.sum(0)


@backward.register_fake
def _(
    gradient: Tensor, z: Tensor, mean: Tensor, *_: object
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return channels_last(z), torch.empty(2, len(mean), device=z.device)


@custom_op("kinegraph::temporal_branches_weights", mutates_args=())
def weights_gradient(
    gradient: Tensor,
    z: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    weights: Tensor,
    epsilon: float,
    stride: int,
    dilations: list[int],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of weights (D, O, I, taps) and biases (D, O), in float32."""
    sizes = _sizes(z, weights, stride)
    positions = sizes.rows * sizes.shorter * sizes.joints
    if positions == 0:
        return torch.zeros_like(weights, dtype=torch.float32), weights.new_zeros(
            weights.shape[:2], dtype=torch.float32
        )
    matrix = as_matrix(z)
    pairs = weights.shape[3] * sizes.width + 1
    columns = triton.cdiv(pairs, PAIRS)
    block = summed(z)
    pieces = triton.cdiv(positions, block)
    span = triton.cdiv(pieces, max(1, PROGRAMS // (len(weights) * columns))) * block
    chunks = triton.cdiv(positions, span)
    partial = torch.empty(chunks, len(weights), pairs, sizes.width, device=z.device)
    kernels.weights_kernel[(chunks, len(weights), columns)](
        as_matrix(gradient).contiguous(),
        matrix,
        mean,
        variance,
        scale,
        shift,
        partial,
        positions,
        sizes.frames,
        sizes.shorter,
        sizes.joints,
        matrix.stride(0),
        span,
        epsilon,
        WIDTH=sizes.width,
        BLOCK_P=block,
        BLOCK_J=PAIRS,
        num_warps=8,
        **_constants(stride, dilations, weights, sizes),
    )
    total = partial.sum(0)  # (D, taps * I + 1, O)
    shape = (len(weights), weights.shape[3], sizes.width, sizes.width)
    # (D, taps, I, O) -> (D, O, I, taps)
    return total[:, :-1].reshape(shape).permute(0, 3, 2, 1).contiguous(), total[:, -1].clone()


@weights_gradient.register_fake
def _(
    gradient: Tensor, z: Tensor, _m: Tensor, _v: Tensor, _a: Tensor, _b: Tensor, weights: Tensor,
    *_: object,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return torch.empty_like(weights, dtype=torch.float32).contiguous(), torch.empty(
        weights.shape[:2], device=z.device
    )


@custom_op("kinegraph::temporal_branches_through_norm", mutates_args=("arrived",))
def through_norm(
    arrived: Tensor,
    z: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    sums: Tensor,
    count: Tensor | None,
    weight: Tensor | None,
    epsilon: float,
) -> None:
    """Turn the gradient of normalised channels (R, C, T, V) into that of z, in its memory.

    The last channels, beyond those of the norm, stay as they are.
    """
    channels = len(mean)
    matrix, target = as_matrix(z)[:, :channels], as_matrix(arrived)[:, :channels]
    positions = len(matrix)
    if positions == 0:
        return
    rows, columns = blocks(positions, channels)
    norm_act_kernels.backward_kernel[
        (triton.cdiv(positions, rows), triton.cdiv(channels, columns))
    ](
        target,
        matrix,
        None,
        mean,
        variance,
        scale,
        shift,
        sums,
        count,
        None if weight is None else weight.contiguous(),
        target,
        None,
        positions,
        channels,
        target.stride(0),
        matrix.stride(0),
        target.stride(0),
        positions_each(z),
        epsilon,
        MASK=0,
        COUNTED=count is not None,
        WEIGHTED=count is not None and weight is not None,
        RESIDUAL=False,
        BLOCK_P=rows,
        BLOCK_C=columns,
    )
