"""CrosSCLR: momentum contrast of several streams, which later tell each other their neighbours.

Source: Li et al., 3D Human Action Representation Learning via Cross-View Consistency Pursuit
(CVPR 2021), section 3. What they call views are streams here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from kinegraph.batch import Batch
from kinegraph.objectives.encoders import Encoder
from kinegraph.objectives.momentum_contrast import (
    MomentumContrast,
    compare,
    follow,
    nearest,
    never_comes,
    own_key_loss,
    positives_loss,
    units,
)
from kinegraph.skeleton import Skeleton

FIRST = "joint"  # the stream whose head the original's other streams go through
FOLLOWING = (
    "joint-motion"  # the stream whose key encoder alone follows in the original's later phase
)


class CrosSCLR(MomentumContrast):
    """SkeletonCLR for each stream; from an epoch on, streams take over each other's neighbours.

    A stream's logits are then its cosines with own key and queue, and once more those with the
    queue times another stream's: the context. Positives are the own key and, in both halves, what
    the other stream finds nearest; without ``context``, there is the first half alone. A stream's
    loss is the mean over the others; losses of streams are added.

    Differs from the original: each stream has a head of its own, and all key encoders follow at all
    times. With ``original``, streams other than joints have a layer of their own and then the
    joints' head, whose key moves once for each stream; and later the key encoder of motion, with
    that head, is the only one that follows. (The step between the phases is one of the first here:
    keys follow after a step, there before a pass.)

    Args:
        encoders: Stream -> encoder of queries.
        skeleton: Layout of the joints.
        cross_epoch: Epoch, counted from 0, from which streams take over neighbours.
        top_k: How many.
        context: Whether logits have the second half.
        keys: See `MomentumContrast`, like what follows.
        queue: K, of each stream.
        width: D.
        momentum: Of the key encoders.
        temperature: By which cosines are divided.
        original: Whether ``quirks: original`` is set.
    """

    makes_streams = True
    crossing: Tensor

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        skeleton: Skeleton,
        *,
        cross_epoch: int = 150,
        top_k: int = 1,
        context: bool = True,
        keys: Mapping[str, Encoder] | None = None,
        queue: int = 32768,
        width: int = 128,
        momentum: float = 0.999,
        temperature: float = 0.07,
        original: bool = False,
    ) -> None:
        super().__init__(
            encoders,
            skeleton,
            keys=keys,
            queue=queue,
            width=width,
            momentum=momentum,
            temperature=temperature,
            original=original,
        )
        self.cross_epoch, self.top_k, self.context = cross_epoch, top_k, context
        # Recipe, not state; as a buffer it lies on the device, where a step needs it.
        self.register_buffer("crossing", torch.tensor(float(cross_epoch == 0)), persistent=False)

    def remarks(self, epochs: int, clips: int) -> tuple[str, ...]:
        """Say so, too, if streams will never learn from each other."""
        lost = "no stream takes over another's neighbours"
        never = never_comes("cross_epoch", self.cross_epoch, epochs, lost)
        return (*super().remarks(epochs, clips), *never)

    def begin_epoch(self, epoch: int) -> None:
        """Let streams take over neighbours from their epoch on."""
        self.crossing.fill_(float(epoch >= self.cross_epoch))

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss``, its parts, one for each stream, of the views query and key."""
        query, key = batches
        cosines = {}
        for stream in self.query:
            queue: Any = self.queue[stream]
            queries = self.describe(self.query, stream, query)
            keys = self.keys_of(stream, key)
            cosines[stream] = compare(queries, keys, queue.negatives())
            self.enqueue(stream, keys, key.whole)
        parts = {}
        for stream, own in cosines.items():
            others = [each for name, each in cosines.items() if name != stream]
            crossed = torch.stack([self.cross(own, other) for other in others]).mean()
            alone = own_key_loss(own / self.temperature)
            parts[stream] = torch.where(self.crossing > 0, crossed, alone)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    def cross(self, own: Tensor, other: Tensor) -> Tensor:
        """Return the loss of a stream that takes over the neighbours of another.

        Args:
            own: (N, 1 + K) cosines with own key and queue.
            other: The same of the other stream.
        """
        logits, positives = self.pair(own, other)
        return positives_loss(logits, positives)

    def pair(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and positives of cosines (N, 1 + K): (N, 1 + 2 * K), or as many."""
        near = nearest(other[:, 1:], self.top_k)
        positives = [torch.ones_like(own[:, :1]), near]
        logits = [own]
        if self.context:
            logits.append(own[:, 1:] * other[:, 1:])
            positives.append(near)
        return torch.cat(logits, dim=1) / self.temperature, torch.cat(positives, dim=1)

    def project(self, encoders: nn.ModuleDict, stream: str, pooled: Tensor) -> Tensor:
        """Map pooled features (N, F) to directions (N, D), see `MomentumContrast.project`."""
        if not self.original or stream == FIRST:
            return super().project(encoders, stream, pooled)
        own, shared = (cast(Encoder, encoders[name]).head for name in (stream, FIRST))
        return units(shared(own(pooled)))

    def after_step(self) -> None:
        """Let the encoders of keys follow."""
        if not self.original:
            super().after_step()
            return
        head, target = (cast(Encoder, encoders[FIRST]).head for encoders in (self.key, self.query))
        for stream, key in self.key.items():
            moves: Tensor | float = 1.0 if stream == FOLLOWING else 1 - self.crossing
            step = (1 - self.momentum) * moves
            follow(key, self.query[stream], step)
            if stream != FIRST:
                follow(head, target, step)
