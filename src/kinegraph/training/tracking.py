"""TensorBoard beside ``metrics.jsonl``.

It gets the same rows; nothing is ever read back from its files.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kinegraph.errors import OutputError
from kinegraph.files import reason
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

        folder = self._run.path / "tensorboard"
        try:
            self._writer = SummaryWriter(str(folder), purge_step=self._epoch + 1)
        except OSError as error:
            raise OutputError(f"cannot write to '{folder}': {reason(error)}") from error
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Write one epoch.

        Raises:
            OutputError: The disk refuses.
        """
        try:
            for name, value in row.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, row["epoch"])
            self._writer.flush()
        except OSError as error:
            folder = self._run.path / "tensorboard"
            raise OutputError(f"cannot write to '{folder}': {reason(error)}") from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk has been reported already
            self._writer.close()
