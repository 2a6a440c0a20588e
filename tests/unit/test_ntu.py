"""NTU RGB+D as users have it: folders, archives, both of them; names, classes, what is missing."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.cleaning import CLEANINGS
from kinegraph.data.formats import Options, detect_format, open_recordings, read_file
from kinegraph.data.formats.members import open_members
from kinegraph.data.formats.ntu import missing_recordings
from kinegraph.data.formats.processed import NTU_NAME
from kinegraph.data.importing import import_data
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, LayoutError, SourceError
from kinegraph.inference.sources import open_source

ONE, TWO, OTHER = "S001C001P001R001A001", "S002C003P008R002A060", "S017C002P040R001A024"
NEW, NEWEST = "S018C001P041R001A061", "S032C003P106R002A120"
MISSING = "S001C002P005R002A008"
FIRST_ID = 72057594037930937


def recording(*counts: int, seed: int = 0, cut: int = 0) -> str:
    """Make a file of bodies that stand beside each other, ``counts`` of them in each frame."""
    random = np.random.default_rng(seed)
    lines = [str(len(counts))]
    for count in counts:
        lines.append(str(count))
        for number in range(count):
            joints = random.uniform(-0.25, 0.25, (25, 3)) * [1, 4, 1] + [number, 0, 3]
            lines += [f"{FIRST_ID + number} 0 1 1 1 1 0 0 0 2", "25"]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 0 0 0 0 0 0 0 0 2" for x, y, z in joints]
    return "\n".join(lines[: len(lines) - cut]) + "\n"


def files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        text = recording(*[1 + (name == TWO)] * 15, seed=seed)
        (folder / f"{name}.skeleton").write_text(text)
    return folder


def packed(path: Path, folder: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir(), reverse=True):
            archive.write(file, prefix + file.name)
    return path


def names_in(source: Path, format_name: str = "ntu120", **options: str) -> list[str]:
    with open_recordings(source, format_name=format_name, options=Options(**options)) as recordings:
        return [item.name for item in recordings.items]


def test_a_name_tells_all_numbers(tmp_path: Path) -> None:
    clip, skeleton = read_file(files(tmp_path, TWO) / f"{TWO}.skeleton")
    assert (clip.name, skeleton.name, clip.label) == (TWO, "ntu25", 59)
    assert (clip.setup, clip.camera, clip.subject, clip.replication) == (2, 3, 8, 2)
    assert [(track.person, track.first, len(track.joints)) for track in clip.tracks] == [
        (0, 0, 15), (1, 0, 15),
    ]  # fmt: skip
    assert clip.frames == 15
    assert dict(clip.extras) == {}


def test_another_name_tells_nothing(tmp_path: Path) -> None:
    clip, _ = read_file(files(tmp_path, "me at home") / "me at home.skeleton")
    assert (clip.name, clip.label, clip.subject, clip.setup) == ("me at home", -1, -1, -1)


def test_one_person_from_two_ids_is_marked(tmp_path: Path) -> None:
    """The published files of NTU RGB+D 120 repeat a person who is alone, but not such a one."""
    text = recording(*[1] * 30)
    half = len(text) // 2
    changed = text[:half] + text[half:].replace(f"{FIRST_ID} ", f"{FIRST_ID + 1} ")
    (tmp_path / f"{ONE}.skeleton").write_text(changed)
    clip, _ = read_file(tmp_path / f"{ONE}.skeleton")
    assert [(track.person, len(track.joints)) for track in clip.tracks] == [(0, 30)]
    assert dict(clip.extras) == {"bodies": 2}


def test_a_folder_an_archive_and_two_archives_give_the_same(tmp_path: Path) -> None:
    """The names come in order whatever holds them; the layout of the originals is found too."""
    old = files(tmp_path / "raw" / "nturgb+d_skeletons", OTHER, ONE, TWO)
    new = files(tmp_path / "raw" / "nturgb+d_skeletons120", NEWEST, NEW)
    every = [ONE, TWO, OTHER, NEW, NEWEST]
    assert names_in(tmp_path / "raw") == every
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    first = packed(downloads / "nturgbd_skeletons_s001_to_s017.zip", old, "nturgb+d_skeletons/")
    packed(downloads / "nturgbd_skeletons_s018_to_s032.zip", new)
    assert names_in(first) == names_in(old) == every[:3]
    assert names_in(downloads) == every
    for format_name, count in (("ntu60", 3), ("ntu120", 5)):
        stores = []
        for source in (tmp_path / "raw", downloads):
            out = tmp_path / f"{format_name}-{source.name}"
            assert import_data(format_name, source, out).clips == count
            stores.append(open_store(out))
        assert np.array_equal(*(store.joints for store in stores))
        assert np.array_equal(*(store.clips for store in stores))


def test_the_order_is_that_of_the_names_wherever_files_lie(tmp_path: Path) -> None:
    files(tmp_path / "raw" / "later", ONE, NEW)
    files(tmp_path / "raw" / "earlier", TWO, OTHER)
    assert names_in(tmp_path / "raw") == [ONE, TWO, OTHER, NEW]


def test_60_is_the_part_with_the_first_setups(tmp_path: Path) -> None:
    source = files(tmp_path / "all", ONE, NEW, TWO, "S018C001P041R001A001", "S001C001P001R001A061")
    assert names_in(source, "ntu60") == [ONE, TWO]
    with open_recordings(source, format_name="ntu60") as recordings:
        assert len(recordings.class_names) == 60
        assert recordings.notes["not_of_this_set"] == 3
    with open_recordings(source, format_name="ntu120") as recordings:
        assert len(recordings.class_names) == 120
        assert recordings.class_names[:2] == ("drink water", "eat meal")
        assert recordings.class_names[-1] == "rock-paper-scissors"
        assert recordings.default_split == "xsub"
    lone = files(tmp_path / "new", NEW)
    with pytest.raises(SourceError, match=rf"no recording of NTU RGB\+D 60 .* found {NEW}; import"):
        names_in(lone, "ntu60")


def test_the_published_list() -> None:
    listed = missing_recordings()
    found = [NTU_NAME.fullmatch(name) for name in listed]
    assert len(listed) == 535
    assert sum(int(match[1]) <= 17 for match in found if match) == 302
    assert {int(match[2]) for match in found if match} == {1, 2, 3}


def test_missing_recordings_are_left_out_with_the_reason(tmp_path: Path) -> None:
    source = files(tmp_path / "raw", ONE, MISSING, TWO)
    (source / f"{MISSING}.skeleton").write_text("2\n0\n0\n")
    with open_recordings(source, format_name="ntu60") as recordings:
        assert [item.name for item in recordings.items] == [ONE, TWO]
        ((name, reason),) = recordings.left_out
    assert name == MISSING
    assert "published list" in reason
    only = files(tmp_path / "only", MISSING, "S001C002P006R001A008")
    with pytest.raises(SourceError, match="all 2 are on the published list"):
        names_in(only)
    with pytest.raises(SourceError, match="all 1 are on the published list"):
        names_in(files(tmp_path / "one", MISSING))
    clip, _ = read_file(tmp_path / "one" / f"{MISSING}.skeleton")
    assert clip.name == MISSING  # whoever names a file wants it


@pytest.mark.parametrize("cleaning", CLEANINGS)
def test_every_way_of_cleaning_makes_a_store(cleaning: str, tmp_path: Path) -> None:
    source = files(tmp_path / "raw", ONE, TWO)
    words = ["data", "import", "ntu60", str(source), "--out", str(tmp_path / "store")]
    assert main([*words, "--cleaning", cleaning]) == 0
    store = open_store(tmp_path / "store")
    assert store.clips["label"].tolist() == [0, 59]
    assert store.clips["frames"].tolist() == [15, 15]
    assert store.tracks["person"].tolist() == [0, 0, 1]
    pelvis, spine = store.joints[0, :2]
    assert (not spine.any()) == (cleaning in ("denoised", "aligned"))  # it is the origin
    assert np.allclose((spine - pelvis)[:2], 0, atol=1e-6) == (cleaning == "aligned")  # along z
    assert store.skeleton.coordinates.up == ("+z" if cleaning == "aligned" else "+y")


def test_denoised_is_what_happens_by_default(tmp_path: Path) -> None:
    source = files(tmp_path, ONE) / f"{ONE}.skeleton"
    with open_recordings(source, format_name="ntu60", options=Options(cleaning="denoised")) as same:
        expected = same.items[0].read().tracks[0].joints
        assert same.notes["cleaning"] == "denoised"
    assert np.array_equal(read_file(source)[0].tracks[0].joints, expected)


def test_words_that_mean_nothing(tmp_path: Path) -> None:
    source = files(tmp_path, ONE)
    with pytest.raises(SourceError, match=r"unknown --cleaning of 'ntu60' 'alinged'; nearest: 'al"):
        names_in(source, "ntu60", cleaning="alinged")
    with pytest.raises(LayoutError, match="have layout 'ntu25', not 'coco17'"):
        names_in(source, "ntu60", layout="coco17")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no file that ends in '\.skeleton'"):
        names_in(tmp_path / "empty")


def test_a_bad_file_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    source = files(tmp_path / "raw", ONE, OTHER)
    (source / f"{TWO}.skeleton").write_text(recording(1, 1, cut=3))
    with pytest.raises(SourceError, match=rf"1 of 3 .*'{TWO}.skeleton' is cut short: it ends"):
        import_data("ntu60", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    report = import_data("ntu60", source, tmp_path / "store", skip_bad=True)
    assert report.clips == 2
    assert [name for name, _ in report.left_out] == [TWO]


def test_where_nobody_is_left_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{ONE}.skeleton").write_text("2\n0\n0\n")
    with pytest.raises(ClipError, match=rf"'{ONE}\.skeleton': nobody is seen in any of its 2"):
        read_file(tmp_path / f"{ONE}.skeleton")


def test_files_are_recognised(tmp_path: Path) -> None:
    old, new = files(tmp_path / "old", ONE), files(tmp_path / "new", ONE, NEW)
    assert detect_format(old).name == "ntu60"
    assert detect_format(old / f"{ONE}.skeleton").name == "ntu60"
    assert detect_format(new).name == "ntu120"
    assert detect_format(new / f"{NEW}.skeleton").name == "ntu120"
    assert detect_format(packed(tmp_path / "new.zip", new)).name == "ntu120"
    nobody = tmp_path / "nobody.skeleton"
    nobody.write_text("3\n0\n0\n0\n")
    assert detect_format(nobody).name == "ntu60"
    other = tmp_path / "F001V001C001L001.skeleton"  # the same suffix, lines of three numbers
    other.write_text("1\n1\n6 1 0 0 1 1 0 -0.4 -0.1 2\n25\n" + "0.1 0.2 0.3\n" * 25)
    with pytest.raises(SourceError, match="looks like none of the formats"):
        detect_format(other)


def test_a_picture_of_one_file(tmp_path: Path) -> None:
    source = files(tmp_path, TWO) / f"{TWO}.skeleton"
    assert main(["show", str(source), "--out", str(tmp_path / "two.png"), "--frames", "2"]) == 0
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    """Data sets lie on other disks; a link may also lead back to where it stands."""
    files(tmp_path / "disk", ONE, TWO)
    source = tmp_path / "raw"
    source.mkdir()
    (source / "nturgb+d_skeletons").symlink_to(tmp_path / "disk")
    (source / "again").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(source)
    assert names_in(source) == [ONE, TWO]


def test_archives_of_a_folder_count_only_where_asked_for(tmp_path: Path) -> None:
    packed(tmp_path / "a.zip", files(tmp_path / "raw", ONE))
    (tmp_path / "raw" / f"{ONE}.skeleton").unlink()
    with open_members(tmp_path, ".skeleton", archives=True) as members:
        assert [member.path for member in members] == [f"a.zip/{ONE}.skeleton"]
        assert members[0].read().startswith(b"15\n")
    with pytest.raises(SourceError, match=r"name the archive itself: .*a\.zip"):  # noqa: SIM117
        with open_members(tmp_path, ".skeleton"):
            pass


@pytest.mark.shared
@pytest.mark.parametrize("cleaning", CLEANINGS)
def test_real_recordings(cleaning: str, shared_folder: Path, tmp_path: Path) -> None:
    source, out = shared_folder / "data" / "ntu-samples", tmp_path / "store"
    report = import_data("ntu60", source, out, options=Options(cleaning=cleaning))
    assert (report.clips, report.left_out) == (10, ())
    store = open_store(out)
    people = np.bincount(store.tracks["clip"])
    row = store.clips["name"].tolist().index("S001C003P008R002A058")
    assert people[row] == 2  # shaking hands
    heights = np.ptp(store.joints[..., 1], axis=1)
    if cleaning != "aligned":
        assert 1.0 < np.median(heights) < 2.2  # metres


def test_a_network_meets_people_that_were_made_alike(tmp_path: Path) -> None:
    """What a network was trained on says which cleaning a new file needs."""
    source = files(tmp_path, ONE) / f"{ONE}.skeleton"
    with open_source(source, cleaning="aligned") as recordings:
        assert recordings.skeleton.coordinates.up == "+z"
        aligned = recordings.items[0].read().tracks[0].joints
    with open_source(source) as recordings:
        assert recordings.skeleton.coordinates.up == "+y"
        assert not np.array_equal(recordings.items[0].read().tracks[0].joints, aligned)
    import_data("ntu60", source, tmp_path / "store")
    with (
        pytest.raises(SourceError, match=r"--cleaning means nothing to store '.*store'"),
        open_source(tmp_path / "store", cleaning="aligned"),
    ):
        pass


def test_predict_hands_the_cleaning_on(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = files(tmp_path / "raw", ONE) / f"{ONE}.skeleton"
    store, out = make_store(layout="ntu25"), tmp_path / "run"
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps(tiny_recipe(training={"epochs": 1})))
    assert main(["train", str(recipe), "--data.store", str(store), "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["predict", str(out), str(source), "--cleaning", "none", "--json"]) == 0
    assert ONE in capsys.readouterr().out
    assert main(["predict", str(out), str(source), "--cleaning", "aligned"]) == 2
    complaint = capsys.readouterr().err
    assert "their coordinates differ (were bodies made people by one --cleaning?)" in complaint
