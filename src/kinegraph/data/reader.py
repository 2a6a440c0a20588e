"""Finding the people of any clips of a store as tensors, on the host or on a device."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.data.copied_person import with_copied_tracks
from kinegraph.data.store import Store
from kinegraph.data.transfer import upload
from kinegraph.errors import ClipError
from kinegraph.layout_mapping import JointMap
from kinegraph.transforms.tracks import RaggedTracks


class TrackReader:
    """Finds the tracks of any clips of a store as tensors.

    A pickled reader does not carry the recordings; it opens the store again where it arrives, on
    the host.

    Args:
        store: The store; its joints stay a memory map.
        persons: M, person slots; people beyond them are left out.
        count_nonzero: Length of a clip is the number of its frames that are not all zero, as the
            originals count (``quirks: original``), instead of its true length.
        copy_alone: Whether a person who is alone is the second person as well, see
            `copied_person`.
        joint_map: How the joints are brought to another layout; None: they stay as they are.

    Attributes:
        skeleton: Layout of what is read.
        joints: (F, V, C) frames of all tracks, as they lie in memory; see `row_shape`.
        present: (clips, M) bool, whether a clip has an m-th person.
        total: Frames of all tracks that are not left out.

    Raises:
        ClipError: The people of a clip are all in slots beyond ``persons``.
    """

    def __init__(
        self,
        store: Store,
        persons: int,
        *,
        count_nonzero: bool = False,
        copy_alone: bool = False,
        joint_map: JointMap | None = None,
    ) -> None:
        self._source = (store, persons, count_nonzero, copy_alone, joint_map)
        self.skeleton = store.skeleton if joint_map is None else joint_map.target
        self._index = None if joint_map is None else torch.tensor(joint_map.index)
        self.persons = persons
        self.joints = _as_tensor(store.joints)
        self._centred = False
        tracks = with_copied_tracks(store) if copy_alone else store.tracks
        kept = tracks[tracks["person"] < persons]
        self.present = np.zeros((len(store), persons), dtype=np.bool_)
        self.present[kept["clip"], kept["person"]] = True
        empty = np.flatnonzero(~self.present.any(1))
        if len(empty):
            name = store.clips["name"][empty[0]]
            raise ClipError(
                f"clip '{name}' has people only beyond the first {persons} person slots: raise"
                " the number of persons"
            )
        self._starts = torch.from_numpy(
            np.searchsorted(kept["clip"], np.arange(len(store) + 1)).astype(np.int64)
        )
        self._offset, self._length, self._first, self._person = (
            torch.from_numpy(kept[name].astype(np.int64))
            for name in ("offset", "length", "first", "person")
        )
        self.total = int(self._length.sum())
        self._image = image_sizes(store)
        self._frames = torch.from_numpy(
            nonzero_frames(store, joint_map)
            if count_nonzero
            else store.clips["frames"].astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self._frames)

    def __reduce__(self) -> tuple[Any, ...]:
        # A tensor over a memory map would be pickled as numbers; the store pickles as its path.
        return _reopen, self._source

    @property
    def row_shape(self) -> tuple[int, int]:
        """(V, C) of what is read; memory may hold other joints, see ``joint_map``."""
        return self.skeleton.joint_count, self.joints.shape[2]

    def over(self, joints: Tensor, *, centred: bool) -> TrackReader:
        """Return a reader of the same clips over other memory, on any device.

        Args:
            joints: (total, V, C) frames of the tracks that are not left out, in their order and in
                the layout of what is read.
            centred: Whether they are as the ``centre`` of every pipeline leaves them.
        """
        other = copy(self)
        other.joints, other._centred, other._index = joints, centred, None
        other._offset = torch.cumsum(self._length, 0) - self._length
        return other

    def read(self, rows: Tensor) -> RaggedTracks:
        """Return the tracks of clips ``rows`` (N,), in their order, where the joints are.

        ``rows`` are on the host, and so is the search: nothing has to be asked of a device.
        """
        begin, count = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        clip = torch.repeat_interleave(count)  # (R,) batch row of each track
        before = torch.cumsum(count, 0) - count
        track = begin[clip] + torch.arange(len(clip)) - before[clip]
        length = self._length[track]
        offset, first, person = self._offset[track], self._first[track], self._person[track]
        device = self.joints.device
        table = upload(torch.stack((offset, length, first, clip, person)), device)  # (5, R)
        tracks = RaggedTracks(
            joints=self.joints,
            offset=table[0],
            length=table[1],
            first=table[2],
            clip=table[3],
            person=table[4],
            frames=upload(self._frames[rows], device),
            persons=self.persons,
            skeleton=self.skeleton,
            total=int(length.sum()),
            centred=self._centred,
            image=None if self._image is None else upload(self._image[rows], device),
        )
        if self._index is None:
            return tracks
        own = tracks.compact()  # no more than these clips are brought to the other layout
        return replace(own, joints=own.joints.index_select(1, self._index))


def _reopen(
    store: Store, persons: int, count_nonzero: bool, copy_alone: bool, joint_map: JointMap | None
) -> TrackReader:
    return TrackReader(
        store, persons, count_nonzero=count_nonzero, copy_alone=copy_alone, joint_map=joint_map
    )


def _as_tensor(array: NDArray[Any]) -> Tensor:
    # torch warns of read-only memory; nothing here ever writes to a store.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.asarray(array))


def image_sizes(store: Store) -> Tensor | None:
    """Return (clips, 2) width and height of the pictures, or None where no clip tells them."""
    if not {"width", "height"} <= set(store.meta["extras"]):  # without opening their file
        return None
    sizes = np.stack([store.extras[name] for name in ("width", "height")], axis=1)
    return torch.from_numpy(sizes.astype(np.float32))


def nonzero_frames(store: Store, joint_map: JointMap | None = None) -> NDArray[np.int64]:
    """Count, for each clip, the frames whose coordinates do not sum to zero over all people.

    Where clips are brought to another layout, its joints count, as in a store that was converted.
    """
    chosen = slice(None) if joint_map is None else list(joint_map.index)
    sums = np.concatenate(
        [
            np.asarray(store.joints[begin : begin + 65536][:, chosen], dtype=np.float64).sum((1, 2))
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
