"""Opening a run for tests and judges: its selected checkpoint, and recordings that fit it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinegraph.data.store import Store
from kinegraph.errors import CheckpointError
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.division import divide
from kinegraph.training.run_folder import RunFolder, find_checkpoint
from kinegraph.training.setup import RunData, open_data

SELECTIONS = {
    "last": "the last epoch",
    "validation": "the best epoch on training subjects set aside",
    "test": "the best epoch on the test clips themselves",
}


@dataclass(frozen=True)
class Opened:
    """A run with the recordings that it is to be judged on.

    Attributes:
        checkpoint: The selected one.
        data: The recordings, of the checkpoint's layout.
        folder: The run folder that results belong to, or None for a checkpoint on its own.
        selected: Which epoch it is, one of `SELECTIONS`.
    """

    checkpoint: Checkpoint
    data: RunData
    folder: RunFolder | None
    selected: str

    def notes(self, part: str) -> tuple[str, ...]:
        """Return what a reader of results on a part has to know about the run."""
        own = _notes(self.checkpoint, part, self.folder, self.selected)
        return (*own, *_strangers(self.checkpoint, self.data.store), *self._trained(part))

    def provenance(self) -> dict[str, str]:
        """Return what is needed to judge and repeat the numbers of the run."""
        checkpoint, recipe = self.checkpoint, self.checkpoint.recipe
        epochs = recipe.training.epochs
        trained = len(self.folder.read_metrics()) if self.folder else epochs
        of = f"{epochs}"
        if trained < epochs and _ended(checkpoint, self.folder):
            of = f"{trained}, after which evaluation.patience ended the run (at most {epochs})"
        return {
            "data": str(self.data.store.path),
            "stream": recipe.stream,
            "seed": str(recipe.seed),
            "epoch": f"{checkpoint.epoch} of {of}",
            "selected": SELECTIONS[self.selected],
            "quirks": recipe.quirks,
            "trained with": ", ".join(f"{k} {v}" for k, v in checkpoint.versions.items()),
        }

    def _trained(self, part: str) -> tuple[str, ...]:
        """Say so if test clips have trained the run, as they may where another split is asked."""
        store, recipe = self.data.store, self.checkpoint.recipe
        same = self.checkpoint.progress.get("recordings") == store.meta["checksums"]
        if part != "test" or not same or recipe.data.split == self.data.recipe.data.split:
            return ()
        parts = divide(recipe, store)
        trained = np.concatenate([rows for name, rows in parts.items() if name != "test"])
        tested = self.data.rows["test"]
        if not (count := int(np.isin(tested, trained).sum())):
            return ()
        return (
            f"{count} of the {len(tested)} test clips have trained the run, whose own split is"
            f" '{recipe.data.split or store.default_split}': that flatters the result",
        )


def select_checkpoint(path: Path) -> tuple[Checkpoint, RunFolder | None, str]:
    """Read a run's selected checkpoint; return it, its folder if any, and which epoch it is.

    Raises:
        CheckpointError: There is no usable checkpoint.
    """
    file = find_checkpoint(path)
    folder = folder_of(path, file)
    checkpoint = load_checkpoint(file)
    is_last = folder is not None and file == folder.last
    return checkpoint, folder, "last" if is_last else checkpoint.recipe.evaluation.selection


def open_run(
    path: Path, store: Path | None = None, *, split: str | None = None, judging: bool = False
) -> Opened:
    """Open a run's selected checkpoint and its recordings.

    Args:
        path: Run folder or checkpoint.
        store: A store to use instead of the recipe's; its classes may be others.
        split: How to divide the clips instead of as the recipe says.
        judging: Whether the encoder is to be judged: clips of another layout are brought to that
            of the checkpoint, with a remark (a run with ``data.as_layout`` always does so), and
            people that were set aside to choose an epoch are training clips.

    Raises:
        CheckpointError: There is no usable checkpoint, or the store has another layout.
        RecipeError, StoreError, SplitError: The recordings cannot be opened, or brought over.
    """
    checkpoint, folder, selected = select_checkpoint(path)
    recipe = checkpoint.recipe
    if split is not None:
        place = recipe.data.model_copy(update={"split": split})
        recipe = recipe.model_copy(update={"data": place})
    if judging:
        ending = recipe.evaluation.model_copy(update={"selection": "last"})
        recipe = recipe.model_copy(update={"evaluation": ending})
    brought = judging or recipe.data.as_layout is not None
    data = open_data(
        recipe,
        store,
        persons=checkpoint.persons,
        skeleton=checkpoint.skeleton if brought else None,
    )
    _check_layout(checkpoint, data, path)
    return Opened(checkpoint=checkpoint, data=data, folder=folder, selected=selected)


def _notes(
    checkpoint: Checkpoint, part: str, folder: RunFolder | None, selected: str
) -> tuple[str, ...]:
    recipe = checkpoint.recipe
    notes = []
    if selected == "test" and part == "test":
        notes.append(
            "the epoch was chosen for its accuracy on these very clips, as the original programs"
            " do, which flatters the result"
        )
    epochs, trained = recipe.training.epochs, checkpoint.epoch
    if selected != "last":  # its best epoch is in general not its last
        trained = epochs if folder is None else len(folder.read_metrics())
    if trained < epochs and not _ended(checkpoint, folder):
        of = "" if trained == checkpoint.epoch else f", the best of {trained} so far"
        notes.append(f"the run is not finished: this is epoch {checkpoint.epoch} of {epochs}{of}")
    return tuple(notes)


def _ended(checkpoint: Checkpoint, folder: RunFolder | None) -> bool:
    """Return whether the run of a checkpoint has nothing left to train."""
    if folder is not None and folder.last.is_file():
        return load_checkpoint(folder.last, weights=False).finished
    return checkpoint.finished


def _strangers(checkpoint: Checkpoint, store: Store) -> tuple[str, ...]:
    """Say so if a store is not the one that trained: its test clips may be training clips there."""
    trained = checkpoint.progress.get("recordings")
    if trained is None or trained == store.meta["checksums"]:
        return ()
    return (
        f"'{store.path}' does not hold the recordings that the run was trained on; clips that"
        " trained may be among those tested",
    )


def folder_of(path: Path, file: Path) -> RunFolder | None:
    """Return the run folder that a checkpoint ``file``, found at ``path``, lies in, if any."""
    if path.is_dir():
        return RunFolder(path)
    run = RunFolder(file.parent.parent)
    return run if file.parent.name == "checkpoints" and run.recipe.is_file() else None


def _check_layout(checkpoint: Checkpoint, data: RunData, path: Path) -> None:
    """Refuse clips that reach the network in another layout than the checkpoint's."""
    own, other = checkpoint.skeleton, data.skeleton
    if different := own.difference(other):
        raise CheckpointError(
            f"'{path}' was trained on layout '{own.name}' ({own.joint_count} joints), store"
            f" '{data.store.path}' has '{other.name}' ({other.joint_count} joints) with other"
            f" {different}"
        )
