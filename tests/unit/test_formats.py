"""Formats read what they should, and refuse one bad recording without losing the others."""

from __future__ import annotations

import io
import json
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.clip import Clip
from kinegraph.data.formats import FORMATS, detect_format, find_format, open_recordings, read_file
from kinegraph.data.formats.members import open_members
from kinegraph.errors import ClipError, KinegraphError, LayoutError, SourceError
from kinegraph.skeleton import layout_names, load_layout

NAME = "a08_s03_e01_v02"


def skeletons(frames: int = 4) -> list[Any]:
    joints = np.random.default_rng(frames).normal(size=(frames, 20, 3)).round(6)
    return list(joints.tolist())


def ucla(folder: Path, name: str = NAME, **fields: Any) -> Path:
    """Write an NW-UCLA recording; a field of None is left out."""
    content = {"file_name": name, "skeletons": skeletons(), "label": None, **fields}
    file = folder / f"{name}.json"
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return file


def clips(path: Path, **options: Any) -> list[Clip]:
    with open_recordings(path, **options) as recordings:
        found = [item.read() for item in recordings.items]
        assert len(found) == recordings.count
        return found


def test_every_format_describes_itself() -> None:
    for name, format_ in FORMATS.items():
        assert name == format_.name
        assert format_.summary
        assert set(format_.layouts) <= set(layout_names())


def test_an_unknown_format_names_the_nearest() -> None:
    with pytest.raises(SourceError, match=r"unknown data format 'nwucla'; nearest: 'nw-ucla'"):
        find_format("nwucla")


# NW-UCLA


def test_an_nw_ucla_recording_is_read(tmp_path: Path) -> None:
    clip, skeleton = read_file(ucla(tmp_path, label=7))
    assert skeleton.name == "ucla20"
    assert clip.name == NAME
    # a08 is the seventh action of the data set, since a07 and a10 do not exist
    assert (clip.label, clip.subject, clip.camera, clip.replication) == (6, 3, 2, 1)
    assert clip.frames == 4
    np.testing.assert_array_equal(clip.tracks[0].joints, np.array(skeletons()))


