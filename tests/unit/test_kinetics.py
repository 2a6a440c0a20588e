"""Kinetics-skeleton: people of every frame, label files, parts; and files that do not fit."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.clip import Clip
from kinegraph.data.formats import Options, detect_format, open_recordings, read_file
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, LayoutError, SourceError

NAMES = ["abseiling", "air drumming", "zumba"]


def person(x: float, score: float = 0.5) -> dict[str, Any]:
    """Return somebody whose joints are all at (x, 0.25)."""
    return {"pose": [x, 0.25] * 18, "score": [score] * 18}


def video(label: int = 2, **fields: Any) -> dict[str, Any]:
    frames = [
        {"frame_index": 1, "skeleton": [person(0.1, 0.3), person(0.9, 0.8)]},
        {"frame_index": 2, "skeleton": [person(0.2, 0.9), person(0.8, 0.7)]},
        {"frame_index": 4, "skeleton": [person(0.3)]},
        {"frame_index": 6, "skeleton": []},
    ]
    return {"data": frames, "label": NAMES[label], "label_index": label} | fields


def entry(label: int = 2, has_skeleton: bool = True) -> dict[str, Any]:
    return {"has_skeleton": has_skeleton, "label": NAMES[label], "label_index": label}


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Both parts, as the archive holds them; one video in which nobody is seen."""
    root = tmp_path / "kinetics-skeleton"
    write(root / "kinetics_train" / "t1.json", video(0))
    write(root / "kinetics_train" / "t2.json", video(2))
    write(root / "kinetics_val" / "v1.json", video(2))
    write(root / "kinetics_val" / "v2.json", video(1, data=[]))
    write(root / "kinetics_train_label.json", {"t1": entry(0), "t2": entry(2)})
    write(root / "kinetics_val_label.json", {"v1": entry(2), "v2": entry(1, False), "v9": entry(1)})
    return root


def read(source: Path, **options: Any) -> dict[str, Clip]:
    with open_recordings(source, format_name="kinetics", options=Options(**options)) as recordings:
        return {item.name: item.read() for item in recordings.items}


def xs(clip: Clip) -> list[list[tuple[int, float]]]:
    """Return for each place the frames with somebody in it, and where."""
    return [
        [
            (track.first + t, round(float(joints[0, 0]) + 0.5, 3))
            for t, joints in enumerate(track.joints)
            if joints.any()
        ]
        for track in clip.tracks
    ]


def test_the_surest_person_of_every_frame_comes_first(root: Path) -> None:
    clip = read(root / "kinetics_val")["v1"]
    assert (clip.label, clip.frames, clip.subject) == (2, 7, -1)
    assert xs(clip) == [[(1, 0.9), (2, 0.2), (4, 0.3)], [(1, 0.1), (2, 0.8)]]
    assert clip.tracks[0].first == 1  # frames count from 1, place 0 stays empty as in the original
    np.testing.assert_allclose(clip.tracks[0].joints[0, 5], [0.4, -0.25, 0.8])
    assert (clip.extras["width"], clip.extras["height"]) == (340, 256)


def test_people_can_be_followed(root: Path) -> None:
    clip = read(root / "kinetics_val", matching=True)["v1"]
    assert [place[:2] for place in xs(clip)] == [[(1, 0.9), (2, 0.8)], [(1, 0.1), (2, 0.2)]]


def test_of_five_people_the_surest_are_kept(root: Path) -> None:
    crowd = [person(0.1 * n, score) for n, score in enumerate((0.3, 0.2, 0.1, 0.6, 0.5, 0.9), 1)]
    data = [{"frame_index": 0, "skeleton": crowd}]
    write(root / "kinetics_val" / "v1.json", video(data=data))
    source = root / "kinetics_val"
    assert xs(read(source)["v1"]) == [[(0, 0.4)], [(0, 0.5)]]  # the sixth is not read
    assert xs(read(source, people=1)["v1"]) == [[(0, 0.4)]]
    assert xs(read(source, people=6)["v1"])[0] == [(0, 0.6)]
    for people in (0, 33):
        with pytest.raises(SourceError, match=rf"--people is {people}, expected 1 to 32"):
            read(source, people=people)


