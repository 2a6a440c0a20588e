"""PKU-MMD: long recordings cut by label files, published splits; and files that do not fit."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.formats import Options, detect_format, open_recordings, read_file
from kinegraph.data.formats.number_table import read_table
from kinegraph.data.formats.pku_mmd import CLASSES
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, SourceError, SplitError

ROWS = "8,1,6,2\n51,9,20,1\n"
LISTS = "Training videos:\n{}, \nValidation videos:\n{}\n"


def frames(count: int = 20, seed: int = 0) -> NDArray[np.float64]:
    """Return (T, 150): the second body is there in frames 4 and 6 alone, counted from 0."""
    rows = np.random.default_rng(seed).normal(size=(count, 150)).round(6)
    alone = ~np.isin(np.arange(count), (4, 6))
    rows[alone, 75:] = 0
    return rows


def write(file: Path, rows: NDArray[np.float64]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(file, rows, fmt="%.6f")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two recordings of part I and one of part II, laid out as users unpack them."""
    root = tmp_path / "PKUMMD"
    for seed, name in enumerate(("0002-L", "0003-R", "A01N05-M")):
        write(root / "Skeleton" / f"{name}.txt", frames(seed=seed))
        label = root / "Train_Label_PKU_final" / f"{name}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(ROWS)
    (root / "README.txt").write_text("about the data")
    return root


def read(source: Path, **options: object) -> dict[str, Clip]:
    with open_recordings(source, options=Options(**options)) as recordings:  # type: ignore[arg-type]
        return {item.name: item.read() for item in recordings.items}


def test_clips_are_cut_and_named(root: Path) -> None:
    assert detect_format(root).name == "pku-mmd"
    clips = read(root)
    assert list(clips) == [
        "F002V001C008L001", "F002V001C051L002",
        "F003V003C008L001", "F003V003C051L002",
        "A01N05V002C008L001", "A01N05V002C051L002",
    ]  # fmt: skip
    clip = clips["A01N05V002C051L002"]
    assert (clip.label, clip.frames, clip.camera, clip.subject) == (50, 12, 2, 5)
    assert clips["F003V003C008L001"].subject == -1
    assert CLASSES[clip.label] == "write"
    assert len(CLASSES) == 51
    rows = frames(seed=2)[8:20]  # lines 9 to 20, both included
    np.testing.assert_allclose(clip.tracks[0].joints.reshape(12, 75), rows[:, :75], atol=1e-9)


def test_the_second_body_is_there_where_its_numbers_do_not_cancel(root: Path) -> None:
    first, second = read(root)["F002V001C008L001"].tracks
    assert (first.first, len(first.joints)) == (0, 6)
    assert (second.person, second.first, len(second.joints)) == (1, 4, 1)
    rows = frames()
    rows[4, 75:] = 0
    rows[4, 75], rows[4, 76] = 1.5, -1.5  # adds up to zero: not there, as the original decides
    write(root / "Skeleton" / "0002-L.txt", rows)
    assert len(read(root)["F002V001C008L001"].tracks) == 1


def test_a_gap_of_the_second_body_is_zero(root: Path) -> None:
    (root / "Train_Label_PKU_final" / "0002-L.txt").write_text("1,1,20,1\n")  # a file of one line
    second = read(root)["F002V001C001L001"].tracks[1]
    assert (second.first, len(second.joints)) == (4, 3)
    assert not second.joints[1].any()


@pytest.mark.parametrize("given", [True, False])
def test_label_files_are_found_or_named(given: bool, root: Path, tmp_path: Path) -> None:
    source = root / "Skeleton"
    if not given:
        assert len(read(source)) == 6
        return
    labels = tmp_path / "elsewhere.zip"
    with zipfile.ZipFile(labels, "w") as archive:
        for name in ("0002-L", "0003-R", "A01N05-M"):
            archive.writestr(f"new/{name}.txt", "3,2,4,1")
    assert [clip.label for clip in read(source, labels=labels).values()] == [2, 2, 2]