@pytest.mark.parametrize("kind", ["folder", "nested", "zip", "stored zip"])
def test_folders_and_archives_are_alike(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "all_sqe" if kind == "nested" else tmp_path / "in"
    folder.mkdir(parents=True)
    names = ["a01_s01_e00_v01", "a02_s09_e04_v02", "a12_s10_e03_v03"]
    for name in reversed(names):
        ucla(folder, name)
    (folder / "readme.txt").write_text("not a recording")
    source = tmp_path / "in"
    if "zip" in kind:
        source = tmp_path / "in.zip"
        method = zipfile.ZIP_STORED if kind == "stored zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(source, "w", method) as archive:
            archive.mkdir("all_sqe")
            archive.writestr("__MACOSX/all_sqe/._a01_s01_e00_v01.json", b"\0\5\26\7")
            for file in folder.iterdir():
                archive.write(file, f"all_sqe/{file.name}")
    assert detect_format(source).name == "nw-ucla"
    assert [clip.name for clip in clips(source)] == names
    assert [clip.label for clip in clips(source)] == [0, 1, 9]


def test_a_file_of_another_name_has_no_subject(tmp_path: Path) -> None:
    clip, _ = read_file(ucla(tmp_path, "me walking", label=4))
    assert (clip.name, clip.label, clip.subject, clip.camera) == ("me walking", 3, -1, -1)
    clip, _ = read_file(ucla(tmp_path, "someone"))
    assert clip.label == -1
    clip, _ = read_file(ucla(tmp_path, "renamed", file_name=NAME, label=7))
    assert (clip.name, clip.label, clip.subject) == ("renamed", 6, 3)


def test_one_frame_is_enough(tmp_path: Path) -> None:
    clip, _ = read_file(ucla(tmp_path, skeletons=skeletons(1)))
    assert clip.frames == 1
    assert clip.tracks[0].joints.shape == (1, 20, 3)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"skeletons": []}, "is empty: it has no frames"),
        ({"skeletons": [[]]}, "is empty: it has no frames"),
        ({"skeletons": [[[1, 2, 3]] * 25]}, "has shape (1, 25, 3), expected (T, 20, 3)"),
        ({"skeletons": [[[1, 2]] * 20]}, "has shape (1, 20, 2), expected (T, 20, 3)"),
        ({"skeletons": [[1, 2, 3]]}, "no frames of joints of numbers, expected (T, 20, 3)"),
        ({"skeletons": [[[1, 2, 3]] * 20, [[1, 2, 3]] * 19]}, "different lengths"),
        ({"skeletons": [[["1", "2", "3"]] * 20]}, "not all numbers"),
        ({"skeletons": [[[1, 2, "x"]] * 20]}, "not all numbers"),
        ({"skeletons": [[[1, None, 3]] * 20]}, "not all numbers"),
        ({"skeletons": [[[True, False, True]] * 20]}, "not all numbers"),
        ({"skeletons": [[[1, 2, float("nan")]] * 20]}, "it holds NaN or infinite numbers"),
        ({"skeletons": [[[1, 2, float("inf")]] * 20]}, "it holds NaN or infinite numbers"),
        ({"skeletons": "none"}, "not all numbers"),
        ({"skeletons": {}}, "not all numbers"),
        ({"skeletons": None}, "has no field 'skeletons'"),
        ({"label": 0}, "its label is 0, expected 1 to 10"),
        ({"label": 11}, "its label is 11, expected 1 to 10"),
        ({"label": -1}, "its label is -1, expected 1 to 10"),
        ({"label": 7.0}, "its label is 7.0, expected 1 to 10"),
        ({"label": True}, "its label is True, expected 1 to 10"),
        ({"label": "7"}, "its label is '7', expected 1 to 10"),
        ({"label": 8}, "its label 8 is 'doffing', but its name says 'donning'"),
        ({"file_name": "a08_s03_e01_v03"}, "calls itself 'a08_s03_e01_v03' inside"),
        ({"name": "a07_s03_e01_v02"}, "action a07 is not one of a01, a02, a03"),
    ],
)
def test_bad_nw_ucla_recordings(fields: dict[str, Any], expected: str, tmp_path: Path) -> None:
    bad = ucla(tmp_path, **{"name": NAME, **fields})
    ucla(tmp_path, "a01_s01_e00_v01")
    with open_recordings(tmp_path, format_name="nw-ucla") as recordings:
        good, broken = recordings.items
        assert good.read().label == 0
        assert broken.name == bad.stem
        with pytest.raises(ClipError) as caught:
            broken.read()
    assert expected in str(caught.value)
    assert bad.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b" \n", "is empty"),
        (lambda data: data[: len(data) // 2], "is cut short or no JSON"),
        (lambda data: data[:-1], "is cut short or no JSON"),
        (lambda data: b"\xff\xfe" + data, "is cut short or no JSON"),
        (lambda data: b"[" * 100_000, "is cut short or no JSON"),
        (lambda data: b"[1, 2]", "is no NW-UCLA recording"),
        (lambda data: b"null", "is no NW-UCLA recording"),
    ],
)
def test_files_that_are_no_recording(change: Any, expected: str, tmp_path: Path) -> None:
    file = ucla(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    with (
        open_recordings(file, format_name="nw-ucla") as recordings,
        pytest.raises(ClipError, match=expected),
    ):
        next(iter(recordings.items)).read()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=r"have layout 'ucla20', not 'ntu25'"):
        clips(ucla(tmp_path), layout="ntu25")


# Sources


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'.*absent' does not exist"):
        clips(tmp_path / "absent", format_name="nw-ucla")
    with pytest.raises(SourceError, match=r"'.*absent' does not exist"):
        clips(tmp_path / "absent")
    with pytest.raises(SourceError, match=r"' holds no file that ends in '\.json'$"):
        clips(tmp_path, format_name="nw-ucla")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(
        SourceError, match=r"read: ntu60 .*nw-ucla, .*arrays \(an \.npz with an array x\)$"
    ):
        clips(tmp_path / "a.txt")


def test_a_folder_beside_its_archive_points_to_the_archive(tmp_path: Path) -> None:
    archive_of(tmp_path / "all_sqe.zip", ("a.txt", b"hello"))
    pointed = r"' holds no file that ends in '\.json'; name the archive itself: \S+all_sqe\.zip$"
    with pytest.raises(SourceError, match=pointed):
        clips(tmp_path, format_name="nw-ucla")
    with pytest.raises(SourceError, match=r"' holds no file that ends in '\.json'$"):
        clips(tmp_path / "all_sqe.zip", format_name="nw-ucla")


