"""The loader: from rows of a store to batches, on one device, without worker processes.

What a batch holds depends on (seed, epoch, clip, view) alone, not on its size or its neighbours.
So several small batches are made at once where that is cheaper, and cut apart afterwards; and
several processes make a part of every batch each, without a word to each other. Where draws repeat
(`repeat_draws`), those of a clip depend on (seed, place in the epoch, view) instead: on the order
of the clips, but still neither on the size of a batch nor on who makes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.data.reader import TrackReader
from kinegraph.data.transfer import carried, prefetch, upload, upload_parts
from kinegraph.nn.persons import Rows, plan_rows
from kinegraph.transforms.pipeline import Pipeline

MAX_TURNS = 1 << 20  # occurrences of a clip in one epoch that have draws of their own
HOST_CLIPS = 64  # clips made at once: fewer waste time between operations, more leave the cache
DEVICE_CLIPS = 1024  # the same where starting an operation costs more than most of them
DEVICE_BYTES = 48 << 20  # ... but not more joints than these


@dataclass(frozen=True)
class Share:
    """Which part of something a process has; one that is alone has all of it.

    Attributes:
        rank: Number of the process, from 0.
        size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    def of(self, count: int) -> slice:
        """Return which of ``count`` things in a row are this process's; parts differ by one."""
        each, rest = divmod(count, self.size)
        begin = self.rank * each + min(self.rank, rest)
        return slice(begin, begin + each + (self.rank < rest))


ALL = Share()


class Part(NamedTuple):
    """The clips of one batch: (N,) rows of the store, and what the draws of each depend on.

    Attributes:
        rows: Rows of the store.
        turns: Number of the occurrence, over all epochs.
        keys: Whose draws: the row again, or the place in the epoch where draws repeat.
    """

    rows: NDArray[np.int64]
    turns: NDArray[np.int64]
    keys: NDArray[np.int64]


# One batch for each view, and whether its absent people need not be zero
_Made = list[tuple[Batch, bool]]


