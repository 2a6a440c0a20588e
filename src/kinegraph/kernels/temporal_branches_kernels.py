"""The Triton kernels of `temporal_branches`; `temporal_branches_operators` starts them.

None has yet run on a GPU: they are tested by Triton's interpreter and compiled for compute
capability 8.0 and 9.0.

Memory is channels-last, (R, T, V, C). A position is one joint of one frame of one row. Each
program takes a block of positions through every branch, so that a position's channels are read
together; the normalised and rectified channels exist in registers alone.

Shapes in the comments: P block of positions, I and O channels of a branch going in and out, padded
to a power of two, J block of the pairs (tap, channel).
"""

# Triton looks up every annotation of a kernel's arguments, and knows those of its own alone.
# mypy: disable-error-code="untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from kinegraph.kernels.norm_act_kernels import channel_values

# Sizes of a batch: programs are compiled once for all of them.
ANY_SIZE = ("positions", "frames", "shorter", "joints", "span")


@triton.jit
def _place(position, frames, joints):
    """Row, frame and joint of positions of (R, frames, joints)."""
    within = position % (frames * joints)
    return position // (frames * joints), within // joints, within % joints


@triton.jit
def _dot(a, b, total, NATIVE: tl.constexpr):
    """Return total + a @ b. The interpreter cannot multiply bfloat16: there it is not NATIVE."""
    if not NATIVE:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")  # no kernel rounds float32 to fewer bits


@triton.jit
def _rectified(z, row, frame, joint, here, first, column, of_channels, sizes, fill):
    """relu(norm(z)) at given frames, (P, I), rounded as if it had been stored; ``fill`` outside."""
    frames, joints, width, pitch = sizes
    centre, rate, factor, addend = of_channels
    inside = (here & (frame >= 0) & (frame < frames))[:, None]
    cell = ((row.to(tl.int64) * frames + frame) * joints + joint) * pitch + first
    value = tl.load(
        z + cell[:, None] + column[None, :], mask=inside & (column < width)[None, :], other=0.0
    )
    scaled = (value.to(tl.float32) - centre) * rate * factor + addend
    scaled = tl.where(scaled < 0, 0.0, scaled)  # not tl.maximum, which hides NaN
    return tl.where(inside, scaled.to(value.dtype).to(tl.float32), fill)


