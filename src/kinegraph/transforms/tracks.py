"""People of a batch of clips on their way from the store to the network.

Transforms work on people that are there, never on empty slots: a batch has R tracks (rows), each
belonging to one clip and one person slot. Before sampling, tracks are ragged; afterwards fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kinegraph.skeleton import Skeleton


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

    def compact(self) -> RaggedTracks:
        """Return a copy whose joints are only those of these tracks, ready to be changed."""
        ends = torch.cumsum(self.length, 0)
        starts = ends - self.length
        row = torch.repeat_interleave(self.length)  # (F,) track of each frame
        within = torch.arange(len(row), device=row.device) - starts[row]
        joints = self.joints[self.offset[row] + within].to(torch.float32)
        return replace(self, joints=joints, offset=starts)

    def clip_of_frame(self) -> Tensor:
        """Return (F,) the batch row of each frame of compacted tracks."""
        return self.clip[torch.repeat_interleave(self.length)]

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
    """

    joints: Tensor
    clip: Tensor
    person: Tensor
    clips: int
    persons: int
    skeleton: Skeleton

    def present(self) -> Tensor:
        """Return (N, M) bool, whether a slot has a track."""
        present = torch.zeros(self.clips, self.persons, dtype=torch.bool, device=self.clip.device)
        present[self.clip, self.person] = True
        return present

    def dense(self) -> Tensor:
        """Return x (N, C, T, V, M), a view of memory that lies as (N, M, T, V, C)."""
        rows, frames, joints, channels = self.joints.shape
        if rows == self.clips * self.persons:  # every slot is taken, and tracks are in order
            slots = self.joints.view(self.clips, self.persons, frames, joints, channels)
        else:
            # Every slot reads the track in it, or a row of zeros behind the last track.
            nobody = self.joints.new_zeros(1, frames, joints, channels)
            source = self.clip.new_full((self.clips, self.persons), rows)
            source[self.clip, self.person] = torch.arange(rows, device=source.device)
            slots = torch.cat((self.joints, nobody)).index_select(0, source.view(-1))
            slots = slots.view(self.clips, self.persons, frames, joints, channels)
        return slots.permute(0, 4, 2, 3, 1)

    def with_absent(self) -> FixedTracks:
        """Return tracks for every slot, all-zero ones where a person is absent."""
        slots = self.dense().permute(0, 4, 2, 3, 1)  # (N, M, T, V, C)
        device = self.clip.device
        clip = torch.arange(self.clips, device=device).repeat_interleave(self.persons)
        person = torch.arange(self.persons, device=device).repeat(self.clips)
        return replace(self, joints=slots.reshape(-1, *slots.shape[2:]), clip=clip, person=person)
