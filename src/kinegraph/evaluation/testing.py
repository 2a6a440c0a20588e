"""Testing a run: its selected checkpoint on the clips of a split, with scores and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinegraph.data.store import Store
from kinegraph.errors import CheckpointError, OutputError, RecipeError
from kinegraph.evaluation.opening import Opened, folder_of, open_run
from kinegraph.evaluation.report import write_report
from kinegraph.evaluation.scores import Scores, save_scores
from kinegraph.evaluation.scoring import score_clips
from kinegraph.files import refuse_existing
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.distributed import ALONE, World
from kinegraph.training.execution import scoring_type
from kinegraph.training.run_folder import RunFolder, find_checkpoint
from kinegraph.training.setup import choose_device


@dataclass(frozen=True)
class Tested(Opened):
    """A tested run.

    Attributes:
        scores: Of every clip of the part.
    """

    scores: Scores


def score_run(
    path: Path,
    *,
    store: Path | None = None,
    part: str = "test",
    device: str = "auto",
    batch_size: int | None = None,
    world: World = ALONE,
) -> Tested:
    """Score the clips of a part of the data with a run's selected checkpoint.

    Args:
        path: Run folder or checkpoint.
        store: A store to use instead of the recipe's.
        part: ``test``, ``train`` or ``validation``.
        device: Where to compute.
        batch_size: Clips at a time, default as the recipe says; changes no result.
        world: The processes that share the clips; each gets the scores of all.

    Raises:
        CheckpointError: There is no usable checkpoint, it has learned no classes, or the store
            does not fit it.
        RecipeError, StoreError, SplitError: The recordings cannot be opened.
    """
    chosen = choose_device(device)
    opened = open_run(path, store)
    checkpoint, data = opened.checkpoint, opened.data
    _check_labels(checkpoint, path)
    _check_classes(checkpoint, data.store, path)
    if part not in data.rows:
        raise RecipeError(
            f"the run has no part '{part}' (it has {', '.join(sorted(data.rows))};"
            " validation clips exist with evaluation.selection validation)"
        )
    size = batch_size or checkpoint.recipe.evaluation.batch_size
    logits = score_clips(
        checkpoint.build().to(chosen).freeze(),
        data.testing_loader(part, size, chosen, world),
        autocast=scoring_type(checkpoint, chosen),
        world=world,
    )
    clips = data.store.clips[data.rows[part]]
    scores = Scores(
        names=clips["name"],
        logits=logits,
        labels=clips["label"].astype("int64"),
        classes=data.store.class_names,
        split=part,
        stream=checkpoint.recipe.stream,
        source=str(path),
        notes=opened.notes(part),
    )
    return Tested(
        scores=scores,
        checkpoint=checkpoint,
        data=data,
        folder=opened.folder,
        selected=opened.selected,
    )


def refuse_tested(path: Path, part: str) -> None:
    """Refuse a run that has results of a part already, or that can have none.

    Raises:
        OutputError: It has some.
        CheckpointError: There is no usable checkpoint, or it has learned no classes.
    """
    file = find_checkpoint(path)
    _check_labels(load_checkpoint(file, weights=False), path)
    run = folder_of(path, file)
    if run is not None:
        for file in (run.scores(part), _report_of(run, part)):
            refuse_existing(file, force=False)


def save_test(
    tested: Tested, *, baselines: Mapping[str, float] | None = None, force: bool = False
) -> Path:
    """Write scores and report into the run folder and return the report's path.

    Raises:
        OutputError: The run folder is not known, it has such results and ``force`` is false, or
            the disk refuses.
    """
    run = tested.folder
    if run is None:
        raise OutputError("a checkpoint outside a run folder has no place for results")
    part = tested.scores.split
    report = _report_of(run, part)
    refuse_existing(report, force=force)
    save_scores(run.scores(part), tested.scores, force=force)
    recipe = tested.checkpoint.recipe
    return write_report(
        report,
        tested.scores,
        title=f"{recipe.backbone.name} on {tested.data.store.path.name}, {recipe.stream} stream",  # type: ignore[attr-defined]
        curves=run.read_metrics(),
        recipe_yaml=recipe.to_yaml(),
        baselines=baselines,
        provenance=tested.provenance(),
        notes=tested.scores.notes,
        force=force,
    )


def _report_of(run: RunFolder, part: str) -> Path:
    return run.report if part == "test" else run.path / f"report-{part}.html"


def _check_labels(checkpoint: Checkpoint, path: Path) -> None:
    """Refuse what has learned without labels, and has nothing to be scored."""
    if not checkpoint.recipe.needs_labels:
        raise CheckpointError(
            f"'{path}' has learned without labels and knows no classes yet: what its features are"
            f" worth is told by kinegraph probe {path}"
        )


def _check_classes(checkpoint: Checkpoint, store: Store, path: Path) -> None:
    """Refuse a store of other classes than the checkpoint's."""
    if checkpoint.class_names != store.class_names:
        first = _first_difference(checkpoint.class_names, store.class_names)
        raise CheckpointError(
            f"'{path}' was trained on {len(checkpoint.class_names)} classes, store '{store.path}'"
            f" has {len(store.class_names)}: {first}"
        )


def _first_difference(own: Sequence[str], other: Sequence[str]) -> str:
    for label, (left, right) in enumerate(zip(own, other, strict=False)):
        if left != right:
            return f"class {label} is '{left}' there and '{right}' here"
    return "one has more classes than the other"
