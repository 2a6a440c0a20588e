"""What stops a run early: signals from outside, and numbers that are no numbers any more.

The loop asks these guards; they know clips and weights, but neither epochs nor files.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from kinegraph.data.clip import check_clip
from kinegraph.data.store import Store
from kinegraph.errors import ClipError, TrainingError

ADVICE = "try a lower optim.lr, optim.clip_norm or training.precision fp32"


class Interrupted(Exception):
    """The run was stopped from outside, by the signal of this number."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Interruption:
    """Notes SIGINT and SIGTERM, so that the loop can save before it stops.

    A second signal of the same kind acts as if it had not been caught.

    Args:
        agree: Returns the greatest of such numbers in all processes of the run, which stop at the
            same step. They must then all call `check` equally often.

    Attributes:
        signal: Number of the signal that came, or 0.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self.signal = 0
        self._agree = agree
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

    def check(self) -> None:
        """Stop here if a signal came; call it only where a run may be cut.

        Raises:
            Interrupted: A signal came.
        """
        if number := self._agree(self.signal):
            raise Interrupted(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])


class FiniteGuard:
    """Stops a run whose loss or weights are NaN or infinite and names the clips of the batch.

    Losses are looked at every ``interval`` batches at once, so that a device is not waited for.
    """

    def __init__(self, store: Store, interval: int) -> None:
        self._store = store
        self._interval = interval
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._newest: Tensor | None = None

    def watch(self, loss: Tensor, index: Tensor) -> None:
        """Take note of the loss of a batch and the (N,) rows of its clips.

        Raises:
            TrainingError: A loss since the last look is not finite.
        """
        self._pending.append((loss.detach(), index))
        self._newest = index
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
            _, index = self._pending[bad[0]]
            self._check_recordings(index)
            raise TrainingError(
                f"the loss became {float(losses[bad[0]])} in {self._batch(index)}; the last"
                f" checkpoint is from before it: {ADVICE}"
            )
        self._pending.clear()

    def look_at(self, module: nn.Module) -> None:
        """Look at the losses and at every weight and buffer, before they are used or kept.

        A finite loss can have a gradient that is not: without this look, the weights it leaves
        would reach a checkpoint before the next loss tells.

        Raises:
            TrainingError: One of them is not finite.
        """
        self.look()
        state = module.state_dict().items()
        tensors = {name: value for name, value in state if torch.is_floating_point(value)}
        # All at once: a device is waited for once, not for every tensor.
        finite = torch.stack([torch.isfinite(value).all() for value in tensors.values()]).tolist()
        for name, good in zip(tensors, finite, strict=True):
            if not good:
                after = "" if self._newest is None else f" after {self._batch(self._newest)}"
                raise TrainingError(
                    f"weights '{name}' are not finite{after}; the last checkpoint is from before"
                    f" it: {ADVICE}"
                )

    def _check_recordings(self, index: Tensor) -> None:
        """Blame the recordings, not the recipe, if a clip of the batch is damaged."""
        for row in index.tolist():
            try:
                check_clip(self._store.clip(row), self._store.skeleton)
            except ClipError as error:
                raise TrainingError(
                    f"{error}; the store is damaged, see: kinegraph data check {self._store.path}"
                ) from error

    def _batch(self, index: Tensor) -> str:
        names = ", ".join(str(name) for name in self._store.clips["name"][index.cpu().numpy()])
        return f"the batch of the clips {names}"
