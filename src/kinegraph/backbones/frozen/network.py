"""The body of every frozen network: rows, blocks, pooling, and what is known of absent people."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from kinegraph.backbones.base import Backbone, Features
from kinegraph.nn.persons import Rows, rows_of

# Joints times frames of the rows that are computed together: four people of 64 frames. Many more
# than that do not stay near the processor between one layer and the next.
POSITIONS_AT_ONCE = 6400

Key = tuple[int, int, torch.dtype]  # slot, frames, type that is computed in


class FrozenBlock(nn.Module):
    """relu(temporal(relu(spatial(x) + first residual)) + second residual), each as (R, V, T, C).

    Args:
        spatial: What is done over joints.
        temporal: What is done over time.
        across: What is added before the first ReLU: a convolution of x, an `nn.Identity`, or None.
        along: What is added before the second.
    """

    def __init__(
        self,
        spatial: nn.Module,
        temporal: nn.Module,
        across: nn.Module | None,
        along: nn.Module | None,
    ) -> None:
        super().__init__()
        self.spatial, self.temporal = spatial, temporal
        self.across, self.along = across, along

    def forward(self, x: Tensor) -> Tensor:
        """(R, V, T, C_in) -> (R, V, T', C)."""
        y = self.spatial(x)
        if self.across is not None:
            y += self.across(x)
        y = self.temporal(y.relu_())
        if self.along is not None:
            y += self.along(x)
        return y.relu_()  # type: ignore[no-any-return]


class FrozenNetwork(Backbone):
    """A trained network for inference on a CPU; equal to it in eval mode but for rounding.

    Rows whose input is all zero, such as absent people that count, are computed once for each
    slot and number of frames: weights do not change any more, so neither does the answer.

    Args:
        original: The network; its widths and stages are taken over.
        scale: (M or 1, V, C), what coordinates are multiplied by.
        shift: (M or 1, V, C), what is then added.
        blocks: The blocks.
        stage_blocks: Stage -> number of the block whose map it is.
        embedding: (C, C_in), what coordinates are multiplied by first, if by anything.
    """

    embedding: Tensor | None
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        original: Backbone,
        scale: Tensor,
        shift: Tensor,
        blocks: Sequence[FrozenBlock],
        stage_blocks: Mapping[str, int],
        embedding: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.out_channels = original.out_channels
        self.stage_channels = dict(original.stage_channels)
        self.stage_strides = dict(original.stage_strides)
        self.stage_blocks = dict(stage_blocks)
        self.register_buffer("embedding", None if embedding is None else embedding.float())
        self.register_buffer("scale", scale.float()[:, :, None, :].contiguous())  # (M, V, 1, C)
        self.register_buffer("shift", shift.float()[:, :, None, :].contiguous())
        self.blocks = nn.ModuleList(blocks)
        self._of_nobody: dict[Key, Tensor] = {}
        self._converted: dict[torch.dtype, nn.ModuleList] = {}
        self.eval()

    def freeze(self) -> FrozenNetwork:
        """Return another one that knows the same."""
        return copy.deepcopy(self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Moved or converted: what was computed with the weights before is no longer right.
        self._of_nobody.clear()
        self._converted.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        """(N, C, T, V, M) clips -> features, see `Backbone.forward`."""
        self.check_stages(stages)
        rows = rows_of(x, present)
        with torch.inference_mode():  # the least bookkeeping; nothing of it leaves
            features = self._infer(x, rows, stages)
        maps = {stage: found.clone() for stage, found in features.stages.items()}
        return Features(features.pooled.clone(), maps)

    def _infer(self, x: Tensor, rows: Rows, stages: Sequence[str]) -> Features:
        people = x.permute(0, 4, 3, 2, 1).contiguous()  # (N, M, V, T, C)
        embedded = people if self.embedding is None else people @ self.embedding.mT
        inputs = torch.addcmul(self.shift, embedded, self.scale).flatten(0, 1)  # (N*M, V, T, C)
        present_rows = people.flatten(2).any(2).flatten()  # (N*M,)
        if rows.index is not None:
            inputs, present_rows = inputs[rows.index], present_rows[rows.index]
        dtype = _autocast_type(x)
        blocks = self._blocks_in(dtype)
        with torch.autocast(x.device.type, enabled=False):
            inputs = inputs.to(dtype)
            if stages:
                return self._with_stages(blocks, inputs, rows, stages)
            return Features(rows.pool(self._features(blocks, inputs, present_rows.tolist(), rows)))

    def _features(
        self, blocks: Iterable[nn.Module], inputs: Tensor, somebody: list[bool], rows: Rows
    ) -> Tensor:
        """Compute what is not known yet, in small chunks: (R, V, T, C) -> (R, F)."""
        count, joints, frames, _ = inputs.shape
        slots = range(count) if rows.index is None else rows.index.tolist()
        features = inputs.new_empty(count, self.out_channels)
        people = []
        for row, (slot, there) in enumerate(zip(slots, somebody, strict=True)):
            if there:
                people.append(row)
                continue
            key = (slot % rows.persons, frames, inputs.dtype)
            if key not in self._of_nobody:
                # Alone, so that neither this answer nor others depend on who asks first.
                self._of_nobody[key] = _run(blocks, inputs[row : row + 1])[0]
            features[row] = self._of_nobody[key]
        step = max(1, POSITIONS_AT_ONCE // (joints * frames))
        for begin in range(0, len(people), step):
            part = people[begin : begin + step]
            features[part] = _run(blocks, inputs[part])
        return features

    def _with_stages(
        self, blocks: Iterable[nn.Module], x: Tensor, rows: Rows, stages: Sequence[str]
    ) -> Features:
        maps = {}
        for i, block in enumerate(blocks):
            x = block(x)
            for stage in stages:
                if self.stage_blocks[stage] == i:
                    maps[stage] = rows.unfold(x.permute(0, 3, 2, 1))  # (N, M, C, T', V)
        return Features(rows.pool(x.mean((1, 2))), maps)

    def _blocks_in(self, dtype: torch.dtype) -> nn.ModuleList:
        """Return the blocks with their weights in another type, converted once."""
        if dtype == self.scale.dtype:
            return self.blocks
        if dtype not in self._converted:
            self._converted[dtype] = copy.deepcopy(self.blocks).to(dtype)
        return self._converted[dtype]


def _run(blocks: Iterable[nn.Module], x: Tensor) -> Tensor:
    """Go through all blocks and pool: (R, V, T, C) -> (R, F)."""
    for block in blocks:
        x = block(x)
    return x.mean((1, 2))


def _autocast_type(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
