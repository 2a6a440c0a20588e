"""What the features of an encoder are worth: simple judges on frozen features.

Place in the flow: ``kinegraph probe`` calls `probe_run`; the judges are pure functions on arrays.
An encoder is judged beside a random one and beside raw coordinates, always by the same judge: a
number alone says little, as an untrained network and plain coordinates go a long way, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from kinegraph.console import remark
from kinegraph.errors import ScoreError
from kinegraph.evaluation.baselines import raw_coordinates
from kinegraph.evaluation.judges import Described, ranked, refuse_one_class
from kinegraph.evaluation.opening import Opened, open_run
from kinegraph.evaluation.published_linear import BEST
from kinegraph.evaluation.scoring import score_clips
from kinegraph.objectives.base import Objective
from kinegraph.training.checkpoint import Checkpoint, make_objective
from kinegraph.training.execution import scoring_type
from kinegraph.training.setup import choose_device

ENCODER, RANDOM, RAW = "encoder", "random encoder", "raw coordinates"
STRENGTH = 1e-3  # of the linear judge's penalty, against a mean over clips
ITERATIONS = 2000
LARGE = 10_000_000  # numbers of training clips from which on a fit is announced
CLEAR = 1.0  # points that an encoder has to be above the other two to be worth something
MEANING = {
    RANDOM: "training has taught it nothing that this judge can see",
    RAW: "it says no more about the classes than the coordinates that it is made of",
}


Judge = Callable[[Described], dict[str, float]]  # the first number decides


@dataclass(frozen=True)
class Probed:
    """A probed run.

    Attributes:
        rows: Encoder, random encoder, raw coordinates -> the numbers of the judge.
        opened: The run and its recordings.
        clips: What the encoder says of the clips.
        classifies: Whether the run has learned classes.
        features: F, how many the encoder has.
        train: How many training clips.
        test: How many test clips.
    """

    rows: dict[str, dict[str, float]]
    opened: Opened
    clips: Described
    classifies: bool
    features: int
    train: int
    test: int

    @property
    def measures(self) -> list[str]:
        """The numbers to show. The best epoch on the test clips flatters and is kept out.

        Who compares with published numbers has that one in `rows`.
        """
        return [measure for measure in self.rows[ENCODER] if measure != BEST]


def probe_run(
    path: Path,
    judge: Judge,
    *,
    store: Path | None = None,
    split: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
) -> Probed:
    """Judge the features of a run's encoder, of a random one, and raw coordinates.

    The classes may be others than those of the run, and so may the layout: clips are brought to
    that of the run then. Splits leave out clips without a label. People that the run set aside to
    choose an epoch teach the judge as other training clips do.

    Args:
        path: Run folder or checkpoint.
        judge: `nearest_clips`, `linear`, `retrieval` or a `PlaneJudge`.
        store: A store to use instead of the recipe's.
        split: How to divide the clips instead of as the run does.
        device: Where to compute features.
        batch_size: Clips at a time, default as the recipe says; changes no result.

    Raises:
        CheckpointError, RecipeError, StoreError, SplitError: As `open_run`.
        ScoreError: Features are no numbers, or the judge cannot work with so few clips.
    """
    chosen = choose_device(device)
    opened = open_run(path, store, split=split, judging=True)
    checkpoint, data = opened.checkpoint, opened.data
    if not all(len(data.rows[part]) for part in ("train", "test")):
        raise ScoreError(
            f"store '{data.store.path}' has no labelled clips to judge features by: give"
            " --data.store STORE with recordings that have labels"
        )
    labels = data.store.clips["label"].astype(np.int64)
    classes = {part: labels[data.rows[part]] for part in ("train", "test")}

    def described(describe: Callable[[str], NDArray[np.float32]]) -> Described:
        x = {part: describe(part) for part in classes}
        return Described(x["train"], classes["train"], x["test"], classes["test"])

    def embedded(objective: Objective, row: str) -> Described:
        return described(
            lambda part: embed_clips(
                objective, opened, part, chosen, batch_size=batch_size, row=row
            )
        )

    objective = checkpoint.build()
    trained = embedded(objective, ENCODER)
    rows = {
        ENCODER: judge(trained),
        RANDOM: judge(embedded(random_encoder(checkpoint), RANDOM)),
        RAW: judge(described(lambda part: raw_coordinates(data.store, data.rows[part]))),
    }
    return Probed(
        rows=rows,
        opened=opened,
        clips=trained,
        classifies=objective.classifies,
        features=trained.train_x.shape[1],
        train=len(classes["train"]),
        test=len(classes["test"]),
    )


def embed_clips(
    objective: Objective,
    opened: Opened,
    part: str,
    device: torch.device,
    *,
    batch_size: int | None = None,
    row: str = ENCODER,
) -> NDArray[np.float32]:
    """Return the features (N, F) of the clips of a part, through the run's ``test`` transforms.

    Weights and batch statistics are frozen, for training clips as well: the features of a clip do
    not depend on the batch that it comes in.

    Args:
        objective: Of which the encoder is taken.
        opened: The run and its recordings.
        part: ``train`` or ``test``.
        device: Where to compute.
        batch_size: Clips at a time, default as the recipe says.
        row: What it is called if its features cannot be used: `ENCODER` or `RANDOM`.

    Raises:
        ScoreError: A feature is not a finite number.
    """
    checkpoint, data = opened.checkpoint, opened.data
    size = batch_size or checkpoint.recipe.evaluation.batch_size
    autocast = scoring_type(checkpoint, device)
    features = score_clips(
        objective.to(device).freeze(),
        data.testing_loader(part, size, device),
        autocast=autocast,
        description=f"{part} clips",
        features=True,
    )
    if not np.isfinite(features).all():
        why = "the weights of the run are damaged, or its precision is too low for them"
        if row == RANDOM and autocast is not None:
            why = (
                "the precision of the run is too low for weights that learned nothing; judge one"
                " that was trained with --training.precision fp32"
            )
        elif row == RANDOM:
            why = "coordinates may be far too large; see kinegraph data check"
        raise ScoreError(f"the {row}'s features of {part} clips are not finite numbers: {why}")
    return features


def random_encoder(checkpoint: Checkpoint) -> Objective:
    """Return what the recipe of a run builds, with fresh weights drawn from the run's seed."""
    recipe = checkpoint.recipe
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        return make_objective(
            recipe,
            checkpoint.skeleton,
            len(checkpoint.class_names),
            persons=checkpoint.persons,
            bare=True,
        )


