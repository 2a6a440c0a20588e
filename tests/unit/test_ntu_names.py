"""Splits of NTU RGB+D and the order of the originals' rows, on the names of its recordings alone.

Which performers a setup had is not published with the data sets, only how many recordings there
are: every pair of setup and performer has three cameras, two replications and 60 actions. So pairs
are made up, as many as the published numbers of recordings ask for on each side of a split and all
those that the list of missing recordings names. How many of a split's recordings are missing then
follows from the list and from the rule.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.formats.ntu import NTU_120, missing_recordings
from kinegraph.data.formats.processed import NTU_NAME, numbers_of
from kinegraph.data.row_order import original_rows
from kinegraph.data.splits import NTU_TRAINING_SUBJECTS, split_rows
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import clip_fields
from kinegraph.errors import ScoreError
from kinegraph.evaluation.orders import ORDERS, protocol_order
from kinegraph.evaluation.scores import load_scores

Pair = tuple[int, int]  # setup and performer

OF_A_PAIR = 3 * 2 * 60  # recordings of one performer in one setup
RECORDED_60 = {"xsub": (40_320, 16_560), "xview": (37_920, 18_960)}
RECORDED_120 = {"xsub": (63_360, 51_120), "xset": (54_720, 59_760)}
SIZES_60 = {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)}
SIZES_120 = {"xsub": (63_026, 50_919), "xset": (54_468, 59_477)}


def listed_pairs() -> set[Pair]:
    found = (NTU_NAME.fullmatch(name) for name in missing_recordings())
    return {(int(match[1]), int(match[3])) for match in found if match}


def add_pairs(pairs: set[Pair], candidates: Iterator[Pair], *sides: dict[bool, int]) -> None:
    """Add pairs until both sides of every division have as many as wanted.

    ``sides`` are the wanted numbers for performers who train or test, and for even or odd setups.
    """
    tests = (lambda pair: pair[1] in NTU_TRAINING_SUBJECTS, lambda pair: pair[0] % 2 == 0)
    left = [
        {side: wanted[side] - sum(test(pair) == side for pair in pairs) for side in wanted}
        for wanted, test in zip(sides, tests, strict=False)
    ]
    for pair in candidates:
        on = [test(pair) for test in tests[: len(left)]]
        if pair not in pairs and all(each[side] > 0 for each, side in zip(left, on, strict=True)):
            pairs.add(pair)
            for each, side in zip(left, on, strict=True):
                each[side] -= 1
    assert not any(any(each.values()) for each in left)


def wanted(recorded: tuple[int, int]) -> dict[bool, int]:
    assert all(count % OF_A_PAIR == 0 for count in recorded)
    return {True: recorded[0] // OF_A_PAIR, False: recorded[1] // OF_A_PAIR}


def all_names(pairs: set[Pair]) -> list[str]:
    return sorted(
        f"S{setup:03}C{camera:03}P{performer:03}R{replication:03}A{action + 60 * (setup > 17):03}"
        for setup, performer in pairs
        for camera, replication, action in product((1, 2, 3), (1, 2), range(1, 61))
    )


@pytest.fixture(scope="module")
def names_120() -> list[str]:
    """Return all names of a made-up NTU RGB+D 120 of the published size, the missing ones too."""
    pairs = {pair for pair in listed_pairs() if pair[0] <= 17}
    add_pairs(pairs, product(range(1, 18), range(1, 41)), wanted(RECORDED_60["xsub"]))  # type: ignore[arg-type]
    pairs |= listed_pairs()
    add_pairs(
        pairs,
        product(range(18, 33), range(1, 107)),  # type: ignore[arg-type]
        wanted(RECORDED_120["xsub"]),
        wanted(RECORDED_120["xset"]),
    )
    names = all_names(pairs)
    assert len(names) == 114_480
    assert all(map(NTU_120.has, names))
    assert missing_recordings() <= set(names)
    return names


@pytest.fixture
def store_of(make_store: Callable[..., Path]) -> Callable[[list[str]], Store]:
    """Return a function that opens a store which has nothing of its clips but the names."""

    path = make_store(layout="ntu25")

    def store(names: list[str]) -> Store:
        opened = open_store(path)
        clips = np.zeros(len(names), dtype=clip_fields(20))
        clips["name"] = names
        numbers = np.array([numbers_of(name) for name in names])
        for column, field in enumerate(("setup", "camera", "subject", "replication")):
            clips[field] = numbers[:, column]
        clips["label"] = [int(name[-3:]) - 1 for name in names]
        opened.clips = clips
        return opened

    return store


def used(names: list[str], setups: int) -> list[str]:
    missing = missing_recordings()
    return [name for name in names if int(name[1:4]) <= setups and name not in missing]


def test_the_performers_who_train() -> None:
    """Sizes alone do not tell which: another performer of the same setups would do as well."""
    published = (
        "1 2 4 5 8 9 13-19 25 27 28 31 34 35 38 45-47 49 50 52-59 70 74 78 80-86 89 91-95 97 98"
        " 100 103"
    )
    ends = [[int(number) for number in part.split("-")] for part in published.split()]
    expected = [number for part in ends for number in range(part[0], part[-1] + 1)]
    assert list(NTU_TRAINING_SUBJECTS) == expected
    assert (len(expected), sum(number <= 40 for number in expected)) == (53, 20)


@pytest.mark.parametrize(("split", "sizes"), SIZES_60.items(), ids=SIZES_60)
def test_sizes_of_ntu_60(
    split: str,
    sizes: tuple[int, int],
    names_120: list[str],
    store_of: Callable[[list[str]], Store],
) -> None:
    names = used(names_120, 17)
    assert len(names) == 56_578
    train, test = split_rows(store_of(names), split)
    assert (len(train), len(test)) == sizes


@pytest.mark.parametrize(("split", "sizes"), SIZES_120.items(), ids=SIZES_120)
def test_sizes_of_ntu_120(
    split: str,
    sizes: tuple[int, int],
    names_120: list[str],
    store_of: Callable[[list[str]], Store],
) -> None:
    names = used(names_120, 32)
    assert len(names) == 113_945
    train, test = split_rows(store_of(names), split)
    assert (len(train), len(test)) == sizes


def test_rows_stand_subject_by_subject(store_of: Callable[[list[str]], Store]) -> None:
    """And camera by camera, setup by setup; inside one of them in the order of the names."""
    names = [
        "S001C001P003R001A002", "S001C002P001R001A001", "S001C003P003R001A001",
        "S002C001P001R002A005", "S003C001P003R001A001", "S004C003P002R001A001",
    ]  # fmt: skip
    store = store_of(names)

    def order(split: str) -> list[list[int]]:
        return [rows.tolist() for rows in original_rows(store, split)]

    assert order("xsub") == [[1, 3, 5], [0, 2, 4]]
    assert order("xview") == [[1, 2, 5], [0, 3, 4]]
    assert order("xset") == [[3, 5], [0, 1, 2, 4]]
    mixed = store_of(names[::-1])  # whatever order a store has
    for split in ("xsub", "xview", "xset"):
        for ours, theirs in zip(original_rows(mixed, split), order(split), strict=True):
            assert [names[::-1][row] for row in ours] == [names[row] for row in theirs]


def test_an_order_of_60_in_a_store_of_120(
    names_120: list[str], store_of: Callable[[list[str]], Store]
) -> None:
    whole, part = store_of(used(names_120, 32)), store_of(used(names_120, 17))
    for name, sizes in (("ntu60-xsub", SIZES_60["xsub"]), ("ntu60-xview", SIZES_60["xview"])):
        test, train = protocol_order(name, whole), protocol_order(f"{name}-train", whole)
        assert (len(train), len(test)) == sizes
        assert test == protocol_order(name, part)
        assert train == protocol_order(f"{name}-train", part)
    assert len(protocol_order("ntu120-xset", whole)) == SIZES_120["xset"][1]
    new = store_of([name for name in names_120 if int(name[1:4]) > 17][::7])
    with pytest.raises(ScoreError, match=r"--order ntu60-xview: .* no clip of NTU RGB\+D 60"):
        protocol_order("ntu60-xview", new)


@pytest.mark.parametrize("order", ["ntu60-xsub", "ntu60-xsub-train"])
def test_score_files_of_the_originals(
    order: str, tmp_path: Path, make_ntu: Callable[[], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """``test_i`` is the i-th clip subject by subject; a store then gives the labels."""
    store = open_store(make_ntu())
    expected = protocol_order(order, store)
    assert len(expected) == 4
    part = "train" if order.endswith("-train") else "test"
    label_of = dict(zip(store.clips["name"].tolist(), store.clips["label"].tolist(), strict=True))
    scores = {
        f"{part}_{row}": np.eye(60, dtype=np.float32)[label_of[name]]
        for row, name in enumerate(expected)
    }
    (tmp_path / "joint.pkl").write_bytes(pickle.dumps(scores))
    words = ["ensemble", str(tmp_path / "joint.pkl"), "--order", order]
    out = str(tmp_path / "sum.npz")
    assert main([*words, "--data.store", str(store.path), "--out", out]) == 0
    summed = load_scores(out)
    assert summed.names.tolist() == list(expected)
    assert summed.names.tolist() != sorted(summed.names.tolist())  # which a store would give
    assert np.array_equal(summed.logits.argmax(1), summed.labels)
    capsys.readouterr()
    assert main(words) == 2
    assert f"--order {order} finds the names of the clips in a store" in capsys.readouterr().err


def test_orders_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "joint.pkl").write_bytes(pickle.dumps({"test_0": np.zeros(60, np.float32)}))
    assert main(["ensemble", str(tmp_path / "joint.pkl"), "--order", "ntu60-xsbu"]) == 2
    complaint = capsys.readouterr().err
    assert "order file 'ntu60-xsbu'" in complaint
    assert "nearest: 'ntu60-xsub'" in complaint
    assert all(order in complaint for order in ORDERS)


@pytest.fixture
def make_ntu(tmp_path: Path) -> Callable[[], Path]:
    """Return a function that makes a store of eight clips named as NTU names them."""
    from kinegraph.data.clip import Clip, Track
    from kinegraph.data.store_writer import create_store
    from kinegraph.skeleton import load_layout

    def make() -> Path:
        joints = np.ones((1, 25, 3), dtype=np.float32)
        with create_store(
            tmp_path / "ntu", load_layout("ntu25"), [f"class {i}" for i in range(60)], source="made"
        ) as writer:
            for setup, subject, action in product((1, 2), (7, 3, 1, 2), (1,)):
                name = f"S{setup:03}C001P{subject:03}R001A{action + subject + setup:03}"
                writer.add(
                    Clip(name, (Track(joints),), 1, label=int(name[-3:]) - 1,
                         **numbers_of(name)._asdict())
                )  # fmt: skip
        return tmp_path / "ntu"

    return make
