"""Files that the original programs have processed are read clip by clip, and bad ones refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.clip import Clip
from kinegraph.data.formats import Options, Recordings, detect_format, open_recordings
from kinegraph.data.importing import import_data
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, KinegraphError, LayoutError, SourceError

from .files import (
    LABELS,
    LENGTHS,
    NAMES,
    annotation,
    clips,
    flat_annotation,
    write_npz,
    write_pickle,
    write_pyskl,
    write_stgcn,
)


def read(path: Path, name: str, layout: str | None = None) -> tuple[list[Clip], Recordings]:
    with open_recordings(path, format_name=name, options=Options(layout=layout)) as recordings:
        return [item.read() for item in recordings.items], recordings


def refused(path: Path, name: str, match: str, layout: str | None = None) -> None:
    with pytest.raises(KinegraphError, match=match) as error:
        read(path, name, layout)
    assert "\n" not in str(error.value)


def dense(clip: Clip, people: int = 2) -> Any:
    block = np.zeros((people, clip.frames, *clip.tracks[0].joints.shape[1:]), np.float32)
    for track in clip.tracks:
        block[track.person, track.first : track.first + len(track.joints)] = track.joints
    return block


def same_clips(found: list[Clip], names: tuple[str, ...]) -> None:
    assert [clip.name for clip in found] == list(names)
    assert [clip.label for clip in found] == list(LABELS)
    for clip, joints in zip(found, clips(), strict=True):
        np.testing.assert_array_equal(dense(clip), joints)
        assert [track.person for track in clip.tracks] == ([0, 1] if joints[1].any() else [0])


# CTR-GCN's npz


@pytest.mark.parametrize("packed", [False, True])
def test_rows_of_an_npz_become_clips_without_padding(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "NTU60_CV.npz"
    write_npz(file, packed=packed)
    found, recordings = read(file, "ctrgcn-npz")
    names = ("train_0", "train_1", "train_2", "test_0")
    same_clips(found, names)
    assert recordings.ordered == packed
    assert recordings.default_split == "xview"
    assert recordings.splits == {"xview": dict(zip(names, (1, 1, 1, 2), strict=True))}
    assert recordings.class_names[50:52] == ("kicking", "pushing")
    assert len(recordings.class_names) == 60
    assert detect_format(file).name == "ctrgcn-npz"


def test_rows_can_be_read_in_any_order(tmp_path: Path) -> None:
    for packed in (False, True):
        file = tmp_path / f"packed {packed}.npz"
        write_npz(file, packed=packed)
        with open_recordings(file, format_name="ctrgcn-npz") as recordings:
            for row in (3, 0, 2, 0, 1):
                clip = recordings.items[row].read()
                np.testing.assert_array_equal(dense(clip), clips()[row])


def test_a_copied_person_is_left_out_and_a_merged_one_remembered(tmp_path: Path) -> None:
    file = tmp_path / "NTU120_CSet.npz"
    arrays = write_npz(file, classes=120)
    found, recordings = read(file, "ctrgcn-npz")
    same_clips(found, ("train_0", "train_1", "train_2", "test_0"))
    assert not any(clip.extras for clip in found)
    assert recordings.default_split == "xset"
    assert recordings.class_names[119] == "rock-paper-scissors"
    arrays["x_train"][0, :, 75:] = 0
    write_npz(file, classes=120, x_train=arrays["x_train"])
    assert read(file, "ctrgcn-npz")[0][0].extras == {"bodies": 2}


def test_an_npz_of_one_side_and_plain_labels(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    write_npz(file, x_test=None, y_test=None, y_train=np.array([3, 0, 1]))
    found, recordings = read(file, "ctrgcn-npz")
    assert [clip.label for clip in found] == [3, 0, 1]
    assert recordings.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert recordings.splits == {"own": {"train_0": 1, "train_1": 1, "train_2": 1}}


def test_another_layout_in_an_npz(tmp_path: Path) -> None:
    file = tmp_path / "mine.npz"
    rows = np.random.default_rng(0).normal(size=(2, 4, 60))
    np.savez(file, x_train=rows, y_train=np.array([0, 1]))
    found, recordings = read(file, "ctrgcn-npz", "ucla20")
    assert recordings.skeleton.name == "ucla20"
    np.testing.assert_allclose(dense(found[1], 1)[0], rows[1].reshape(4, 20, 3), rtol=1e-6)
    refused(file, "ctrgcn-npz", "60 numbers a frame, which are not people of layout 'ntu25'")


BAD_NPZ: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"y_test": None}, "has no 'y_test'"),
    "nothing of it": (
        {"x_train": None, "x_test": None, "mine": np.zeros(3)}, "no file as CTR-GCN prepares it"
    ),
    "fewer labels": ({"y_train": np.eye(60)[:2]}, "'y_train' 2 rows"),
    "two classes": ({"y_test": np.ones((1, 60))}, "row 0 of the one-hot labels has 60"),
    "no class": ({"y_test": np.zeros((1, 60))}, "row 0 of the one-hot labels has 0"),
    "negative": ({"y_train": np.array([0, -1, 1])}, "label -1 is no class"),
    "no number": ({"y_train": np.array([0, 0.5, 1])}, "no whole number"),
    "texts": ({"y_train": np.array(["a", "b", "c"])}, "labels are <U1"),
    "five axes": ({"x_test": np.ones((1, 3, 4, 25, 2))}, "expected \\(clips, frames"),
    "other widths": ({"x_test": np.ones((1, 4, 75))}, "rows of different lengths"),
    "no people": ({"x_train": np.ones((3, 4, 151)), "x_test": np.ones((1, 4, 151))}, "151 numbers"),
    "text rows": ({"x_test": np.full((1, 4, 150), "a")}, "expected numbers"),
    "by columns": ({"x_train": np.asfortranarray(np.ones((3, 8, 150)))}, "column by column"),
    "names": ({"name_test": np.array(["a", "b"])}, "'name_test' is not one name for each"),
    "long name": ({"name_test": np.array(["a" * 300])}, "is not the name of a clip"),
    "class names": ({"class_names": np.array(["a"])}, "'class_names' are not texts for 60"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_NPZ)
def test_a_bad_npz_is_refused(case: str, tmp_path: Path) -> None:
    changes, match = BAD_NPZ[case]
    file = tmp_path / "bad.npz"
    write_npz(file, **changes)
    refused(file, "ctrgcn-npz", match)


def test_objects_damage_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    write_npz(file, y_test=np.array([{}], dtype=object))
    refused(file, "ctrgcn-npz", "holds Python objects")
    write_npz(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(file, "ctrgcn-npz", "not a readable .npz")
    refused(tmp_path / "none.npz", "ctrgcn-npz", "does not exist")
    refused(tmp_path, "ctrgcn-npz", "is a folder")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY")
        archive.writestr("y_train.npy", b"")
    refused(file, "ctrgcn-npz", "not a readable .npy")


def test_an_empty_row_and_nan_concern_one_clip_only(tmp_path: Path) -> None:
    file, out = tmp_path / "NTU60_CS.npz", tmp_path / "store"
    arrays = write_npz(file)
    rows = arrays["x_train"].copy()
    rows[0], rows[1, 0, 3] = 0, np.nan
    write_npz(file, x_train=rows)
    report = import_data("ctrgcn-npz", file, out, skip_bad=True)
    reasons = dict(report.left_out)
    assert "is empty" in reasons["train_0"]
    assert "NaN" in reasons["train_1"]
    assert open_store(out).clips["name"].tolist() == ["train_2", "test_0"]


# ST-GCN's and AimCLR's npy


def test_a_folder_of_stgcn_becomes_clips_with_names(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "NTU-RGB-D" / "xsub"
    write_stgcn(folder)
    found, recordings = read(folder, "stgcn-npy")
    same_clips(found, NAMES)
    second = found[1]
    assert (second.setup, second.camera, second.subject, second.replication) == (1, 1, 3, 2)
    assert recordings.splits == {"xsub": dict(zip(NAMES, (1, 1, 1, 2), strict=True))}
    assert recordings.default_split == "xsub"
    assert len(recordings.class_names) == 60
    assert detect_format(folder).name == "stgcn-npy"
    one, _ = read(folder / "val_data.npy", "stgcn-npy")
    assert [clip.name for clip in one] == [NAMES[3]]


def test_fifty_frames_of_aimclr_keep_their_length(tmp_path: Path) -> None:
    rows = np.zeros((2, 3, 50, 25, 2), np.float32)
    rows[:, :, :49, :, 0] = np.random.default_rng(0).normal(size=(2, 3, 49, 25))
    np.save(tmp_path / "train_position.npy", rows)
    np.save(tmp_path / "train_label.npy", np.array([[4], [0]]))
    found, recordings = read(tmp_path, "aimclr-npy")
    assert [clip.frames for clip in found] == [50, 50]
    assert [clip.label for clip in found] == [4, 0]
    assert [clip.name for clip in found] == ["train_0", "train_1"]
    np.testing.assert_array_equal(dense(found[1]), rows[1].transpose(3, 1, 2, 0))
    assert detect_format(tmp_path).name == "aimclr-npy"
    assert recordings.skeleton.name == "ntu25"
    (tmp_path / "train_label.pkl").write_bytes(pickle.dumps((["a.skeleton", "b"], [1, 2])))
    assert [clip.name for clip in read(tmp_path, "aimclr-npy")[0]] == ["a", "b"]


def test_the_layout_of_an_npy_follows_from_its_joints(tmp_path: Path) -> None:
    for joints, layout in ((18, "openpose18"), (17, "coco17")):
        np.save(tmp_path / "val_data.npy", np.ones((1, 3, 4, joints, 2)))
        (tmp_path / "val_label.pkl").write_bytes(pickle.dumps((["x.json"], [5])))
        found, recordings = read(tmp_path, "stgcn-npy")
        assert recordings.skeleton.name == layout
        assert found[0].name == "x"
        assert len(recordings.class_names) == 6
    np.save(tmp_path / "val_data.npy", np.ones((1, 3, 4, 20, 2)))
    refused(tmp_path, "stgcn-npy", "20 joints of 3 numbers, which tells no layout")
    assert read(tmp_path, "stgcn-npy", "utd20")[1].skeleton.name == "utd20"
    refused(tmp_path, "stgcn-npy", "layout 'ntu25' has 25 of 3", "ntu25")


BAD_LABELS: dict[str, tuple[Any, str]] = {
    "other count": ((["a"], [1]), "has 1 labels, but .* 3 clips"),
    "uneven": ((["a", "b", "c"], [1, 2]), "3 names and 2 labels"),
    "no pair": ([1, 2, 3], "no pair of names and labels"),
    "a dict": ({"a": 1}, "no pair of names and labels"),
    "text label": ((["a", "b", "c"], [1, "2", 3]), "no whole number"),
    "negative": ((["a", "b", "c"], [1, -2, 3]), "label -2 is no class"),
    "huge": ((["a", "b", "c"], [1, 1 << 70, 3]), "far too large"),
    "many classes": ((["a", "b", "c"], [1, 1 << 20, 3]), "is no class"),
    "numbers as names": (([1, 2, 3], [1, 2, 3]), "is not the name of a clip"),
    "empty name": ((["a", "", "c"], [1, 2, 3]), "is not the name of a clip"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    content, match = BAD_LABELS[case]
    write_stgcn(tmp_path)
    write_pickle(tmp_path / "train_label.pkl", content)
    refused(tmp_path, "stgcn-npy", match)


class Runs:
    """Its pickle calls a function when Python loads it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran",)