def linear(clips: Described, strength: float = STRENGTH, *, remedy: str = "") -> dict[str, float]:
    """Return the accuracy of multinomial logistic regression on standardised features.

    It minimises the mean cross-entropy of the training clips + strength / 2 * |weights|^2, which
    has one minimum: nothing is drawn, and there is no schedule to choose.

    Differs from the original: AimCLR trains the linear layer by SGD with a learning rate of 3 for
    100 epochs and reports the best epoch on the test clips.

    Args:
        clips: The features.
        strength: Of the penalty, above 0.
        remedy: What a user can do where it takes too many steps, if there is anything.

    Raises:
        ScoreError: All training clips are of one class.
    """
    refuse_one_class(clips.train_y)
    if clips.train_x.size > LARGE:
        number, width = clips.train_x.shape
        remark(
            f"fitting the linear judge to {number:,} clips of {width:,} numbers each: up to"
            f" {ITERATIONS:,} steps, which may take minutes and more"
        )
    scaler = StandardScaler(copy=False).fit(clips.train_x)  # it adds up in float64
    model = fit_linear(scaler.transform(clips.train_x.astype(np.float64)), clips.train_y, strength)
    if model.n_iter_.max() >= ITERATIONS:
        helps = f"; {remedy}" if remedy else ""
        remark(f"the linear judge was stopped after {ITERATIONS:,} steps{helps}")
    guessed = model.predict(scaler.transform(clips.test_x.astype(np.float64)))
    return {"top-1": float(np.mean(guessed == clips.test_y))}


def fit_linear(x: NDArray[np.float64], y: NDArray[np.int64], strength: float) -> LogisticRegression:
    """Fit what `linear` describes to features (N, F) of clips with (N,) classes, two at least."""
    # Of two classes scikit-learn fits one vector w, the difference of the two that a softmax has.
    # These are w / 2 and -w / 2 at the minimum, and their squares add up to half of |w|^2.
    share = 0.5 if len(np.unique(y)) == 2 else 1.0
    model = LogisticRegression(C=1 / (share * strength * len(y)), max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def retrieval(clips: Described) -> dict[str, float]:
    """Return how well a test clip finds training clips of its class, by cosine.

    ``mAP`` is the mean average precision over all training clips in their order; ``recall@k`` the
    share of test clips with one of their class among the k nearest. A test clip whose class no
    training clip has counts as 0.
    """
    found: dict[str, list[NDArray[np.float64]]] = {}
    start = 0
    for order in ranked(clips):
        truth = clips.test_y[start : start + len(order), None]
        start += len(order)
        right = clips.train_y[order] == truth  # (Q, N_train)
        precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
        total = (precision * right).sum(axis=1) / np.maximum(right.sum(axis=1), 1)
        found.setdefault("mAP", []).append(total)
        for k in (1, 5, 10):
            hit = right[:, :k].any(axis=1).astype(np.float64)
            found.setdefault(f"recall@{k}", []).append(hit)
    return {name: float(np.concatenate(values).mean()) for name, values in found.items()}


def doubts(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a sentence for each of the other two that the encoder is not clearly better than."""
    measure = next(iter(rows[ENCODER]))
    # Percent as they are shown: what 57.00 and 56.00 were before they were rounded decides nothing.
    shown = {name: round(100 * row[measure], 2) for name, row in rows.items()}
    above = {name: round(shown[ENCODER] - shown[name], 2) for name in MEANING}
    return [
        f"the encoder's {measure} is {above[name]:+.2f} points from that of {name}, less than"
        f" {CLEAR:.2f} above it: {meaning}"
        for name, meaning in MEANING.items()
        if above[name] < CLEAR
    ]