@triton.jit(do_not_specialize=ANY_SIZE)
def forward_kernel(
    z,  # (R, T, V, (D + 2) * W), pitch
    mean,  # ((D + 1) * W,)
    variance,  # ((D + 1) * W,)
    scale,  # ((D + 1) * W,)
    shift,  # ((D + 1) * W,)
    weights,  # (D, taps, I, O)
    biases,  # (D, O)
    out,  # (R, T', V, (D + 2) * W)
    positions,  # R * T' * V
    frames,
    shorter,  # T'
    joints,
    width,
    pitch,
    epsilon,
    STRIDE: tl.constexpr,
    DILATIONS: tl.constexpr,
    TAPS: tl.constexpr,
    NATIVE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PADDED: tl.constexpr,
):
    """All branches for a block of resulting positions. Not yet run on a GPU."""
    branches: tl.constexpr = len(DILATIONS) + 2
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    here = position < positions
    row, after, joint = _place(position, shorter, joints)
    frame = after * STRIDE
    column = tl.arange(0, PADDED)
    square = (column < width)[:, None] & (column < width)[None, :]
    whole = here[:, None] & (column < width)[None, :]
    target = out + (position.to(tl.int64) * (branches * width))[:, None] + column[None, :]
    sizes = (frames, joints, width, pitch)
    for branch in tl.static_range(branches - 2):
        first = branch * width
        of_channels = channel_values(
            mean + first, variance + first, scale + first, shift + first, epsilon, column, width
        )
        bias = tl.load(biases + first + column, mask=column < width, other=0.0).to(tl.float32)
        total = tl.zeros((BLOCK_P, PADDED), tl.float32) + bias[None, :]
        for tap in range(TAPS):
            source = frame + (tap - TAPS // 2) * DILATIONS[branch]
            value = _rectified(z, row, source, joint, here, first, column, of_channels, sizes, 0.0)
            cell = ((branch * TAPS + tap) * width + column)[:, None] * width + column[None, :]
            weight = tl.load(weights + cell, mask=square, other=0.0)  # (I, O)
            total = _dot(value.to(weight.dtype), weight, total, NATIVE)
        tl.store(target + first, total, mask=whole)

    first = (branches - 2) * width
    of_channels = channel_values(
        mean + first, variance + first, scale + first, shift + first, epsilon, column, width
    )
    lowest = float("-inf")
    most = _rectified(z, row, frame - 1, joint, here, first, column, of_channels, sizes, lowest)
    for step in tl.static_range(2):
        value = _rectified(
            z, row, frame + step, joint, here, first, column, of_channels, sizes, lowest
        )
        most = tl.where((value > most) | (value != value), value, most)  # NaN wins
    tl.store(target + first, most, mask=whole)

    first = (branches - 1) * width
    cell = ((row.to(tl.int64) * frames + frame) * joints + joint) * pitch + first
    tl.store(target + first, tl.load(z + cell[:, None] + column[None, :], mask=whole), mask=whole)


@triton.jit
def _from_after(gradient, row, top, joint, here, first, column, sizes, STRIDE: tl.constexpr):
    """Gradient of the result whose stride puts it at frame ``top``, (P, O); 0 where none is."""
    shorter, joints, width, channels = sizes
    after = top // STRIDE
    inside = here & (top >= 0) & (top % STRIDE == 0) & (after < shorter)
    cell = ((row.to(tl.int64) * shorter + after) * joints + joint) * channels + first
    return tl.load(
        gradient + cell[:, None] + column[None, :],
        mask=inside[:, None] & (column < width)[None, :],
        other=0.0,
    )


@triton.jit(do_not_specialize=ANY_SIZE)
def backward_kernel(
    gradient,  # (R, T', V, (D + 2) * W), contiguous
    z,  # (R, T, V, (D + 2) * W), pitch
    mean,  # ((D + 1) * W,)
    variance,  # ((D + 1) * W,)
    scale,  # ((D + 1) * W,)
    shift,  # ((D + 1) * W,)
    weights,  # (D, taps, I, O)
    arrived,  # (R, T, V, (D + 2) * W), contiguous
    sums,  # (programs, 2, (D + 1) * W)
    positions,  # R * T * V
    frames,
    shorter,  # T'
    joints,
    width,
    pitch,
    epsilon,
    STRIDE: tl.constexpr,
    DILATIONS: tl.constexpr,
    TAPS: tl.constexpr,
    NATIVE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PADDED: tl.constexpr,
):
    """The gradient in front of ReLU for a block of positions. Not yet run on a GPU.

    Also its sums, and those of its product with the standardised z, which the norm's gradient
    needs.
    """
    branches: tl.constexpr = len(DILATIONS) + 2
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    here = position < positions
    row, frame, joint = _place(position, frames, joints)
    column = tl.arange(0, PADDED)
    inside = column < width
    square = inside[:, None] & inside[None, :]
    whole = here[:, None] & inside[None, :]
    channels = branches * width
    target = arrived + (position.to(tl.int64) * channels)[:, None] + column[None, :]
    own = z + (position.to(tl.int64) * pitch)[:, None] + column[None, :]
    part = sums + tl.program_id(0).to(tl.int64) * 2 * (channels - width) + column
    after_sizes = (shorter, joints, width, channels)
    for branch in tl.static_range(branches - 1):
        first = branch * width
        centre, rate, factor, addend = channel_values(
            mean + first, variance + first, scale + first, shift + first, epsilon, column, width
        )
        total = tl.zeros((BLOCK_P, PADDED), tl.float32)
        if branch < branches - 2:
            for tap in range(TAPS):
                top = frame - (tap - TAPS // 2) * DILATIONS[branch]
                value = _from_after(
                    gradient, row, top, joint, here, first, column, after_sizes, STRIDE
                )
                cell = ((branch * TAPS + tap) * width + column)[None, :] * width + column[:, None]
                weight = tl.load(weights + cell, mask=square, other=0.0)  # (O, I)
                total = _dot(value.to(weight.dtype), weight, total, NATIVE)
        else:
            of_channels = (centre, rate, factor, addend)
            total = _to_first_of_most(
                gradient, z, row, frame, joint, here, first, column, of_channels,
                (frames, joints, width, pitch), after_sizes, STRIDE,
            )  # fmt: skip
        value = tl.load(own + first, mask=whole, other=0.0)
        standard = (value.to(tl.float32) - centre) * rate
        total = tl.where(standard * factor + addend > 0, total, 0.0)
        total = total.to(value.dtype).to(tl.float32)
        tl.store(target + first, total, mask=whole)
        tl.store(part + first, tl.sum(total, 0), mask=inside)
        tl.store(part + first + channels - width, tl.sum(total * standard, 0), mask=inside)

    first = (branches - 1) * width
    value = _from_after(gradient, row, frame, joint, here, first, column, after_sizes, STRIDE)
    tl.store(target + first, value, mask=whole)


@triton.jit
def _to_first_of_most(
    gradient, z, row, frame, joint, here, first, column, of_channels, sizes, after_sizes,
    STRIDE: tl.constexpr,
):  # fmt: skip
    """Gradient of a maximum over three frames, (P, I): the first largest gets it.

    A frame is looked at in three windows: as the first, as the middle and as the last.
    """
    low = float("-inf")
    own = _rectified(z, row, frame, joint, here, first, column, of_channels, sizes, low)
    one = _rectified(z, row, frame + 1, joint, here, first, column, of_channels, sizes, low)
    two = _rectified(z, row, frame + 2, joint, here, first, column, of_channels, sizes, low)
    value = _from_after(
        gradient, row, frame + 1, joint, here, first, column, after_sizes, STRIDE
    ).to(tl.float32)
    total = tl.where((one <= own) & (two <= own), value, 0.0)
    two = _rectified(z, row, frame - 1, joint, here, first, column, of_channels, sizes, low)
    value = _from_after(gradient, row, frame, joint, here, first, column, after_sizes, STRIDE)
    total += tl.where((two < own) & (one <= own), value.to(tl.float32), 0.0)
    one = _rectified(z, row, frame - 2, joint, here, first, column, of_channels, sizes, low)
    value = _from_after(gradient, row, frame - 1, joint, here, first, column, after_sizes, STRIDE)
    return total + tl.where((one < own) & (two < own), value.to(tl.float32), 0.0)


@triton.jit(do_not_specialize=ANY_SIZE)
def weights_kernel(
    gradient,  # (R, T', V, (D + 2) * W), contiguous
    z,  # (R, T, V, (D + 2) * W), pitch
    mean,  # ((D + 1) * W,)
    variance,  # ((D + 1) * W,)
    scale,  # ((D + 1) * W,)
    shift,  # ((D + 1) * W,)
    partial,  # (chunks, D, taps * I + 1, O)
    positions,  # R * T' * V
    frames,
    shorter,  # T'
    joints,
    pitch,
    span,  # positions of a chunk
    epsilon,
    STRIDE: tl.constexpr,
    DILATIONS: tl.constexpr,
    TAPS: tl.constexpr,
    WIDTH: tl.constexpr,
    NATIVE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_J: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Gradients of weights and biases over a chunk of positions. Not yet run on a GPU.

    A product over positions of pairs (tap, channel) with the gradient of the result; one more
    pair that is always 1 gives the gradient of the bias.
    """
    chunk, branch, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    dilation = 0
    for number in tl.static_range(len(DILATIONS)):
        dilation = tl.where(branch == number, DILATIONS[number], dilation)
    pair = block * BLOCK_J + tl.arange(0, BLOCK_J)
    tap = pair // WIDTH
    channel = branch * WIDTH + pair % WIDTH
    listed = tap < TAPS
    centre, rate, factor, addend = channel_values(
        mean, variance, scale, shift, epsilon, tl.where(listed, channel, 0), WIDTH + channel
    )
    column = tl.arange(0, PADDED)
    channels = (len(DILATIONS) + 2) * WIDTH
    total = tl.zeros((BLOCK_J, PADDED), tl.float32)
    for start in range(0, span, BLOCK_P):
        position = chunk * span + start + tl.arange(0, BLOCK_P)
        here = position < positions
        row, after, joint = _place(position, shorter, joints)
        cell = position.to(tl.int64) * channels + branch * WIDTH
        value = tl.load(
            gradient + cell[:, None] + column[None, :],
            mask=here[:, None] & (column < WIDTH)[None, :],
            other=0.0,
        )
        frame = after[:, None] * STRIDE + ((tap - TAPS // 2) * dilation)[None, :]  # (P, J)
        inside = (frame >= 0) & (frame < frames) & here[:, None] & listed[None, :]
        cell = ((row.to(tl.int64)[:, None] * frames + frame) * joints + joint[:, None]) * pitch
        source = tl.load(z + cell + channel[None, :], mask=inside, other=0.0)
        scaled = (source.to(tl.float32) - centre) * rate * factor + addend
        scaled = tl.where(scaled < 0, 0.0, scaled)  # not tl.maximum, which hides NaN
        scaled = tl.where(inside, scaled, 0.0)
        scaled = tl.where((pair == TAPS * WIDTH)[None, :], 1.0, scaled)
        scaled = tl.trans(scaled.to(value.dtype))  # (J, P)
        total = _dot(scaled, value, total, NATIVE)
    pairs = TAPS * WIDTH + 1
    cell = ((chunk * len(DILATIONS) + branch) * pairs + pair)[:, None] * WIDTH + column[None, :]
    tl.store(partial + cell, total, mask=(pair < pairs)[:, None] & (column < WIDTH)[None, :])