def test_joints_without_a_score_are_zero(root: Path) -> None:
    somebody = person(0.7)
    somebody["score"] = [0.0, *somebody["score"][1:]]
    data = [{"frame_index": 3, "skeleton": [somebody]}]
    write(root / "kinetics_val" / "v1.json", video(data=data))
    joints = read(root / "kinetics_val")["v1"].tracks[0].joints
    assert not joints[0, 0].any()
    np.testing.assert_allclose(joints[0, 1], [0.2, -0.25, 0.5])


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_both_parts_become_one_store_with_their_split(
    kind: str, root: Path, tmp_path: Path
) -> None:
    source = root
    if kind == "zip":
        source = tmp_path / "kinetics-skeleton.zip"
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in root.rglob("*.json"):
                archive.write(file, file.relative_to(root.parent))
    assert detect_format(source).name == "kinetics"
    import_data("kinetics", source, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.class_names == tuple(NAMES)
    assert store.clips["name"].tolist() == ["t1", "t2", "v1"]
    assert store.clips["label"].tolist() == [0, 2, 2]
    train, test = split_rows(store)
    assert (train.tolist(), test.tolist()) == ([0, 1], [2])


def test_who_is_not_seen_is_left_out_with_the_reason(root: Path) -> None:
    with open_recordings(root) as recordings:
        assert [item.name for item in recordings.items] == ["t1", "t2", "v1"]
        assert list(recordings.left_out) == [("v2", "its label file says that nobody is seen")]


@pytest.mark.parametrize(("part", "absent"), [("all", 1), ("val", 1), ("train", 0)])
def test_videos_of_the_label_file_that_are_not_there_are_counted(
    part: str, absent: int, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["kinetics", str(root), "--part", part, "--out", str(tmp_path / "store")]
    assert main(["data", "import", *words]) == 0
    told = f"the label file names but '{root}' lacks: 1" in capsys.readouterr().err
    assert told == bool(absent)
    notes = open_store(tmp_path / "store").meta["provenance"]["notes"]
    assert notes["absent"] == absent  # v9; nobody is seen in v2


@pytest.mark.parametrize(("part", "names"), [("train", ["t1", "t2"]), ("val", ["v1"])])
def test_one_part_can_be_chosen(part: str, names: list[str], root: Path, tmp_path: Path) -> None:
    assert list(read(root, part=part)) == names
    # Without folders, the label files tell.
    flat = tmp_path / "flat"
    for file in root.rglob("*.json"):
        write(flat / file.name, file.read_text())
    assert list(read(flat, part=part)) == names


def test_a_label_file_elsewhere_can_be_named(root: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "mine.json", {"t1": entry(0), "t2": entry(2)})
    assert [clip.label for clip in read(root / "kinetics_train", labels=labels).values()] == [0, 2]
    # A folder of another name is looked up in all label files beside it.
    (root / "kinetics_val").rename(root / "mine")
    assert [clip.label for clip in read(root / "mine").values()] == [2]
    (root / "mine").rename(root / "kinetics_val")
    with pytest.raises(SourceError, match=r"names none of the 2 recordings .*'v1'.*--labels"):
        read(root / "kinetics_val", labels=labels)


def test_one_file_is_read_with_or_without_its_label_file(root: Path, tmp_path: Path) -> None:
    file = root / "kinetics_val" / "v1.json"
    assert detect_format(file).name == "kinetics"
    assert read_file(file)[0].label == 2
    alone = write(tmp_path / "alone" / "v1.json", file.read_text())
    assert read_file(alone)[0].label == -1
    write(alone.parent / "kinetics_val_label.json", {"other": entry()})
    assert read_file(alone)[0].label == -1  # the label file of others
    (alone.parent / "kinetics_val_label.json").unlink()
    with pytest.raises(SourceError, match=r"no label; name the label file with --labels"):
        import_data("kinetics", alone.parent, tmp_path / "store")


def test_numbers_without_a_video_are_classes_all_the_same(root: Path) -> None:
    labels = write(root / "l.json", {"v1": entry(2)})
    with open_recordings(root / "kinetics_val", options=Options(labels=labels)) as recordings:
        assert recordings.class_names == ("class 0", "class 1", "zumba")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        (json.dumps(video())[:-30], "cut short or no JSON"),
        ("[" * 5000, "cut short or no JSON"),
        ([1], "it has no list 'data'"),
        (video(data={}), "it has no list 'data'"),
        (video(data=[]), "nobody is seen in its 0 frames"),
        (video(data=[{"frame_index": 1, "skeleton": []}]), "nobody is seen in its 1 frames"),
        (video(data=[3]), "a frame has no list 'skeleton'"),
        (video(data=[{"frame_index": "1", "skeleton": []}]), "a frame_index is '1'"),
        (video(data=[{"frame_index": 10**9, "skeleton": []}]), "a frame_index is 1000000000"),
        (video(data=[{"frame_index": -1, "skeleton": []}]), "a frame_index is -1"),
        (video(data=[{"frame_index": 1, "skeleton": []}] * 2), "frame_index 1 occurs twice"),
        (video(data=[{"frame_index": 1, "skeleton": [7]}]), "a person is no object"),
        (
            video(data=[{"frame_index": 1, "skeleton": [{"pose": [0.5] * 36}]}]),
            "not every 'score' is a list of 18 numbers",
        ),
        (
            video(data=[{"frame_index": 1, "skeleton": [person(0.5) | {"pose": [0.5] * 35}]}]),
            "not every 'pose' is a list of 36 numbers",
        ),
        (
            video(data=[{"frame_index": 1, "skeleton": [person(0.5) | {"score": [None] * 18}]}]),
            "not every value of 'score' is a number",
        ),
        (
            video(data=[{"frame_index": 1, "skeleton": [person(0.5) | {"pose": ["1"] * 36}]}]),
            "not every value of 'pose' is a number",
        ),
        (video(0), "its label_index is 0, but the label file says 2"),
        (video() | {"label": "Zumba"}, "its label is 'Zumba', but the label file says 'zumba'"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_read(
    content: Any, complaint: str, root: Path, tmp_path: Path
) -> None:
    write(root / "kinetics_val" / "v1.json", content)
    with pytest.raises(SourceError, match=f"1 of 3 .*v1.json.*{complaint}"):
        import_data("kinetics", root, tmp_path / "store")
    report = import_data("kinetics", root, tmp_path / "store", skip_bad=True)
    assert report.clips == 2


def test_a_file_that_the_label_file_does_not_name(root: Path) -> None:
    write(root / "kinetics_val" / "v3.json", video())
    with pytest.raises(ClipError, match=r"'v3\.json' is not in the label file"):
        read(root / "kinetics_val")


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("", "cut short or no JSON"),
        ([], "no table of videos"),
        ({}, "no table of videos"),
        ({"v1": 7}, "'v1' is 7, expected has_skeleton"),
        ({"v1": {"label": "zumba"}}, "its label_index is None"),
        ({"v1": {"label": "zumba", "label_index": 10**9}}, "its label_index is 1000000000"),
        ({"v1": {"label": 3, "label_index": 3}}, "its label 3"),
        ({"v1": entry(2), "v2": entry(0) | {"label_index": 2}}, "label_index 2 is 'abseiling'"),
    ],
)
def test_label_files_that_do_not_fit(labels: Any, complaint: str, root: Path) -> None:
    write(root / "kinetics_val_label.json", labels)
    with pytest.raises(SourceError, match=complaint):
        read(root / "kinetics_val")


def test_sources_without_recordings(root: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    write(tmp_path / "labels" / "kinetics_val_label.json", {"v1": entry()})
    with pytest.raises(SourceError, match="holds no recording to read"):
        read(tmp_path / "labels")
    with pytest.raises(LayoutError, match="'openpose18', not 'coco17'"):
        read(root, layout="coco17")


@pytest.mark.shared
def test_real_recordings_are_read(shared_folder: Path, tmp_path: Path) -> None:
    folder = shared_folder / "data" / "kinetics-samples"
    labels = json.loads((folder / "kinetics_val_label.json").read_text())
    assert len(labels) == 19_906
    assert sum(each["has_skeleton"] for each in labels.values()) == 19_796
    for file in sorted(folder.glob("*[!l].json")):
        fields = json.loads(file.read_text())
        labels[file.stem] = entry() | {key: fields[key] for key in ("label", "label_index")}
    own = write(tmp_path / "kinetics_val_label.json", labels)
    with open_recordings(folder, options=Options(labels=own)) as recordings:
        assert len(recordings.class_names) == 400
        clips = [item.read() for item in recordings.items]
    assert [clip.frames for clip in clips] == [300] * 4
    assert {recordings.class_names[clip.label] for clip in clips} == {
        "tying tie", "dining", "cutting watermelon", "motorcycling"
    }  # fmt: skip
