"""Scoring clips with a trained objective: batches in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.console import meter
from kinegraph.data.loader import ClipLoader
from kinegraph.objectives.base import Objective


@torch.no_grad()
def score_clips(
    objective: Objective,
    loader: ClipLoader,
    *,
    autocast: torch.dtype | None = None,
    description: str = "testing",
    after_batch: Callable[[], None] | None = None,
) -> NDArray[np.float32]:
    """Return (clips, classes) float32 logits, in the order of the loader's rows.

    The objective is put in eval mode for the time and back afterwards. Whatever it draws meanwhile
    leaves torch's generators as they were: a run is the same however often it is evaluated.

    Args:
        objective: What scores.
        loader: The clips.
        autocast: Type that the forward pass computes in, or None for float32.
        description: What the progress bar says.
        after_batch: Called after every batch; may raise to stop.
    """
    was_training = objective.training
    objective.eval()
    logits = []
    devices = [loader.device] if loader.device.type == "cuda" else []
    try:
        with (
            torch.random.fork_rng(devices),
            meter(description, len(loader)) as shown,
            torch.autocast(loader.device.type, dtype=autocast, enabled=autocast is not None),
        ):
            for done, (batch,) in enumerate(loader.epoch(), start=1):
                logits.append(objective.logits(batch.x, batch.people).float())
                shown.update(done)
                if after_batch is not None:
                    after_batch()
    finally:
        objective.train(was_training)
    scores: NDArray[np.float32] = torch.cat(logits).cpu().numpy()  # waited for the device once
    return scores
