"""Mix the joints of every channel by a topology that is made on the way, never stored.

Source: the topology is that of Chen et al., Channel-wise Topology Refinement Graph Convolution
(ICCV 2021), equations 4 to 6; without a refinement it is any graph convolution's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.kernels.aggregate_launch import power, precision
from kinegraph.kernels.aggregate_rows import aggregate_by_rows
from kinegraph.kernels.dispatch import chosen_kernels, register_kernel, use_kernels

KERNEL = "aggregation"
# What compiles for every device without spilling many registers.
MOST_JOINTS, MOST_CELLS, MOST_FLOAT32_JOINTS = 64, 1024, 32


@dataclass(frozen=True)
class Refinement:
    """What a topology of its own for every row and channel is made of.

    Attributes:
        query: (R, K, Q, U), of the joints that receive.
        key: (R, K, Q, V), of the joints that give.
        expand: (K, C, Q), from the channels of the relation to those of the values.
        bias: (K, C).
        alpha: () or (1,), how much the refinement counts.
    """

    query: Tensor
    key: Tensor
    expand: Tensor
    bias: Tensor
    alpha: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return all of them in order."""
        return self.query, self.key, self.expand, self.bias, self.alpha


NONE = (None,) * 5


def aggregate(value: Tensor, base: Tensor, refinement: Refinement | None = None) -> Tensor:
    """Mix joints: sum over subsets k and joints v of value times topology from v to u.

    ``topology[r, k, c, u, v] = base[r, k, u, v] + alpha * (sum over q of expand[k, c, q] *
    tanh(query[r, k, q, u] - key[r, k, q, v]) + bias[k, c])``, without the part after ``base`` if
    there is no refinement. On CUDA devices a kernel makes the topology in registers.

    Args:
        value: (R, K, C, T, V) in any memory order.
        base: (R or 1, K, U, V), shared by all channels.
        refinement: What the channels' own part is made of.

    Returns:
        (R, C, T, U) in the dtype of ``value``; channels last in memory where those of ``value``
        are.
    """
    if _fits(value, base, refinement):
        from kinegraph.kernels import aggregate_operators as operators

        out: Tensor = operators.aggregate(
            value, base, *(refinement.tensors() if refinement else NONE)
        )
        return out
    return aggregate_reference(value, base, refinement)


