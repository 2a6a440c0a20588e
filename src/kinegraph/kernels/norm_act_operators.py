"""The kernels of `norm_act` as operators of PyTorch, which torch.compile does not look into.

Tensors are (R, C, ...), in channels-last memory: others are copied, results are so.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import torch
import triton
from torch import Tensor
from torch.library import custom_op

from kinegraph.kernels import norm_act_kernels as kernels

TILE = 2048  # elements of one block: 16 for each of 128 threads
PROGRAMS = 1024  # that one sum is spread over at most: some eight for each multiprocessor
COLUMNS = 64  # of a block at most: 128 bytes of half precision, one line of the cache
COMBINED = 8192  # partial results that one program looks at


def as_matrix(x: Tensor) -> Tensor:
    """See (R, C, ...) as (P, C) whose channels lie side by side, copied if they do not."""
    last = x.movedim(1, -1)  # (R, ..., C)
    if last.numel() == 0:
        return last.new_empty(0, x.shape[1])
    try:
        matrix = last.view(-1, x.shape[1])
    except RuntimeError:  # positions are not evenly spaced: a copy makes them so
        return last.contiguous().view(-1, x.shape[1])
    return matrix if matrix.stride(1) == 1 or x.shape[1] == 1 else matrix.contiguous()


def channels_last(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return new channels-last memory in the shape of x (R, C, ...)."""
    shape = (x.shape[0], *x.shape[2:], x.shape[1])
    return torch.empty(shape, dtype=dtype or x.dtype, device=x.device).movedim(-1, 1)


