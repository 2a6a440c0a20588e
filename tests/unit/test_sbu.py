"""SBU: two people, five folds, original coordinates; and what cannot be read."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.formats import Recordings, detect_format, open_recordings, read_file
from kinegraph.data.formats.sbu import FOLDS, original_coordinates
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, LayoutError, SourceError


def stored(frames: int = 5) -> NDArray[np.float64]:
    """Return (T, 2, 15, 3) normalised coordinates."""
    return np.random.default_rng(frames).uniform(0.1, 2.0, (frames, 2, 15, 3)).round(5)


def text(joints: NDArray[np.float64], first: int = 180) -> str:
    rows = joints.reshape(len(joints), -1)  # (T, 90)
    lines = (
        ",".join([str(first + t), *(f"{number:.5g}" for number in row)])
        for t, row in enumerate(rows)
    )
    return "\r\n".join(lines) + "\r\n"


def write(root: Path, pair: str = "s01s02", action: str = "01", repetition: str = "001") -> Path:
    folder = root / pair / action / repetition
    folder.mkdir(parents=True)
    file = folder / "skeleton_pos.txt"
    file.write_text(text(stored()))
    return file


def read_all(recordings: Recordings) -> list[Clip]:
    return [item.read() for item in recordings.items]


def test_a_recording_is_read_with_two_people_in_original_coordinates(tmp_path: Path) -> None:
    write(tmp_path, "s03s05", "08", "002")
    with open_recordings(tmp_path) as recordings:
        assert recordings.skeleton.name == "sbu15"
        (clip,) = read_all(recordings)
    assert clip.name == "s03s05_08_002"
    assert (clip.label, clip.subject, clip.replication, clip.frames) == (7, 3, 2, 5)
    assert clip.extras["partner"] == 5
    assert [track.person for track in clip.tracks] == [0, 1]
    x, y, z = stored()[2, 1, 4].astype(np.float64)
    expected = (1280 - 2560 * x, 960 - 1920 * y, z * 1280)
    np.testing.assert_allclose(clip.tracks[1].joints[2, 4], expected, rtol=1e-4)


def test_what_was_not_seen_stays_zero() -> None:
    joints = stored()
    joints[1, 0, 3] = 0
    restored = original_coordinates(joints)
    assert not restored[1, 0, 3].any()
    assert restored[1, 0, 2].all()


def test_the_folds_divide_all_pairs() -> None:
    pairs = [
        "s01s02", "s01s03", "s01s07", "s02s01", "s02s03", "s02s06", "s02s07", "s03s02", "s03s04",
        "s03s05", "s03s06", "s04s02", "s04s03", "s04s06", "s05s02", "s05s03", "s06s02", "s06s03",
        "s06s04", "s07s01", "s07s03",
    ]  # fmt: skip
    numbers = [[pairs.index(pair) + 1 for pair in fold] for fold in FOLDS]
    assert numbers == [
        [1, 9, 15, 19], [5, 7, 10, 16], [2, 3, 20, 21], [4, 6, 8, 11], [12, 13, 14, 17, 18]
    ]  # fmt: skip


def test_the_folds_are_splits_of_the_store(tmp_path: Path) -> None:
    pairs = ["s01s02", "s02s03", "s01s03", "s02s01", "s04s02"]  # one of each fold
    for pair in pairs:
        write(tmp_path / "in", pair)
    import_data("sbu", tmp_path / "in", tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.default_split == "fold1"
    for number, pair in enumerate(pairs, start=1):
        train, test = split_rows(store, f"fold{number}")
        assert [name[:6] for name in store.clips["name"][test]] == [pair]
        assert len(train) == 4


@pytest.mark.parametrize("kind", ["above", "pair", "one", "zip", "pair zips"])
def test_the_pair_is_known_wherever_the_source_begins(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path / "s")
    source = {"above": tmp_path, "pair": tmp_path / "s" / "s01s02", "one": file}.get(kind)
    if source is None:
        source = tmp_path / "all.zip" if kind == "zip" else tmp_path / "zips" / "s01s02.zip"
        source.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(source, "w") as archive:
            inner = "01/001/skeleton_pos.txt"
            archive.write(file, inner if kind == "pair zips" else f"data/s01s02/{inner}")
        source = source.parent if kind == "pair zips" else source
    assert detect_format(source).name == "sbu"
    with open_recordings(source) as recordings:
        (clip,) = read_all(recordings)
    assert (clip.name, clip.label) == ("s01s02_01_001", 0)


def test_a_file_elsewhere_has_no_label_and_cannot_be_stored(tmp_path: Path) -> None:
    file = tmp_path / "skeleton_pos.txt"
    file.write_text(text(stored()))
    clip, _ = read_file(file)
    assert (clip.label, clip.subject) == (-1, -1)
    with pytest.raises(SourceError, match="no label"):
        import_data("sbu", file, tmp_path / "store")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        (text(stored())[:-60], r"line 5 has \d+ numbers, expected 91; the file may be cut short"),
        (text(stored()) + "1,2,3\n", "line 6 has 3 numbers"),
        (text(stored()).replace(",0.", ",O.", 1), "line 1: 'O.*' is no number"),
        (text(stored(), 1) + text(stored(), 9), "frame 9 follows frame 5"),
        ("1," * 90 + "nan", "NaN or infinite"),
        ("\x00" * 300, "line 1 has 1 numbers"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_read(
    content: str, complaint: str, tmp_path: Path
) -> None:
    write(tmp_path / "in", repetition="001")
    write(tmp_path / "in", repetition="002").write_text(content)
    with pytest.raises(SourceError, match=f"s01s02.*002.*{complaint}"):
        import_data("sbu", tmp_path / "in", tmp_path / "store")
    report = import_data("sbu", tmp_path / "in", tmp_path / "store", skip_bad=True)
    assert (report.clips, len(report.left_out)) == (1, 1)


def test_an_unknown_class_and_another_layout_are_refused(tmp_path: Path) -> None:
    write(tmp_path, action="09")
    with open_recordings(tmp_path) as recordings, pytest.raises(ClipError, match="class is 09"):
        read_all(recordings)
    with pytest.raises(LayoutError, match="'sbu15', not 'ntu25'"):
        open_recordings(tmp_path, layout="ntu25").__enter__()


@pytest.mark.shared
def test_the_real_set_has_the_published_folds(shared_folder: Path, tmp_path: Path) -> None:
    import_data("sbu", shared_folder / "data" / "sbu" / "SBU.zip", tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert len(store) == 282
    sizes = [len(split_rows(store, f"fold{number}")[1]) for number in range(1, 6)]
    assert sizes == [55, 52, 56, 54, 65]
    # Heads are above feet, and people a few metres away, in millimetres.
    up, depth = store.joints[:, 0, 1] - store.joints[:, 11, 1], store.joints[..., 2]
    assert (up > 0).mean() > 0.99
    assert 500 < depth.min() < depth.max() < 5000
