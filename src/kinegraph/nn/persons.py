"""People as rows: networks see each person on its own, absent people not at all, or once.

Where absent people are all-zero inputs that count like present ones (``quirks: original``), they
are all the same to a network that draws no random numbers: one row stands for all of them, weighted
by their number. Dropout draws for every row: while it does, each of them needs its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which people each of R rows stands for; with ``index`` None, all N*M slots in order.

    Attributes:
        clips: N.
        persons: M.
        index: (R,) slot clip * M + person that a row is read from.
        share: (N, R) float32, the part that a row has in the mean over a clip's people.
        source: (N*M,) row that stands for a slot, R where nobody does.
        weight: (R,) float32, how many people a row stands for; None: one each.
        counted: (N, M) bool, which slots are people; None: all.
    """

    clips: int
    persons: int
    index: Tensor | None = None
    share: Tensor | None = None
    source: Tensor | None = None
    weight: Tensor | None = None
    counted: Tensor | None = None

    def __len__(self) -> int:
        return self.clips * self.persons if self.index is None else len(self.index)

    def to(self, device: torch.device | str) -> Rows:
        """Return the same rows with their tensors on another device."""
        names = ("index", "share", "source", "weight", "counted")
        tensors = {name: getattr(self, name) for name in names}
        moved = {k: v.to(device, non_blocking=True) for k, v in tensors.items() if v is not None}
        return replace(self, **moved)

    def pool(self, rows: Tensor) -> Tensor:
        """Mean over the people of each clip: (R, C) -> (N, C)."""
        if self.index is None or self.share is None:
            return rows.view(self.clips, self.persons, rows.shape[1]).mean(1)
        # A product, not a sum by index: on a GPU that would add in another order each time.
        with torch.autocast(rows.device.type, enabled=False):
            precise = rows.to(torch.promote_types(rows.dtype, torch.float32))
            return (self.share.to(precise.dtype) @ precise).to(rows.dtype)

    def unfold(self, rows: Tensor) -> Tensor:
        """Put rows back in their slots, zeros where nobody is: (R, ...) -> (N, M, ...)."""
        shape = (self.clips, self.persons, *rows.shape[1:])
        if self.source is None:
            return rows.view(shape)
        nobody = rows.new_zeros(1, *rows.shape[1:])
        return torch.cat((rows, nobody)).index_select(0, self.source).view(shape)


def plan_rows(present: NDArray[np.bool_], *, share_absent: bool = False, multiple: int = 1) -> Rows:
    """Decide which rows a batch needs, on the host, so that no step waits for the device.

    Args:
        present: (N, M), whether a slot has a person.
        share_absent: Absent people count as people; those of a slot share one row. Right only
            where the inputs of absent people are the same, such as zeros, and nothing is drawn
            for a row.
        multiple: R is filled up to a multiple of this by rows of weight 0, so that batches have
            few different shapes.

    Returns:
        Rows in the order of the slots, then the shared ones, then those that fill up.
    """
    clips, persons = present.shape
    flat = present.reshape(-1)
    index = np.flatnonzero(flat)
    source = np.full(flat.shape, -1)
    source[index] = np.arange(len(index))
    weight = np.ones(len(index), dtype=np.float32)
    if share_absent:
        for person in range(persons):
            absent = np.flatnonzero(~present[:, person]) * persons + person
            if len(absent):
                source[absent] = len(index)
                index = np.append(index, absent[0])
                weight = np.append(weight, np.float32(len(absent)))
    filling = -len(index) % multiple
    nobody = source < 0
    index = np.append(index, np.zeros(filling, dtype=index.dtype))
    weight = np.append(weight, np.zeros(filling, dtype=np.float32))
    source[nobody] = len(index)
    share = np.zeros((clips, len(index) + 1), dtype=np.float32)
    people = (~nobody).reshape(clips, persons).sum(1)
    np.add.at(share, (np.arange(len(flat)) // persons, source), 1)
    share /= np.maximum(people, 1)[:, None]
    return Rows(
        clips=clips,
        persons=persons,
        index=torch.from_numpy(index),
        share=torch.from_numpy(np.ascontiguousarray(share[:, :-1])),
        source=torch.from_numpy(source),
        # Where rows are filled up, always there: batches are to look the same.
        weight=None if multiple == 1 and (weight == 1).all() else torch.from_numpy(weight),
        counted=torch.from_numpy(~nobody.reshape(clips, persons)) if nobody.any() else None,
    )


def rows_of(x: Tensor, present: Tensor | Rows | None, *, count_absent: bool = False) -> Rows:
    """Decide which rows a batch needs where its maker has not.

    Args:
        x: (N, C, T, V, M) clips.
        present: (N, M) bool, or rows that have been decided; None takes all slots.
        count_absent: Absent people count as people. Where their input is all zero, those of a
            slot share a row; otherwise each has its own. (While dropout is at work, give `Rows`.)
    """
    if isinstance(present, Rows):
        return present
    if present is None or bool(present.all()):
        return Rows(clips=x.shape[0], persons=x.shape[4])
    if count_absent:
        absent = ~present[:, None, None, None, :]  # (N, 1, 1, 1, M)
        if bool((x * absent).any()):
            return Rows(clips=x.shape[0], persons=x.shape[4])
    return plan_rows(present.cpu().numpy(), share_absent=count_absent).to(x.device)


def fold(x: Tensor, rows: Rows) -> Tensor:
    """Turn people into rows: (N, C, T, V, M) -> (R, C, T, V).

    On a CUDA device their memory lies channels last, (R, T, V, C), as its kernels want it.
    """
    clips, channels, frames, joints, persons = x.shape
    people = x.permute(0, 4, 2, 3, 1).reshape(clips * persons, frames, joints, channels)
    if rows.index is not None:
        people = people.index_select(0, rows.index)
    return people.permute(0, 3, 1, 2)


def pool(features: Tensor, rows: Rows) -> Tensor:
    """Mean over joints, frames and then people: (R, C, T, V) -> (N, C)."""
    if features.stride(1) == 1:  # channels last: so is the gradient, which kernels want it to be
        positions = features.permute(0, 2, 3, 1).flatten(1, 2)  # (R, T*V, C)
        return rows.pool(positions.mean(1))
    return rows.pool(features.mean((2, 3)))
