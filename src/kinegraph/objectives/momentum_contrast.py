"""Momentum contrast: a clip is told from thousands of others by how alike its two views are.

Three parts that can be read on their own: a `Queue` of keys of earlier clips, `follow`, by which
an encoder of keys slowly follows the one that learns, and `compare`, which a temperature turns
into logits. `MomentumContrast` holds them together; every method on top of it is a `forward`.

Source: He et al., Momentum Contrast (CVPR 2020), section 3; Li et al., CrosSCLR (CVPR 2021),
section 3.1, which calls it SkeletonCLR.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.batch import Batch
from kinegraph.data.loader import ALL, Share
from kinegraph.kernels.norm_act_plain import Reduce
from kinegraph.nn.shared import gather_over_processes
from kinegraph.objectives.encoders import CLIPS, Encoder, SelfSupervised
from kinegraph.skeleton import Skeleton


class Queue(nn.Module):
    """The newest K keys, in a ring. New ones take the places of the oldest.

    K need not be a multiple of the batch. It starts with random directions.

    Attributes:
        keys: (D, K) buffer, each column of length 1.
        place: (1,) int64 buffer, where the next key goes.
    """

    keys: Tensor
    place: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(width, size), dim=0))
        self.register_buffer("place", torch.zeros(1, dtype=torch.int64))

    def negatives(self) -> Tensor:
        """Return a copy of the keys (D, K): a backward pass may come after the next `enqueue`."""
        return self.keys.clone()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put in keys (N, D) of the whole batch; of more than K, the last ones are left."""
        size = self.keys.shape[1]
        newest = keys[-size:]
        ahead = torch.arange(len(keys) - len(newest), len(keys), device=keys.device)
        self.keys.index_copy_(1, (self.place + ahead) % size, newest.T.to(self.keys.dtype))
        self.place.add_(len(keys)).remainder_(size)


@torch.no_grad()
def follow(key: nn.Module, query: nn.Module, step: float | Tensor) -> None:
    """Move the parameters of one module towards those of another: k <- (1 - step) k + step q.

    Running statistics are not moved: those of keys are of the clips that became keys.
    """
    keys: list[Tensor] = list(key.parameters())
    queries: list[Tensor] = list(query.parameters())
    changes = torch._foreach_sub(queries, keys)
    torch._foreach_mul_(changes, step)
    torch._foreach_add_(keys, changes)


def units(vectors: Tensor) -> Tensor:
    """Return vectors (N, D) of length 1, in at least float32."""
    precise = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    return functional.normalize(precise, dim=1)


def compare(queries: Tensor, keys: Tensor, negatives: Tensor) -> Tensor:
    """Return cosines (N, 1 + K): with the own key (N, D), then with the negatives (D, K).

    All are of length 1, as `units` returns them and `Queue` holds them; of others these would be no
    cosines.
    """
    with torch.autocast(queries.device.type, enabled=False):
        own = (queries * keys).sum(1, keepdim=True)
        return torch.cat((own, queries @ negatives), dim=1)