def test_nothing_in_a_pickle_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stgcn(tmp_path)
    write_pickle(tmp_path / "train_label.pkl", Runs())
    refused(tmp_path, "stgcn-npy", "refused: it contains the name")
    refused(write_pickle(tmp_path / "a.pkl", {"annotations": Runs()}), "pyskl", "refused")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_npy_and_lacking_files_are_refused(tmp_path: Path) -> None:
    write_stgcn(tmp_path)
    data = tmp_path / "train_data.npy"
    whole = data.read_bytes()
    data.write_bytes(whole[:-4])
    refused(tmp_path, "stgcn-npy", "cut short")
    np.save(data, np.ones((3, 4, 25, 2)))
    refused(tmp_path, "stgcn-npy", r"expected \(N, C, T, V, M\)")
    data.write_bytes(whole)
    (tmp_path / "val_label.pkl").unlink()
    refused(tmp_path, "stgcn-npy", "val_label.pkl' does not exist")
    (tmp_path / "val_label.npy").write_bytes(b"no array")
    refused(tmp_path, "stgcn-npy", "not a readable .npy")
    refused(tmp_path / "nowhere", "stgcn-npy", "does not exist")
    refused(tmp_path, "aimclr-npy", "no train_position.npy")
    np.save(tmp_path / "val_data.npy", np.ones((1, 3, 4, 18, 2)))
    np.save(tmp_path / "val_label.npy", np.zeros(1, int))
    refused(tmp_path, "stgcn-npy", "different joints")