def archive_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "name",
    ["../x.json", "a/../../x.json", "/etc/x.json", "C:/x.json", "..\\x.json", "\\x.json"],
)
def test_members_that_point_outside(name: str, tmp_path: Path) -> None:
    source = archive_of(tmp_path / "a.zip", ("good.json", b"{}"), (name, b"{}"))
    with pytest.raises(SourceError, match=r"is refused: its member .* points outside"):
        clips(source, format_name="nw-ucla")


def test_bombs_are_refused(tmp_path: Path) -> None:
    source = archive_of(tmp_path / "a.zip", ("a.json", bytes(50_000_000)))
    assert source.stat().st_size < 100_000
    with pytest.raises(SourceError, match=r"would unpack to 50,000,000"):
        clips(source, format_name="nw-ucla")


def test_a_member_that_claims_to_be_huge(tmp_path: Path) -> None:
    source = archive_of(tmp_path / "a.zip", ("a.json", b"{}"))
    data = source.read_bytes()
    directory = data.index(b"PK\x01\x02")
    size = (2_000_000_000).to_bytes(4, "little")
    source.write_bytes(data[: directory + 24] + size + data[directory + 28 :])
    with pytest.raises(SourceError, match=r"has 2,000,000,000 bytes, more than"):
        clips(source, format_name="nw-ucla")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    source = archive_of(tmp_path / "a.zip", ("a.json", b"{}"))
    data = bytearray(source.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    with pytest.raises(SourceError, match=r"is encrypted"):
        clips(source, format_name="nw-ucla")


def test_damaged_archives(tmp_path: Path) -> None:
    content = ucla(tmp_path).read_bytes()
    names = ["a01_s01_e00_v01.json", "a02_s01_e00_v01.json"]
    source = archive_of(tmp_path / "a.zip", *((name, b" " + content) for name in names))
    data = source.read_bytes()
    source.write_bytes(data[:-30])
    with pytest.raises(SourceError, match=r"is not a zip archive, or was cut short"):
        clips(source, format_name="nw-ucla")
    flipped = bytearray(data)
    flipped[200] ^= 0xFF  # inside the first member
    source.write_bytes(flipped)
    with open_members(source, ".json") as members:
        with pytest.raises(ClipError, match=r"'a01_s01_e00_v01.json' is damaged in the archive"):
            members[0].read()
        assert members[1].read() == b" " + content


def test_an_unreadable_file_is_one_bad_clip(tmp_path: Path) -> None:
    file = ucla(tmp_path)
    with open_members(tmp_path, ".json") as members:
        file.unlink()
        with pytest.raises(ClipError, match=r"cannot be read: No such file"):
            members[0].read()


# Own arrays


def own(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def x5(clips: int = 3, frames: int = 6, persons: int = 2, joints: int = 17) -> np.ndarray:
    shape = (clips, 3, frames, joints, persons)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_arrays_with_everything(tmp_path: Path) -> None:
    x = x5()
    x[0, :, 4:] = 0  # four frames
    x[1, :, :, :, 0] = 0  # nobody but the second person
    x[2, :, :2, :, 0] = 0  # the first person comes later
    file = own(
        tmp_path / "mine.npz", x=x, label=[1, 0, 1], subject=[3, 4, 5], camera=[1, 1, 2],
        setup=[1, 2, 3], replication=[0, 1, 2], name=["a", "b", "c"],
        class_names=["run", "<i>jump</i>"], layout="coco17", split=[1, 2, 0],
    )  # fmt: skip
    with open_recordings(file) as recordings:
        assert recordings.skeleton.name == "coco17"
        assert recordings.class_names == ("run", "<i>jump</i>")
        assert recordings.splits == {"own": {"a": 1, "b": 2, "c": 0}}
        assert recordings.default_split == "own"
        first, second, third = (item.read() for item in recordings.items)
    assert (first.name, first.frames, first.label, first.subject) == ("a", 4, 1, 3)
    assert (first.camera, first.setup, first.replication) == (1, 1, 0)
    assert [track.joints.shape for track in first.tracks] == [(4, 17, 3)] * 2
    np.testing.assert_array_equal(first.tracks[1].joints, x[0, :, :4, :, 1].transpose(1, 2, 0))
    assert [track.person for track in second.tracks] == [1], "person m is slot m"
    np.testing.assert_array_equal(second.tracks[0].joints, x[1, ..., 1].transpose(1, 2, 0))
    assert [(track.first, len(track.joints)) for track in third.tracks] == [(2, 4), (0, 6)]


def test_arrays_of_one_person_need_no_person_axis(tmp_path: Path) -> None:
    x = x5(persons=1)[..., 0].transpose(0, 2, 3, 1)  # (N, T, V, C)
    file = own(tmp_path / "mine.npz", x=x)
    found = clips(file, layout="coco17")
    assert [clip.name for clip in found] == ["mine-0", "mine-1", "mine-2"]
    assert [clip.label for clip in found] == [-1] * 3
    np.testing.assert_array_equal(found[1].tracks[0].joints, x[1])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressed", [False, True])
def test_any_way_of_saving_arrays(order: Any, compressed: bool, tmp_path: Path) -> None:
    x = np.asarray(x5(), order=order)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "mine.npz", x=x, layout=np.array("coco17"))
    for row, clip in enumerate(clips(tmp_path / "mine.npz")):
        joints = np.stack([track.joints for track in clip.tracks])
        np.testing.assert_array_equal(joints.transpose(3, 1, 2, 0), x[row])


def test_frames_say_how_long_a_clip_is(tmp_path: Path) -> None:
    x = x5(clips=2, persons=1)
    x[0, :, 3:] = 0
    x[1, :, 4] = np.nan  # beyond the end of the clip: padding of another kind
    found = clips(own(tmp_path / "a.npz", x=x, frames=[5, 4], layout="coco17"))
    assert [clip.frames for clip in found] == [5, 4]
    assert [len(clip.tracks[0].joints) for clip in found] == [3, 4]


def test_a_layout_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    x = np.ones((2, 6, 20, 3), np.float32)
    file = own(tmp_path / "u.npz", x=x, layout="utd20")
    with pytest.raises(LayoutError, match=r"u\.npz' names layout 'utd20', but --layout says 'ucla"):
        clips(file, layout="ucla20")
    assert len(clips(file, layout="utd20")) == 2


def test_a_layout_file_and_its_name_agree(tmp_path: Path) -> None:
    text = (resources.files("kinegraph") / "layouts" / "ucla20.toml").read_text(encoding="utf-8")
    toml = tmp_path / "own.toml"
    toml.write_text(text.replace('"ucla20"', '"mine20"'))
    assert load_layout(str(toml)).name == "mine20"
    x = np.ones((2, 6, 20, 3), np.float32)
    by_name = own(tmp_path / "a.npz", x=x, layout="mine20")
    by_file = own(tmp_path / "b.npz", x=x, layout=str(toml))
    copy = tmp_path / "copy.toml"
    copy.write_text(toml.read_text())
    for file in (by_name, by_file):
        assert len(clips(file, layout=str(copy))) == 2
        with pytest.raises(LayoutError, match=r"but --layout says 'ucla20'"):
            clips(file, layout="ucla20")
    toml.unlink()
    assert len(clips(by_file, layout=str(copy))) == 2  # its layout moved: --layout says where


def test_labels_may_be_names(tmp_path: Path) -> None:
    file = own(tmp_path / "a.npz", x=x5(), label=["walk", "run", "walk"], layout="coco17")
    with open_recordings(file) as recordings:
        assert recordings.class_names == ("run", "walk")
        assert [item.read().label for item in recordings.items] == [1, 0, 1]
    file = own(
        tmp_path / "b.npz", x=x5(), label=np.array([b"walk", b"run", b"wlak"]),
        class_names=["walk", "run"], layout="coco17",
    )  # fmt: skip
    with open_recordings(file) as recordings:
        first, second, third = recordings.items
        assert (first.read().label, second.read().label) == (0, 1)
        with pytest.raises(ClipError, match=r"'b-2': label 'wlak' is not among .*nearest: 'walk'"):
            third.read()


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    file = own(tmp_path / "a.npz", x=x5(), label=[0, 2, -1], layout="coco17")
    with open_recordings(file) as recordings:
        assert recordings.class_names == ("class 0", "class 1", "class 2")
        assert [item.read().label for item in recordings.items] == [0, 2, -1]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x": None, "label": [1]}, "has no array 'x' (found: layout, label"),
        ({"labels": [0, 1, 0]}, "unknown array 'labels'; nearest: 'label'"),
        ({"label": [0, 1]}, "'label' has shape (2,), 'x' has 3 clips"),
        ({"label": [[0], [1], [0]]}, "'label' has shape (3, 1)"),
        ({"label": [0.0, 1.0, 0.0]}, "'label' is of type float64, expected integers from 0"),
        ({"label": [0, 1, 10**6]}, "label 1000000 is no class; give class_names"),
        ({"subject": [1.5, 2, 3]}, "'subject' is of type float64, expected integers"),
        ({"subject": ["a", "b", "c"]}, "'subject' is of type <U1, expected integers"),
        ({"frames": [True, False, True]}, "'frames' is of type bool, expected integers"),
        ({"name": [1, 2, 3]}, "'name' is of type int64, expected texts"),
        ({"class_names": ["a", "a"]}, "'class_names' is not a list of different names"),
        ({"class_names": [1, 2]}, "'class_names' is not a list of different names"),
        ({"label": np.array([None] * 3)}, "Python objects"),
        ({"x": np.array([None] * 3)}, "Python objects"),
        ({"x": np.zeros((3, 6, 17))}, "'x' is float64 of shape (3, 6, 17); expected"),
        ({"x": np.zeros((3, 6, 17, 3), bool)}, "'x' is bool of shape"),
        ({"x": np.full((3, 6, 17, 3), "1")}, "'x' is <U1 of shape"),
        ({"x": np.zeros((0, 6, 17, 3))}, "is empty: 'x' has shape (0, 6, 17, 3)"),
        ({"x": np.zeros((3, 0, 17, 3))}, "is empty: 'x' has shape (3, 0, 17, 3)"),
        ({"x": np.zeros((3, 6, 18, 3))}, "has 18 joints of 3 numbers, but layout 'coco17' has 17"),
        ({"x": np.zeros((3, 6, 17, 2))}, "has 17 joints of 2 numbers, but layout 'coco17'"),
        ({"x": x5()[..., :5, :]}, "; x is read as (N, T, V, C) or (N, C, T, V, M)"),
        ({"x": np.zeros((3, 3, 6, 25, 2))}, "has 25 joints of 3 numbers, but layout 'coco17'"),
        ({"layout": None}, "names no layout; give --layout, one of coco17"),
        ({"layout": 3}, "names no layout"),
        ({"layout": "coco18"}, "unknown layout 'coco18'; nearest: 'coco17'"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit(arrays: dict[str, Any], expected: str, tmp_path: Path) -> None:
    file = own(tmp_path / "a.npz", **{"x": x5(), "layout": "coco17", **arrays})
    with pytest.raises(KinegraphError) as caught:
        clips(file)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"frames": [6, 7, 6]}, "'a-1': frames 7 is outside 1..6"),
        ({"frames": [6, 0, 6]}, "'a-1': frames 0 is outside 1..6"),
        ({"frames": [6, -1, 6]}, "'a-1': frames -1 is outside 1..6"),
    ],
)
def test_one_bad_row_is_one_bad_clip(arrays: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with open_recordings(own(tmp_path / "a.npz", x=x5(), layout="coco17", **arrays)) as recordings:
        first, second, third = recordings.items
        assert first.read().frames == third.read().frames == 6
        with pytest.raises(ClipError, match=expected):
            second.read()


def test_a_header_that_declares_more_than_the_file_holds(tmp_path: Path) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 3, 300, 17, 2), }"
    text = text.ljust(117) + "\n"
    header = np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode()
    source = archive_of(tmp_path / "a.npz", ("x.npy", header + bytes(100)))
    with pytest.raises(SourceError, match=r"declares 122,400,000,000 bytes of data, 100 are there"):
        clips(source, layout="coco17")


