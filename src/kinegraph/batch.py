"""The Batch: what a loader gives and an objective takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from kinegraph.nn.persons import Rows


@dataclass(frozen=True)
class Batch:
    """N clips of fixed length.

    Attributes:
        x: (N, C, T, V, M) float32, zero where a person is absent. Its memory may lie in any order.
        label: (N,) int64 classes, -1 where unknown.
        index: (N,) int64 rows of the store.
        present: (N, M) bool, whether a clip has an m-th person.
        rows: Which people become rows of the network, decided on the host so that no step waits
            for the device; None leaves it to the objective.
        whole: Clips of the whole batch, of which these are the part of one process; None: these.
    """

    x: Tensor
    label: Tensor
    index: Tensor
    present: Tensor
    rows: Rows | None = None
    whole: int | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def people(self) -> Tensor | Rows:
        """What an objective takes as ``present``: the rows where they are decided."""
        return self.present if self.rows is None else self.rows

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        return Batch(
            x=self.x.to(device, non_blocking=True),
            label=self.label.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
            present=self.present.to(device, non_blocking=True),
            rows=None if self.rows is None else self.rows.to(device),
            whole=self.whole,
        )
