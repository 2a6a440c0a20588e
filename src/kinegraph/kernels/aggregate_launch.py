"""Launches of the kernels of `aggregate`: sizes of tiles, memory of results, partial sums.

Triton is imported by the first launch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kinegraph.kernels.dispatch import interpreted

PROGRAMS = 1024  # of the topology's gradient, at least if rows allow: enough to fill a GPU


@dataclass(frozen=True)
class Blocks:
    """Sizes of the tiles that one program works on, powers of two, 16 or more; and its warps."""

    channels: int
    frames: int
    targets: int
    sources: int
    relation: int
    warps: int


def power(number: int) -> int:
    """Return the power of two that holds a number, no smaller than a tensor core's tile."""
    return max(16, 1 << (number - 1).bit_length())


def mixing_blocks(
    channels: int, frames: int, sources: int, relation: int, summed: int, dtype: torch.dtype
) -> Blocks:
    """Choose tiles for `mix_kernel`, the largest that compile without spilling much.

    The price of a program is the topology that it makes: many frames and many channels share it.
    """
    sources, relation = power(sources), power(relation)
    if dtype.itemsize > 2:
        return Blocks(16, 16, 16, sources, relation, warps=8 if sources <= 32 else 16)
    frame_block = min(power(frames), 2048 // sources)
    channel_block = 32 if frame_block * sources <= 1024 and channels > 16 else 16
    return Blocks(channel_block, frame_block, 16, sources, relation, 16 if summed > 1 else 8)


def gradient_blocks(frames: int, sources: int, relation: int, dtype: torch.dtype) -> Blocks:
    """Choose tiles for `topology_gradient_kernel`, which keeps much in registers.

    A relation of no channels stands for no refinement.
    """
    sources, padded = power(sources), power(relation)
    size = sources * padded * (dtype.itemsize // 2)
    warps = 4 if size <= 512 else 8 if size <= 1024 else 16
    frame_block = min(power(frames), 1024 // sources if relation else 16)
    return Blocks(16, frame_block, 16, sources, padded, warps)


def precision(dtype: torch.dtype) -> str:
    """Name the precision of products of float32 numbers inside a kernel.

    Beside values in half precision TF32 loses nothing; otherwise the caller has decided, as for
    every other product on CUDA.
    """
    matmul = torch.backends.cuda.matmul
    # Reading the older of the two switches fails where the newer one has been set.
    newer = hasattr(matmul, "fp32_precision")
    chosen = matmul.fp32_precision == "tf32" if newer else matmul.allow_tf32
    return "tf32" if dtype.itemsize == 2 or chosen else "ieee"


def native(dtype: torch.dtype) -> bool:
    """Whether to use instructions for half precision, which the interpreter does not have."""
    return dtype.itemsize == 2 and not interpreted()


def channels_last(value: Tensor) -> bool:
    """Whether the channels of (R, K, C, T, V) lie side by side in memory."""
    return value.stride(2) == 1 and value.shape[2] > 1


def empty(value: Tensor, joints: int, last: bool, subsets: int = 1) -> Tensor:
    """Return memory like that of ``value`` (R, K, C, T, V), of other joints and subsets."""
    rows, _, channels, frames, _ = value.shape
    if last:
        return value.new_empty(rows, frames, joints, subsets, channels).permute(0, 3, 4, 1, 2)
    return value.new_empty(rows, subsets, channels, frames, joints)


def mix(
    values: Tensor,
    mixed: Tensor,
    base: Tensor,
    left: Tensor | None,
    right: Tensor | None,
    expand: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor | None,
    sign: int,
) -> None:
    """Fill ``mixed`` (R, K or 1, C, T, J) from ``values`` (R, K or 1, C, T, S).

    Args:
        values: What is mixed; one subset stands for all.
        mixed: Where to; a single subset is the sum over all.
        base: (R or 1, K, S, J): source joints come first.
        left: (R, K, Q, J) or None.
        right: (R, K, Q, S) or None.
        expand: (K, C, Q) or None.
        bias: (K, C) or None.
        alpha: One number or None.
        sign: The relation is ``sign * tanh(left - right)``.
    """
    if mixed.numel() == 0:
        return
    from kinegraph.kernels.aggregate_kernels import mix_kernel

    rows, _, channels, frames, sources = values.shape
    targets, subsets = mixed.shape[4], base.shape[1]
    relation = 0 if left is None else left.shape[2]
    summed = subsets // mixed.shape[1]
    blocks = mixing_blocks(channels, frames, sources, relation, summed, values.dtype)
    programs = rows * -(-frames // blocks.frames) * -(-channels // blocks.channels)
    programs *= -(-targets // blocks.targets)
    mix_kernel[(programs, mixed.shape[1])](
        values, base, _contiguous(left), _contiguous(right), _contiguous(expand),
        _contiguous(bias), alpha, mixed,
        channels, frames, sources, targets, relation, subsets,
        values.stride(0), values.stride(1) if values.shape[1] > 1 else 0, *values.stride()[2:],
        base.stride(0) if base.shape[0] > 1 else 0, *base.stride()[1:],
        *mixed.stride(),
        SUMMED=summed, SIGN=sign, REFINED=left is not None,
        NATIVE=native(values.dtype),
        PRECISION=precision(values.dtype),
        BLOCK_C=blocks.channels, BLOCK_T=blocks.frames, BLOCK_J=blocks.targets,
        PADDED_S=blocks.sources, PADDED_Q=blocks.relation,
        num_warps=blocks.warps, num_stages=1,
    )  # fmt: skip


def topology_gradient(
    gradient: Tensor,
    values: Tensor,
    base_per_row: bool,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of base, query, key, expand and bias in float32, before alpha.

    Args:
        gradient: (R, C, T, U), of the output.
        values: (R, K, C, T, V).
        base_per_row: Whether the base is (R, K, U, V), not (1, K, U, V).
        query: (R, K, Q, U) or None; the last four results are then empty.
        key: (R, K, Q, V) or None.
        expand: (K, C, Q) or None.
    """
    rows, subsets, channels, frames, sources = values.shape
    targets = gradient.shape[3]
    relation = 0 if query is None else query.shape[2]
    blocks = gradient_blocks(frames, sources, relation, values.dtype)
    channel_blocks = -(-channels // blocks.channels)
    target_blocks = -(-targets // blocks.targets)
    # Nothing here asks the device for its size: the same rows are added up everywhere.
    rows_each = max(1, rows * subsets * channel_blocks * target_blocks // PROGRAMS)
    groups = -(-rows // rows_each)

    def parts(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=values.device)

    base_parts = parts(rows if base_per_row else groups, channel_blocks, subsets, targets, sources)
    refined = query is not None
    size = (rows, subsets, relation) if refined else (0, 0, 0)
    query_parts = parts(channel_blocks, *size, targets)
    key_parts = parts(channel_blocks * target_blocks, *size, sources)
    size = (groups * target_blocks, subsets, channels) if refined else (0, 0, 0)
    expand_parts, bias_parts = parts(*size, relation), parts(*size)
    if rows:
        from kinegraph.kernels.aggregate_kernels import topology_gradient_kernel

        topology_gradient_kernel[(groups * channel_blocks * target_blocks, subsets)](
            gradient, values, _contiguous(query), _contiguous(key), _contiguous(expand),
            base_parts, query_parts, key_parts, expand_parts, bias_parts,
            rows, rows_each, channels, frames, sources, targets, relation, subsets,
            *gradient.stride(), *values.stride(),
            BASE_PER_ROW=base_per_row, REFINED=refined, NATIVE=native(values.dtype),
            PRECISION=precision(values.dtype),
            BLOCK_C=blocks.channels, BLOCK_T=blocks.frames, BLOCK_J=blocks.targets,
            PADDED_S=blocks.sources, PADDED_Q=blocks.relation,
            num_warps=blocks.warps, num_stages=1,
        )  # fmt: skip
    base = base_parts.sum(1) if base_per_row else base_parts.sum((0, 1))[None]
    if not refined:
        return base, base.new_empty(0), base.new_empty(0), base.new_empty(0), base.new_empty(0)
    return base, query_parts.sum(0), key_parts.sum(0), expand_parts.sum(0), bias_parts.sum(0)


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
