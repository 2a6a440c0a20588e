"""Score files come back as written, and clips are paired by name or not at all."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import OutputError, ScoreError
from kinegraph.evaluation.matching import align, with_labels_of
from kinegraph.evaluation.scores import Scores, load_scores, read_order, save_scores
from kinegraph.skeleton import load_layout

CLASSES = ("walk", "<b>sit</b>", "wave")
LOGITS = np.array([[1.0, 0, 2], [0, 3, 1], [2, 1, 0], [0, 0, 5]], dtype=np.float32)
LABELS = np.array([2, 1, 0, -1])
NAMES = np.array(["a", "b", "c", "ü d"])


def table(**changes: Any) -> Scores:
    return replace(Scores(NAMES, LOGITS, LABELS, CLASSES, "test", "bone", source="mine"), **changes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    joints = np.ones((2, 20, 3), dtype=np.float32)
    with create_store(tmp_path / "store", load_layout("ucla20"), CLASSES, source="test") as writer:
        for name, label in zip(["d", "c", "b", "a"], [2, 0, 1, 2], strict=True):
            writer.add(Clip(name, (Track(joints),), 2, label=label))
    return open_store(tmp_path / "store")


def test_round_trip(tmp_path: Path) -> None:
    save_scores(tmp_path / "a" / "test.npz", table())
    found = load_scores(tmp_path / "a" / "test.npz")
    for name in ("names", "logits", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(table(), name))
    assert (found.classes, found.split, found.stream) == (CLASSES, "test", "bone")
    assert found.logits.dtype == np.float32
    assert found.source == str(tmp_path / "a" / "test.npz")
    bare = table(classes=(), split="", stream="")
    save_scores(tmp_path / "bare.npz", bare)
    assert load_scores(tmp_path / "bare.npz").classes == ()


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    save_scores(tmp_path / "a.npz", table())
    with pytest.raises(OutputError, match="--force"):
        save_scores(tmp_path / "a.npz", table(), force=False)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": np.array(["a", "b", "a", "c"])}, "1 clips occur more than once: a"),
        ({"logits": np.where(LOGITS == 5, np.nan, LOGITS)}, "1 clips have NaN or infinity: ü d"),
        ({"labels": np.array([0, 3, -2, 0])}, r"2 clips have a label outside 0\.\.2: b, c"),
        ({"labels": np.array([0, 1])}, "4 rows of scores, but 4 names and 2 labels"),
        ({"classes": ("x", "y")}, "3 columns but name 2 classes"),
        ({"logits": LOGITS[0]}, "expected"),
        ({"logits": LOGITS[:0], "names": NAMES[:0], "labels": LABELS[:0]}, "not empty"),
    ],
)
def test_tables_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        table(**changes)


def test_labelled_leaves_out_unknown_labels() -> None:
    assert table().labelled().names.tolist() == ["a", "b", "c"]
    with pytest.raises(ScoreError, match=r"hold no labels.*--data\.store"):
        table(labels=np.full(4, -1)).labelled()


def test_run_folders(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="run first: kinegraph test"):
        load_scores(tmp_path)
    save_scores(tmp_path / "scores" / "train.npz", table(split="train"))
    assert load_scores(tmp_path).split == "train"
    save_scores(tmp_path / "scores" / "validation.npz", table(split="validation"))
    with pytest.raises(ScoreError, match=r"no scores of split 'test'.*train, validation"):
        load_scores(tmp_path)
    save_scores(tmp_path / "scores" / "test.npz", table())
    assert load_scores(tmp_path).split == "test"
    assert load_scores(tmp_path, split="train").split == "train"
    with pytest.raises(ScoreError, match="nearest: 'train'"):
        load_scores(tmp_path, split="trian")


def archive(path: Path, **changes: Any) -> Path:
    save_scores(path, table())
    with np.load(path) as found:
        arrays = dict(found) | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits": None}, "no score file: it lacks logits"),
        ({"format_version": np.int64(99)}, "format version 99, this kinegraph reads 1"),
        ({"names": np.array(["a", None, "b", "c"], dtype=object)}, "holds Python objects"),
        ({"names": np.arange(4)}, "other types of values"),
        ({"labels": np.array([0.5, 1, 1, 1])}, "other types of values"),
    ],
)
def test_archives_that_are_not_ours(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=message):
        load_scores(archive(tmp_path / "a.npz", **changes))


def test_archives_cut_short(tmp_path: Path) -> None:
    save_scores(tmp_path / "a.npz", table())
    data = (tmp_path / "a.npz").read_bytes()
    for end in range(4, len(data) - 1, 97):
        (tmp_path / "cut.npz").write_bytes(data[:end])
        with pytest.raises(ScoreError, match=r"cut\.npz"):
            load_scores(tmp_path / "cut.npz")


def test_archives_that_declare_more_than_they_hold(tmp_path: Path) -> None:
    header = io.BytesIO()
    npy.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("logits.npy", header.getvalue() + b"1234")
    with pytest.raises(ScoreError, match="declares 40,000,000,000,000 bytes of data, 4 are there"):
        load_scores(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'shape': (1,",  # tokenize.TokenError
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",  # SyntaxError
        b"{[]: 1}",  # TypeError
        b"(" * 9000,  # RecursionError or MemoryError
    ],
)
def test_damaged_headers(header: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        magic = npy.magic(1, 0) + len(header).to_bytes(2, "little")
        file.writestr("names.npy", magic + header)
    with pytest.raises(ScoreError, match=r"a\.npz'.*names\.npy' is not a readable"):
        load_scores(tmp_path / "a.npz")


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_scores(tmp_path / "a.npz", table())
    monkeypatch.setattr("kinegraph.evaluation.scores.MAX_ARCHIVE_BYTES", 500)
    with pytest.raises(ScoreError, match="unpack to more than 500 bytes"):
        load_scores(tmp_path / "a.npz")


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="cannot be read"):
        load_scores(tmp_path / "missing.npz")
    (tmp_path / "last.safetensors").write_bytes(b"12345678{}")
    with pytest.raises(ScoreError, match="is a checkpoint, which holds no scores"):
        load_scores(tmp_path / "last.safetensors")
    (tmp_path / "empty.pkl").write_bytes(b"")
    with pytest.raises(ScoreError, match="not a whole pickle"):
        load_scores(tmp_path / "empty.pkl")


def pickled(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


ROWS = list(LOGITS)
FORMS = {
    "dict by name": dict(zip(NAMES.tolist(), ROWS, strict=True)),
    "dict of lists": dict(zip(NAMES.tolist(), LOGITS.tolist(), strict=True)),
    "dict with an axis more": dict(zip(NAMES.tolist(), LOGITS[:, None], strict=True)),
    "names and logits": (NAMES.tolist(), LOGITS),
    "names, logits and labels": [NAMES, ROWS, [2, 1, 0, -1]],
    "columns": {"names": NAMES.tolist(), "logits": LOGITS, "labels": LABELS},
    "dicts": [
        {"frame_dir": name, "pred_score": row, "gt_label": np.array([label])}
        for name, row, label in zip(NAMES.tolist(), ROWS, LABELS, strict=True)
    ],
    "nested dicts": [
        {"frame_dir": name, "pred_scores": {"item": row}}
        for name, row in zip(NAMES.tolist(), ROWS, strict=True)
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_named_pickles(form: str, tmp_path: Path) -> None:
    found = load_scores(pickled(tmp_path / "a.pkl", FORMS[form]))
    np.testing.assert_array_equal(found.names, NAMES)
    np.testing.assert_array_equal(found.logits, LOGITS)
    knows = form in ("names, logits and labels", "columns", "dicts")
    assert found.labels.tolist() == (LABELS.tolist() if knows else [-1] * 4)
    assert not found.is_positional


@pytest.mark.parametrize(
    "content",
    [
        dict(zip([np.int64(i) for i in range(4)], ROWS, strict=True)),
        {f"test_{i}": row for i, row in enumerate(ROWS)},
        ROWS,
        LOGITS,
        [{"pred_score": row, "gt_label": 0} for row in ROWS],
    ],
    ids=["integers", "test_i", "rows", "array", "dicts"],
)
def test_an_order_file_names_numbered_clips(content: Any, tmp_path: Path) -> None:
    path = pickled(tmp_path / "a.pkl", content)
    found = load_scores(path, order=["w", "x", "y", "z"])
    assert found.names.tolist() == ["w", "x", "y", "z"]
    for order in (["w", "x", "y"], ["w", "x", "y", "z", "zz"]):
        with pytest.raises(ScoreError, match=f"the order file names {len(order)} clips"):
            load_scores(path, order=order)


def test_keys_are_indices_whatever_their_place(tmp_path: Path) -> None:
    content = {3: ROWS[3], 0: ROWS[0], 2: ROWS[2], 1: ROWS[1]}
    found = load_scores(pickled(tmp_path / "a.pkl", content), order=["w", "x", "y", "z"])
    assert found.names.tolist() == ["z", "w", "y", "x"]
    np.testing.assert_array_equal(found.logits[0], LOGITS[3])
    assert load_scores(tmp_path / "a.pkl").names.tolist() == ["#3", "#0", "#2", "#1"]


def test_named_clips_must_be_those_of_the_order_file(tmp_path: Path) -> None:
    path = pickled(tmp_path / "a.pkl", FORMS["dict by name"])
    assert load_scores(path, order=NAMES.tolist()).names.tolist() == NAMES.tolist()
    with pytest.raises(ScoreError, match="'ü d' is neither an index nor among"):
        load_scores(path, order=["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no clips"),
        ([], "no clips"),
        ("text", "holds a str, no score file"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, r"rows of \[3, 4\] scores"),
        ({"a": np.array(["x"])}, "expected"),
        ({"a": ["x", "y"]}, "not numbers"),
        ({"a": np.zeros((2, 3))}, r"shape \(2, 3\)"),
        ({"a": 1.0}, "expected"),
        ((["a"], np.zeros((2, 3))), "names 1 clips but has scores of 2"),
        ({1.5: np.zeros(3)}, "called by a float"),
        ({-1: np.zeros(3)}, "called by a int"),
        ([{"a": 1}], "none of the keys logits"),
        ([{"score": np.zeros(3), "label": 0.5}], "one whole number as label"),
        ([{"score": np.zeros(3), "label": np.zeros(2, int)}], "one whole number as label"),
    ],
)
def test_other_forms_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=message):
        load_scores(pickled(tmp_path / "a.pkl", content))


def test_order_files(tmp_path: Path) -> None:
    file = tmp_path / "order.txt"
    file.write_text("a \r\nb\n", encoding="utf-8")
    assert read_order(file) == ("a", "b")
    for text, message in (("a\n\nb", "empty line"), ("a\nb\na\n", "twice: a"), ("", "empty line")):
        file.write_text(text)
        with pytest.raises(ScoreError, match=message):
            read_order(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ScoreError, match="not text"):
        read_order(file)
    with pytest.raises(ScoreError, match="No such file"):
        read_order(tmp_path / "missing.txt")


def test_labels_come_from_a_store_by_name(store: Store) -> None:
    bare = Scores(np.array(["b", "d", "c"]), LOGITS[:3], np.full(3, -1), source="mine")
    found = with_labels_of(bare, store)
    assert found.labels.tolist() == [1, 2, 0]
    assert found.classes == CLASSES
    with pytest.raises(ScoreError, match=r"1 of 4 clips are not in store .*: ü d"):
        with_labels_of(table(), store)
    with pytest.raises(ScoreError, match=r"number their clips.*--order FILE"):
        with_labels_of(replace(bare, names=np.array(["#0", "#1", "#2"])), store)
    with pytest.raises(ScoreError, match=r"1 labels contradict store .*: d"):
        with_labels_of(replace(bare, labels=np.array([1, 0, -1])), store)
    with pytest.raises(ScoreError, match="in another order: class 0 is 'wave' here and 'walk'"):
        with_labels_of(replace(bare, classes=("wave", "walk", "<b>sit</b>")), store)
    with pytest.raises(ScoreError, match=r"score 2 classes, but store .* 3"):
        with_labels_of(replace(bare, logits=LOGITS[:3, :2]), store)


def test_clips_are_paired_by_name() -> None:
    other = table(labels=np.array([-1, 1, -1, 2]), classes=(), source="other")
    first, second = align([table(), other.select(np.array([3, 1, 0, 2]))])
    np.testing.assert_array_equal(second.names, NAMES)
    np.testing.assert_array_equal(second.logits, LOGITS)
    assert first.labels.tolist() == second.labels.tolist() == [2, 1, 0, 2]
    assert second.classes == CLASSES


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (table().select(np.array([0, 1])), r"2 missing \(c, ü d\)$"),
        (table(names=np.array(["a", "b", "c", "e"])), r"1 missing \(ü d\) and 1 extra \(e\)$"),
        (table(labels=np.array([2, 0, 1, -1])), "2 clips other labels: b, c$"),
        (table(classes=("walk", "wave", "<b>sit</b>")), "in another order: class 1 is"),
        (table(classes=("walk", "run", "wave")), "other ones: class 1 is '<b>sit</b>' here"),
        (table(logits=LOGITS[:, :2], labels=LABELS * 0, classes=()), "score 3 classes, but"),
        (table(names=np.array(["#0", "#1", "#2", "#3"])), "number their clips"),
    ],
)
def test_tables_that_do_not_belong_together(other: Scores, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        align([table(), other])


def test_numbered_clips_whose_labels_disagree() -> None:
    numbers = np.array(["#0", "#1", "#2", "#3"])
    swapped = table(names=numbers, labels=np.array([1, 2, 0, -1]))
    with pytest.raises(ScoreError, match="may list them in other orders"):
        align([table(names=numbers), swapped])