# PYSKL's pickles


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_annotations_in_3d(tmp_path: Path, protocol: int) -> None:
    file = write_pyskl(tmp_path / "ntu60_3danno.pkl")
    write_pickle(file, pickle.loads(file.read_bytes()), protocol)
    found, recordings = read(file, "pyskl")
    assert [clip.name for clip in found] == list(NAMES)
    assert [clip.frames for clip in found] == list(LENGTHS)
    for clip, joints in zip(found, clips(), strict=True):
        np.testing.assert_array_equal(dense(clip), joints.astype(np.float16))
    assert found[2].subject == 7
    assert recordings.skeleton.name == "ntu25"
    assert recordings.heavy
    assert recordings.default_split == "xsub"
    assert recordings.splits["xview"] == dict(zip(NAMES, (2, 2, 1, 1), strict=True))
    assert len(recordings.class_names) == 60
    assert detect_format(file).name == "pyskl"


def test_annotations_in_2d_have_scores_and_image_sizes(tmp_path: Path) -> None:
    entries = [flat_annotation(0), flat_annotation(1, keypoint_score=None)]
    del entries[1]["keypoint_score"]
    splits = {"train1": ["v_Archery_g00"], "test1": ["v_Archery_g01"]}
    file = write_pickle(tmp_path / "ucf.pkl", {"split": splits, "annotations": entries})
    found, recordings = read(file, "pyskl")
    assert recordings.skeleton.name == "coco17"
    assert recordings.splits == {"split1": {"v_Archery_g00": 1, "v_Archery_g01": 2}}
    assert found[0].extras == {
        "height": 240, "width": 320, "original_height": 480, "original_width": 640
    }  # fmt: skip
    np.testing.assert_array_equal(dense(found[0])[..., :2], entries[0]["keypoint"])
    np.testing.assert_array_equal(dense(found[0])[..., 2], entries[0]["keypoint_score"])
    assert (dense(found[1])[..., 2] == 1).all(), "where there are no scores, what is there is sure"


