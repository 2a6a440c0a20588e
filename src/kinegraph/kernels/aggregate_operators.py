"""`aggregate` as PyTorch operators, with gradients, opaque to ``torch.compile``.

Opaque operators never break a graph, whatever is in them, and can be captured in CUDA graphs.
Triton is imported by the first launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kinegraph.kernels import aggregate_launch as launch

Gradients = tuple[Tensor | None, ...]
MADE_OF = "Tensor base, Tensor? query, Tensor? key, Tensor? expand, Tensor? bias, Tensor? alpha"


@torch.library.custom_op(
    "kinegraph::aggregate", mutates_args=(), schema=f"(Tensor value, {MADE_OF}) -> Tensor"
)
def aggregate(
    value: Tensor,
    base: Tensor,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor | None,
) -> Tensor:
    """(R, K, C, T, V) and what the topology is made of -> (R, C, T, U)."""
    out = launch.empty(value, base.shape[2], launch.channels_last(value))
    launch.mix(value, out, base.transpose(2, 3), query, key, expand, bias, alpha, sign=1)
    return out.squeeze(1)


@aggregate.register_fake
def _(value: Tensor, base: Tensor, *_: Tensor | None) -> Tensor:
    return launch.empty(value, base.shape[2], launch.channels_last(value)).squeeze(1)


@torch.library.custom_op(
    "kinegraph::project_and_aggregate",
    mutates_args=(),
    schema=f"(Tensor x, Tensor weight, Tensor? offset, {MADE_OF}) -> Tensor",
)
def project_and_aggregate(
    x: Tensor,
    weight: Tensor,
    offset: Tensor | None,
    base: Tensor,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor | None,
) -> Tensor:
    """(R, C_in, T, V), (K*C, C_in), (K*C,) and what the topology is made of -> (R, C, T, U)."""
    value = project(x, weight, offset, base.shape[1])
    out = launch.empty(value, base.shape[2], True)
    launch.mix(value, out, base.transpose(2, 3), query, key, expand, bias, alpha, sign=1)
    return out.squeeze(1)


@project_and_aggregate.register_fake
def _(x: Tensor, weight: Tensor, offset: Tensor | None, base: Tensor, *_: Tensor | None) -> Tensor:
    rows, frames = x.shape[0], x.shape[2]
    channels = weight.shape[0] // base.shape[1]
    return x.new_empty(rows, frames, base.shape[2], channels).permute(0, 3, 1, 2)


@torch.library.custom_op(
    "kinegraph::aggregate_value_gradient",
    mutates_args=(),
    schema=f"(Tensor gradient, bool channels_last, {MADE_OF}) -> Tensor",
)
def value_gradient(
    gradient: Tensor,
    channels_last: bool,
    base: Tensor,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
    bias: Tensor | None,
    alpha: Tensor | None,
) -> Tensor:
    """(R, C, T, U) -> (R, K, C, T, V): the same mixing with the joints changed over."""
    given = gradient.unsqueeze(1)  # (R, 1, C, T, U)
    out = launch.empty(given, base.shape[3], channels_last, base.shape[1])
    launch.mix(given, out, base, key, query, expand, bias, alpha, sign=-1)
    return out


@value_gradient.register_fake
def _(gradient: Tensor, channels_last: bool, base: Tensor, *_: Tensor | None) -> Tensor:
    return launch.empty(gradient.unsqueeze(1), base.shape[3], channels_last, base.shape[1])


@torch.library.custom_op(
    "kinegraph::aggregate_topology_gradient",
    mutates_args=(),
    schema="(Tensor gradient, Tensor value, bool base_per_row, Tensor? query, Tensor? key, "
    "Tensor? expand) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def topology_gradient(
    gradient: Tensor,
    value: Tensor,
    base_per_row: bool,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of base, query, key, expand and bias in float32, before alpha."""
    return launch.topology_gradient(gradient, value, base_per_row, query, key, expand)


