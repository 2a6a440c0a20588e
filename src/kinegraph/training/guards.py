"""What stops a run early: signals from outside, and losses that are no numbers."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

from kinegraph.data.store import Store
from kinegraph.errors import TrainingError


class Interruption:
    """Notes SIGINT and SIGTERM, so that the loop can save before it stops.

    A second signal of the same kind acts as if it had not been caught.

    Attributes:
        signal: Number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread may listen to signals
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])


class LossGuard:
    """Stops a run whose loss is NaN or infinite and names the clips of the batch.

    Losses are looked at every ``interval`` steps at once, so that a device is not waited for.
    """

    def __init__(self, store: Store, interval: int) -> None:
        self._store = store
        self._interval = interval
        self._pending: list[tuple[Tensor, Tensor]] = []

    def watch(self, loss: Tensor, index: Tensor) -> None:
        """Take note of a step's loss and the (N,) rows of its clips.

        Raises:
            TrainingError: A loss since the last look is not finite.
        """
        self._pending.append((loss.detach(), index))
        if len(self._pending) >= self._interval:
            self.look()

    def look(self) -> None:
        """Look at all losses that were noted.

        Raises:
            TrainingError: One of them is not finite.
        """
        if not self._pending:
            return
        losses = torch.stack([loss for loss, _ in self._pending])
        bad = (~torch.isfinite(losses)).nonzero()[:, 0].tolist()
        if bad:
            rows = self._pending[bad[0]][1].cpu().numpy()
            names = ", ".join(str(name) for name in self._store.clips["name"][rows])
            value = float(losses[bad[0]])
            raise TrainingError(
                f"the loss became {value}; the batch had the clips {names};"
                " the last checkpoint is from before it: try a lower optim.lr, optim.clip_norm"
                " or training.precision fp32"
            )
        self._pending.clear()