def test_lists_plain_annotations_and_those_without_skeleton(tmp_path: Path) -> None:
    named = annotation(0, frame_dir=None, filename="dir/clip.avi", keypoint=None)
    named["keypoint"] = clips()[0][:1].tolist()
    entries = [named, None, annotation(1)]
    file = write_pickle(tmp_path / "mine.pkl", entries)
    found, recordings = read(file, "pyskl")
    assert [clip.name for clip in found] == ["dir--clip", NAMES[1]]
    np.testing.assert_array_equal(dense(found[0], 1), clips()[0][:1])
    assert recordings.left_out == [("annotation 1", "it has no skeleton")]
    assert not recordings.splits


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("train", "val"), {"own": {"a": 1, "b": 2}}),
        (("sub_train", "sub_test"), {"sub": {"a": 1, "b": 2}}),
        (("train3", "test3"), {"split3": {"a": 1, "b": 2}}),
        (("train", "val", "test"), {"own-val": {"a": 1, "b": 2}, "own-test": {"a": 1, "c": 2}}),
        (("x_train",), {"x": {"a": 1}}),
        (("retrain_validated",), {"retrain_validated": {"a": 2}}),
    ],
)
def test_lists_of_clips_become_splits(
    keys: tuple[str, ...], expected: dict[str, Any], tmp_path: Path
) -> None:
    listed = {key: [clip] for key, clip in zip(keys, "abc", strict=False)}
    file = write_pyskl(tmp_path / "mine.pkl", split=listed)
    assert read(file, "pyskl")[1].splits == expected


