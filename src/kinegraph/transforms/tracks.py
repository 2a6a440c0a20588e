"""People of a batch of clips on their way from the store to the network.

Transforms work on people that are there, never on empty slots: a batch has R tracks (rows), each
belonging to one clip and one person slot. Before sampling, tracks are ragged; afterwards fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from kinegraph.skeleton import Skeleton


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a list of numbers as a tensor that is copied to its device once; never change it."""
    return torch.tensor(values, dtype=dtype, device=device)


def waits_for_nothing(tensor: Tensor) -> bool:
    """Whether looking at a value is free; on an accelerator it would wait for all work so far."""
    return tensor.device.type == "cpu"


@dataclass(frozen=True)
class RaggedTracks:
    """Whole clips, before sampling.

    Attributes:
        joints: (F, V, C) frames; track r has the rows offset[r] .. offset[r]+length[r]-1.
        offset: (R,) first row of each track; likewise (R,) ``length`` in frames.
        first: (R,) frame of the clip in which the track begins.
        clip: (R,) row of the batch; tracks of one clip stand together, in person order.
        person: (R,) slot m.
        frames: (N,) length of each clip in frames.
        persons: M, the number of slots.
        skeleton: Layout of the joints.
        total: Sum of ``length``, where it is known without asking the device; else None.
        centred: Whether the ``centre`` that its transforms begin with has been applied.
        frame_clip: (F,) batch row of each frame once the tracks are compacted; else None.
        image: (N, 2) width and height of the pictures, NaN where they are not known; else None.
    """

    joints: Tensor
    offset: Tensor
    length: Tensor
    first: Tensor
    clip: Tensor
    person: Tensor
    frames: Tensor
    persons: int
    skeleton: Skeleton
    total: int | None = None
    centred: bool = False
    frame_clip: Tensor | None = None
    image: Tensor | None = None

    def compact(self) -> RaggedTracks:
        """Return tracks whose joints are only their own, as float32; the store is not touched."""
        if self.frame_clip is not None:
            return replace(self, joints=self.joints.to(torch.float32))
        ends = torch.cumsum(self.length, 0)
        starts = ends - self.length
        row = self._track_of_frame()
        within = torch.arange(len(row), device=row.device) - starts[row]
        joints = self.joints.index_select(0, self.offset[row] + within).to(torch.float32)
        return replace(self, joints=joints, offset=starts, frame_clip=self.clip[row])

    def _track_of_frame(self) -> Tensor:
        """Return (F,) the track of each frame."""
        return torch.repeat_interleave(self.length, output_size=self.total)

    def clip_of_frame(self) -> Tensor:
        """Return (F,) the batch row of each frame of compacted tracks."""
        return self.clip[self._track_of_frame()] if self.frame_clip is None else self.frame_clip

    def spread(self, values: Tensor) -> Tensor:
        """Give (N, D) numbers of clips to all joints of their frames: (F, V, D), compacted."""
        joints, size = self.joints.shape[1], values.shape[1]
        # Copies whole rows of V*D numbers; broadcasting over so few numbers is slower.
        rows = values.repeat(1, joints).index_select(0, self.clip_of_frame())
        return rows.view(-1, joints, size)

    def leading(self) -> Tensor:
        """Return (N,) the first track of each clip."""
        clips = torch.arange(len(self.frames), device=self.clip.device)
        return torch.searchsorted(self.clip, clips)


@dataclass(frozen=True)
class FixedTracks:
    """Clips of T frames, after sampling.

    Attributes:
        joints: (R, T, V, C) float32.
        clip: (R,) row of the batch.
        person: (R,) slot m.
        clips: N, the number of clips.
        persons: M, the number of slots.
        skeleton: Layout of the joints.
        filled: Whether absent people have got tracks, which need not be zero any more.
    """

    joints: Tensor
    clip: Tensor
    person: Tensor
    clips: int
    persons: int
    skeleton: Skeleton
    filled: bool = False

    def present(self) -> Tensor:
        """Return (N, M) bool, whether a slot has a track."""
        slots = self.clips * self.persons
        present = torch.zeros(slots, dtype=torch.bool, device=self.clip.device)
        present.index_fill_(0, self._slot(), True)
        return present.view(self.clips, self.persons)

    def _slot(self) -> Tensor:
        """Return (R,) the slot of each track among the N*M of the batch."""
        return self.clip * self.persons + self.person

    def dense(self) -> Tensor:
        """Return x (N, C, T, V, M), a view of memory that lies as (N, M, T, V, C)."""
        rows, frames, joints, channels = self.joints.shape
        if rows == self.clips * self.persons:  # every slot is taken, and tracks are in order
            slots = self.joints.view(self.clips, self.persons, frames, joints, channels)
        else:
            # Every slot reads the track in it, or a row of zeros behind the last track.
            nobody = self.joints.new_zeros(1, frames, joints, channels)
            source = self.clip.new_full((self.clips * self.persons,), rows)
            source.index_copy_(0, self._slot(), torch.arange(rows, device=source.device))
            slots = torch.cat((self.joints, nobody)).index_select(0, source)
            slots = slots.view(self.clips, self.persons, frames, joints, channels)
        return slots.permute(0, 4, 2, 3, 1)

    def with_absent(self) -> FixedTracks:
        """Return tracks for every slot, all-zero ones where a person is absent."""
        slots = self.dense().permute(0, 4, 2, 3, 1)  # (N, M, T, V, C)
        device = self.clip.device
        clip = torch.arange(self.clips, device=device).repeat_interleave(self.persons)
        person = torch.arange(self.persons, device=device).repeat(self.clips)
        joints = slots.reshape(-1, *slots.shape[2:])  # (N*M, T, V, C)
        return replace(self, joints=joints, clip=clip, person=person, filled=True)
