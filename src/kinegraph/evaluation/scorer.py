"""Scoring one batch: by plain calls, or by CUDA graphs that are recorded for each shape.

A network of ten blocks is a hundred small kernels; for batches that a GPU is soon done with,
starting them one by one from Python takes longer than running them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kinegraph.batch import Batch
from kinegraph.console import remark
from kinegraph.objectives.base import Objective
from kinegraph.training.graphs import CudaRecorder, Group, Recorder, RecordingError, StepGraphs

BATCHES_TO_RECORD = 32  # fewer do not earn back the first calls and the recording


class Scorer:
    """Turns batches into logits with an objective in eval mode, without gradients.

    Args:
        objective: What scores. Its weights must stay where they are while the scorer is used.
        device: Where it and the batches are.
        autocast: Type that the forward pass computes in, or None for float32.
        graphs: Whether to record graphs, on a CUDA device.
        recorder: What records, instead of CUDA.
        features: Whether to give features (N, F), all that there is of an objective without
            classes, instead of logits.
    """

    def __init__(
        self,
        objective: Objective,
        device: torch.device,
        *,
        autocast: torch.dtype | None = None,
        graphs: bool = False,
        recorder: Recorder | None = None,
        features: bool = False,
    ) -> None:
        self._device, self._autocast = device, autocast
        self._answer = objective.embed if features else objective.logits
        self._graphs: StepGraphs | None = None
        if recorder is not None or (graphs and device.type == "cuda"):
            self._graphs = StepGraphs(self._score, recorder or CudaRecorder(device), device)

    @property
    def recorded(self) -> int:
        """How many graphs there are."""
        return 0 if self._graphs is None else self._graphs.recorded

    def __call__(self, batch: Batch) -> Tensor:
        """Return (N, classes) float32 logits."""
        group = [(batch,)]
        if self._graphs is not None:
            try:
                return self._graphs.step(group)
            except RecordingError as error:
                remark(f"scoring without CUDA graphs: {error}")
                self._graphs = None
        return self._score(group)

    @torch.no_grad()
    def _score(self, group: Group) -> Tensor:
        ((batch,),) = group
        with torch.autocast(
            self._device.type,
            dtype=self._autocast,
            enabled=self._autocast is not None,
            cache_enabled=self._graphs is None,  # a graph must not rely on another call's copies
        ):
            return self._answer(batch.x, batch.people).float()
