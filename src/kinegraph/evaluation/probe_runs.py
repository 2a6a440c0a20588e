"""Protocols that train: what a run's encoder is worth once all of it learns from labels.

Place in the flow: ``kinegraph probe`` plans the runs here, trains those that are not finished, and
reads their accuracy. Each is an ordinary run folder; beside it the same network from random weights
is trained in the same way, and raw coordinates meet the linear judge with the same labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinegraph.console import hushed, remark
from kinegraph.data.few_labels import labelled_part
from kinegraph.errors import CheckpointError, OutputError, RecipeError, TrainingError
from kinegraph.evaluation.baselines import raw_coordinates
from kinegraph.evaluation.judges import Described
from kinegraph.evaluation.opening import Opened, select_checkpoint
from kinegraph.evaluation.probe import ENCODER, RANDOM, RAW, linear
from kinegraph.evaluation.probe_recipe import Wishes, derive, sized
from kinegraph.files import make_folder, remove_files
from kinegraph.recipe import SEEDS, Recipe, StartConfig
from kinegraph.reproduction.runs import PlannedRun, State, begun_at, look_at
from kinegraph.training.beginning import counterpart, encoders, weights_checksum
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import PROBE_PICTURE, PROBE_RESULT, RunFolder
from kinegraph.training.setup import named_store, open_data

SHARES = (0.01, 0.05, 0.1, 0.2)
DRAWS = {"finetune": 1, "semi": 3, "transfer": 1}
FOLDERS = {ENCODER: "encoder", RANDOM: "random"}
METRIC = "test_top1"

Drawn = tuple[float | None, int]  # share of the labels, or None for all; number of the draw


@dataclass(frozen=True, kw_only=True)
class ProbeRun(PlannedRun):
    """One run of a protocol.

    Attributes:
        row: `ENCODER` or `RANDOM`.
        drawn: Share of the labels, and which draw of labels, weights and order.
    """

    row: str
    drawn: Drawn

    def describe(self) -> str:
        """Return what it is in a few words."""
        share, draw = self.drawn
        of = "" if share is None else f", {100 * share:g} % of the labels"
        return f"{self.row}{of}, draw {draw}"


@dataclass(frozen=True)
class Protocol:
    """Everything that a protocol trains and judges.

    Attributes:
        name: ``finetune``, ``semi`` or ``transfer``.
        opened: The run, and the recordings that it is judged on.
        runs: What is trained, in this order.
        rows: The store's rows that train, of each draw.
        out: Folder of all runs.
        notes: What a reader of the results has to know about the encoder.
    """

    name: str
    opened: Opened
    runs: tuple[ProbeRun, ...]
    rows: dict[Drawn, NDArray[np.int64]]
    out: Path
    notes: tuple[str, ...]

    @property
    def result(self) -> Path:
        """The numbers of all runs, once these are finished."""
        return self.out / PROBE_RESULT

    @property
    def picture(self) -> Path:
        """Accuracy by the share of the labels, where there are several shares."""
        return self.out / PROBE_PICTURE


def plan_protocol(
    name: str,
    path: Path,
    wishes: Wishes,
    *,
    store: Path | None = None,
    shares: Sequence[float] | None = None,
    draws: int | None = None,
    out: Path | None = None,
) -> Protocol:
    """Find out what a protocol has to train; nothing is written.

    Args:
        name: ``finetune``, ``semi`` or ``transfer``.
        path: Run folder or checkpoint whose encoder is judged.
        wishes: What a user chose about the training.
        store: Recordings to judge it on; default: those of the run.
        shares: Shares of the labels of each class (semi), default: `SHARES`.
        draws: How often everything is drawn and trained, default: `DRAWS`.
        out: Where the runs lie; default: within the run folder.

    Raises:
        CheckpointError, StoreError, SplitError: The run or the recordings cannot be used.
        RecipeError, LayoutError: They do not fit together, or a wish makes no sense, or none of
            the run's several encoders is that of the stream.
        OutputError: ``path`` is a checkpoint on its own, and no ``out`` was given.
    """
    checkpoint, folder, selected = select_checkpoint(path)
    out = out or _place(name, path, folder, store)
    recipe = derive(
        checkpoint,
        path,
        named_store(checkpoint.recipe, store),
        wishes,
        clip_norm=name == "semi",
        moved=name == "transfer",
    )
    notes = _notes(checkpoint, recipe.stream, path)
    data = open_data(recipe, skeleton=checkpoint.skeleton)
    rows: dict[Drawn, NDArray[np.int64]] = {}
    runs: list[ProbeRun] = []
    for share in dict.fromkeys(shares or SHARES) if name == "semi" else (None,):
        for draw in range(draws or DRAWS[name]):
            one = _draw(recipe, share, draw)
            rows[share, draw] = data.rows["train"]
            if share is not None:
                rows[share, draw] = labelled_part(
                    data.rows["train"],
                    data.store.clips["label"],
                    share,
                    draw=draw,
                    original=recipe.original,
                )
            if wishes.recipe is None:
                one = sized(one, len(rows[share, draw]))
            runs += [_run(one, row, (share, draw), out) for row in FOLDERS]
    opened = Opened(checkpoint=checkpoint, data=data, folder=folder, selected=selected)
    return Protocol(name, opened, tuple(runs), rows, out, notes)


def _notes(checkpoint: Checkpoint, stream: str, path: Path) -> tuple[str, ...]:
    """Say which of several encoders the runs begin from, or that it has seen another stream."""
    names = tuple(encoders(checkpoint.build()))
    chosen = counterpart("backbone", names, stream, path)
    if len(names) > 1:
        return (
            f"of the run's encoders ({', '.join(names)}) {chosen} alone is trained, that of stream"
            f" {stream}: --stream chooses another",
        )
    seen = checkpoint.recipe.stream
    return () if seen == stream else (f"the encoder has learned from stream {seen}, not {stream}",)


def _place(name: str, path: Path, folder: RunFolder | None, store: Path | None) -> Path:
    if folder is None:
        raise OutputError(
            f"'{path}' is a checkpoint outside a run folder, where runs that judge it have no"
            " place: give --out FOLDER"
        )
    place = folder.path / "probes" / name
    return place / store.resolve().name if name == "transfer" and store is not None else place


def _draw(recipe: Recipe, share: float | None, draw: int) -> Recipe:
    data = recipe.data.model_copy(update={"label_share": share, "label_draw": draw})
    return recipe.model_copy(update={"data": data, "seed": (recipe.seed + draw) % SEEDS})


def _run(recipe: Recipe, row: str, drawn: Drawn, out: Path) -> ProbeRun:
    if row == RANDOM:
        recipe = recipe.model_copy(update={"start": StartConfig()})
    share, draw = drawn
    name = f"{FOLDERS[row]}{'' if share is None else f'-share{_written(share)}'}-draw{draw}"
    return ProbeRun(
        stream=recipe.stream,
        seed=recipe.seed,
        recipe=recipe,
        recipe_name="",  # it is derived, and trained from here
        options=(),
        folder=RunFolder(out / name),
        row=row,
        drawn=drawn,
    )


def _written(share: float) -> str:
    """Return a share for a name: in few digits, but in as many as tell it from others."""
    return f"{share:g}" if float(f"{share:g}") == share else repr(share)


def look_at_all(protocol: Protocol, *, force: bool = False) -> list[State]:
    """Return how far each run is.

    Args:
        protocol: The protocol.
        force: Whether runs that were trained in other ways may be trained anew.

    Raises:
        RecipeError: A run was trained in another way, on other recordings, or the encoder has
            changed since.
        OutputError, CheckpointError: Something else is in the way.
    """
    recordings = protocol.opened.data.store.meta["checksums"]
    own = weights_checksum(protocol.opened.checkpoint)
    states = []
    for run in protocol.runs:
        saved = _saved(run) if run.row == ENCODER else None
        changed = saved is not None and saved.progress.get("begun_from") != own
        if saved is not None and not changed:  # the same encoder, wherever it lay then
            run = replace(run, recipe=begun_at(run.recipe, saved.recipe.start.run))
        state = look_at(run, recordings=recordings, force=force)
        if changed and state in (State.FINISHED, State.INTERRUPTED):
            if not force:
                raise RecipeError(
                    f"'{run.folder.path}' judges other weights: the encoder has been trained since"
                    " it began; choose another --out, or replace such runs with --force"
                )
            state = State.BROKEN
        states.append(state)
    return states


def _saved(run: ProbeRun) -> Checkpoint | None:
    """Return the last checkpoint of a run; `look_at` says what is wrong with one that is none."""
    try:
        return load_checkpoint(run.folder.last, weights=False)
    except CheckpointError:
        return None


def train_protocol(protocol: Protocol, *, device: str, force: bool = False) -> None:
    """Train every run that is not finished, one after the other.

    Numbers and picture of an earlier call go before the first of them begins: they would be of
    other runs than those that lie beside them.

    Raises:
        Interrupted: A signal came. The run has been saved, and the same call goes on.
        RecipeError: The encoder was trained on in the meantime.
        KinegraphError: As `look_at_all`, or a run cannot be trained; those that are finished stay.
    """
    make_folder(protocol.out)
    with RunFolder(protocol.out).lock():
        states = look_at_all(protocol, force=force)
        if any(state is not State.FINISHED for state in states):
            remove_files(protocol.result, protocol.picture)
        for number, (run, state) in enumerate(zip(protocol.runs, states, strict=True), start=1):
            if state is State.FINISHED:
                continue
            remark(f"{number} of {len(states)}: {run.describe()}")
            with hushed():  # what it says is in its log
                if state is State.INTERRUPTED:
                    resume(run.folder, device=device, store=run.recipe.data.store)
                else:
                    start(run.recipe, run.folder, device=device, force=state is State.BROKEN)
        look_at_all(protocol)  # while all this was trained, the encoder may have been, too


def judge_raw(protocol: Protocol) -> dict[Drawn, float]:
    """Return the top-1 of the linear judge on raw coordinates, with the labels of each draw.

    Raises:
        ScoreError: The labels of a draw are all of one class.
    """
    data = protocol.opened.data
    labels = data.store.clips["label"].astype(np.int64)
    every, test = data.rows["train"], data.rows["test"]
    train_x, test_x = (raw_coordinates(data.store, rows) for rows in (every, test))
    found: dict[Drawn, float] = {}
    before: dict[bytes, float] = {}  # without shares, all draws have the same labels
    for drawn, rows in protocol.rows.items():
        key = rows.tobytes()
        if key not in before:
            own = train_x if len(rows) == len(every) else train_x[np.isin(every, rows)]
            before[key] = linear(Described(own, labels[rows], test_x, labels[test]))["top-1"]
        found[drawn] = before[key]
    return found


def accuracies(protocol: Protocol) -> dict[Drawn, dict[str, float]]:
    """Return the top-1 of both networks after their last epoch, of each draw.

    Raises:
        TrainingError: A finished run does not tell its accuracy.
    """
    found: dict[Drawn, dict[str, float]] = {}
    for run in protocol.runs:
        told = run.folder.read_metrics()
        if not told or METRIC not in told[-1] or told[-1]["epoch"] != run.epochs:
            raise TrainingError(
                f"'{run.folder.path}' does not tell the accuracy of its last epoch: its"
                " metrics.jsonl is damaged; remove the folder, and the same command trains it anew"
            )
        found.setdefault(run.drawn, {})[run.row] = float(told[-1][METRIC])
    return found


def results(protocol: Protocol, raw: dict[Drawn, float]) -> list[dict[str, float | int | None]]:
    """Return the three numbers of every draw, beside its share and number of clips."""
    return [
        {
            "share": share,
            "draw": draw,
            "train_clips": len(protocol.rows[share, draw]),
            **numbers,
            RAW: raw[share, draw],
        }
        for (share, draw), numbers in accuracies(protocol).items()
    ]
