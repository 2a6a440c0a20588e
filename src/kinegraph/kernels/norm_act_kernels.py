"""The Triton kernels of `norm_act`; `norm_act_operators` starts them.

None has yet run on a GPU: they are tested by Triton's interpreter and compiled for compute
capability 8.0 and 9.0.

All see (R, C, T, V) as a matrix (P, C) whose rows, the positions, are R*T*V or whatever axes there
are: channels-last memory, perhaps a slice of more channels. Sums go through one partial result
for each chunk of positions, so that the same input gives the same bits.
"""

# Triton looks up every annotation of a kernel's arguments, and knows those of its own alone.
# mypy: disable-error-code="untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# Sizes of a batch: programs are compiled once for all of them.
ANY_SIZE = ("positions", "positions_each", "span", "chunks")

LEAST = tl.constexpr(1e-12)  # stands in for a sum of weights that is zero


@triton.jit(do_not_specialize=ANY_SIZE)
def statistics_kernel(
    x,  # (P, C), pitch numbers from row to row
    weight,  # (R,)
    means,  # (chunks, C)
    squares,  # (chunks, C)
    counts,  # (chunks,)
    positions,
    channels,
    pitch,
    positions_each,  # positions of one of R rows
    span,  # positions of a chunk
    WEIGHTED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Mean and sum of squared differences from it over a chunk. Not yet run on a GPU.

    Each cell of the block follows the mean of its own positions (Welford), and the cells are
    combined at the end (Chan et al.): no difference of large numbers, one look at x.
    """
    chunk = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    square = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for start in range(0, span, BLOCK_P):
        row = chunk * span + start + tl.arange(0, BLOCK_P)
        here = row < positions
        share = here.to(tl.float32)
        if WEIGHTED:
            share = tl.load(weight + row // positions_each, mask=here, other=0.0).to(tl.float32)
        cell = row.to(tl.int64)[:, None] * pitch + column[None, :]
        value = tl.load(x + cell, mask=here[:, None] & (column < channels)[None, :], other=0.0)
        total += share
        step = share / tl.maximum(total, LEAST)  # 0 where nothing was counted yet
        delta = value.to(tl.float32) - mean
        mean += delta * step[:, None]
        square += delta * (value.to(tl.float32) - mean) * share[:, None]
    whole = tl.sum(total, 0)
    centre = tl.sum(mean * total[:, None], 0) / tl.maximum(whole, LEAST)
    offset = mean - centre[None, :]
    square = tl.sum(square + offset * offset * total[:, None], 0)
    tl.store(means + chunk * channels + column, centre, mask=column < channels)
    tl.store(squares + chunk * channels + column, square, mask=column < channels)
    if tl.program_id(1) == 0:
        tl.store(counts + chunk, whole)


@triton.jit(do_not_specialize=ANY_SIZE)
def combine_kernel(
    means,  # (chunks, C)
    squares,  # (chunks, C)
    counts,  # (chunks,)
    mean,  # (C,)
    variance,  # (C,)
    count,  # ()
    running_mean,  # (C,)
    running_variance,  # (C,)
    batches,  # () int64
    momentum,
    chunks,
    channels,
    RUNNING: tl.constexpr,
    PADDED: tl.constexpr,  # chunks, to a power of two
    BLOCK_C: tl.constexpr,
):
    """Statistics of all chunks; moves the running ones. Not yet run on a GPU."""
    chunk = tl.arange(0, PADDED)
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    cell = chunk[:, None] * channels + column[None, :]
    here = (chunk < chunks)[:, None] & inside[None, :]
    counted = tl.load(counts + chunk, mask=chunk < chunks, other=0.0)
    part = tl.load(means + cell, mask=here, other=0.0)
    total = tl.sum(counted, 0)
    divisor = tl.maximum(total, LEAST)
    centre = tl.sum(part * counted[:, None], 0) / divisor
    offset = part - centre[None, :]
    square = tl.load(squares + cell, mask=here, other=0.0) + offset * offset * counted[:, None]
    square = tl.sum(square, 0)
    tl.store(mean + column, centre, mask=inside)
    tl.store(variance + column, square / divisor, mask=inside)
    if tl.program_id(0) == 0:
        tl.store(count, total)
    if RUNNING:
        step = tl.where(total > 0, momentum, 0.0)
        before = tl.load(running_mean + column, mask=inside).to(tl.float32)
        tl.store(running_mean + column, before + step * (centre - before), mask=inside)
        before = tl.load(running_variance + column, mask=inside).to(tl.float32)
        unbiased = square / tl.maximum(total - 1.0, 1.0)
        tl.store(running_variance + column, before + step * (unbiased - before), mask=inside)
        if tl.program_id(0) == 0:
            tl.store(batches, tl.load(batches) + 1)


@triton.jit
def channel_values(mean, variance, scale, shift, epsilon, column, channels):
    """Mean, 1 / deviation, scale and shift of the channels of a block, each (1, C)."""
    here = column < channels
    centre = tl.load(mean + column, mask=here, other=0.0).to(tl.float32)
    rate = 1.0 / tl.sqrt(tl.load(variance + column, mask=here, other=1.0).to(tl.float32) + epsilon)
    factor = tl.load(scale + column, mask=here, other=0.0).to(tl.float32)
    addend = tl.load(shift + column, mask=here, other=0.0).to(tl.float32)
    return centre[None, :], rate[None, :], factor[None, :], addend[None, :]


@triton.jit(do_not_specialize=ANY_SIZE)
def apply_kernel(
    x,  # (P, C), pitch
    residual,  # (P, C), residual_pitch
    y,  # (P, C), contiguous
    mean,  # (C,)
    variance,  # (C,)
    scale,  # (C,)
    shift,  # (C,)
    positions,
    channels,
    pitch,
    residual_pitch,
    epsilon,
    RESIDUAL: tl.constexpr,
    RELU: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write y = relu(norm(x) + residual). Not yet run on a GPU."""
    row = (tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)).to(tl.int64)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    here = (row < positions)[:, None] & (column < channels)[None, :]
    centre, rate, factor, addend = channel_values(
        mean, variance, scale, shift, epsilon, column, channels
    )
    value = tl.load(x + row[:, None] * pitch + column[None, :], mask=here, other=0.0)
    result = (value.to(tl.float32) - centre) * rate * factor + addend
    if RESIDUAL:
        cell = row[:, None] * residual_pitch + column[None, :]
        result += tl.load(residual + cell, mask=here, other=0.0).to(tl.float32)
    if RELU:
        result = tl.where(result < 0, 0.0, result)  # not tl.maximum, which hides NaN
    tl.store(y + row[:, None] * channels + column[None, :], result, mask=here)