def test_arrays_cut_short(tmp_path: Path) -> None:
    file = own(tmp_path / "a.npz", x=x5(clips=400), layout="coco17")
    data = file.read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 5):
        file.write_bytes(data[:length])
        with pytest.raises(SourceError, match=r"is not a readable .npz file"):
            clips(file)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    file.write_bytes(flipped)
    with pytest.raises(SourceError, match=r"'x' is damaged or cut short: Bad CRC"):
        clips(file)


def test_arrays_are_read_clip_by_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = own(tmp_path / "a.npz", x=x5(clips=50), layout="coco17")
    sizes = []
    read = zipfile.ZipExtFile.read

    def watched(self: io.BufferedIOBase, n: int = -1) -> bytes:
        data = read(self, n)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", watched)
    assert len(clips(file)) == 50
    assert max(sizes) == 3 * 6 * 17 * 2 * 4


def test_what_is_no_array_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is a folder; expected an .npz file"):
        clips(tmp_path, format_name="arrays")
    with pytest.raises(SourceError, match=r"does not exist; expected an .npz file"):
        clips(tmp_path / "a.npz", format_name="arrays")


def test_a_file_of_several_recordings_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds 3 recordings, expected one"):
        read_file(own(tmp_path / "a.npz", x=x5(), layout="coco17"))
