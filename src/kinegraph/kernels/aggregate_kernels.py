"""The Triton kernels of `aggregate`: mixing joints, and the gradient of the topology.

Neither kernel has yet run on a GPU: they are tested by Triton's interpreter and compiled for
compute capability 8.0 and 9.0.

Each program makes the topology that it needs in registers, a block of channels at a time, and
forgets it; it never exists in device memory. Sums over programs go through partial results that
PyTorch adds up afterwards: no atomics, so that the same input gives the same bits.

Shapes in the comments: B block of channels, F block of frames, J block of target joints, S all
source joints and Q all channels of the relation, both padded to a power of two.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _tanh(x: tl.tensor, NATIVE: tl.constexpr) -> tl.tensor:
    """Hyperbolic tangent within 3e-7, or NATIVE within 5e-4 by one instruction.

    In the formula exp may become infinite or zero, which is right too.
    """
    if NATIVE:
        return tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _dot(
    a: tl.tensor,
    b: tl.tensor,
    total: tl.tensor,
    PRECISION: tl.constexpr,
    NATIVE: tl.constexpr,
) -> tl.tensor:
    """Return total + a @ b. The interpreter cannot multiply bfloat16, so it is no more NATIVE."""
    if NATIVE:
        return tl.dot(a, b, total, input_precision=PRECISION)
    else:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision=PRECISION)


@triton.jit
def _relation(
    left: tl.tensor,  # this row and subset of (.., Q, J), contiguous
    right: tl.tensor,  # this row and subset of (.., Q, S), contiguous
    target: tl.tensor,
    source: tl.tensor,
    targets: tl.tensor,
    sources: tl.tensor,
    channels: tl.tensor,
    PADDED: tl.constexpr,
    NATIVE: tl.constexpr,
) -> tl.tensor:
    """tanh(left - right), (Q, S, J)."""
    q = tl.arange(0, PADDED)
    here = (q < channels)[:, None]
    a = tl.load(
        left + q[:, None] * targets + target[None, :], here & (target < targets)[None, :], 0.0
    ).to(tl.float32)  # (Q, J)
    b = tl.load(
        right + q[:, None] * sources + source[None, :], here & (source < sources)[None, :], 0.0
    ).to(tl.float32)  # (Q, S)
    return _tanh(a[:, None, :] - b[:, :, None], NATIVE)


@triton.jit
def mix_kernel(
    values: tl.tensor,  # (R, K or 1, C, T, S)
    base: tl.tensor,  # (R or 1, K, S, J) by its strides
    left: tl.tensor,  # (R, K, Q, J), contiguous
    right: tl.tensor,  # (R, K, Q, S), contiguous
    expand: tl.tensor,  # (K, C, Q), contiguous
    bias: tl.tensor,  # (K, C), contiguous
    alpha: tl.tensor,  # one number
    mixed: tl.tensor,  # (R, K or 1, C, T, J)
    channels: tl.tensor,
    frames: tl.tensor,
    sources: tl.tensor,
    targets: tl.tensor,
    relation: tl.tensor,
    subsets: tl.tensor,
    values_row: tl.tensor,
    values_subset: tl.tensor,
    values_channel: tl.tensor,
    values_frame: tl.tensor,
    values_joint: tl.tensor,
    base_row: tl.tensor,
    base_subset: tl.tensor,
    base_source: tl.tensor,
    base_target: tl.tensor,
    mixed_row: tl.tensor,
    mixed_subset: tl.tensor,
    mixed_channel: tl.tensor,
    mixed_frame: tl.tensor,
    mixed_joint: tl.tensor,
    SUMMED: tl.constexpr,  # subsets that one program adds up
    SIGN: tl.constexpr,  # of the relation: 1 from v to u, -1 with the joints changed over
    REFINED: tl.constexpr,
    NATIVE: tl.constexpr,  # tanh and products by the device's instructions for half precision
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_J: tl.constexpr,
    PADDED_S: tl.constexpr,
    PADDED_Q: tl.constexpr,
) -> None:
    """mixed[r, k, c, t, j] = sum over s, and over K if SUMMED, of values * topology.

    Forward it sums over the subsets. Backward, with source and target joints changed over, it
    gives the gradient of each subset's values. Not yet run on a GPU.
    """
    # Neighbouring programs share values: their blocks differ in target joints, then channels.
    program = tl.program_id(0)
    target_blocks = tl.cdiv(targets, BLOCK_J)
    target = (program % target_blocks) * BLOCK_J + tl.arange(0, BLOCK_J)
    program = program // target_blocks
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    channel = (program % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    program = program // channel_blocks
    frame_blocks = tl.cdiv(frames, BLOCK_T)
    frame = (program % frame_blocks) * BLOCK_T + tl.arange(0, BLOCK_T)
    row = (program // frame_blocks).to(tl.int64)
    first = tl.program_id(1)
    source = tl.arange(0, PADDED_S)
    q = tl.arange(0, PADDED_Q)

    cell = channel[:, None, None] * values_channel + frame[None, :, None] * values_frame
    cell += source[None, None, :] * values_joint  # (B, F, S)
    cell_here = (channel < channels)[:, None, None] & (frame < frames)[None, :, None]
    edge = source[:, None] * base_source + target[None, :] * base_target  # (S, J)
    edge_here = (source < sources)[:, None] & (target < targets)[None, :]
    weight_here = (channel < channels)[:, None] & (q < relation)[None, :]  # (B, Q)

    if REFINED:
        total = tl.zeros((BLOCK_C, BLOCK_T, BLOCK_J), tl.float32)
    else:
        total = tl.zeros((BLOCK_C * BLOCK_T, BLOCK_J), tl.float32)
    for step in range(SUMMED):
        subset = first + step
        here = values + row * values_row + subset * values_subset
        tile = tl.load(here + cell, cell_here & (source < sources)[None, None, :], 0.0)  # (B, F, S)
        topology = tl.load(base + row * base_row + subset * base_subset + edge, edge_here, 0.0)
        topology = topology.to(tl.float32)  # (S, J)
        if REFINED:
            matrix = row * subsets + subset
            related = SIGN * _relation(
                left + matrix * relation * targets,
                right + matrix * relation * sources,
                target, source, targets, sources, relation, PADDED_Q, NATIVE,
            )  # fmt: skip
            related = tl.reshape(related, (PADDED_Q, PADDED_S * BLOCK_J))  # (Q, S*J)
            line = subset * channels + channel
            weight = tl.load(
                expand + line[:, None] * relation + q[None, :], weight_here, 0.0
            )  # (B, Q)
            refined = tl.zeros((BLOCK_C, PADDED_S * BLOCK_J), tl.float32)
            refined = _dot(
                weight.to(tile.dtype), related.to(tile.dtype), refined, PRECISION, NATIVE
            )  # (B, S*J)
            shift = tl.load(bias + line, channel < channels, 0.0).to(tl.float32)
            refined = (refined + shift[:, None]) * tl.load(alpha).to(tl.float32)
            refined = tl.reshape(refined, (BLOCK_C, PADDED_S, BLOCK_J)) + topology[None, :, :]
            total = _dot(tile, refined.to(tile.dtype), total, PRECISION, NATIVE)
        else:
            tile = tl.reshape(tile, (BLOCK_C * BLOCK_T, PADDED_S))  # (B*F, S)
            total = _dot(tile, topology.to(tile.dtype), total, PRECISION, NATIVE)

    total = tl.reshape(total, (BLOCK_C, BLOCK_T, BLOCK_J))
    cell = channel[:, None, None] * mixed_channel + frame[None, :, None] * mixed_frame
    cell += target[None, None, :] * mixed_joint  # (B, F, J)
    there = mixed + row * mixed_row + first * mixed_subset
    cell_here &= (target < targets)[None, None, :]
    tl.store(there + cell, total.to(mixed.dtype.element_ty), cell_here)


# The number of people changes from batch to batch: nothing is to be compiled anew for it.
@triton.jit(do_not_specialize=["rows", "rows_each"])
def topology_gradient_kernel(
    gradient: tl.tensor,  # (R, C, T, J)
    values: tl.tensor,  # (R, K, C, T, S)
    query: tl.tensor,  # (R, K, Q, J), contiguous
    key: tl.tensor,  # (R, K, Q, S), contiguous
    expand: tl.tensor,  # (K, C, Q), contiguous
    base_parts: tl.tensor,  # (R or groups, channel blocks, K, J, S)
    query_parts: tl.tensor,  # (channel blocks, R, K, Q, J)
    key_parts: tl.tensor,  # (channel blocks * target blocks, R, K, Q, S)
    expand_parts: tl.tensor,  # (groups * target blocks, K, C, Q)
    bias_parts: tl.tensor,  # (groups * target blocks, K, C)
    rows: tl.tensor,
    rows_each: tl.tensor,  # of one program
    channels: tl.tensor,
    frames: tl.tensor,
    sources: tl.tensor,
    targets: tl.tensor,
    relation: tl.tensor,
    subsets: tl.tensor,
    gradient_row: tl.tensor,
    gradient_channel: tl.tensor,
    gradient_frame: tl.tensor,
    gradient_joint: tl.tensor,
    values_row: tl.tensor,
    values_subset: tl.tensor,
    values_channel: tl.tensor,
    values_frame: tl.tensor,
    values_joint: tl.tensor,
    BASE_PER_ROW: tl.constexpr,
    REFINED: tl.constexpr,
    NATIVE: tl.constexpr,  # tanh and products by the device's instructions for half precision
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_J: tl.constexpr,
    PADDED_S: tl.constexpr,
    PADDED_Q: tl.constexpr,
) -> None:
    """Gradients of everything that the topology is made of, without alpha.

    A program has a block of channels, a block of target joints, one subset, and a group of rows
    one after the other; base, expand and bias are added up over its rows. What alpha scales is
    left unscaled: the gradient of alpha itself follows from those of expand and bias. Not yet
    run on a GPU.
    """
    program = tl.program_id(0)
    target_blocks = tl.cdiv(targets, BLOCK_J)
    target_block = program % target_blocks
    target = target_block * BLOCK_J + tl.arange(0, BLOCK_J)
    program = program // target_blocks
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    channel_block = program % channel_blocks
    channel = channel_block * BLOCK_C + tl.arange(0, BLOCK_C)
    group = program // channel_blocks
    subset = tl.program_id(1)
    source = tl.arange(0, PADDED_S)
    q = tl.arange(0, PADDED_Q)

    channel_here = (channel < channels)[:, None, None]
    here_out = channel_here & (target < targets)[None, :, None]
    cell_out = channel[:, None, None] * gradient_channel + target[None, :, None] * gradient_joint
    here_in = channel_here & (source < sources)[None, None, :]
    cell_in = channel[:, None, None] * values_channel + source[None, None, :] * values_joint
    edge = target[:, None] * sources + source[None, :]  # (J, S)
    edge_here = (target < targets)[:, None] & (source < sources)[None, :]
    weight_here = (channel < channels)[:, None] & (q < relation)[None, :]  # (B, Q)
    line = subset * channels + channel

    base_sum = tl.zeros((BLOCK_J, PADDED_S), tl.float32)
    if REFINED:
        expand_sum = tl.zeros((BLOCK_C, PADDED_Q), tl.float32)
        bias_sum = tl.zeros((BLOCK_C,), tl.float32)
        weight = tl.load(expand + line[:, None] * relation + q[None, :], weight_here, 0.0)  # (B, Q)
    first_row = group.to(tl.int64) * rows_each
    for step in range(0, tl.minimum(rows_each, rows - first_row)):
        row = first_row + step
        if REFINED:
            change = tl.zeros((BLOCK_C, BLOCK_J, PADDED_S), tl.float32)
        else:
            change = tl.zeros((BLOCK_J, PADDED_S), tl.float32)
        for start in range(0, frames, BLOCK_T):
            frame = start + tl.arange(0, BLOCK_T)
            given = tl.load(
                gradient + row * gradient_row + cell_out + frame[None, None, :] * gradient_frame,
                here_out & (frame < frames)[None, None, :],
                0.0,
            )  # (B, J, F)
            tile = tl.load(
                values + row * values_row + subset * values_subset
                + cell_in + frame[None, :, None] * values_frame,
                here_in & (frame < frames)[None, :, None],
                0.0,
            )  # (B, F, S)  # fmt: skip
            if REFINED:
                change = _dot(given, tile, change, PRECISION, NATIVE)
            else:
                given = tl.reshape(tl.permute(given, (1, 0, 2)), (BLOCK_J, BLOCK_C * BLOCK_T))
                tile = tl.reshape(tile, (BLOCK_C * BLOCK_T, PADDED_S))
                change = _dot(given, tile, change, PRECISION, NATIVE)
        if REFINED:
            base_change = tl.sum(change, 0)  # (J, S)
            matrix = row * subsets + subset
            related = -_relation(
                key + matrix * relation * sources,
                query + matrix * relation * targets,
                source, target, sources, targets, relation, PADDED_Q, NATIVE,
            )  # (Q, J, S)  # fmt: skip
            flat = tl.reshape(related, (PADDED_Q, BLOCK_J * PADDED_S)).to(weight.dtype)
            change = tl.reshape(change, (BLOCK_C, BLOCK_J * PADDED_S))  # (B, J*S)
            bias_sum += tl.sum(change, 1)
            change = change.to(weight.dtype)
            expand_sum = _dot(change, tl.trans(flat), expand_sum, PRECISION, NATIVE)
            inner = tl.zeros((PADDED_Q, BLOCK_J * PADDED_S), tl.float32)
            inner = _dot(tl.trans(weight), change, inner, PRECISION, NATIVE)  # (Q, J*S)
            inner = tl.reshape(inner, (PADDED_Q, BLOCK_J, PADDED_S)) * (1.0 - related * related)
            part = channel_block * rows * subsets + matrix
            tl.store(
                query_parts + part * relation * targets + q[:, None] * targets + target[None, :],
                tl.sum(inner, 2),
                (q < relation)[:, None] & (target < targets)[None, :],
            )
            part = (channel_block * target_blocks + target_block) * rows * subsets + matrix
            tl.store(
                key_parts + part * relation * sources + q[:, None] * sources + source[None, :],
                -tl.sum(inner, 1),
                (q < relation)[:, None] & (source < sources)[None, :],
            )
        else:
            base_change = change
        if BASE_PER_ROW:
            part = (row * channel_blocks + channel_block) * subsets + subset
            tl.store(base_parts + part * targets * sources + edge, base_change, edge_here)
        else:
            base_sum += base_change
    if not BASE_PER_ROW:
        part = (group * channel_blocks + channel_block) * subsets + subset
        tl.store(base_parts + part * targets * sources + edge, base_sum, edge_here)
    if REFINED:
        part = (group * target_blocks + target_block) * subsets * channels
        tl.store(
            expand_parts + (part + line)[:, None] * relation + q[None, :], expand_sum, weight_here
        )
        tl.store(bias_parts + part + line, bias_sum, channel < channels)
