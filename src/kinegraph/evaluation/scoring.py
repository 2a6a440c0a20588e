"""Scoring clips with a trained objective: batches in, logits out."""

from __future__ import annotations

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
) -> NDArray[np.float32]:
    """Return (clips, classes) float32 logits, in the order of the loader's rows.

    The objective is put in eval mode for the time and back afterwards.
    """
    was_training = objective.training
    objective.eval()
    logits = []
    with (
        meter(description, len(loader)) as shown,
        torch.autocast(loader.device.type, dtype=autocast, enabled=autocast is not None),
    ):
        for done, (batch,) in enumerate(loader.epoch(), start=1):
            logits.append(objective.logits(batch.x, batch.present).float().cpu().numpy())
            shown.update(done)
    objective.train(was_training)
    return np.concatenate(logits)
