"""What is exported comes back the same, and the files are those of the original programs."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinegraph.data.clip import UNKNOWN, Clip, Track
from kinegraph.data.export import EXPORTS, ExportOptions, export_store
from kinegraph.data.export.frame50 import fifty_frames, stretch, turn_about_y
from kinegraph.data.export.pickle_stream import write_dict_with_list
from kinegraph.data.formats import FORMATS
from kinegraph.data.importing import import_data
from kinegraph.data.row_order import original_rows
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.errors import ClipError, KinegraphError, OutputError
from kinegraph.pickles import read_pickle
from kinegraph.skeleton import load_layout

from .files import (
    LABELS,
    NAMES,
    annotation,
    clips,
    flat_annotation,
    padded,
    write_npz,
    write_pickle,
    write_pyskl,
    write_stgcn,
)

NUMBERS = ("label", "subject", "camera", "setup", "replication", "frames")


def write_store(
    path: Path, content: list[Clip], layout: str = "ntu25", classes: int = 60, split: str = ""
) -> Store:
    names = [f"class {label}" for label in range(classes)]
    with create_store(path, load_layout(layout), names, source="a test") as writer:
        for clip in content:
            writer.add(clip)
        writer.default_split = split
    return open_store(path)


def imported(name: str, source: Path, out: Path) -> Store:
    return open_store(import_data(name, source, out).store)


def same_stores(found: Store, expected: Store, *, splits: bool = True) -> None:
    """Compare what two stores hold, clip by clip in the order of names."""
    assert found.skeleton == expected.skeleton
    assert found.class_names == expected.class_names
    assert sorted(found.clips["name"]) == sorted(expected.clips["name"])
    rows = [found.find(str(name)) for name in expected.clips["name"]]
    for number, row in enumerate(rows):
        one, two = found.clip(row), expected.clip(number)
        assert [getattr(one, key) for key in NUMBERS] == [getattr(two, key) for key in NUMBERS]
        np.testing.assert_equal(dict(one.extras), dict(two.extras))
        assert len(one.tracks) == len(two.tracks)
        for left, right in zip(one.tracks, two.tracks, strict=True):
            assert (left.person, left.first) == (right.person, right.first)
            np.testing.assert_array_equal(left.joints, right.joints)
    if splits:
        assert found.default_split == expected.default_split
        assert found.stored_splits.keys() == expected.stored_splits.keys()
        for name, part in expected.stored_splits.items():
            np.testing.assert_array_equal(found.stored_splits[name][rows], part)


def test_every_form_can_be_read_again() -> None:
    assert set(EXPORTS) <= set(FORMATS)


@pytest.mark.parametrize("classes", [60, 120])
def test_an_npz_of_the_originals_comes_out_the_same(classes: int, tmp_path: Path) -> None:
    file, again = tmp_path / "NTU_CS.npz", tmp_path / "again_CS.npz"
    names: dict[str, Any] = {"name_train": np.array(NAMES[:3]), "name_test": np.array(NAMES[3:])}
    arrays = write_npz(file, classes=classes, **names)
    if classes == 120:
        arrays["x_train"][0, :, 75:] = 0  # two bodies that became one person
        write_npz(file, classes=classes, **{**names, "x_train": arrays["x_train"]})
    store = imported("ctrgcn-npz", file, tmp_path / "store")
    parts = export_store(store, "ctrgcn-npz", again, ExportOptions(frames=8))
    assert parts == {"train": 3, "test": 1}
    with np.load(again) as found:
        for key, array in arrays.items():
            np.testing.assert_array_equal(found[key], array)
            assert found[key].dtype == array.dtype
    same_stores(imported("ctrgcn-npz", again, tmp_path / "twice"), store)


def test_equal_stores_give_equal_bytes_and_t_is_the_longest_clip(tmp_path: Path) -> None:
    write_stgcn(tmp_path / "xsub")
    store = imported("stgcn-npy", tmp_path / "xsub", tmp_path / "store")
    for name in ("a.npz", "b.npz"):
        export_store(store, "ctrgcn-npz", tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as found:
        assert found["x_train"].shape == (3, 6, 150)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_single_people_are_copied_only_where_it_is_asked_for(tmp_path: Path) -> None:
    write_stgcn(tmp_path / "xsub")
    store = imported("stgcn-npy", tmp_path / "xsub", tmp_path / "store")
    for second in ("copy", "zeros"):
        out = tmp_path / f"{second}.npz"
        export_store(store, "ctrgcn-npz", out, ExportOptions(second_person=second))
        with np.load(out) as found:
            first, other = np.split(found["x_train"][0], 2, axis=-1)
            np.testing.assert_array_equal(other, first if second == "copy" else 0 * first)
            two, there = np.split(found["x_train"][1], 2, axis=-1)
            assert there.any()
            assert not np.array_equal(two, there)


def test_rows_stand_as_in_the_originals(tmp_path: Path) -> None:
    codes = ["S003C002P008R001A001", "S001C003P002R001A001", "S002C002P001R001A001",
             "S001C002P001R002A001", "S002C001P003R001A001", "S004C001P003R001A001"]  # fmt: skip
    content = []
    for code in codes:
        setup, camera, subject = int(code[1:4]), int(code[5:8]), int(code[9:12])
        track = Track(np.ones((2, 25, 3), np.float32))
        content.append(
            Clip(code, (track,), 2, label=0, subject=subject, camera=camera, setup=setup)
        )
    store = write_store(tmp_path / "store", content)
    assert [rows.tolist() for rows in original_rows(store, "xsub")] == [[3, 2, 1, 0], [4, 5]]
    assert [rows.tolist() for rows in original_rows(store, "xview")] == [[3, 2, 0, 1], [4, 5]]
    assert [rows.tolist() for rows in original_rows(store, "xset")] == [[4, 2, 5], [3, 1, 0]]
    assert [rows.tolist() for rows in original_rows(store, "subjects")] == [[2, 3, 4, 5], [0, 1]]


def test_rows_without_known_subjects_stand_as_in_their_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(12, 3, 150))
    np.savez(tmp_path / "NTU60_CS.npz", x_train=rows, y_train=np.zeros(12, int),
             x_test=rows[:2], y_test=np.zeros(2, int))  # fmt: skip
    store = imported("ctrgcn-npz", tmp_path / "NTU60_CS.npz", tmp_path / "store")
    train, test = original_rows(store)
    assert (train.tolist(), test.tolist()) == (list(range(12)), [12, 13])


def test_the_files_of_stgcn_come_out_the_same(tmp_path: Path) -> None:
    source, out = tmp_path / "xview", tmp_path / "again" / "xview"
    write_stgcn(source, frames=300)
    store = imported("stgcn-npy", source, tmp_path / "store")
    export_store(store, "stgcn-npy", out)
    assert sorted(file.name for file in out.iterdir()) == sorted(EXPORTS["stgcn-npy"].files)
    for file in source.iterdir():
        if file.suffix == ".npy":
            np.testing.assert_array_equal(np.load(out / file.name), np.load(file))
        else:
            assert pickle.loads((out / file.name).read_bytes()) == read_pickle(file)
    same_stores(imported("stgcn-npy", out, tmp_path / "twice"), store)


def test_openpose_names_end_as_those_of_kinetics(tmp_path: Path) -> None:
    track = Track(np.full((3, 18, 3), 0.25, np.float32))
    content = [Clip(name, (track,), 3, label=0, subject=i) for i, name in enumerate("ab", 1)]
    store = write_store(tmp_path / "store", content, "openpose18", 2, "subjects")
    export_store(store, "stgcn-npy", tmp_path / "out", ExportOptions(frames=3, people=1))
    assert read_pickle(tmp_path / "out" / "train_label.pkl") == (["a.json"], [0])
    assert np.load(tmp_path / "out" / "val_data.npy").shape == (1, 3, 3, 18, 1)


def test_places_for_bodies_that_became_one_person_come_back(tmp_path: Path) -> None:
    entry = annotation(1)
    entry["keypoint"][1] = 0
    source, out = write_pyskl(tmp_path / "a.pkl", annotations=[entry]), tmp_path / "b.pkl"
    store = imported("pyskl", source, tmp_path / "store")
    assert store.clip(0).extras["bodies"] == 2
    assert len(store.clip(0).tracks) == 1
    export_store(store, "pyskl", out)
    found = pickle.loads(out.read_bytes())["annotations"][0]["keypoint"]
    np.testing.assert_array_equal(found, entry["keypoint"])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_annotations_in_3d_come_back(tmp_path: Path, dtype: str) -> None:
    source, out = write_pyskl(tmp_path / "a.pkl"), tmp_path / "again.pkl"
    store = imported("pyskl", source, tmp_path / "store")
    parts = export_store(store, "pyskl", out, ExportOptions(dtype=dtype))
    assert parts == {
        "annotations": 4, "xsub_train": 3, "xsub_val": 1, "xview_train": 2, "xview_val": 2
    }  # fmt: skip
    same_stores(imported("pyskl", out, tmp_path / "twice"), store)
    before, after = (pickle.loads(file.read_bytes()) for file in (source, out))
    assert after["split"] == before["split"]
    for one, two in zip(before["annotations"], after["annotations"], strict=True):
        assert two["keypoint"].dtype == dtype
        np.testing.assert_array_equal(two.pop("keypoint"), one.pop("keypoint"))
        assert two == one


def test_annotations_in_2d_come_back(tmp_path: Path) -> None:
    entries = [flat_annotation(number) for number in range(3)]
    entries[2]["keypoint"][1, 3:], entries[2]["keypoint_score"][1, 3:] = 0, 0
    splits = {"train2": ["v_Archery_g00"], "test2": ["v_Archery_g01", "v_Archery_g02"],
              "train": ["v_Archery_g02"], "val": ["v_Archery_g00"]}  # fmt: skip
    source = write_pickle(tmp_path / "a.pkl", {"split": splits, "annotations": entries})
    store = imported("pyskl", source, tmp_path / "store")
    out = tmp_path / "again.pkl"
    export_store(store, "pyskl", out)
    same_stores(imported("pyskl", out, tmp_path / "twice"), store)
    again = pickle.loads(out.read_bytes())
    assert again["split"] == splits
    for one, two in zip(entries, again["annotations"], strict=True):
        np.testing.assert_array_equal(two["keypoint"], one["keypoint"])
        np.testing.assert_array_equal(two["keypoint_score"], one["keypoint_score"])
        assert two["img_shape"] == one["img_shape"]
        assert two["original_shape"] == one["original_shape"]


@st.composite
def made_clips(draw: st.DrawFn) -> list[Clip]:
    """Return up to four clips of up to three people who come and go."""
    made = []
    for number in range(draw(st.integers(1, 4))):
        frames = draw(st.integers(1, 6))
        tracks = []
        for person in draw(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)):
            first = draw(st.integers(0, frames - 1))
            length = draw(st.integers(1, frames - first))
            random = np.random.default_rng([number, person])
            joints = random.uniform(0.1, 400, (length, 17, 3)).astype(np.float16)
            tracks.append(Track(joints, first, person))
        tracks.sort(key=lambda track: track.person)
        extras = draw(st.sampled_from([{}, {"height": 240.0, "width": 320.0}]))
        made.append(Clip(f"clip {number}", tuple(tracks), frames, number % 2, extras=extras))
    return made


@settings(max_examples=20)
@given(content=made_clips())
def test_any_clips_come_back_from_annotations(
    content: list[Clip], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pyskl")
    store = write_store(folder / "store", content, "coco17", 2)
    export_store(store, "pyskl", folder / "a.pkl")
    same_stores(imported("pyskl", folder / "a.pkl", folder / "again"), store)


def test_a_long_pickle_is_written_piece_by_piece(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    for count in (0, 1, 63, 64, 65, 200):
        items = [{"name": f"n{i}", "x": np.full(2, i, np.float16)} for i in range(count)]
        with file.open("wb") as opened:
            assert write_dict_with_list(opened, {"a": [1, "b"]}, "items", iter(items)) == count
        for found in (pickle.loads(file.read_bytes()), read_pickle(file)):
            assert list(found) == ["a", "items"]
            assert found["a"] == [1, "b"]
            np.testing.assert_equal(found["items"], items)
    appends = [code.name for code, _, _ in pickletools.genops(file.read_bytes())].count("APPENDS")
    assert appends == 1 + -(-200 // 64), "a reader never has all items on its stack"
    assert b"numpy._core" not in file.read_bytes(), "NumPy before version 2 has no such module"


# The 50 frames of AimCLR


def test_fifty_frames_face_one_way(rng: np.random.Generator) -> None:
    people = np.zeros((2, 30, 25, 3), np.float32)
    people[:, :20] = rng.normal(size=(2, 20, 25, 3))
    people[1] = 0
    position, motion = fifty_frames(people)
    assert position.shape == motion.shape == (3, 50, 25, 2)
    assert position.dtype == motion.dtype == np.float32
    assert not position[:, :, 20].any(), "positions are relative to the spine"
    assert not position[..., 1].any()
    assert not motion[..., 1].any()
    line = position[:, :, 8, 0] - position[:, :, 4, 0]
    lengths = np.hypot(line[0], line[2])
    assert np.isfinite(position).all()
    turned = turn_about_y(people[:1, :20])
    np.testing.assert_allclose(
        np.hypot(turned[..., 0], turned[..., 2]),
        np.hypot(people[:1, :20, :, 0], people[:1, :20, :, 2]),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(turned[..., 1], people[:1, :20, :, 1])
    assert lengths.min() > 0


def test_a_clip_of_fifty_frames_is_not_stretched(rng: np.random.Generator) -> None:
    people = rng.normal(size=(1, 50, 25, 3)).astype(np.float32)
    np.testing.assert_array_equal(stretch(people, 50), people)
    half = stretch(people, 25)
    np.testing.assert_allclose(half, (people[:, ::2] + people[:, 1::2]) / 2, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(stretch(people[:, :1], 3), people[:, [0, 0, 0]])


def test_nobody_cannot_be_stretched() -> None:
    with pytest.raises(ClipError, match="in no frame"):
        fifty_frames(np.zeros((2, 9, 25, 3)))


def test_a_folder_of_aimclr(tmp_path: Path) -> None:
    write_stgcn(tmp_path / "xsub")
    store = imported("stgcn-npy", tmp_path / "xsub", tmp_path / "store")
    out = tmp_path / "aimclr" / "xsub"
    assert export_store(store, "aimclr-npy", out) == {"train": 3, "val": 1}
    position, motion = (np.load(out / f"train_{kind}.npy") for kind in ("position", "motion"))
    for row in range(3):
        expected = fifty_frames(padded(clips()[row], 300))
        np.testing.assert_array_equal(position[row], expected[0])
        np.testing.assert_array_equal(motion[row], expected[1])
    assert np.load(out / "train_label.npy").tolist() == [[0], [50], [9]]
    assert np.load(out / "val_label.npy").tolist() == [[0]], "each part begins at 0, as there"
    assert read_pickle(out / "val_label.pkl") == ([f"{NAMES[3]}.skeleton"], [LABELS[3]])
    again = imported("aimclr-npy", out, tmp_path / "again")
    assert again.clips["name"].tolist() == list(NAMES)
    assert again.clips["frames"].tolist() == [50] * 4


def test_a_long_clip_loses_both_ends_before_it_is_stretched(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    people = rng.normal(size=(1, 317, 25, 3)).astype(np.float32)
    content = [Clip(str(i), (Track(people[0]),), 317, label=0, subject=i) for i in (1, 2)]
    store = write_store(tmp_path / "store", content, "ntu25", 1, "subjects")
    out = tmp_path / "out"
    export_store(store, "aimclr-npy", out)
    position, motion = (np.load(out / f"val_{kind}.npy") for kind in ("position", "motion"))
    expected = fifty_frames(np.concatenate((people[:, 8:308], 0 * people[:, 8:308])))
    np.testing.assert_array_equal(position[0], expected[0])
    np.testing.assert_array_equal(motion[0], expected[1])


# What cannot be written


def small_store(folder: Path, **changes: Any) -> Store:
    person = Track(np.full((4, 25, 3), 0.5, np.float32))
    clip = Clip("one", (person, replace(person, person=2)), 4, label=0, subject=1)
    clip = replace(clip, **changes)
    return write_store(folder / "store", [clip, replace(clip, name="two", subject=2)],
                       classes=2, split="subjects")  # fmt: skip


CASES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "no such form": ("ctrgcn", "a.npz", {}, "nearest: 'ctrgcn-npz'"),
    "unknown option": ("pyskl", "a.pkl", {"frames": 3}, "--frames means nothing to 'pyskl'"),
    "no such split": ("pyskl", "a.pkl", {"split": "xsup"}, "unknown split 'xsup'; nearest: 'xsub'"),
    "third person": ("stgcn-npy", "a", {}, "'one' has a person in place 3, .* give --people 3"),
    "people": ("ctrgcn-npz", "a.npz", {"people": 1}, "places for 1: give --people 3"),
    "too long": ("stgcn-npy", "a", {"frames": 3, "people": 3}, "has 4 frames, .* --frames 4"),
    "too long a row": ("ctrgcn-npz", "a.npz", {"frames": 2, "people": 3}, "'ctrgcn-npz' pads to 2"),
    "third person in a row": ("ctrgcn-npz", "a.npz", {}, "places for 2: give --people 3"),
    "suffix": ("ctrgcn-npz", "a.pkl", {}, "must end in .npz"),
    "pickle suffix": ("pyskl", "a.npz", {}, "must end in .pkl"),
    "second": ("ctrgcn-npz", "a.npz", {"second_person": "x"}, "expected copy or zeros"),
    "dtype": ("pyskl", "a.pkl", {"dtype": "int8"}, "expected float16 or float32"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    form, name, options, match = CASES[case]
    store = small_store(tmp_path)
    with pytest.raises(KinegraphError, match=match):
        export_store(store, form, tmp_path / name, ExportOptions(**options))
    assert [file.name for file in tmp_path.iterdir()] == ["store"]


def test_what_does_not_fit_a_form_is_refused(tmp_path: Path) -> None:
    far = Track(np.full((4, 25, 3), 1e5, np.float32))
    store = small_store(tmp_path, tracks=(far,))
    with pytest.raises(OutputError, match="too large for float16: give --dtype float32"):
        export_store(store, "pyskl", tmp_path / "a.pkl")
    export_store(store, "pyskl", tmp_path / "a.pkl", ExportOptions(dtype="float32"))
    unlabelled = small_store(tmp_path / "unlabelled", label=UNKNOWN)
    with pytest.raises(OutputError, match=r"no clip of store .* has a label"):
        export_store(unlabelled, "pyskl", tmp_path / "b.pkl")
    late = small_store(tmp_path / "late", tracks=(Track(far.joints, person=1),))
    with pytest.raises(OutputError, match="clip 'one': the first person is in no frame"):
        export_store(late, "aimclr-npy", tmp_path / "c")
    flat = Track(np.ones((4, 17, 3), np.float32))
    content = [Clip(str(i), (flat,), 4, label=0, subject=i) for i in (1, 2)]
    coco = write_store(tmp_path / "coco", content, "coco17", 2, "subjects")
    with pytest.raises(OutputError, match=r"shoulders of layout 'ntu25'; .* 'coco17'"):
        export_store(coco, "aimclr-npy", tmp_path / "c")
    assert not (tmp_path / "b.pkl").exists()
    assert not (tmp_path / "c").exists()


def test_nothing_is_overwritten_without_force_and_only_its_own_with(tmp_path: Path) -> None:
    write_stgcn(tmp_path / "xsub")
    store = imported("stgcn-npy", tmp_path / "xsub", tmp_path / "store")
    file, folder = tmp_path / "a.npz", tmp_path / "out"
    for name, out in (("ctrgcn-npz", file), ("stgcn-npy", folder)):
        export_store(store, name, out)
        with pytest.raises(OutputError, match="nothing is overwritten without --force"):
            export_store(store, name, out)
        export_store(store, name, out, force=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'mine.txt', which is no file of 'stgcn-npy'"):
        export_store(store, "stgcn-npy", folder, force=True)
    assert (folder / "mine.txt").read_text() == "mine"
