"""The run folder: what a run leaves behind, and who may write to it.

It knows files and locks; it does not know what is trained or how.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kinegraph.errors import CheckpointError, OutputError, TrainingError
from kinegraph.files import reason, write_text

LOCK = ".lock"
PROBE_RESULT, PROBE_PICTURE = "result.json", "few-labels.svg"  # of a protocol that trains
# Where `kinegraph probe` keeps these; those of transfer lie in a folder for each store.
PROBED = tuple(
    f"probes/{folder}/{name}"
    for folder in ("*", "transfer/*")
    for name in (PROBE_RESULT, PROBE_PICTURE)
)
# Everything that runs and their tests write. The recipe, by which a run folder is known, goes last.
WRITTEN = (
    "checkpoints/last.safetensors",
    "checkpoints/best.safetensors",
    "scores/*.npz",
    "tensorboard/events.out.tfevents.*",
    "metrics.jsonl",
    "report.html",
    "report-train.html",
    "report-validation.html",
    "report-probe.html",
    "tsne.svg",
    *PROBED,
    "log.txt",
    "recipe.yaml",
)


def default_run(recipe: str, stream: str) -> Path:
    """Return ``runs/<recipe>-<stream>-<time>`` for a recipe's name or file."""
    return Path("runs") / f"{Path(recipe).stem}-{stream}-{time.strftime('%Y%m%d-%H%M%S')}"


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
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch, if the recipe selects one."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def report(self) -> Path:
        """The report of the last test; of a run without labels, of the last probe."""
        return self.path / "report.html"

    @property
    def probe_report(self) -> Path:
        """The report of the last probe of a run that tests report on."""
        return self.path / "report-probe.html"

    @property
    def tsne(self) -> Path:
        """The picture of the features of test clips."""
        return self.path / "tsne.svg"

    def scores(self, split: str) -> Path:
        """Scores of the clips of a split."""
        return self.path / "scores" / f"{split}.npz"

    def content(self) -> set[str]:
        """Return what lies in the folder, without the lock and files that were never finished.

        These are all that a process leaves here which was stopped as it began.
        """
        names = {entry.name for entry in self.path.iterdir()} - {LOCK}
        return {name for name in names if not (name.startswith(".") and ".part" in name)}

    @property
    def logger(self) -> logging.Logger:
        """The run's logger; it writes while `log` is entered."""
        return logging.getLogger(f"kinegraph.run.{self.path.absolute()}")

    @contextmanager
    def claim(self, *, force: bool) -> Iterator[None]:
        """Make the folder, empty it of an earlier run if ``force`` is set, and hold its lock.

        Raises:
            OutputError: Something stands there that may not be replaced, or the disk refuses.
            TrainingError: Another process trains here.
        """
        self._refuse_occupied(force=force)
        with _disk(f"cannot make '{self.path}'"):
            self.path.mkdir(parents=True, exist_ok=True)
        with self.lock():
            self._refuse_occupied(force=force)  # another run may have been quicker
            with _disk(f"cannot write to '{self.path}'"):
                self._clear()
            yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go when the process ends.

        What a killed process left unfinished is removed: nobody else is writing it now.

        Raises:
            OutputError: The folder cannot be written.
            TrainingError: Another process trains here.
        """
        with _disk(f"cannot write to '{self.path}'"):
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _lock(descriptor):
                raise TrainingError(
                    f"another process is training in '{self.path}'; choose another --out"
                )
            for folder in (self.path, self.last.parent, self.scores("any").parent):
                for unfinished in folder.glob(".*.part*"):
                    unfinished.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)

    def _refuse_occupied(self, *, force: bool) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise OutputError(f"'{self.path}' is a file; a run needs a folder")
        with _disk(f"cannot look into '{self.path}'"):
            found = self.content()
        if not found:
            return
        if not force:
            resume = f"; go on with it: kinegraph train --resume {self.path}"
            raise OutputError(
                f"'{self.path}' exists already; nothing is overwritten without --force"
                f"{resume if self.last.is_file() else ''}"
            )
        if not self.recipe.is_file():
            raise OutputError(
                f"'{self.path}' is not a run folder (no recipe.yaml), and --force replaces only"
                " those"
            )

    def _clear(self) -> None:
        """Remove what an earlier run left here; only files that runs write, nothing else."""
        for pattern in WRITTEN:
            for file in self.path.glob(pattern):
                file.unlink()
        for folder in {Path(pattern).parent for pattern in WRITTEN} - {Path()}:
            with contextlib.suppress(OSError):  # it holds something of the user's, or is not there
                (self.path / folder).rmdir()

    def forget_results(self) -> None:
        """Remove scores, reports, results and pictures of earlier tests and probes.

        The runs of probes stay: whether they fit is found out when they are asked for again.

        Raises:
            OutputError: The disk refuses.
        """
        with _disk(f"cannot write to '{self.path}'"):
            for pattern in ("scores/*.npz", "report*.html", *PROBED):
                for file in self.path.glob(pattern):
                    file.unlink()
            self.tsne.unlink(missing_ok=True)

    @contextmanager
    def log(self) -> Iterator[logging.Logger]:
        """Yield the logger, which now writes to ``log.txt``.

        Raises:
            OutputError: The disk refuses.
        """
        logger = self.logger
        logger.setLevel(logging.INFO)
        logger.propagate = False
        with _disk(f"cannot write '{self.path / 'log.txt'}'"):
            handler = _LogFile(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        try:
            yield logger
        finally:
            logger.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk has been reported already
                handler.close()

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the finished epochs; a last line that was cut short is left out."""
        if not self.metrics.is_file():
            return []
        rows = []
        for line in self.metrics.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break
            if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
                break
            rows.append(row)
        return rows

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one epoch and force it to the disk.

        Raises:
            OutputError: The disk refuses.
        """
        with (
            _disk(f"cannot write '{self.metrics}'"),
            self.metrics.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate_metrics(self, epochs: int) -> None:
        """Keep only the first ``epochs`` epochs, those that a resumed run will not repeat."""
        rows = [row for row in self.read_metrics() if row["epoch"] <= epochs]
        if len(rows) < epochs:
            self.logger.warning("metrics.jsonl lacks some of the first %d epochs", epochs)
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


class _LogFile(logging.FileHandler):
    """A log file; if it cannot be written, that is an error, not a traceback in passing."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OutputError(f"cannot write '{self.baseFilename}': {reason(error)}") from error
        super().handleError(record)


@contextmanager
def _disk(doing: str) -> Iterator[None]:
    """Turn what the system refuses into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{doing}: {reason(error)}") from error


def _lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # a file system without locks: the user has to see to it
    return True
