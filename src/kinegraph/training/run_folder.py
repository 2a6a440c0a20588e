"""The run folder: what a run leaves behind, and who may write to it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinegraph.errors import CheckpointError, OutputError, TrainingError
from kinegraph.files import write_text

LAST = "last.safetensors"
BEST = "best.safetensors"


class RunFolder:
    """Paths of one run.

    Attributes:
        path: The folder, with ``recipe.yaml``, ``metrics.jsonl``, ``checkpoints/``, ``scores/``,
            ``report.html``, ``log.txt`` and TensorBoard's files.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        """One JSON object per finished epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last(self) -> Path:
        """The newest checkpoint, from which a run is resumed."""
        return self.path / "checkpoints" / LAST

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch, if the recipe selects one."""
        return self.path / "checkpoints" / BEST

    @property
    def report(self) -> Path:
        """The report of the last test."""
        return self.path / "report.html"

    def scores(self, split: str) -> Path:
        """Scores of the clips of a split."""
        return self.path / "scores" / f"{split}.npz"

    def create(self, *, force: bool) -> None:
        """Make the folder.

        Raises:
            OutputError: It exists with something in it and ``force`` is false, or the disk refuses.
        """
        try:
            if self.path.exists():
                occupied = not self.path.is_dir() or any(self.path.iterdir())
                if occupied and not force:
                    resume = f"; go on with it: kinegraph train --resume {self.path}"
                    raise OutputError(
                        f"'{self.path}' exists already; nothing is overwritten without --force"
                        f"{resume if self.last.is_file() else ''}"
                    )
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make '{self.path}': {error.strerror}") from error

    def clear(self) -> None:
        """Remove what an earlier run left here; only its known files, nothing else."""
        for file in (self.recipe, self.metrics, self.report, self.path / "log.txt"):
            file.unlink(missing_ok=True)
        for folder in ("checkpoints", "scores", "tensorboard"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        (self.path / "checkpoints").mkdir()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go when the process ends.

        Raises:
            TrainingError: Another process trains here.
        """
        try:
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise OutputError(f"cannot write to '{self.path}': {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise TrainingError(
                f"another process is training in '{self.path}'; choose another --out"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def log(self) -> Iterator[logging.Logger]:
        """Yield a logger that writes to ``log.txt``."""
        logger = logging.getLogger(f"kinegraph.run.{self.path.resolve()}")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        try:
            yield logger
        finally:
            logger.removeHandler(handler)
            handler.close()

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the finished epochs; a last line that was cut short is left out."""
        if not self.metrics.is_file():
            return []
        rows = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch and force it to the disk.

        Raises:
            OutputError: The disk refuses.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write '{self.metrics}': {error.strerror}") from error

    def truncate_metrics(self, epochs: int) -> None:
        """Keep only the first ``epochs`` epochs, those that a resumed run will not repeat."""
        rows = [row for row in self.read_metrics() if row["epoch"] <= epochs]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint to use: the file itself, or a run folder's selected one.

    Raises:
        CheckpointError: There is none.
    """
    if path.is_file():
        return path
    run = RunFolder(path)
    if not path.exists():
        raise CheckpointError(f"'{path}' does not exist; expected a run folder or a checkpoint")
    for candidate in (run.best, run.last):
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"'{path}' has no checkpoint: it is no run folder, or training never began"
    )