def second(keypoint: Any) -> list[Any]:
    """Return annotations of which the second has other joints."""
    return [annotation(0), annotation(1, keypoint=keypoint)]


BAD_PYSKL: dict[str, tuple[Any, type[KinegraphError], str]] = {
    "a number": (3, SourceError, "holds no annotations"),
    "no annotations": ({"split": {}}, SourceError, "holds no annotations"),
    "none at all": ([], SourceError, "is empty"),
    "no dicts": ([1, 2], SourceError, "an annotation is a int"),
    "bad splits": ({"split": [], "annotations": [annotation(0)]}, SourceError, "no annotations"),
    "bad list": (
        {"split": {"train": 3}, "annotations": [annotation(0)]}, SourceError, "no list of clips"
    ),
    "bad names": (
        {"split": {"train": [3]}, "annotations": [annotation(0)]}, SourceError, "not the name"
    ),
    "nameless": ([annotation(0, frame_dir=None)], SourceError, "neither 'frame_dir' nor"),
    "kinetics": (
        [annotation(0, keypoint=None, raw_file="k400/x.pkl", frame_inds=[0])], SourceError,
        "holds no skeletons: .* points to 'k400/x.pkl'",
    ),
    "no joints": ([annotation(0, keypoint=None)], SourceError, "no annotation has a 'keypoint'"),
    "label text": ([annotation(0, label="a")], SourceError, "'a' is no whole number"),
    "label below": ([annotation(0, label=-3)], SourceError, "label -3 is no class"),
    "label huge": ([annotation(0, label=1 << 60)], SourceError, "is no class"),
    "no label": ([annotation(0, label=None)], ClipError, "has no 'label'"),
    "joints lacking": ([annotation(0), annotation(1, keypoint=None)], ClipError, "no 'keypoint'"),
    "three axes": (second(np.ones((4, 25, 3))), ClipError, "shape"),
    "only three axes": (
        [annotation(0, keypoint=np.ones((4, 25, 3)))], SourceError, "no 'keypoint' has"
    ),
    "joint count": ([annotation(0, keypoint=np.ones((1, 4, 19, 3)))], LayoutError, "19 joints"),
    "frames": ([annotation(0, total_frames=9)], ClipError, "but says 9"),
    "crowd": ([annotation(0, keypoint=np.ones((40, 4, 25, 3)))], ClipError, "40 people"),
    "texts": (second(np.full((1, 6, 25, 3), "a")), ClipError, "<U1"),
    "ragged": (second([[1.0], [1.0, 2.0]]), ClipError, "different"),
    "a text": (second([[["long" * 99]]]), ClipError, "holds a str"),
    "no list": (second(7), ClipError, "shape \\(\\)"),
    "scores": (
        [flat_annotation(0, keypoint_score=np.ones((2, 5, 16)))], ClipError, "'keypoint_score' has"
    ),
    "image": ([flat_annotation(0, img_shape="big")], ClipError, "expected \\(height, width\\)"),
    "class names": (
        {"annotations": [annotation(0)], "class_names": [1] * 60}, SourceError, "class name"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PYSKL)
def test_bad_annotations_are_refused(case: str, tmp_path: Path) -> None:
    content, kind, match = BAD_PYSKL[case]
    file = write_pickle(tmp_path / "bad.pkl", content)
    with pytest.raises(kind, match=match) as error:
        read(file, "pyskl")
    assert "bad.pkl" in str(error.value)


def test_a_list_that_holds_itself_many_times_is_refused_quickly(tmp_path: Path) -> None:
    row: Any = [0.0] * 4000
    for _ in range(2):
        row = [row] * 4000
    file = write_pickle(tmp_path / "bad.pkl", [annotation(0), annotation(1, keypoint=row)])
    refused(file, "pyskl", "more than 4,194,304 numbers")


def test_pickles_that_are_cut_lacking_or_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_pyskl(tmp_path / "a.pkl")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(file, "pyskl", "not a whole pickle")
    refused(tmp_path, "pyskl", "is a folder")
    refused(tmp_path / "b.pkl", "pyskl", "does not exist")
    file.write_bytes(whole)
    monkeypatch.setattr("kinegraph.data.formats.pyskl.MAX_PICKLE_BYTES", 100)
    refused(file, "pyskl", "may have 100")
