"""Checks of what a set is made of: clips of each class, people, and both sides of its splits."""

from __future__ import annotations

import numpy as np

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.doctor.anatomy import Rows
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.case import Case
from kinegraph.data.doctor.sameness import split_sides

UNEVEN = 4.0  # times fewer or more clips than the middle class
FEW = 3  # subjects from which on a class of one subject is odd
NAMES_SHOWN = 5


class Balance:
    """Counts when all clips are known."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Nothing to see in a clip alone."""

    def finish(self) -> None:
        """Judge classes, subjects and splits."""
        labels = self._case.census.column("label")
        if not len(labels):
            return
        unlabelled = int((labels == UNKNOWN).sum())
        if unlabelled and unlabelled < len(labels):
            self._case.add("unlabelled", f"{unlabelled} of {len(labels)} clips have no label")
        counts = np.bincount(labels[labels != UNKNOWN], minlength=len(self._case.class_names))
        if counts.any():
            self._classes(counts)
            self._subjects(labels, counts)
            self._splits(labels, counts)

    def _classes(self, counts: Rows) -> None:
        names = self._case.class_names
        empty = np.flatnonzero(counts == 0)
        if len(empty) == len(counts) - 1 and len(counts) > 1 and counts.sum() == 1:
            return  # one recording alone
        if len(empty):
            self._case.add("empty-class", f"no clip shows {self._words(empty)}", size=len(empty))
        usual = float(np.median(counts[counts > 0]))
        self._case.facts.update(
            {
                "clips_of_the_rarest_class": int(counts[counts > 0].min()),
                "clips_of_the_commonest_class": int(counts.max()),
            }
        )
        for label in np.flatnonzero((counts > 0) & (counts * UNEVEN < usual)):
            text = f"'{names[label]}' has {counts[label]} clips, the middle class {usual:g}"
            self._case.add("imbalance", text, size=usual / counts[label])
        for label in np.flatnonzero(counts > UNEVEN * usual):
            text = f"'{names[label]}' has {counts[label]} clips, the middle class {usual:g}"
            self._case.add("imbalance", text, size=counts[label] / usual)

    def _subjects(self, labels: Rows, counts: Rows) -> None:
        subjects = self._case.census.column("subject")
        known = subjects != UNKNOWN
        people = np.unique(subjects[known])
        if len(people) < FEW:
            return
        clips = np.array([int((subjects == person).sum()) for person in people])
        self._case.facts.update(
            {
                "subjects": len(people),
                "clips_of_the_rarest_subject": int(clips.min()),
                "clips_of_the_commonest_subject": int(clips.max()),
            }
        )
        for label in np.flatnonzero(counts > 1):
            shown = np.unique(subjects[known & (labels == label)])
            if len(shown) == 1:
                name = self._case.class_names[label]
                self._case.add("lone-subject", f"'{name}' is shown by subject {shown[0]} alone")

    def _splits(self, labels: Rows, counts: Rows) -> None:
        case = self._case
        for split, sides in split_sides(case).items():
            sizes = {"train": int((sides == 1).sum()), "test": int((sides == 2).sum())}
            case.facts.setdefault("splits", {})[split] = sizes
            if split == case.default_split or split in case.stored_splits:
                self._one_sided(split, sides, labels, len(counts))
            if split in case.stored_splits:  # published rules say who they share
                self._shared(split, sides)

    def _one_sided(self, split: str, sides: Rows, labels: Rows, classes: int) -> None:
        """Name the classes of which one side of a split has no clip."""
        train, test = (
            np.bincount(labels[(sides == side) & (labels >= 0)], minlength=classes) > 0
            for side in (1, 2)
        )
        for word, lacking in (("trains", test & ~train), ("tests", train & ~test)):
            if lacking.any():
                classes_lacking = self._words(np.flatnonzero(lacking))
                text = f"in split '{split}' no clip {word} {classes_lacking}"
                self._case.add("one-sided-class", text, size=float(lacking.sum()))

    def _shared(self, split: str, sides: Rows) -> None:
        """Name the people who are on both sides of a split."""
        subjects = self._case.census.column("subject")
        both = set(subjects[sides == 1].tolist()) & set(subjects[sides == 2].tolist()) - {UNKNOWN}
        if both:
            who = "one person trains and tests"
            if len(both) > 1:
                who = f"{len(both)} people train and test"
            self._case.add("shared-subjects", f"in split '{split}' {who}", size=float(len(both)))

    def _words(self, labels: Rows) -> str:
        names = [f"'{self._case.class_names[label]}'" for label in labels[:NAMES_SHOWN]]
        more = len(labels) - len(names)
        return ", ".join(names) + (f" and {more} more classes" if more else "")
