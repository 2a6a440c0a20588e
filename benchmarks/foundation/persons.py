"""People as rows: networks see each person on its own, absent people not at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which clip and slot each of R rows is; ``index`` None stands for all N*M slots in order."""

    clips: int
    persons: int
    index: Tensor | None  # (R,) clip * M + person

    def pool(self, rows: Tensor) -> Tensor:
        """Mean over the people of each clip: (R, C) -> (N, C)."""
        if self.index is None:
            return rows.view(self.clips, self.persons, -1).mean(1)
        clip = self.index // self.persons
        total = rows.new_zeros(self.clips, rows.shape[1]).index_add_(0, clip, rows)
        people = torch.zeros(self.clips, device=rows.device).index_add_(
            0, clip, torch.ones(len(clip), device=rows.device)
        )
        return total / people.clamp(min=1)[:, None].to(rows.dtype)

    def unfold(self, rows: Tensor) -> Tensor:
        """Put rows back in their slots, zeros where nobody is: (R, ...) -> (N, M, ...)."""
        shape = (self.clips, self.persons, *rows.shape[1:])
        if self.index is None:
            return rows.view(shape)
        slots = rows.new_zeros(self.clips * self.persons, *rows.shape[1:])
        return slots.index_copy(0, self.index, rows).view(shape)


def fold(x: Tensor, present: Tensor | None) -> tuple[Tensor, Rows]:
    """Turn people into rows: (N, C, T, V, M) -> (R, C, T, V).

    Args:
        x: Clips.
        present: (N, M) bool, whose people become rows; None takes all, as the originals do.
    """
    clips, channels, frames, joints, persons = x.shape
    rows = x.permute(0, 4, 1, 2, 3).reshape(clips * persons, channels, frames, joints)
    if present is None:
        return rows, Rows(clips, persons, None)
    index = present.reshape(-1).nonzero()[:, 0]
    return rows.index_select(0, index), Rows(clips, persons, index)


def pool(rows: Tensor, layout: Rows) -> Tensor:
    """Mean over joints, frames and then people: (R, C, T, V) -> (N, C)."""
    return layout.pool(rows.mean((2, 3)))