def test_a_zip_archive_is_a_source(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "all.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in root.rglob("*.txt"):
            archive.write(file, file.relative_to(root))
    assert list(read(source)) == list(read(root))


def test_one_part_can_be_chosen(root: Path) -> None:
    assert len(read(root, part="1")) == 4
    assert list(read(root, part="2")) == ["A01N05V002C008L001", "A01N05V002C051L002"]
    (root / "Skeleton" / "A01N05-M.txt").unlink()
    with pytest.raises(SourceError, match="part 1 only, not 2"):
        read(root, part="2")


def test_published_splits_become_splits_of_the_store(root: Path, tmp_path: Path) -> None:
    folder = root / "Split"
    folder.mkdir()
    (folder / "cross-subject.txt").write_text(LISTS.format("0003-R", "0002-L,0002-M"))
    (folder / "cross_view_v2.txt").write_text(LISTS.format("A01N05-M,A01N05-R", "A01N05-L"))
    import_data("pku-mmd", root, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.default_split == "xsub"
    train, test = split_rows(store)
    names = store.clips["name"]
    assert [str(name) for name in names[train]] == ["F003V003C008L001", "F003V003C051L002"]
    assert [str(name) for name in names[test]] == ["F002V001C008L001", "F002V001C051L002"]
    # Only the file of part II says something about the views.
    assert store.stored_splits["xview"].tolist() == [0, 0, 0, 0, 1, 1]


def test_whoever_does_not_train_validates(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "cross-subject.txt"
    file.write_text(LISTS.format("0003-R", "0100-M"))
    with open_recordings(root, options=Options(splits=file)) as recordings:
        assert set(recordings.splits["xsub"].values()) == {1, 2}
        assert recordings.splits["xsub"]["F002V001C008L001"] == 2
        assert "A01N05V002C008L001" not in recordings.splits["xsub"]


def test_no_rule_of_another_set_stands_in_for_an_unknown_split(root: Path, tmp_path: Path) -> None:
    write(root / "Skeleton" / "A01N06-L.txt", frames())  # a subject who tests by NTU's rule
    (root / "Train_Label_PKU_final" / "A01N06-L.txt").write_text(ROWS)
    import_data("pku-mmd", root, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.default_split == "xview"  # left view tests, as the camera rule has it
    with pytest.raises(SplitError, match="xsub"):
        split_rows(store, "xsub")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("cross-subject.txt", "Training\n0002-L\n", "2 lines"),
        ("cross-subject.txt", LISTS.format("", "0002-L"), "names no recording in its second"),
        ("cross-subject.txt", LISTS.format("0900-L", "0901-L"), "none of these recordings"),
        ("split.txt", LISTS.format("0002-L", "0003-R"), "no split file such as"),
    ],
)
def test_split_files_that_do_not_fit(
    name: str, content: str, complaint: str, root: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=complaint):
        read(root, splits=tmp_path / name)


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ("", "label file '.*0002-L.txt' is empty"),
        ("1,1,6\n", "line 1 has 3 numbers, expected 4"),
        ("1,1,6,x\n", "'x' is no number"),
        ("1.5,1,6,1\n", "not all whole numbers"),
        ("nan,1,6,1\n", "not all whole numbers"),
        ("1,1e300,6,1\n", "not all whole numbers"),
        ("52,1,6,1\n", r"class 52 is outside 1\.\.51"),
        ("1,0,6,1\n", "frames 0 to 6 are not within"),
        ("1,6,5,1\n", "frames 6 to 5 are not within"),
        ("1,1,21,1\n", "frames 1 to 21 are not within the recording's 1 to 20"),
        (None, "has no label file '0002-L.txt'"),
    ],
)
def test_a_bad_label_file_costs_its_own_recording(
    label: str | None, complaint: str, root: Path, tmp_path: Path
) -> None:
    file = root / "Train_Label_PKU_final" / "0002-L.txt"
    file.unlink() if label is None else file.write_text(label)
    with pytest.raises(SourceError, match=complaint):
        import_data("pku-mmd", root, tmp_path / "store")
    report = import_data("pku-mmd", root, tmp_path / "store", skip_bad=True)
    assert (report.clips, len(report.left_out)) == (4, 1)


