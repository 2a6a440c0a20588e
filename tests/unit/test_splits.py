"""Splits: the published rules, own splits, validation subjects, and errors that help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinegraph.data.splits import (
    SPLITS,
    people_aside,
    split_rows,
    unlabelled_rows,
    validation_rows,
    working_splits,
)
from kinegraph.data.store import Clip, Store, Track, create_store, open_store
from kinegraph.errors import SplitError
from kinegraph.skeleton import load_layout

NTU = load_layout("ntu25")
NTU60_TRAINING = [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]


def make_store(path: Path, **columns: list[int]) -> Store:
    """Make a store of one-frame clips with the given labels, subjects, cameras or setups."""
    split = columns.pop("split", None)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    with create_store(path, NTU, [f"class {i}" for i in range(9)], source="a test") as writer:
        for number, row in enumerate(rows):
            writer.add(Clip(f"clip {number}", (Track(np.ones((1, 25, 3))),), 1, **row))
        if split is not None:
            writer.splits["own"] = np.array(split)
            writer.default_split = "own"
    return open_store(path)


def numbers(store: Store, split: str, field: str) -> tuple[list[int], list[int]]:
    train, test = split_rows(store, split)
    values = store.clips[field]
    return sorted(set(values[train].tolist())), sorted(set(values[test].tolist()))


def test_every_split_has_a_summary() -> None:
    assert all(split.summary for split in SPLITS.values())
    assert {"view3", "xsub", "xview", "xset", "subjects", "random"} <= set(SPLITS)


def test_ntu_cross_subject(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 106, subject=list(range(1, 107)))
    train, test = numbers(store, "xsub", "subject")
    assert [subject for subject in train if subject <= 40] == NTU60_TRAINING
    assert len([subject for subject in test if subject <= 40]) == 20
    assert (len(train), len(test)) == (53, 53)
    assert not set(train) & set(test)


def test_rules_over_cameras_and_setups(tmp_path: Path) -> None:
    store = make_store(
        tmp_path / "s", label=[0] * 6, camera=[1, 2, 3, 3, 2, -1], setup=[1, 2, 3, 4, -1, 5]
    )
    assert numbers(store, "view3", "camera") == ([1, 2], [3])
    assert numbers(store, "view2", "camera") == ([1, 3], [2])
    assert numbers(store, "view1", "camera") == ([2, 3], [1])
    assert numbers(store, "xview", "camera") == ([2, 3], [1])
    assert numbers(store, "xset", "setup") == ([2, 4], [1, 3, 5])


def test_other_cameras_are_in_neither_part(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 4, camera=[1, 2, 3, 4])
    assert numbers(store, "view3", "camera") == ([1, 2], [3])


def test_odd_subjects_train(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 5, subject=[1, 2, 3, 4, -1])
    assert numbers(store, "subjects", "subject") == ([1, 3], [2, 4])


def test_unlabelled_clips_are_in_neither_part(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0, 0, -1, -1], subject=[1, 2, 1, 2])
    train, test = split_rows(store, "subjects")
    assert (train.tolist(), test.tolist()) == ([0], [1])


def test_unlabelled_clips_follow_the_rule(tmp_path: Path) -> None:
    labels, subjects = [0, 1, -1, -1, -1, 0], [1, 2, 3, 4, -1, 1]
    store = make_store(tmp_path / "s", label=labels, subject=subjects)
    assert unlabelled_rows(store, "subjects").tolist() == [2], "4 tests, of 4 nobody knows who"
    with pytest.raises(SplitError, match="unknown split 'subject'"):
        unlabelled_rows(store, "subject")
    with pytest.raises(SplitError, match="has no split of its own"):
        unlabelled_rows(store)
    nothing = make_store(tmp_path / "n", label=[-1] * 3, subject=[1, 2, 3])
    assert unlabelled_rows(nothing).tolist() == [0, 1, 2]
    assert unlabelled_rows(nothing, "subjects").tolist() == [0, 2]


def test_a_split_that_looks_at_nothing_leaves_out_no_unlabelled_clip(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0, -1] * 8)
    assert unlabelled_rows(store, "random").tolist() == list(range(1, 16, 2))
    train, test = split_rows(store, "random")
    assert test.tolist() == [4, 12], "the draws are those of always"
    assert sorted([*train, *test]) == list(range(0, 16, 2)), "they are in neither part"


def test_a_store_without_labels_is_divided_by_what_it_tells_alone(tmp_path: Path) -> None:
    blind = make_store(tmp_path / "b", label=[-1] * 3)
    assert unlabelled_rows(blind, "xsub").tolist() == [0, 1, 2]
    some = make_store(tmp_path / "s", label=[-1] * 3, subject=[1, 2, -1])
    assert unlabelled_rows(some, "subjects").tolist() == [0], "the third may be the second"
    none = make_store(tmp_path / "n", label=[-1] * 3, subject=[2, 4, -1])
    with pytest.raises(
        SplitError,
        match=r"'subjects' leaves no clip to train on .*\(its subjects: 2, 4; 1 clips do not tell"
        r" it\)\. No clip has a label, so no split is needed: --data\.split null trains on all",
    ):
        unlabelled_rows(none, "subjects")
    with pytest.raises(SplitError, match=r"unknown split 'fold1', for .* --data\.split null"):
        unlabelled_rows(none, "fold1")
    own = make_store(tmp_path / "o", label=[-1] * 2, split=[2, 0])
    with pytest.raises(SplitError, match=r"'own' leaves no clip to train on in store '[^']*'$"):
        unlabelled_rows(own)


def test_people_are_set_aside_where_none_of_their_clips_train(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 6, subject=[1, 1, 2, 2, -1, -1])
    for train, aside, people in (
        ([0, 1], [2, 3], [2]),
        ([0, 2], [1, 3], []),
        ([0, 4], [1, 5], []),
        ([0, 1], [4, 5], []),
        ([0, 1], [], []),
    ):
        found = people_aside(store, np.array(train), np.array(aside, dtype=np.int64))
        assert found.tolist() == people


def test_random_takes_a_quarter_of_each_class(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 8 + [1] * 40 + [2])
    train, test = split_rows(store, "random")
    assert np.bincount(store.clips["label"][test], minlength=3).tolist() == [2, 10, 0]
    assert sorted([*train, *test]) == list(range(49))
    again, other = split_rows(store, "random"), split_rows(store, "random", seed=1)
    assert again[1].tolist() == test.tolist()
    assert other[1].tolist() != test.tolist()


def test_a_stored_split_is_the_default(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 4, subject=[1, 2, 1, 2], split=[1, 0, 2, 1])
    for name in ("", "own"):
        train, test = split_rows(store, name)
        assert (train.tolist(), test.tolist()) == ([0, 3], [2])
    assert working_splits(store)["own"] == (2, 1)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("", "has no split of its own; these work here: view3"),
        ("xsubb", "unknown split 'xsubb'; nearest: 'xsub'; these work here: view3"),
        ("xset", "split 'xset' needs the setup of each clip, which store"),
        ("xview", "these work here: view3"),
    ],
)
def test_errors_name_what_works(split: str, expected: str, tmp_path: Path) -> None:
    cameras = [2, 2, 3, 3] if split == "xview" else [1, 2, 3, 3]
    store = make_store(tmp_path / "s", label=[0] * 4, camera=cameras)
    with pytest.raises(SplitError) as caught:
        split_rows(store, split)
    assert expected in str(caught.value)
    assert "random" in str(caught.value)


def test_the_side_that_is_empty_is_named(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0, 0], camera=[1, 2])
    with pytest.raises(SplitError, match=r"leaves no clip to test on .*\(its cameras: 1, 2\)"):
        split_rows(store, "view3")
    store = make_store(tmp_path / "t", label=[0, 0], camera=[3, 3])
    with pytest.raises(SplitError, match="'view3' leaves no clip to train on"):
        split_rows(store, "view3")
    store = make_store(tmp_path / "u", label=[-1, -1], camera=[1, 3])
    with pytest.raises(SplitError, match=r"no clip of store .* has a label; no split works on it"):
        split_rows(store, "view3")


def test_validation_takes_whole_subjects(tmp_path: Path) -> None:
    subjects = [s for s in range(1, 11) for _ in range(6)]
    store = make_store(tmp_path / "s", label=[0, 1, 2] * 20, subject=subjects)
    train, _ = split_rows(store, "subjects")
    kept, validates = validation_rows(store, train)
    found = store.clips["subject"]
    assert sorted([*kept, *validates]) == train.tolist()
    assert len(set(found[validates])) == 1
    assert not set(found[kept]) & set(found[validates])
    choices = {int(found[validation_rows(store, train, seed=seed)[1]][0]) for seed in range(20)}
    assert len(choices) > 2
    assert len(set(found[validation_rows(store, train, 0.4)[1]])) == 2


def test_validation_does_not_take_the_only_subject_of_a_class(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0, 1, 0, 0, 0, 0], subject=[1, 1, 2, 2, 3, 3])
    for seed in range(10):
        kept, validates = validation_rows(store, np.arange(6), 0.9, seed=seed)
        assert set(store.clips["label"][kept]) == {0, 1}
        assert 1 not in store.clips["subject"][validates]


def test_validation_without_subjects_draws_from_each_class(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0] * 10 + [1] * 10, subject=[1, 2] * 10)
    kept, validates = validation_rows(store, np.arange(20))
    assert np.bincount(store.clips["label"][validates]).tolist() == [2, 2]
    assert sorted([*kept, *validates]) == list(range(20))


def test_validation_needs_something_to_spare(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", label=[0, 1])
    with pytest.raises(SplitError, match="2 training clips are too few"):
        validation_rows(store, np.arange(2))
    for fraction in (0.0, 1.0):
        with pytest.raises(SplitError, match="not between 0 and 1"):
            validation_rows(store, np.arange(2), fraction)


@pytest.mark.parametrize("layout", ["utd20", "sbu15", "ucla20"])
def test_rules_of_ntu_are_not_offered_to_sets_that_number_people_otherwise(
    tmp_path: Path, layout: str
) -> None:
    skeleton = load_layout(layout)
    with create_store(tmp_path / "s", skeleton, ["a class"], source="a test") as writer:
        for subject in range(1, 9):
            joints = np.ones((1, skeleton.joint_count, 3))
            writer.add(Clip(f"clip {subject}", (Track(joints),), 1, label=0, subject=subject))
    store = open_store(tmp_path / "s")
    assert set(working_splits(store)) == {"subjects", "random"}
    with pytest.raises(
        SplitError, match=f"'xsub' was not made for store '.*' of layout '{layout}'"
    ):
        split_rows(store, "xsub")
