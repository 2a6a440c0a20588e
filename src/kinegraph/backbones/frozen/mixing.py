"""Graph convolution by fixed topologies, on rows (R, V, T, C), in frozen networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kinegraph.backbones.frozen.products import convolve
from kinegraph.nn.folding import scale_and_shift
from kinegraph.nn.norm import BatchNorm

MOST_NEIGHBOURS = 4  # on average, for which adding them one by one is quicker than a product


class Dense(nn.Module):
    """Mix joints by a matrix.

    Args:
        mixing: (K*U, V).
    """

    mixing: Tensor

    def __init__(self, mixing: Tensor) -> None:
        super().__init__()
        self.register_buffer("mixing", mixing)

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T*C) -> (R, K*U, T*C)."""
        return torch.matmul(self.mixing, x)


class FewNeighbours(nn.Module):
    """`Dense` for a matrix of mostly zeros: add the neighbours of all joints, rank by rank.

    The first neighbours of all are one selection, the second of those who have two another, and
    so on.

    Args:
        mixing: (K*U, V).
    """

    def __init__(self, mixing: Tensor) -> None:
        super().__init__()
        neighbours = [row.nonzero()[:, 0].tolist() or [0] for row in mixing]
        self.ranks = max(map(len, neighbours))
        for rank in range(self.ranks):
            having = [row for row, found in enumerate(neighbours) if len(found) > rank]
            rows = torch.tensor(having, device=mixing.device)
            sources = torch.tensor([neighbours[row][rank] for row in having], device=mixing.device)
            self.register_buffer(f"rows{rank}", rows)
            self.register_buffer(f"sources{rank}", sources)
            self.register_buffer(f"factors{rank}", mixing[rows, sources][:, None])

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T*C) -> (R, K*U, T*C)."""
        mixed = self._neighbours(x, 0)  # every row has a first one
        for rank in range(1, self.ranks):
            rows = self.get_buffer(f"rows{rank}")
            mixed.index_add_(1, rows, self._neighbours(x, rank))
        return mixed

    def _neighbours(self, x: Tensor, rank: int) -> Tensor:
        factors = self.get_buffer(f"factors{rank}")
        return x.index_select(1, self.get_buffer(f"sources{rank}")).mul_(factors)


class FrozenMixing(nn.Module):
    """Graph convolution by K fixed topologies, and its norm.

    Joints are mixed before channels; the K products with channels are one convolution, of which
    the K mixtures are the rows of the image.

    Args:
        adjacency: (K, V, U), from joint v to joint u.
        weight: (K, C, C_in).
        bias: (C, U), what is added.
        norm: The norm that follows.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, adjacency: Tensor, weight: Tensor, bias: Tensor, norm: BatchNorm) -> None:
        super().__init__()
        scale, shift = scale_and_shift(norm)
        weight = (weight * scale[:, None]).permute(1, 2, 0)[..., None]  # (C, C_in, K, 1)
        bias = bias * scale[:, None] + shift[:, None]
        self.subsets, self.joints, self.in_channels = *adjacency.shape[:2], weight.shape[1]
        mixing = adjacency.mT.flatten(0, 1).float().contiguous()  # (K*U, V)
        few = int((mixing != 0).sum()) <= MOST_NEIGHBOURS * len(mixing)
        self.mixing = FewNeighbours(mixing) if few else Dense(mixing)
        self.register_buffer("weight", weight.float().contiguous())
        self.register_buffer("bias", bias.mT[:, None].float().contiguous())  # (U, 1, C)

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T, C)."""
        mixed = self.mixing(x.flatten(2))  # (R, K*U, T*C_in)
        return mix_channels(mixed, x.shape, self.weight).add_(self.bias)


def mix_channels(
    mixed: Tensor, shape: torch.Size, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Add the products of K mixtures of joints with their weights.

    Args:
        mixed: (R, K*U, T*C_in).
        shape: (R, U, T, C_in).
        weight: (C, C_in, K, 1).
        bias: (C,).

    Returns:
        (R, U, T, C).
    """
    rows, joints, frames, channels = shape
    mixed = mixed.view(rows, weight.shape[2], joints * frames, channels)
    return convolve(mixed, weight, bias).view(rows, joints, frames, -1)
