"""Scoring clips with a trained objective: batches in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.console import meter
from kinegraph.data.loader import ClipLoader
from kinegraph.evaluation.scorer import BATCHES_TO_RECORD, Scorer
from kinegraph.objectives.base import Objective
from kinegraph.training.distributed import ALONE, World


@torch.no_grad()
def score_clips(
    objective: Objective,
    loader: ClipLoader,
    *,
    autocast: torch.dtype | None = None,
    description: str = "testing",
    after_batch: Callable[[], None] | None = None,
    world: World = ALONE,
    features: bool = False,
) -> NDArray[np.float32]:
    """Return (clips, classes) float32 logits, in the order of the loader's rows.

    Of clips that come in several views, the answers to them lie side by side.

    The objective is put in eval mode for the time and back afterwards. Whatever it draws meanwhile
    leaves torch's generators as they were: a run is the same however often it is evaluated.

    Args:
        objective: What scores.
        loader: The clips; of several processes, each has a part of them.
        autocast: Type that the forward pass computes in, or None for float32.
        description: What the progress bar says.
        after_batch: Called after every batch, equally often in all processes; may raise to stop.
        world: The processes; each gets the scores of all.
        features: Whether to return features (clips, F) instead of logits.
    """
    was_training = objective.training
    objective.eval()
    logits = []
    rounds = world.greatest(len(loader))
    many = len(loader) >= BATCHES_TO_RECORD
    score = Scorer(objective, loader.device, autocast=autocast, graphs=many, features=features)
    devices = [loader.device] if loader.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), meter(description, len(loader)) as shown:
            for done, views in enumerate(loader.epoch(), start=1):
                logits.append(torch.cat([score(batch) for batch in views], dim=1))
                shown.update(done)
                if after_batch is not None:
                    after_batch()
            for _ in range(rounds - len(loader)):
                if after_batch is not None:
                    after_batch()
    finally:
        objective.train(was_training)
    # The device is waited for once. A process without clips does not know the number of classes.
    scores: NDArray[np.float32] = torch.cat(logits or [torch.empty(0, 0)]).cpu().numpy()
    return world.gather(scores)