def test_labels_of_other_recordings_are_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "0900-L.txt").write_text(ROWS)
    with pytest.raises(SourceError, match=r"no label file of these recordings.*'0002-L.txt'"):
        read(root / "Skeleton", labels=folder)


def test_two_label_files_of_one_name_are_refused(root: Path) -> None:
    second = root / "Label_other" / "0002-L.txt"
    second.parent.mkdir()
    second.write_text(ROWS)
    with pytest.raises(SourceError, match=r"two label files are called '0002-L\.txt'"):
        read(root)


def test_a_bad_recording_costs_its_own_clips(root: Path, tmp_path: Path) -> None:
    file = root / "Skeleton" / "0003-R.txt"
    file.write_text(file.read_text()[:-30])
    with pytest.raises(SourceError, match=r"2 of 6 .* line 20 has .* numbers, expected 150"):
        import_data("pku-mmd", root, tmp_path / "store")
    report = import_data("pku-mmd", root, tmp_path / "store", skip_bad=True)
    assert (report.clips, len(report.left_out)) == (4, 2)


def test_without_labels_a_recording_is_one_clip_without_a_label(tmp_path: Path) -> None:
    write(tmp_path / "A10N08-L.txt", frames())
    clip, skeleton = read_file(tmp_path / "A10N08-L.txt")
    assert skeleton.name == "ntu25"
    assert (clip.name, clip.label, clip.frames, clip.camera) == ("A10N08-L", -1, 20, 1)
    with pytest.raises(SourceError, match=r"no label; name the folder .* --labels"):
        import_data("pku-mmd", tmp_path / "A10N08-L.txt", tmp_path / "store")


def test_sources_that_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("1 2 3")
    with pytest.raises(SourceError, match=r"with a name such as 0002-L\.txt"):
        open_recordings(tmp_path, format_name="pku-mmd").__enter__()
    with pytest.raises(SourceError, match="unpack it"):
        open_recordings(tmp_path / "Skeleton.7z", format_name="pku-mmd").__enter__()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"1 2\n3\n", "line 2 has 1 numbers, expected 2; the file may be cut short"),
        (b"1 2\n\n3 x\n", "line 3: 'x' is no number"),
        (b"\xff\xfe", "line 1 has 1 numbers"),
        (b"1 2 3", "line 1 has 3 numbers, expected 2"),
        (b"1 2\n" + b"1 " * 65, "a line of 130 characters"),
    ],
)
def test_a_table_of_numbers_is_checked(data: bytes, complaint: str) -> None:
    with pytest.raises(ClipError, match=f"'a file'.*{complaint}"):
        read_table(data, 2, "'a file'")


def test_a_recording_is_parsed_once_for_all_its_clips(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []

    def counting(data: bytes, columns: int, where: str, **options: str) -> NDArray[np.float64]:
        parsed.append(columns)
        return read_table(data, columns, where, **options)

    monkeypatch.setattr("kinegraph.data.formats.pku_mmd.read_table", counting)
    read(root)
    assert parsed.count(150) == 3


@pytest.mark.shared
def test_the_real_recording_is_cut(shared_folder: Path, tmp_path: Path) -> None:
    sample = shared_folder / "data" / "pku-mmd-sample" / "A10N08-L.txt"
    labels = tmp_path / "label"
    labels.mkdir()
    (labels / "A10N08-L.txt").write_text("8,1,300,2\n51,400,1040,1\n")
    clips = read(sample, labels=labels)
    assert [clip.frames for clip in clips.values()] == [300, 641]
    whole, skeleton = read_file(sample)
    seen = np.zeros(1040, dtype=bool)
    track = whole.tracks[1]
    seen[track.first : track.first + len(track.joints)] = track.joints.any(axis=(1, 2))
    assert seen.sum() == 728
    joints = whole.tracks[0].joints
    head, foot = skeleton.joints.index("head"), skeleton.joints.index("left foot")
    assert (joints[:, head, 1] > joints[:, foot, 1] + 1.0).mean() > 0.9  # metres, y points up
