"""`aggregate` for processors: row by row, so that a row's topology never leaves the cache.

The plain form writes the topologies of all rows, (R, K, C, V, V), to memory and reads them back,
forward and backward; most of its time on a processor goes into that.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def aggregate_by_rows(
    value: Tensor,
    base: Tensor,
    query: Tensor,
    key: Tensor,
    expand: Tensor,
    bias: Tensor,
    alpha: Tensor,
) -> Tensor:
    """Do what `aggregate.aggregate` does with a refinement, on a processor.

    Args:
        value: (R, K, C, T, V).
        base: (1, K, U, V), shared by all rows and channels.
        query: (R, K, Q, U), see `aggregate.Refinement`.
        key: (R, K, Q, V).
        expand: (K, C, Q).
        bias: (K, C).
        alpha: () or (1,).

    Returns:
        (R, C, T, U).
    """
    # alpha joins the small tensors it would otherwise multiply (R, K, C, V, V) numbers of.
    start = base[0].flatten(1)[:, None] + (alpha * bias)[..., None]  # (K, C, U*V)
    out: Tensor = _ByRows.apply(value, start, query, key, alpha * expand)  # type: ignore[no-untyped-call]
    return out


def _related(query: Tensor, key: Tensor) -> Iterator[Tensor]:
    """Yield, for each row of (R, K, Q, V) queries and keys, the (K, Q, U*V) relation."""
    for asks, answers in zip(query, key, strict=True):
        yield torch.tanh(asks[..., :, None] - answers[..., None, :]).flatten(2)


class _ByRows(torch.autograd.Function):
    """Topology of row r: start + expand times tanh(query - key), made twice, kept never."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        value: Tensor,
        start: Tensor,
        query: Tensor,
        key: Tensor,
        expand: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(value, start, query, key, expand)
        rows, subsets, channels, frames, joints = value.shape
        out = value.new_empty(rows, channels, frames, query.shape[3])
        for row, related in enumerate(_related(query, key)):
            topology = torch.baddbmm(start, expand, related)  # (K, C, U*V)
            topology = topology.view(subsets, channels, -1, joints)
            torch.bmm(value[row, 0], topology[0].mT, out=out[row])
            for k in range(1, subsets):
                out[row].baddbmm_(value[row, k], topology[k].mT)
        return out

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, d_out: Tensor) -> tuple[Tensor, ...]:
        value, start, query, key, expand = ctx.saved_tensors  # type: ignore[attr-defined]
        subsets, channels, _, joints = value.shape[1:]
        d_value, d_start = torch.empty_like(value), torch.zeros_like(start)
        d_query, d_key, d_expand = map(torch.empty_like, (query, key, expand))
        d_expand.zero_()
        d_topology = start.new_empty(subsets, channels, query.shape[3], joints)
        for row, related in enumerate(_related(query, key)):
            topology = torch.baddbmm(start, expand, related).view_as(d_topology)
            gradient = d_out[row].contiguous()  # (C, T, U)
            for k in range(subsets):
                torch.bmm(gradient, topology[k], out=d_value[row, k])
                torch.bmm(gradient.mT, value[row, k], out=d_topology[k])
            flat = d_topology.flatten(2)  # (K, C, U*V)
            d_start += flat
            d_expand.baddbmm_(flat, related.mT)
            inner = torch.bmm(expand.mT, flat) * (1 - related.square())  # (K, Q, U*V)
            inner = inner.view(*query.shape[1:], joints)  # (K, Q, U, V)
            d_query[row] = inner.sum(-1)
            d_key[row] = -inner.sum(-2)
        return d_value, d_start, d_query, d_key, d_expand
