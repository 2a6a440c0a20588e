"""Large imports as a user types them: processes, shards, interruptions; verify, diff, merge."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data import importing
from kinegraph.data.importing.parts import work_folder
from kinegraph.data.store import open_store

COUNT = 30


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "DIRECT_RECORDINGS", 5)
    monkeypatch.setattr(importing, "PART_RECORDINGS", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        joints = random.normal(size=(number % 3 + 1, 20, 3)).tolist()
        text = json.dumps({"skeletons": joints})
        (folder / f"a01_s{number:02}_e00_v{number % 3 + 1:02}.json").write_text(text)
    return folder


def run(*words: object) -> int:
    return main([str(word) for word in words])


def contents(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(store.iterdir())}


def test_shards_are_read_and_merged(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data", "import", "nw-ucla", folder, "--out")
    assert run(*words, tmp_path / "whole", "--workers", 2) == 0
    for number in (1, 2, 3):
        assert run(*words, tmp_path / f"s{number}", "--shard", f"{number}/3", "--workers", 1) == 0
    captured = capsys.readouterr()
    assert f"10 clips of 10 classes, layout ucla20, in {tmp_path}/s3 (shard 3/3)" in captured.out
    assert captured.err.count("no clip shows") == 1  # a shard need not show every class
    assert run("data", "info", tmp_path / "s2") == 0
    assert "2 of 3: recordings 10 to 19 of 30; data merge" in capsys.readouterr().out
    shards = [tmp_path / f"s{number}" for number in (2, 3, 1)]
    assert run("data", "merge", *shards, "--out", tmp_path / "merged") == 0
    assert capsys.readouterr().out.startswith("30 clips of 10 classes from 3 stores, in ")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert run("data", "diff", tmp_path / "merged", tmp_path / "whole") == 0
    assert capsys.readouterr().out == "the stores are equal: 30 clips\n"
    assert run("data", "merge", *shards[:2], "--out", tmp_path / "other") == 2
    assert "of 3 shards, 1 is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--shard", "0/3"), "shard 0/3 is none; expected 1/3 to 3/3"),
        (("--shard", "3"), "--shard is '3', expected i/n"),
        (("--shard", "1/99"), "30 recordings cannot be divided into 99 shards"),
        (("--workers", "0"), "--workers is 0, expected 1 or more"),
        (("--cleaning", "soap"), "--cleaning means nothing to format 'nw-ucla'"),
        (("--part", "1"), "--part means nothing to format 'nw-ucla'"),
        (("--matching",), "--matching means nothing to format 'nw-ucla'"),
        (("--people", "2"), "--people means nothing to format 'nw-ucla'"),
    ],
)
def test_words_that_mean_nothing(
    words: tuple[str, ...], expected: str, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run("data", "import", "nw-ucla", folder, "--out", tmp_path / "store", *words) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


INTERRUPTED = """
import os, signal, sys
from contextlib import contextmanager
from kinegraph.cli import main
from kinegraph.commands import data_import
from kinegraph.data import importing

importing.DIRECT_RECORDINGS, importing.PART_RECORDINGS = 5, 4
number, when, *words = sys.argv[1:]

class Meter:
    def update(self, done, text=""):
        if done >= int(when):
            os.killpg(os.getpgrp(), int(number))  # as a terminal does, with all processes

@contextmanager
def meter(description, total):
    yield Meter()

if __name__ == "__main__":
    data_import.meter = meter
    sys.exit(main(words))
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_import_says_that_it_goes_on(
    number: int, code: int, workers: str, folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    script, out = tmp_path / "interrupted.py", tmp_path / "store"
    script.write_text(INTERRUPTED)
    words = ["data", "import", "nw-ucla", str(folder), "--out", str(out), "--workers", workers]
    done = subprocess.run(
        [sys.executable, str(script), str(int(number)), "12", *words],
        capture_output=True, text=True, check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == (
        "kinegraph data import: interrupted; the same command goes on with what has been read\n"
    )
    assert not out.exists()
    assert work_folder(out).is_dir()
    assert run(*words) == 0
    assert "of 30 recordings have been read already" in capsys.readouterr().err
    assert len(open_store(out)) == COUNT


def test_an_import_interrupted_at_once_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "interrupted.py", tmp_path / "store"
    script.write_text(INTERRUPTED)
    done = subprocess.run(
        [sys.executable, str(script), str(int(signal.SIGTERM)), "0", "data", "import", "nw-ucla",
         str(folder), "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=60, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 143
    assert done.stderr == "kinegraph data import: interrupted; nothing was written\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["interrupted.py", "recordings"]


def test_many_bad_recordings_are_told_by_kinds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, file in enumerate(sorted(folder.iterdir())[:15]):
        file.write_text("" if number % 3 else json.dumps({"skeletons": [[[0, 0, 0]] * 20]}))
    words = ("data", "import", "nw-ucla", folder, "--out", tmp_path / "store")
    assert run(*words, "--workers", 1) == 2
    message = capsys.readouterr().err
    assert "15 of 30 recordings" in message
    assert "--skip-bad (what has been read is kept for that)" in message
    assert run(*words, "--workers", 1, "--skip-bad") == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:4] == [
        "left out 15 recordings, all of them listed in meta.json:",
        "left out a01_s01_e00_v02: 'a01_s01_e00_v02.json' is empty (9 more like it)",
        "left out a01_s00_e00_v01: clip 'a01_s00_e00_v01' is empty: every joint of every frame is"
        " zero (4 more like it)",
    ]
    assert len(open_store(tmp_path / "store").meta["left_out"]) == 15


def test_info_verifies(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    assert run("data", "import", "nw-ucla", folder, "--out", store, "--workers", 1) == 0
    assert run("data", "info", store, "--verify") == 0
    assert capsys.readouterr().out.endswith("every file is what was written\n")
    data = bytearray((store / "joints.npy").read_bytes())
    data[-1] ^= 1
    (store / "joints.npy").write_bytes(data)
    assert run("data", "info", store) == 0  # it does not read the joints
    capsys.readouterr()
    assert run("data", "info", store, "--verify") == 2
    assert "the checksum of joints.npy is not the one written" in capsys.readouterr().err


def test_diff_tells_what_differs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data", "import", "nw-ucla", folder, "--workers", 1, "--out")
    assert run(*words, tmp_path / "one") == 0
    file, other = sorted(folder.iterdir())[:2]
    file.unlink()
    content = json.loads(other.read_text())
    content["skeletons"][0][3][1] += 0.5
    other.write_text(json.dumps(content))
    assert run(*words, tmp_path / "two") == 0
    capsys.readouterr()
    assert run("data", "diff", tmp_path / "one", tmp_path / "two") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "clips only in the first: 1 (a01_s00_e00_v01)"
    assert lines[1].startswith("joints: 1 clips differ, by 0.5 at the most (in a01_s01_e00_v02)")
    assert "meta: provenance, recordings is 30 and 29" in lines
    assert run("data", "diff", tmp_path / "one", tmp_path / "two", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["clips"]["only_first"] == {"count": 1, "first": ["a01_s00_e00_v01"]}
    assert run("data", "diff", tmp_path / "one", tmp_path / "none") == 2