@triton.jit
def _arriving(gradient, y, scaled, here, MASK: tl.constexpr):
    """The gradient in front of ReLU, by the sign of y (MASK 1) or of what y was made of (2)."""
    arrived = tl.load(gradient, mask=here, other=0.0).to(tl.float32)
    if MASK == 1:
        arrived = tl.where(tl.load(y, mask=here, other=0.0) > 0, arrived, 0.0)
    if MASK == 2:
        arrived = tl.where(scaled > 0, arrived, 0.0)
    return arrived


@triton.jit(do_not_specialize=ANY_SIZE)
def backward_sums_kernel(
    gradient,  # (P, C), gradient_pitch
    x,  # (P, C), pitch
    y,  # (P, C), contiguous
    mean,  # (C,)
    variance,  # (C,)
    scale,  # (C,)
    shift,  # (C,)
    sums,  # (chunks, 2, C)
    positions,
    channels,
    gradient_pitch,
    pitch,
    span,
    epsilon,
    MASK: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums over a chunk of the gradient g and of g * standardised x. Not yet run on a GPU."""
    chunk = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    centre, rate, factor, addend = channel_values(
        mean, variance, scale, shift, epsilon, column, channels
    )
    first = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    second = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for start in range(0, span, BLOCK_P):
        row = (chunk * span + start + tl.arange(0, BLOCK_P)).to(tl.int64)
        here = (row < positions)[:, None] & inside[None, :]
        value = tl.load(x + row[:, None] * pitch + column[None, :], mask=here, other=0.0)
        standard = (value.to(tl.float32) - centre) * rate
        arrived = _arriving(
            gradient + row[:, None] * gradient_pitch + column[None, :],
            y + row[:, None] * channels + column[None, :] if MASK == 1 else y,
            standard * factor + addend,
            here,
            MASK,
        )
        first += arrived
        second += arrived * standard
    cell = chunk * 2 * channels + column
    tl.store(sums + cell, tl.sum(first, 0), mask=inside)
    tl.store(sums + cell + channels, tl.sum(second, 0), mask=inside)


@triton.jit(do_not_specialize=ANY_SIZE)
def backward_kernel(
    gradient,  # (P, C), gradient_pitch
    x,  # (P, C), pitch
    y,  # (P, C), contiguous
    mean,  # (C,)
    variance,  # (C,)
    scale,  # (C,)
    shift,  # (C,)
    sums,  # (2, C)
    count,  # ()
    weight,  # (R,)
    dx,  # (P, C), dx_pitch; may be the gradient itself
    dresidual,  # (P, C), contiguous
    positions,
    channels,
    gradient_pitch,
    pitch,
    dx_pitch,
    positions_each,
    epsilon,
    MASK: tl.constexpr,
    COUNTED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write dx = scale / deviation * (g - weight * (S1 + standardised x * S2) / count), and g.

    S1 and S2 are the sums of `backward_sums_kernel` over everything. Not yet run on a GPU.
    """
    row = (tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)).to(tl.int64)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < channels
    here = (row < positions)[:, None] & inside[None, :]
    flat = row[:, None] * channels + column[None, :]
    centre, rate, factor, addend = channel_values(
        mean, variance, scale, shift, epsilon, column, channels
    )
    value = tl.load(x + row[:, None] * pitch + column[None, :], mask=here, other=0.0)
    standard = (value.to(tl.float32) - centre) * rate
    arrived = _arriving(
        gradient + row[:, None] * gradient_pitch + column[None, :],
        y + flat if MASK == 1 else y,
        standard * factor + addend,
        here,
        MASK,
    )
    if RESIDUAL:
        tl.store(dresidual + flat, arrived, mask=here)
    if COUNTED:
        inverse = 1.0 / tl.maximum(tl.load(count).to(tl.float32), LEAST)
        first = tl.load(sums + column, mask=inside, other=0.0) * inverse
        second = tl.load(sums + channels + column, mask=inside, other=0.0) * inverse
        common = first[None, :] + standard * second[None, :]
        if WEIGHTED:
            share = tl.load(weight + row // positions_each, mask=row < positions, other=0.0)
            common = common * share.to(tl.float32)[:, None]
        arrived = arrived - common
    cell = row[:, None] * dx_pitch + column[None, :]
    tl.store(dx + cell, arrived * rate * factor, mask=here)
