from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kinegraph.cli import main
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import create_store
from kinegraph.inference.layout_sheet import rest_pose
from kinegraph.skeleton import load_layout

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three clips, of 10 (two people), 700 and 5 frames; the current folder is an empty one."""
    skeleton = load_layout("ntu25")
    pose = np.concatenate([rest_pose(skeleton), np.full((25, 1), 3.0)], axis=1)
    with create_store(tmp_path / "store", skeleton, ["wave", "shake hands"], source="test") as out:
        for name, frames, label, persons in (
            ("two", 10, 1, 2),
            ("long", 700, 0, 1),
            ("x", 5, 0, 1),
        ):
            shift = np.linspace(0, 1, frames)[:, None, None] * np.array([1.0, 0.0, 0.0])
            tracks = tuple(Track(pose + shift + (m, 0, 0), person=m) for m in range(persons))
            out.add(Clip(name, tracks, frames, label=label, extras={"fps": 60.0}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "store"


def test_first_clip_becomes_a_gif_named_after_it(store: Path, capsys: Capture) -> None:
    assert main(["show", str(store)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "two: shake hands",
        "10 frames, 2 persons, layout ntu25; 5 pictures (one for 2 frames): two.gif",
    ]
    with Image.open("two.gif") as image:
        assert image.n_frames == 5
        assert image.format == "GIF"
        assert image.info["duration"] in (30, 40)


def test_clip_by_name_index_and_class(store: Path, capsys: Capture) -> None:
    for words, name in (
        (["--clip", "x"], "x"),
        (["--index", "2"], "x"),
        (["--index", "-1"], "x"),
        (["--class", "wave"], "long"),
        (["--class", "1"], "two"),
    ):
        assert main(["show", str(store), *words, "--out", "a.png", "--force"]) == 0
        assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.slow
def test_long_recordings_leave_out_frames_and_keep_their_speed(store: Path) -> None:
    assert main(["show", str(store), "--clip", "long", "--fps", "30"]) == 0
    with Image.open("long.gif") as image:
        assert image.n_frames == 234
        total = 0
        for frame in range(image.n_frames):
            image.seek(frame)
            total += image.info["duration"]
    assert total == pytest.approx(1000 * 702 / 30, abs=20)


def test_strips_and_layouts(store: Path, capsys: Capture) -> None:
    words = ["--frames", "3", "--turn", "25", "--stream", "joint-motion"]
    for ending in ("png", "svg", "pdf"):
        assert main(["show", str(store), *words, "--out", f"strip.{ending}"]) == 0
    assert "shake hands (joint-motion)" in capsys.readouterr().out
    assert Path("strip.svg").read_text(encoding="utf-8").count("frame ") >= 3
    assert main(["show", "--layout", "coco17"]) == 0
    assert "layout coco17: COCO" in capsys.readouterr().out
    with Image.open("coco17.png") as image:
        assert image.width > 400


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "nothing to draw"),
        (["STORE", "--clip", "tow"], "has no clip 'tow'; nearest: 'two'"),
        (["STORE", "--index", "3"], "has no clip 3: it holds 3, numbered from 0"),
        (["STORE", "--class", "weve"], "unknown class 'weve'; nearest: 'wave'"),
        (["STORE", "--class", "2"], "unknown class '2'"),
        (["STORE", "--clip", "two", "--index", "0"], "exclude each other"),
        (["STORE", "--out", "a.jpg"], "cannot draw '.jpg'"),
        (["STORE", "--stream", "bnoe"], "unknown stream 'bnoe'; nearest: 'bone'"),
        (["--layout", "ntu26"], "unknown layout 'ntu26'; nearest: 'ntu25'"),
        (["--layout", "ntu25", "--out", "a.gif"], "a layout does not move"),
        (["--layout", "ntu25", "--clip", "two"], "choose from a source"),
        (["nowhere"], "'nowhere' does not exist"),
        (["STORE", "--frames", "0"], "frames"),
        (["STORE", "--frmaes", "2"], "unknown option --frmaes"),
    ],
)
def test_mistakes_are_one_line(
    store: Path, capsys: Capture, words: list[str], complaint: str
) -> None:
    words = [str(store) if word == "STORE" else word for word in words]
    assert main(["show", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinegraph show: ")
    assert captured.err.count("\n") == 1
    assert complaint in captured.err
    assert list(Path.cwd().iterdir()) == []


def test_recordings_are_drawn_without_a_store_and_empty_ones_refused(
    store: Path, capsys: Capture
) -> None:
    for action, value in ((1, 1.0), (2, 0.0)):
        joints = np.full((4, 20, 3), value) * np.arange(20)[:, None]
        content = {"skeletons": joints.tolist(), "label": action}
        Path(f"a{action:02}_s01_e00_v01.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["show", "a01_s01_e00_v01.json", "--out", "a.png"]) == 0
    assert "pick up with one hand" in capsys.readouterr().out
    assert main(["show", ".", "--clip", "a02_s01_e00_v01", "--out", "b.png"]) == 2
    assert "'a02_s01_e00_v01' is empty" in capsys.readouterr().err
    assert not Path("b.png").exists()


def test_nothing_is_overwritten_without_force(store: Path, capsys: Capture) -> None:
    Path("two.gif").write_bytes(b"mine")
    assert main(["show", str(store)]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("two.gif").read_bytes() == b"mine"
    assert main(["show", str(store), "--force"]) == 0
    assert Path("two.gif").read_bytes() != b"mine"