def own_key_loss(logits: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (N, 1 + K) to the own key, which comes first."""
    return functional.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))


def positives_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Return the mean over clips of what their positives, a mask (N, L), lack in probability."""
    lacking = -(positives * logits.log_softmax(1)).sum(1)
    return (lacking / positives.sum(1)).mean()


def nearest(similarities: Tensor, count: int) -> Tensor:
    """Return a mask (N, K) of the ``count`` greatest of each row."""
    places = similarities.detach().topk(count, dim=1).indices
    return torch.zeros_like(similarities).scatter_(1, places, 1.0)


def never_comes(key: str, epoch: int, epochs: int, lost: str) -> tuple[str, ...]:
    """Say what is lost if a run ends before the epoch that a key of the objective names."""
    if epoch < epochs:
        return ()
    return (f"objective.{key} {epoch} does not come in {epochs} epochs: {lost}",)


class MomentumContrast(SelfSupervised):
    """Base of the methods: encoders of queries that learn, encoders of keys, and queues.

    The encoders of keys follow after every optimiser step, the originals' before every pass: but
    for the first pass, where copies have nothing to follow, the keys are the same.

    Differs from the original: keys start as copies of the queries' encoders, which the original's
    training program undoes by drawing all weights anew; queues need not be multiples of the batch;
    where several processes share a batch, each key enters the queue once, in the batch's order.

    Args:
        encoders: Stream -> encoder of queries.
        skeleton: Layout of the joints.
        keys: Stream -> encoder of keys, where they are to start apart from the queries' as in the
            original; None: copies.
        queue: K, keys that are kept, for each stream.
        width: D, numbers in a key.
        momentum: Share of a key encoder's weights that a step leaves.
        temperature: By which cosines are divided.
        original: Whether ``quirks: original`` is set.

    Attributes:
        key: Stream -> encoder of keys; without gradients.
        queue: Stream -> `Queue`.
        reduce: Sums a tensor over all processes that share a batch; None where there is one.
        share: Which part of a batch this process has.
    """

    views: tuple[str, ...] = ("query", "key")
    alike = ("query", "key")
    reduce: Reduce | None = None
    share: Share = ALL

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        skeleton: Skeleton,
        *,
        keys: Mapping[str, Encoder] | None = None,
        queue: int = 32768,
        width: int = 128,
        momentum: float = 0.999,
        temperature: float = 0.07,
        original: bool = False,
    ) -> None:
        super().__init__(encoders, skeleton, original=original)
        self.key = copy.deepcopy(self.query) if keys is None else nn.ModuleDict(keys)
        self.key.requires_grad_(False)
        self.queue = nn.ModuleDict({stream: Queue(queue, width) for stream in encoders})
        self.momentum, self.temperature = momentum, temperature

    def remarks(self, epochs: int, clips: int) -> tuple[str, ...]:
        """Say so if clips are told from their own earlier keys."""
        queue: Any = next(iter(self.queue.values()))  # all hold as many
        keys = queue.keys.shape[1]
        if keys <= clips:
            return ()
        return (
            f"objective.queue {keys} is more than the {clips} training clips: a clip is told from"
            f" its own earlier keys, too; fewer than {clips} avoid that",
        )

    def after_step(self) -> None:
        """Let the encoders of keys follow."""
        for stream, key in self.key.items():
            follow(key, self.query[stream], 1 - self.momentum)

    def project(self, encoders: nn.ModuleDict, stream: str, pooled: Tensor) -> Tensor:
        """Map pooled features (N, F) to directions (N, D) through the head of an encoder."""
        encoder: Any = encoders[stream]
        return units(encoder.head(pooled))

    def describe(self, encoders: nn.ModuleDict, stream: str, batch: Batch) -> Tensor:
        """Return the directions (N, D) of clips as seen by an encoder."""
        encoder: Any = encoders[stream]
        features, _ = encoder.features(self.seen(batch.x, stream), batch.people)
        return self.project(encoders, stream, features.pooled)

    @torch.no_grad()
    def keys_of(self, stream: str, batch: Batch) -> Tensor:
        """Return the keys (N, D) of clips, without gradients."""
        return self.describe(self.key, stream, batch)

    @torch.no_grad()
    def enqueue(self, stream: str, keys: Tensor, whole: int | None) -> None:
        """Put the keys of all processes' clips into the queue of a stream, while training.

        Args:
            stream: Name of the queue.
            keys: (n, D) of this process's clips.
            whole: N, clips of the whole batch; None: these.
        """
        if not self.training:
            return
        whole = len(keys) if whole is None else whole
        queue: Any = self.queue[stream]
        before = self.share.of(whole).start
        queue.enqueue(gather_over_processes(keys, self.reduce, before, whole))


class SkeletonCLR(MomentumContrast):
    """Momentum contrast of two views of each clip.

    Source: Li et al., CrosSCLR (CVPR 2021), section 3.1.
    Differs from the original: see `MomentumContrast`.
    """

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return ``loss`` of the views query and key."""
        query, key = batches
        queue: Any = self.queue[CLIPS]
        queries = self.describe(self.query, CLIPS, query)
        keys = self.keys_of(CLIPS, key)
        logits = compare(queries, keys, queue.negatives()) / self.temperature
        self.enqueue(CLIPS, keys, key.whole)
        return {"loss": own_key_loss(logits)}
