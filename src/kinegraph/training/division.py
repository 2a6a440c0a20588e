"""Which clips of a store train, choose the epoch, and test: what a recipe says of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN
from kinegraph.data.few_labels import labelled_part
from kinegraph.data.splits import people_aside, split_rows, unlabelled_rows, validation_rows
from kinegraph.data.store import Store
from kinegraph.recipe import Recipe

Rows = NDArray[np.int64]
NOBODY: Rows = np.zeros(0, dtype=np.int64)


def divide(recipe: Recipe, store: Store) -> dict[str, Rows]:
    """Return the rows of each part; without labels, also those that nobody has labelled.

    Raises:
        SplitError: The split does not work on the store.
    """
    split, labels = recipe.data.split or "", store.clips["label"]
    if recipe.needs_labels or np.any(labels != UNKNOWN):
        train, test = split_rows(store, split)
    else:
        train = test = NOBODY
    rows = {"train": train, "test": test}
    if recipe.evaluation.selection == "validation":
        rows["validation"] = NOBODY  # without labels; a training says that it cannot select so
        if len(train):
            rows["train"], rows["validation"] = validation_rows(
                store, train, recipe.evaluation.validation_fraction, seed=recipe.seed
            )
    if recipe.data.label_share is not None:
        rows["train"] = labelled_part(
            rows["train"],
            labels,
            recipe.data.label_share,
            draw=recipe.data.label_draw,
            original=recipe.original,
        )
    if not recipe.needs_labels and np.any(labels == UNKNOWN):
        unlabelled = unlabelled_rows(store, split)
        aside = people_aside(store, rows["train"], rows.get("validation", NOBODY))
        known = np.isin(store.clips["subject"][unlabelled], aside)
        rows["unlabelled"] = unlabelled[~known]  # perhaps none, which is told
    return rows
