"""Whatever is wrong with the data: one clear line, exit code 2, and nothing that looks whole.

The details are in the tests of each module; here everything goes through the command line.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.store import Clip, Track, create_store
from kinegraph.skeleton import load_layout

GOOD = "a01_s01_e00_v01"
BAD = "a02_s01_e00_v01"


def recording(**fields: Any) -> str:
    joints = np.random.default_rng(0).normal(size=(3, 20, 3)).tolist()
    return json.dumps({"skeletons": joints, **fields})


def with_value(value: Any) -> str:
    joints = np.ones((3, 20, 3)).tolist()
    joints[1][2][0] = value
    return json.dumps({"skeletons": joints})


BAD_RECORDINGS = {
    "empty": ("", "is empty"),
    "truncated": (recording()[:100], "is cut short or no JSON"),
    "no frames": (recording(skeletons=[]), "has no frames"),
    "all zero": (recording(skeletons=np.zeros((3, 20, 3)).tolist()), "every frame is zero"),
    "texts": (with_value("1.0"), "not all numbers"),
    "null": (with_value(None), "not all numbers"),
    "NaN": (with_value(float("nan")), "NaN or infinite"),
    "infinite": (with_value(float("-inf")), "NaN or infinite"),
    "too large": (with_value(1e300), "too large for float32"),
    "another layout": (recording(skeletons=np.ones((3, 25, 3)).tolist()), "expected (T, 20, 3)"),
    "label 0": (recording(label=0), "its label is 0, expected 1 to 10"),
    "label 11": (recording(label=11), "its label is 11, expected 1 to 10"),
    "another label": (recording(label=1), "its name says 'pick up with two hands'"),
}  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must be refused, and return its one line."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line, end = captured.err[:-1], captured.err[-1:]
    assert (end, line.count("\n")) == ("\n", 0), captured.err
    assert line.startswith("kinegraph data ")
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / f"{GOOD}.json").write_text(recording(label=1))
    return folder


@pytest.mark.parametrize("kind", BAD_RECORDINGS)
def test_one_bad_recording_among_good_ones(
    kind: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = BAD_RECORDINGS[kind]
    (folder / f"{BAD}.json").write_text(text)
    words = ["data", "import", "nw-ucla", folder, "--out", tmp_path / "out"]
    line = run(capsys, *words)
    assert expected in line
    assert BAD in line
    assert os.listdir(tmp_path) == ["in"]
    assert main([*map(str, words), "--skip-bad"]) == 0
    (left,) = json.loads((tmp_path / "out" / "meta.json").read_text())["left_out"]
    assert left["clip"] == BAD
    assert expected in left["reason"]


def test_one_frame_is_good_input(folder: Path, tmp_path: Path) -> None:
    (folder / f"{BAD}.json").write_text(recording(skeletons=np.ones((1, 20, 3)).tolist()))
    assert main(["data", "import", "nw-ucla", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert main(["data", "check", str(tmp_path / "out")]) == 0


def no_source(folder: Path) -> Path:
    return folder / "absent"


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def no_archive(folder: Path) -> Path:
    (folder / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    return folder / "a.zip"


def archive_that_points_outside(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(f"../../{GOOD}.json", recording())
    return folder / "a.zip"


def archive_that_explodes(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{GOOD}.json", bytes(20_000_000))
    return folder / "a.zip"


BAD_SOURCES: list[tuple[Callable[[Path], Path], str]] = [
    (no_source, "does not exist"),
    (empty_folder, "holds no file that ends in '.json'"),
    (no_archive, "is not a zip archive, or was cut short"),
    (archive_that_points_outside, "points outside"),
    (archive_that_explodes, "would unpack to 20,000,000"),
]


@pytest.mark.parametrize(("make", "expected"), BAD_SOURCES)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_bad_sources(
    make: Callable[[Path], Path], expected: str, skip_bad: bool, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["data", "import", "nw-ucla", make(folder), "--out", tmp_path / "out"]
    assert expected in run(capsys, *words, *["--skip-bad"] * skip_bad)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data", "import", "nw_ucla", "{in}", "--out", "{out}"], "nearest: 'nw-ucla'"),
        (["data", "import", "nw-ucla", "{in}", "--out", "{out}", "--layout", "ntu25"], "not 'ntu"),
        (["data", "import", "nw-ucla", "{in}", "--out", "{in}"], "exists already"),
        (["data", "import", "nw-ucla", "{in}", "--out", "{in}", "--force"], "is not a store"),
        (["data", "import", "nw-ucla", "{in}", "--out", f"{{in}}/{GOOD}.json/x"], "cannot write"),
        (["data", "info", "{in}"], "has no meta.json"),
        (["data", "info", "{out}"], "does not exist"),
        (["data", "info", "{in}/" + GOOD + ".json"], "is no folder"),
        (["data", "check", "{out}"], "does not exist"),
    ],
)  # fmt: skip
def test_bad_words(
    words: list[str], expected: str, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"{in}": str(folder), "{out}": str(tmp_path / "out")}
    for mark, place in places.items():
        words = [word.replace(mark, place) for word in words]
    assert expected in run(capsys, *words)
    assert os.listdir(tmp_path) == ["in"]
    assert os.listdir(folder) == [f"{GOOD}.json"]


def truncate(file: str) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        data = (store / file).read_bytes()
        (store / file).write_bytes(data[: len(data) - 9])

    return damage


def newer_version(store: Path) -> None:
    meta = json.loads((store / "meta.json").read_text())
    (store / "meta.json").write_text(json.dumps({**meta, "format_version": 99}))


def objects(store: Path) -> None:
    np.save(store / "clips.npy", np.array([{"name": "a"}], dtype=object), allow_pickle=True)


def huge_header(store: Path) -> None:
    data = bytearray((store / "joints.npy").read_bytes())
    text = b"'shape': (10000000000, 20, 3), }"
    start = data.index(b"'shape'")
    data[start : start + len(text)] = text
    (store / "joints.npy").write_bytes(data)


BAD_STORES: list[tuple[Callable[[Path], None], str]] = [
    (newer_version, "has format version 99, this kinegraph reads 2; import the recordings again"),
    (truncate("joints.npy"), "joints.npy' is cut short or damaged"),
    (truncate("tracks.npy"), "tracks.npy' is cut short or damaged"),
    (truncate("clips.npy"), "clips.npy' is cut short or damaged"),
    (truncate("meta.json"), "meta.json is damaged"),
    (objects, "clips.npy' holds Python objects; only plain numbers and text are read"),
    (huge_header, "its header declares 2,400,000,000,000 bytes of data, 720 are there"),
]


@pytest.mark.parametrize(("damage", "expected"), BAD_STORES)
@pytest.mark.parametrize("verb", ["info", "check"])
def test_bad_stores(
    damage: Callable[[Path], None], expected: str, verb: str, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = tmp_path / "store"
    assert main(["data", "import", "nw-ucla", str(folder), "--out", str(store)]) == 0
    damage(store)
    assert expected in run(capsys, "data", verb, store)


def test_a_store_with_a_clip_that_is_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ucla = load_layout("ucla20")
    with create_store(tmp_path / "store", ucla, ["walk"], source="a test") as writer:
        writer.add(Clip("a", (Track(np.ones((2, 20, 3))),), 2, 0))
        joints = np.ones((2, 20, 3), np.float32)
        joints[1, 3, 2] = np.nan
        # What no format can write: past the writer's own check, with the right checksum.
        clip = Clip("b", (Track(np.ones((2, 20, 3))),), 2, 0)
        writer.add(clip)
        writer._joints._file.seek(-joints.nbytes, os.SEEK_END)
        writer._joints._file.write(joints.tobytes())
        writer._joints._hash = _hash_of(np.ones((2, 20, 3), np.float32), joints)
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "store")]) == 2
    assert "fault b: 1 coordinate is NaN or infinite in frame 1" in capsys.readouterr().out


def _hash_of(*blocks: np.ndarray) -> Any:
    return hashlib.sha256(b"".join(block.tobytes() for block in blocks))


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\r", "a\udc80"])
def test_names_that_are_not_printable_are_shown_escaped(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{name}.json").write_text("[")
    words = ["data", "import", "nw-ucla", folder, "--out", tmp_path / "out"]
    line = run(capsys, *words)
    assert line.isprintable()
    assert "is cut short or no JSON" in line
    assert main([*map(str, words), "--skip-bad"]) == 0
    left_out = capsys.readouterr().err.splitlines()
    assert len([text for text in left_out if text.startswith("left out")]) == 1
    assert all(text.isprintable() for text in left_out)
    assert main(["data", "info", str(tmp_path / "out")]) == 0
    assert all(text.isprintable() for text in capsys.readouterr().out.splitlines())