@topology_gradient.register_fake
def _(
    gradient: Tensor,
    value: Tensor,
    base_per_row: bool,
    query: Tensor | None,
    key: Tensor | None,
    expand: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, subsets, channels, _, joints = value.shape
    first = value.new_empty(
        rows if base_per_row else 1, subsets, gradient.shape[3], joints, dtype=torch.float32
    )
    if query is None or key is None or expand is None:
        nothing = first.new_empty(0)
        return first, nothing, first.new_empty(0), first.new_empty(0), first.new_empty(0)
    return (
        first,
        first.new_empty(query.shape),
        first.new_empty(key.shape),
        first.new_empty(expand.shape),
        first.new_empty(subsets, channels),
    )


def project(x: Tensor, weight: Tensor, offset: Tensor | None, subsets: int) -> Tensor:
    """1x1 convolution as one product: (R, C_in, T, V) -> (R, K, C, T, V), channels last."""
    rows, _, frames, joints = x.shape
    matrix = _as_matrix(x)
    product = matrix @ weight.t() if offset is None else torch.addmm(offset, matrix, weight.t())
    channels = weight.shape[0] // subsets
    # (R*T*V, K*C) -> (R, T, V, K, C) -> (R, K, C, T, V)
    return product.view(rows, frames, joints, subsets, channels).permute(0, 3, 4, 1, 2)


def _as_matrix(x: Tensor) -> Tensor:
    """(R, C, T, V) -> (R*T*V, C), without a copy where channels are last in memory."""
    rows, channels, frames, joints = x.shape
    return x.permute(0, 2, 3, 1).reshape(rows * frames * joints, channels)


def _made_of_gradients(
    gradient: Tensor, value: Tensor, made_of: Sequence[Tensor | None], needed: Sequence[bool]
) -> Gradients:
    """Return the gradients of base, query, key, expand, bias and alpha, in their dtypes."""
    if not any(needed):
        return (None,) * len(made_of)
    base, query, key, expand, bias, alpha = made_of
    assert base is not None
    raw = topology_gradient(gradient, value, base.shape[0] > 1, query, key, expand)
    base_gradient = raw[0].to(base.dtype)
    if query is None or key is None or expand is None or bias is None or alpha is None:
        return base_gradient, None, None, None, None, None
    # Every term of the refinement has a weight or a bias as its factor, and alpha has them all.
    alpha_gradient = (expand * raw[3]).sum() + (bias * raw[4]).sum()
    scaled = [
        (part * alpha).to(tensor.dtype)
        for part, tensor in zip(raw[1:], (query, key, expand, bias), strict=True)
    ]
    return base_gradient, *scaled, alpha_gradient.to(alpha.dtype).view(alpha.shape)


def _keep_all(ctx: Any, inputs: tuple[Tensor | None, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _aggregate_backward(ctx: Any, gradient: Tensor) -> Gradients:
    value, *made_of = ctx.saved_tensors
    first = None
    if ctx.needs_input_grad[0]:
        first = value_gradient(gradient, launch.channels_last(value), *made_of)
    return first, *_made_of_gradients(gradient, value, made_of, ctx.needs_input_grad[1:])


def _project_backward(ctx: Any, gradient: Tensor) -> Gradients:
    x, weight, offset, *made_of = ctx.saved_tensors
    needs_x, needs_weight, needs_offset, *needed = ctx.needs_input_grad
    value = project(x, weight, offset, made_of[0].shape[1])
    others = _made_of_gradients(gradient, value, made_of, needed)
    del value
    x_gradient = weight_gradient = offset_gradient = None
    if needs_x or needs_weight or needs_offset:
        changes = value_gradient(gradient, True, *made_of)  # (R, K, C, T, V)
        # -> (R, T, V, K, C) as it lies in memory -> (R*T*V, K*C)
        matrix = changes.permute(0, 3, 4, 1, 2).reshape(-1, weight.shape[0])
        if needs_x:
            rows, channels, frames, joints = x.shape
            x_gradient = (matrix @ weight).view(rows, frames, joints, channels)
            x_gradient = x_gradient.permute(0, 3, 1, 2)  # (R, C_in, T, V)
        if needs_weight:
            weight_gradient = matrix.t() @ _as_matrix(x)
        if needs_offset:
            offset_gradient = matrix.sum(0)
    return x_gradient, weight_gradient, offset_gradient, *others


aggregate.register_autograd(_aggregate_backward, setup_context=_keep_all)
project_and_aggregate.register_autograd(_project_backward, setup_context=_keep_all)