def blocks(positions: int, channels: int) -> tuple[int, int]:
    """Return positions and channels of one block, powers of two."""
    columns = min(COLUMNS, triton.next_power_of_2(channels))
    return min(TILE // columns, triton.next_power_of_2(positions)), columns


def chunks(positions: int, channels: int) -> tuple[int, int]:
    """Return into how many chunks a sum over positions is cut, and how long they are."""
    rows, columns = blocks(positions, channels)
    pieces = triton.cdiv(positions, rows)
    most = max(1, PROGRAMS // triton.cdiv(channels, columns))
    span = triton.cdiv(pieces, min(most, pieces)) * rows
    return triton.cdiv(positions, span), span


def positions_each(x: Tensor) -> int:
    """Return the positions of one row: frames times joints."""
    return max(1, x.numel() // max(1, x.shape[0] * x.shape[1]))


@custom_op(
    "kinegraph::norm_statistics",
    mutates_args=("running_mean", "running_variance", "batches"),
)
def statistics(
    x: Tensor,
    weight: Tensor | None,
    running_mean: Tensor | None,
    running_variance: Tensor | None,
    batches: Tensor | None,
    momentum: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count () of x; move the running ones if given."""
    matrix = as_matrix(x)
    positions, channels = matrix.shape
    mean, variance, count = _empty_statistics(x)
    pieces, span = chunks(positions, channels) if positions else (0, 1)
    means, squares = torch.empty(2, max(1, pieces), channels, device=x.device).unbind()
    counts = torch.empty(max(1, pieces), device=x.device)
    rows, columns = blocks(max(1, positions), channels)
    if positions:
        kernels.statistics_kernel[(pieces, triton.cdiv(channels, columns))](
            matrix,
            None if weight is None else weight.contiguous(),
            means,
            squares,
            counts,
            positions,
            channels,
            matrix.stride(0),
            positions_each(x),
            span,
            WEIGHTED=weight is not None,
            BLOCK_P=rows,
            BLOCK_C=columns,
        )
    padded = triton.next_power_of_2(max(1, pieces))
    columns = min(triton.next_power_of_2(channels), COMBINED // padded)
    kernels.combine_kernel[(triton.cdiv(channels, columns),)](
        means,
        squares,
        counts,
        mean,
        variance,
        count,
        running_mean,
        running_variance,
        batches,
        momentum,
        pieces,
        channels,
        RUNNING=running_mean is not None,
        PADDED=padded,
        BLOCK_C=columns,
        num_warps=8,
    )
    return mean, variance, count


def _empty_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return memory for a mean (C,), a variance (C,) and a count ()."""
    mean = torch.empty(x.shape[1], dtype=torch.float32, device=x.device)
    return mean, torch.empty_like(mean), torch.empty((), dtype=torch.float32, device=x.device)


@statistics.register_fake
def _(x: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_statistics(x)


@custom_op("kinegraph::norm_apply", mutates_args=())
def apply(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    residual: Tensor | None,
    epsilon: float,
    relu: bool,
) -> Tensor:
    """Return relu(norm(x) + residual) in x's dtype."""
    matrix, y = as_matrix(x), channels_last(x)
    positions, channels = matrix.shape
    if positions == 0:
        return y
    added = None if residual is None else as_matrix(residual)
    rows, columns = blocks(positions, channels)
    kernels.apply_kernel[(triton.cdiv(positions, rows), triton.cdiv(channels, columns))](
        matrix,
        added,
        y,
        mean,
        variance,
        scale,
        shift,
        positions,
        channels,
        matrix.stride(0),
        0 if added is None else added.stride(0),
        epsilon,
        RESIDUAL=added is not None,
        RELU=relu,
        BLOCK_P=rows,
        BLOCK_C=columns,
    )
    return y


@apply.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return channels_last(x)


@custom_op("kinegraph::norm_backward_sums", mutates_args=())
def backward_sums(
    gradient: Tensor,
    x: Tensor,
    y: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    epsilon: float,
    relu: bool,
) -> Tensor:
    """Return (2, C): sums of the gradient in front of ReLU, and of it times standardised x."""
    matrix = as_matrix(x)
    positions, channels = matrix.shape
    if positions == 0:
        return torch.zeros(2, channels, device=x.device)
    arriving = as_matrix(gradient)
    pieces, span = chunks(positions, channels)
    rows, columns = blocks(positions, channels)
    sums = torch.empty(pieces, 2, channels, device=x.device)
    kernels.backward_sums_kernel[(pieces, triton.cdiv(channels, columns))](
        arriving,
        matrix,
        None if y is None else as_matrix(y),
        mean,
        variance,
        scale,
        shift,
        sums,
        positions,
        channels,
        arriving.stride(0),
        matrix.stride(0),
        span,
        epsilon,
        MASK=_mask(y, relu),
        BLOCK_P=rows,
        BLOCK_C=columns,
    )
    return sums.sum(0)


@backward_sums.register_fake
def _(gradient: Tensor, x: Tensor, *_: object) -> Tensor:
    return torch.empty(2, x.shape[1], device=x.device)


def _mask(y: Tensor | None, relu: bool) -> int:
    """Return how kernels find out where ReLU was negative: 0 not, 1 in y, 2 from x."""
    return 0 if not relu else 2 if y is None else 1


@custom_op("kinegraph::norm_backward", mutates_args=())
def backward(
    gradient: Tensor,
    x: Tensor,
    y: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    scale: Tensor,
    shift: Tensor,
    sums: Tensor | None,
    count: Tensor | None,
    weight: Tensor | None,
    epsilon: float,
    relu: bool,
    residual: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of x and, if there was one, of the residual (else an empty tensor).

    ``sums`` and ``count`` are None where statistics were fixed.
    """
    dx = channels_last(x)
    dresidual = channels_last(x) if residual else x.new_empty(0)
    matrix = as_matrix(x)
    positions, channels = matrix.shape
    if positions == 0:
        return dx, dresidual
    arriving, written = as_matrix(gradient), as_matrix(dx)
    rows, columns = blocks(positions, channels)
    kernels.backward_kernel[(triton.cdiv(positions, rows), triton.cdiv(channels, columns))](
        arriving,
        matrix,
        None if y is None else as_matrix(y),
        mean,
        variance,
        scale,
        shift,
        sums,
        count,
        None if weight is None else weight.contiguous(),
        written,
        dresidual,
        positions,
        channels,
        arriving.stride(0),
        matrix.stride(0),
        written.stride(0),
        positions_each(x),
        epsilon,
        MASK=_mask(y, relu),
        COUNTED=count is not None,
        WEIGHTED=count is not None and weight is not None,
        RESIDUAL=residual,
        BLOCK_P=rows,
        BLOCK_C=columns,
    )
    return dx, dresidual


@backward.register_fake
def _(gradient: Tensor, x: Tensor, *others: object) -> tuple[Tensor, Tensor]:
    return channels_last(x), channels_last(x) if others[-1] else x.new_empty(0)
