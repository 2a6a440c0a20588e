"""TensorBoard beside ``metrics.jsonl``."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from kinegraph.training.run_folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Tracker:
    """Writes the rows of ``metrics.jsonl`` for TensorBoard as well.

    Args:
        run: The run's folder; files go to ``tensorboard/`` in it.
        epoch: Finished epochs; what an earlier, interrupted run wrote beyond them is dropped.
    """

    def __init__(self, run: RunFolder, epoch: int) -> None:
        self._run, self._epoch = run, epoch
        self._writer: SummaryWriter

    def __enter__(self) -> Tracker:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(
            str(self._run.path / "tensorboard"), purge_step=self._epoch + 1
        )
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Write one epoch."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writer.close()
