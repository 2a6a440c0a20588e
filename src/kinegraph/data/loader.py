"""The loader: from rows of a store to batches, on one device, without worker processes.

What a batch holds depends on (seed, epoch, clip, view) alone, not on its size or its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.data.store import Store
from kinegraph.errors import ClipError
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.tracks import RaggedTracks

MAX_TURNS = 1 << 20  # occurrences of a clip in one epoch that have draws of their own


class TrackReader:
    """Finds the tracks of any clips of a store as tensors.

    A pickled reader does not carry the recordings; it opens the store again where it arrives.

    Args:
        store: The store; its joints stay a memory map.
        persons: M, person slots; people beyond them are left out.
        count_nonzero: Length of a clip is the number of its frames that are not all zero, as the
            originals count (``quirks: original``), instead of its true length.

    Raises:
        ClipError: The people of a clip are all in slots beyond ``persons``.
    """

    def __init__(self, store: Store, persons: int, *, count_nonzero: bool = False) -> None:
        self._source = (store, persons, count_nonzero)
        self.skeleton = store.skeleton
        self.persons = persons
        self.joints = _as_tensor(store.joints)
        kept = store.tracks[store.tracks["person"] < persons]
        self._starts = torch.from_numpy(
            np.searchsorted(kept["clip"], np.arange(len(store) + 1)).astype(np.int64)
        )
        empty = np.flatnonzero(np.diff(self._starts.numpy()) == 0)
        if len(empty):
            name = store.clips["name"][empty[0]]
            raise ClipError(
                f"clip '{name}' has people only beyond the first {persons} person slots: raise"
                " the number of persons"
            )
        self._fields = {
            name: torch.from_numpy(kept[name].astype(np.int64))
            for name in ("offset", "length", "first", "person")
        }
        self._frames = torch.from_numpy(
            nonzero_frames(store) if count_nonzero else store.clips["frames"].astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self._frames)

    def __reduce__(self) -> tuple[Any, ...]:
        # A tensor over a memory map would be pickled as numbers; the store pickles as its path.
        return _reopen, self._source

    def read(self, rows: Tensor) -> RaggedTracks:
        """Return the tracks of clips ``rows`` (N,), in their order."""
        begin, count = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        clip = torch.repeat_interleave(count)  # (R,) batch row of each track
        before = torch.cumsum(count, 0) - count
        track = begin[clip] + torch.arange(len(clip)) - before[clip]
        return RaggedTracks(
            joints=self.joints,
            offset=self._fields["offset"][track],
            length=self._fields["length"][track],
            first=self._fields["first"][track],
            clip=clip,
            person=self._fields["person"][track],
            frames=self._frames[rows],
            persons=self.persons,
            skeleton=self.skeleton,
        )


def _reopen(store: Store, persons: int, count_nonzero: bool) -> TrackReader:
    return TrackReader(store, persons, count_nonzero=count_nonzero)


def _as_tensor(array: NDArray[Any]) -> Tensor:
    # torch warns of read-only memory; nothing here ever writes to a store.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(array))


def nonzero_frames(store: Store) -> NDArray[np.int64]:
    """Count, for each clip, the frames whose coordinates do not sum to zero over all people."""
    sums = np.concatenate(
        [
            np.asarray(store.joints[begin : begin + 65536], dtype=np.float64).sum((1, 2))
            for begin in range(0, len(store.joints), 65536)
        ]
    )
    counts = np.zeros(len(store), dtype=np.int64)
    for row in range(len(store)):
        frames = np.zeros(int(store.clips["frames"][row]))
        for track in store.tracks[store.track_starts[row] : store.track_starts[row + 1]]:
            first, length, offset = (int(track[k]) for k in ("first", "length", "offset"))
            frames[first : first + length] += sums[offset : offset + length]
        counts[row] = max(int(np.count_nonzero(frames)), 1)
    return counts


class ClipLoader:
    """Batches of clips, one tuple of views at a time.

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

    @property
    def clips_per_epoch(self) -> int:
        """Clips that one epoch shows."""
        total = len(self.rows) * self.repeat
        return total - total % self.batch_size if self.drop_last else total

    def __len__(self) -> int:
        return -(-self.clips_per_epoch // self.batch_size)

    def epoch(self, epoch: int = 0, *, skip: int = 0) -> Iterator[tuple[Batch, ...]]:
        """Yield the batches of one epoch, leaving out the first ``skip``."""
        rows, turns = self._order(epoch)
        for begin in range(skip * self.batch_size, self.clips_per_epoch, self.batch_size):
            part = slice(begin, min(begin + self.batch_size, self.clips_per_epoch))
            # Every occurrence of a clip in an epoch has draws of its own.
            times = epoch * MAX_TURNS + torch.from_numpy(turns[part])
            yield self.batch(torch.from_numpy(rows[part]), times)

    def batch(self, rows: Tensor, epoch: int | Tensor = 0) -> tuple[Batch, ...]:
        """Return one batch of clips ``rows`` (N,) for each view."""
        tracks = self.reader.read(rows)
        batches = []
        for view, pipeline in enumerate(self.pipelines):
            fixed = pipeline(tracks, seed=self.seed, epoch=epoch, index=rows, view=view)
            batch = Batch(
                x=fixed.dense(),
                label=self.labels[rows],
                index=rows,
                present=torch.zeros(len(rows), tracks.persons, dtype=torch.bool).index_put_(
                    (tracks.clip, tracks.person), torch.tensor(True)
                ),
            )
            batches.append(batch.to(self.device))
        return tuple(batches)

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of an epoch in order, and for each how often it has occurred before."""
        random = np.random.default_rng([self.seed, epoch, 0x6F72])
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