def project_and_aggregate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    base: Tensor,
    refinement: Refinement | None = None,
) -> Tensor:
    """`aggregate` the values that a 1x1 convolution makes of ``x``.

    The kernel's path keeps ``x`` for the backward pass and makes the values again there: they are
    K times as large where channels stay the same. It goes by the dtype of autocast, as a
    convolution does.

    Args:
        x: (R, C_in, T, V), best channels last in memory.
        weight: (K * C, C_in), or with further axes of size one.
        bias: (K * C,) or None.
        base: (R or 1, K, U, V), shared by all channels.
        refinement: What the channels' own part is made of.

    Returns:
        (R, C, T, U), channels last in memory if the kernel has made it.
    """
    weight = weight.flatten(1)  # (K*C, C_in)
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(x.device.type)
    x, weight = x.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    if _fits(x, base, refinement):
        from kinegraph.kernels import aggregate_operators as operators

        out: Tensor = operators.project_and_aggregate(
            x,
            weight,
            bias,
            base,
            *(refinement.tensors() if refinement else NONE),
        )
        return out
    rows, _, frames, joints = x.shape
    subsets = base.shape[1]
    if _by_rows(x, base, refinement):
        assert refinement is not None
        # A convolution of contiguous values costs less than bringing its result in that order.
        value = functional.conv2d(x.contiguous(), weight[:, :, None, None], bias)
        value = value.view(rows, subsets, weight.shape[0] // subsets, frames, joints)
        mixed = aggregate_by_rows(value, base, *refinement.tensors())
        return mixed.contiguous(memory_format=torch.channels_last)
    if refinement is None and bias is None and x.device.type == "cpu":
        return _mix_first(x, weight, base)
    if x.numel() == 0:  # which a convolution refuses
        value = torch.einsum("oi,ritv->rotv", weight, x)
    else:
        value = functional.conv2d(x, weight[:, :, None, None], bias)
    # (R, K*C, T, V) -> (R, K, C, T, V)
    value = value.view(rows, subsets, weight.shape[0] // subsets, frames, joints)
    return aggregate_reference(value, base, refinement)


def _fits(x: Tensor, base: Tensor, refinement: Refinement | None) -> bool:
    """Whether there is a kernel for these sizes, this dtype and this device."""
    joints = max(base.shape[2:])
    if refinement is None:
        fits = joints <= MOST_JOINTS
    else:
        cells = power(joints) * power(refinement.query.shape[2])
        fits = cells <= MOST_CELLS and (x.dtype.itemsize == 2 or joints <= MOST_FLOAT32_JOINTS)
    return fits and use_kernels(KERNEL, x)


def _by_rows(x: Tensor, base: Tensor, refinement: Refinement | None) -> bool:
    """Whether going row by row is faster and possible: on processors, outside of compilers."""
    if (
        x.device.type != "cpu"
        or x.numel() == 0
        or refinement is None
        or len(base) != 1
        or chosen_kernels() == "plain"
    ):
        return False
    halves = x.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu")
    return not halves and not torch.compiler.is_compiling()


def _mix_first(x: Tensor, weight: Tensor, base: Tensor) -> Tensor:
    """`project_and_aggregate` by one topology for all channels, joints first, for processors.

    The mixtures of x are no larger than the values, and already lie as the product with the
    weights wants them: nothing is turned, forward or backward.
    """
    channels, (subsets, receiving, joints) = x.shape[1], base.shape[1:]
    topology = base.to(x.dtype).transpose(1, 2).reshape(-1, receiving * subsets, joints)
    frames = x.permute(0, 2, 3, 1)  # (R, T, V, C_in)
    mixed = torch.matmul(topology[:, None], frames)  # (R, T, U*K, C_in)
    by_channel = weight.view(subsets, -1, channels).transpose(0, 1).flatten(1)  # (C, K*C_in)
    mixed = mixed.reshape(*frames.shape[:2], receiving, subsets * channels)  # (R, T, U, K*C_in)
    y = functional.linear(mixed, by_channel)  # (R, T, U, C)
    return y.permute(0, 3, 1, 2)


def aggregate_reference(
    value: Tensor, base: Tensor, refinement: Refinement | None = None
) -> Tensor:
    """`aggregate` by plain operations, which do store the topology."""
    if refinement is None:
        # -> (R, C, T, U)
        return torch.einsum("rkctv,rkuv->rctu", value, _rows(base.to(value.dtype), value))
    r = refinement
    related = torch.tanh(r.query[..., :, None] - r.key[..., None, :])  # (R, K, Q, U, V)
    # alpha joins the small tensors: its gradient is then no sum over (R, K, C, U, V).
    expand, bias = r.alpha * r.expand, r.alpha * r.bias
    topology = torch.einsum("kcq,rkquv->rkcuv", expand.to(related.dtype), related)
    topology = topology + (base[:, :, None] + bias[..., None, None])
    return torch.einsum("rkctv,rkcuv->rctu", value, topology.to(value.dtype))


def _rows(base: Tensor, value: Tensor) -> Tensor:
    return base.expand(len(value), *base.shape[1:])


def _random_case(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Refinement]:
    """Draw a small problem that uses every mask: no size is a power of two."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device).requires_grad_()

    refinement = Refinement(
        draw(3, 2, 5, 7), draw(3, 2, 5, 7), draw(2, 19, 5), draw(2, 19), draw(1)
    )
    x = draw(3, 17, 7, 6).permute(0, 3, 1, 2)  # (R, C_in, T, V), channels last
    return x, draw(38, 6), draw(38), draw(1, 2, 7, 7), refinement


def check_aggregation(device: torch.device) -> float:
    """Compare the kernels on a device with plain operations in float64: values, all gradients.

    Returns:
        The largest difference, relative to the largest number of the same tensor. Of products
        that are rounded more than float32 is, only a part counts.
    """
    rounded = 4 if precision(torch.float32) == "tf32" else 1
    return max(
        _largest_difference(device, torch.float32) / rounded,
        _largest_difference(device, torch.bfloat16) / 32,
    )


def _largest_difference(device: torch.device, dtype: torch.dtype) -> float:
    from kinegraph.kernels import aggregate_operators as operators

    worst = 0.0
    *projected, base, refinement = _random_case(device)
    projected = [tensor.detach().to(dtype).requires_grad_() for tensor in projected]
    for chosen in (None, refinement):
        made_of = (base, *(chosen.tensors() if chosen else NONE))
        inputs = [*projected, *(tensor for tensor in made_of if tensor is not None)]
        fused = operators.project_and_aggregate(*projected, *made_of)
        x, weight, bias = (tensor.double() for tensor in projected)
        precise = Refinement(*(part.double() for part in chosen.tensors())) if chosen else None
        value = operators.project(x, weight, bias, base.shape[1])
        plain = aggregate_reference(value, base.double(), precise)
        gradient = torch.cos(plain.detach()).to(dtype)
        pairs = zip(
            (fused, *torch.autograd.grad(fused, inputs, gradient)),
            (plain, *torch.autograd.grad(plain, inputs, gradient.double())),
            strict=True,
        )
        worst = max(worst, *(relative_difference(one, other) for one, other in pairs))
    return worst


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the other's largest number."""
    return float((one - other).detach().abs().max() / other.detach().abs().max())


register_kernel(KERNEL, check_aggregation)
