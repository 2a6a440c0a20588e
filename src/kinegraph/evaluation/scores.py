"""Score files: what a network said about every clip of a split, by clip name.

Place in the flow: testing writes them, ``ensemble`` and ``report`` read them. Ours is one ``.npz``
of plain arrays; the pickles of other programs are read too. Clips are paired by name, never by
position. It must not know networks or metrics.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import ARCHIVE_ERRORS, read_member
from kinegraph.errors import ScoreError, nearest
from kinegraph.evaluation.foreign import names_from_order, parse_foreign
from kinegraph.files import atomic_file
from kinegraph.pickles import read_pickle

UNKNOWN_LABEL = -1
FORMAT_VERSION = 1
MAX_ARCHIVE_BYTES = 1 << 30
# Where CTR-GCN, FR-Head and LST, InfoGCN, and ST-GCN leave their scores in a run folder.
OTHERS = ("epoch1_test_score.pkl", "best_score.pkl", "files/best_score.pkl", "test_result.pkl")
POSITION = re.compile(r"#\d+")  # stands for a clip that a file numbers instead of naming it


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one stream, or of an ensemble, on the clips of one split.

    Attributes:
        names: (N,) unique clip names.
        logits: (N, num_classes) float32, higher is likelier; finite.
        labels: (N,) int64, -1 where unknown.
        classes: Class names in label order, or empty where the file holds none.
        split: The clips' split, such as ``test``; empty if unknown.
        stream: Such as ``joint`` or ``bone motion``; empty if unknown.
        source: Where they come from, for messages and tables; the path of a file that was read.
        notes: What a reader of the numbers must know, such as an epoch chosen on these very clips.

    Raises:
        ScoreError: Shapes do not fit, or there are duplicate clips, scores that are not finite, or
            labels outside the classes.
    """

    names: NDArray[np.str_]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()
    split: str = ""
    stream: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = f"scores '{self.source}'"
        if self.logits.ndim != 2 or not self.logits.size:
            raise ScoreError(
                f"{where} have shape {self.logits.shape}, expected (clips, classes), not empty"
            )
        clips, classes = self.logits.shape
        if self.names.shape != (clips,) or self.labels.shape != (clips,):
            raise ScoreError(
                f"{where}: {clips} rows of scores, but {self.names.size} names and"
                f" {self.labels.size} labels"
            )
        if self.classes and len(self.classes) != classes:
            raise ScoreError(f"{where} have {classes} columns but name {len(self.classes)} classes")
        found, counts = np.unique(self.names, return_counts=True)
        self._refuse(found[counts > 1], "occur more than once")
        self._refuse(self.names[~np.isfinite(self.logits).all(axis=1)], "have NaN or infinity")
        outside = (self.labels < UNKNOWN_LABEL) | (self.labels >= classes)
        self._refuse(self.names[outside], f"have a label outside 0..{classes - 1}")

    def _refuse(self, names: NDArray[np.str_], complaint: str) -> None:
        if len(names):
            raise ScoreError(
                f"scores '{self.source}': {len(names)} clips {complaint}: {few(names)}"
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        """How many classes are scored."""
        return int(self.logits.shape[1])

    @property
    def has_labels(self) -> bool:
        """Whether the label of every clip is known."""
        return bool(np.all(self.labels != UNKNOWN_LABEL))

    @property
    def is_positional(self) -> bool:
        """Whether the file numbered its clips instead of naming them."""
        return all(POSITION.fullmatch(str(name)) for name in self.names)

    def select(self, rows: NDArray[Any]) -> Scores:
        """Return the clips ``rows`` (indices or a mask), in that order."""
        return replace(
            self, names=self.names[rows], logits=self.logits[rows], labels=self.labels[rows]
        )

    def labelled(self) -> Scores:
        """Return the clips whose label is known.

        Raises:
            ScoreError: There are none.
        """
        known = self.labels != UNKNOWN_LABEL
        if not known.any():
            raise ScoreError(
                f"scores '{self.source}' hold no labels; give the store of these clips with"
                " --data.store"
            )
        return self.select(known)


def few(names: Iterable[Any], limit: int = 3) -> str:
    """List the first few of ``names`` for a message."""
    words = [str(name) for name in names]
    return ", ".join(words[:limit]) + (", ..." if len(words) > limit else "")


def save_scores(path: str | Path, scores: Scores, *, force: bool = True) -> None:
    """Write scores as one ``.npz`` of plain arrays, whole or not at all.

    Raises:
        OutputError: The file exists and ``force`` is false, or the disk refuses.
    """
    arrays: dict[str, Any] = {
        "format_version": np.int64(FORMAT_VERSION),
        "names": np.asarray(scores.names, dtype=np.str_),
        "logits": np.asarray(scores.logits, dtype=np.float32),
        "labels": np.asarray(scores.labels, dtype=np.int64),
        "classes": np.asarray(scores.classes, dtype=np.str_),
        "split": np.str_(scores.split),
        "stream": np.str_(scores.stream),
        "source": np.str_(scores.source),
        "notes": np.asarray(scores.notes, dtype=np.str_),
    }
    with atomic_file(Path(path), force=force) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_scores(
    path: str | Path, *, order: Sequence[str] | None = None, split: str | None = None
) -> Scores:
    """Load a score file or the scores of a run folder.

    Args:
        path: One of our ``.npz`` files, a run folder, or a pickle of another program or the run
            folder that it lies in.
        order: Clip names for pickles that number their clips, see `read_order`.
        split: Which scores of a run folder; by default its only ones, or ``test``.

    Raises:
        ScoreError: It cannot be read, or does not hold the clips of ``order``.
    """
    path = Path(path)
    if path.is_dir():
        theirs = _scores_of_others(path)
        if theirs is None:
            return _read_archive(_run_scores(path, split))
        path = theirs
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise ScoreError(f"scores '{path}' cannot be read: {error.strerror or error}") from error
    if start == b"PK\x03\x04":
        return _read_archive(path)
    if path.suffix == ".safetensors":
        raise ScoreError(
            f"'{path}' is a checkpoint, which holds no scores; run `kinegraph test` on it and give"
            " the score file or the run folder"
        )
    foreign = parse_foreign(read_pickle(path), where=str(path))
    names = names_from_order(foreign.keys, order, where=str(path))
    unknown = np.full(len(names), UNKNOWN_LABEL, dtype=np.int64)
    return Scores(
        names=np.array(names, dtype=np.str_),
        logits=foreign.logits,
        labels=unknown if foreign.labels is None else foreign.labels,
        source=str(path),
    )


def read_order(path: str | Path) -> tuple[str, ...]:
    """Read an order file: the clip name of each index, one per line.

    Raises:
        ScoreError: It cannot be read, is empty, or names a clip twice.
    """
    try:
        names = tuple(line.strip() for line in Path(path).read_text("utf-8").splitlines())
    except OSError as error:
        raise ScoreError(f"order file '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ScoreError(f"order file '{path}' is not text: one clip name per line") from error
    if not names or not all(names):
        raise ScoreError(f"order file '{path}' has an empty line; expected one clip name per line")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ScoreError(f"order file '{path}' names clips twice: {few(twice)}")
    return names


def _scores_of_others(folder: Path) -> Path | None:
    """Return the score file in a run folder of an original program; None for one of ours."""
    if (folder / "recipe.yaml").is_file() or (folder / "scores").is_dir():
        return None
    return next((folder / name for name in OTHERS if (folder / name).is_file()), None)


def _run_scores(run: Path, split: str | None) -> Path:
    found = {file.stem: file for file in sorted((run / "scores").glob("*.npz"))}
    if not found:
        raise ScoreError(f"'{run}' has no scores/*.npz; run first: kinegraph test {run}")
    if split is None:
        split = next(iter(found)) if len(found) == 1 else "test"
    if split not in found:
        raise ScoreError(
            f"'{run}' has no scores of split '{split}'; name one with --split"
            f" ({', '.join(found)}){nearest(split, found)}"
        )
    return found[split]


def _read_archive(path: Path) -> Scores:
    """Read one of our files; nothing is allocated that the file does not hold."""
    try:
        arrays = _read_members(path)
    except ARCHIVE_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ScoreError(f"scores '{path}' cannot be read: {reason}") from error
    missing = {"format_version", "names", "logits", "labels", "classes", "split", "stream",
               "notes"} - set(arrays)  # fmt: skip
    if missing:
        raise ScoreError(f"'{path}' is no score file: it lacks {', '.join(sorted(missing))}")
    if arrays["format_version"].tolist() != FORMAT_VERSION:
        raise ScoreError(
            f"scores '{path}' have format version {arrays['format_version']}, this kinegraph reads"
            f" {FORMAT_VERSION}; run `kinegraph test` again"
        )
    kinds = "".join(
        arrays[key].dtype.kind for key in ("names", "logits", "labels", "classes", "notes")
    )
    if kinds != "UfiUU":
        raise ScoreError(f"scores '{path}' hold other types of values than this version writes")
    return Scores(
        names=arrays["names"],
        logits=arrays["logits"].astype(np.float32, copy=False),
        labels=arrays["labels"].astype(np.int64, copy=False),
        classes=tuple(arrays["classes"].tolist()),
        split=str(arrays["split"]),
        stream=str(arrays["stream"]),
        source=str(path),
        notes=tuple(arrays["notes"].tolist()),
    )


def _read_members(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_ARCHIVE_BYTES:
            raise ScoreError(f"scores '{path}' unpack to more than {MAX_ARCHIVE_BYTES:,} bytes")
        return {
            member.filename.removesuffix(".npy"): read_member(
                archive, member, f"scores '{path}'", error=ScoreError
            )
            for member in members
        }