def shuffled(total: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers of the clips in the order of an epoch that is shuffled."""
    return _order_of(seed, epoch).permutation(total)


def _order_of(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, epoch, 0x6F72])


class ClipLoader:
    """Batches of clips, one tuple of views at a time.

    Batches are made where the reader's joints are, and end on ``device``. If that is another
    place, a thread may make them in advance; they are copied while the device computes.

    Args:
        reader: Tracks of the store.
        labels: (clips,) labels of the whole store.
        rows: Rows of the store that this loader serves.
        pipelines: View name -> pipeline.
        views: The views that the objective wants, in order; each step gives one Batch for each.
        batch_size: N.
        seed: Seed of the run.
        shuffle: Whether each epoch has its own order (otherwise that of ``rows``).
        drop_last: Whether a last, smaller batch is left out.
        repeat: How often each clip occurs in an epoch, each time with its own draws.
        balanced: Whether every class is drawn equally often, whatever its number of clips.
        device: Where batches end.
        ahead: Batches that a thread makes in advance; 0: they are made when they are asked for.
        count_absent: Whether absent people count as people (``quirks: original``); decides with
            the people of a clip which rows the network gets.
        row_multiple: The number of rows is filled up to a multiple of this, see `plan_rows`.
        share: The part of every batch that is made here; it may be without clips.
        share_absent: Whether absent people who count may share a row. Not where the network draws
            random numbers for every row, as dropout does: they would share these as well.
        repeat_draws: Whether the draws of an epoch are those of the first, place by place, as in
            programs that seed their workers alike in every epoch (``training.repeat_draws``).
    """

    def __init__(
        self,
        reader: TrackReader,
        labels: NDArray[Any],
        rows: NDArray[Any],
        pipelines: Mapping[str, Pipeline],
        *,
        views: Sequence[str] = ("test",),
        batch_size: int = 64,
        seed: int = 0,
        shuffle: bool = False,
        drop_last: bool = False,
        repeat: int = 1,
        balanced: bool = False,
        device: torch.device | str = "cpu",
        ahead: int = 0,
        count_absent: bool = False,
        row_multiple: int = 1,
        share: Share = ALL,
        share_absent: bool = True,
        repeat_draws: bool = False,
    ) -> None:
        self.reader = reader
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self.rows = np.asarray(rows, dtype=np.int64)
        self.pipelines = [pipelines[view] for view in views]
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.repeat = repeat
        self.balanced = balanced
        self.device = torch.device(device)
        self.ahead = ahead
        self.count_absent = count_absent
        self.row_multiple = row_multiple
        self.share = share
        self.share_absent = share_absent
        self.repeat_draws = repeat_draws

    @property
    def clips_per_epoch(self) -> int:
        """Clips that one epoch shows."""
        total = len(self.rows) * self.repeat
        return total - total % self.batch_size if self.drop_last else total

    def __len__(self) -> int:
        return -(-self.clips_per_epoch // self.batch_size)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of one epoch, leaving out the first ``skip``."""
        made = self._made(self.parts(epoch)[skip:])
        if self.ahead:
            made = prefetch(made, self.ahead)
        return made if self._stays else carried(made, self.device)

    def parts(self, epoch: int) -> list[Part]:
        """Return the clips of every batch of an epoch; it is decided here and nowhere else."""
        rows, turns = self._order(epoch)
        keys = rows
        # Every occurrence of a clip in an epoch has draws of its own.
        turns += epoch * MAX_TURNS
        if self.repeat_draws:
            keys, turns = np.arange(len(rows)), np.zeros_like(turns)
        last = self.clips_per_epoch
        begins = range(0, last, self.batch_size)
        cuts = [slice(begin, min(begin + self.batch_size, last)) for begin in begins]
        return [Part(rows[cut], turns[cut], keys[cut]) for cut in cuts]

    def batch(self, rows: Tensor, epoch: int | Tensor = 0) -> tuple[Batch, ...]:
        """Return one batch of clips ``rows`` (N,) for each view.

        Args:
            rows: Rows of the store, on the host.
            epoch: What the draws depend on: one number, or (N,) one for each clip, on the host.
        """
        made = self._together(rows, epoch)
        batches = self._part(made, slice(None), rows.numpy())
        return batches if self._stays else tuple(batch.to(self.device) for batch in batches)

    @property
    def _stays(self) -> bool:
        """Whether batches are made where they end."""
        made = self.reader.joints.device
        return made.type == self.device.type and self.device.index in (None, made.index)

    @cached_property
    def batches_at_once(self) -> int:
        """Batches that are made together and cut apart."""
        clips = -(-self.batch_size // self.share.size)
        if self.reader.joints.device.type == "cpu":
            return max(1, HOST_CLIPS // clips)
        frames = sum(self.reader.persons * pipeline.length for pipeline in self.pipelines)
        if any(pipeline.whole for pipeline in self.pipelines):
            frames += self.reader.total // len(self.reader)
        clip_bytes = 4 * frames * math.prod(self.reader.row_shape)
        return max(1, min(DEVICE_CLIPS, DEVICE_BYTES // clip_bytes) // clips)

    def _made(self, parts: Sequence[Part]) -> Iterator[tuple[Batch, ...]]:
        """Yield this process's share of each part as a batch, where the reader's joints are."""
        for begin in range(0, len(parts), self.batches_at_once):
            group = parts[begin : begin + self.batches_at_once]
            shares = [Part(*(values[self.share.of(len(values))] for values in p)) for p in group]
            some = shares if any(len(own.rows) for own in shares) else group  # never no clip at all
            rows, turns, keys = (
                torch.from_numpy(np.concatenate(v)) for v in zip(*some, strict=True)
            )
            made = self._together(rows, turns, keys)
            end = 0
            for part, own in zip(group, shares, strict=True):
                end, start = end + len(own.rows), end
                batches = self._part(made, slice(start, end), own.rows)
                if self.share.size > 1:
                    batches = tuple(replace(batch, whole=len(part.rows)) for batch in batches)
                yield batches

    def _part(self, made: _Made, clips: slice, rows: NDArray[np.int64]) -> tuple[Batch, ...]:
        """Return some clips of what was made together, as views, and the people that are rows."""
        plans = {filled: self._plan(rows, filled) for filled in {filled for _, filled in made}}
        return tuple(
            replace(
                batch,
                x=batch.x[clips],
                label=batch.label[clips],
                index=batch.index[clips],
                present=batch.present[clips],
                rows=plans[filled],
            )
            for batch, filled in made
        )

    def _plan(self, rows: NDArray[np.int64], filled: bool) -> Rows:
        """Decide on the host which people of clips become rows; as `rows_of` would on a device."""
        present = self.reader.present[rows]
        if present.all() or (self.count_absent and (filled or not self.share_absent)):
            return Rows(clips=present.shape[0], persons=present.shape[1])
        plan = plan_rows(present, share_absent=self.count_absent, multiple=self.row_multiple)
        return upload_parts(plan, self.reader.joints.device)

    def _together(self, rows: Tensor, epoch: int | Tensor, keys: Tensor | None = None) -> _Made:
        """Return clips as one batch for each view, where the reader's joints are."""
        device = self.reader.joints.device
        index, label = upload(rows, device), upload(self.labels[rows], device)
        drawn_for = upload(keys, device) if self.repeat_draws and keys is not None else index
        present = upload(torch.from_numpy(self.reader.present[rows.numpy()]), device)
        if isinstance(epoch, Tensor):
            epoch = upload(epoch, device)
        tracks = self.reader.read(rows)
        made = []
        # Whoever asks may be computing in half precision; joints are never made in it.
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            for view, pipeline in enumerate(self.pipelines):
                fixed = pipeline(tracks, seed=self.seed, epoch=epoch, index=drawn_for, view=view)
                batch = Batch(x=fixed.dense(), label=label, index=index, present=present)
                made.append((batch, fixed.filled))
        return made

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of an epoch in order, and for each how often it has occurred before."""
        random = _order_of(self.seed, epoch)
        total = len(self.rows) * self.repeat
        if self.balanced:
            rows = self._balanced(random, total)
        elif self.shuffle:
            rows = np.tile(self.rows, self.repeat)[random.permutation(total)]
        else:
            rows = np.tile(self.rows, self.repeat)
        order = np.argsort(rows, kind="stable")
        begins = np.searchsorted(rows[order], rows[order])
        turns = np.empty(total, dtype=np.int64)
        turns[order] = np.arange(total) - begins
        return rows, turns

    def _balanced(self, random: np.random.Generator, total: int) -> NDArray[np.int64]:
        """Deal out ``total`` rows, class by class, each class from its own shuffled deck."""
        labels = self.labels[self.rows].numpy()
        classes = random.permutation(np.unique(labels))
        share = -(-total // len(classes))
        decks = []
        for label in classes:
            members = self.rows[labels == label]
            rounds = -(-share // len(members))
            deck = np.concatenate([random.permutation(members) for _ in range(rounds)])
            decks.append(deck[:share])
        dealt = np.stack(decks, axis=1).reshape(-1)[:total]
        return dealt[random.permutation(total)]
