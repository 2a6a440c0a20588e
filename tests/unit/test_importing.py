"""From recordings to a store: whole data sets, single bad clips, and interrupted work."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.errors import KinegraphError, LayoutError, OutputError, SourceError

ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)


def name_of(number: int) -> str:
    return f"a{ACTIONS[number % 10]:02}_s{number % 7 + 1:02}_e00_v{number % 3 + 1:02}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty NW-UCLA recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        joints = random.normal(size=(number + 1, 20, 3)).tolist()
        content = {"file_name": name_of(number), "skeletons": joints, "label": number % 10 + 1}
        (folder / f"{name_of(number)}.json").write_text(json.dumps(content))
    return folder


def test_a_folder_becomes_a_store(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    report = import_data("nw-ucla", folder, out)
    assert (report.clips, report.left_out, report.empty_classes) == (20, (), ())
    store = open_store(out)
    store.verify()
    assert sorted(store.clips["name"]) == sorted(name_of(number) for number in range(20))
    assert store.class_names[:2] == ("pick up with one hand", "pick up with two hands")
    assert store.default_split == "view3"
    assert store.meta["source"] == "nw-ucla: recordings"
    train, test = split_rows(store)
    assert set(store.clips["camera"][train]) == {1, 2}
    assert set(store.clips["camera"][test]) == {3}


def test_the_same_recordings_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        import_data("nw-ucla", folder, tmp_path / out)
    for file in ("joints.npy", "tracks.npy", "clips.npy", "meta.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_bad_clips_are_named_and_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    for number in range(7):
        (folder / f"{name_of(number)}.json").write_text("")
    with pytest.raises(SourceError) as caught:
        import_data("nw-ucla", folder, tmp_path / "store")
    message = str(caught.value)
    assert message.startswith(f"7 of 20 recordings in '{folder}' are bad, nothing was written: ")
    assert message.count(".json' is empty") == 5
    assert message.endswith("; and 2 more; leave such recordings out with --skip-bad")
    assert os.listdir(tmp_path) == ["recordings"]


def test_bad_clips_are_left_out_and_listed(folder: Path, tmp_path: Path) -> None:
    (folder / f"{name_of(3)}.json").write_text("{}")
    (folder / "a01_s01_e09_v01.json").write_text(json.dumps({"skeletons": [[[0, 0, 0]] * 20]}))
    (folder / "nameless.json").write_text(json.dumps({"skeletons": [[[1, 1, 1]] * 20]}))
    report = import_data("nw-ucla", folder, tmp_path / "store", skip_bad=True)
    assert report.clips == 19
    left = {
        entry["clip"]: entry["reason"] for entry in open_store(tmp_path / "store").meta["left_out"]
    }
    assert dict(report.left_out) == left
    assert "has no field 'skeletons'" in left[name_of(3)]
    assert "every joint of every frame is zero" in left["a01_s01_e09_v01"]
    assert left["nameless"] == "clip 'nameless' has no label"


def test_nothing_but_bad_clips(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        file.write_text("[")
    with pytest.raises(SourceError, match=r"no recording in .* can be used: .*; and 15 more"):
        import_data("nw-ucla", folder, tmp_path / "store", skip_bad=True)
    # Then leaving them out is no remedy, and nobody is told to.
    with pytest.raises(SourceError, match=r"20 of 20 recordings .*; and 15 more$"):
        import_data("nw-ucla", folder, tmp_path / "store")
    assert os.listdir(tmp_path) == ["recordings"]


def test_own_arrays_bring_their_split(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 17, 1))
    x[1, 0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=x, label=[0, 1, 3, 0], split=[1, 1, 2, 2], name=list("abcd"))
    with pytest.raises(SourceError, match=r"1 of 4 .* is bad.*clip 'b': frame 0 has a coordinate"):
        import_data("arrays", tmp_path / "a.npz", tmp_path / "store", layout="coco17")
    report = import_data(
        "arrays", tmp_path / "a.npz", tmp_path / "store", layout="coco17", skip_bad=True
    )
    assert report.empty_classes == ("class 1", "class 2")
    store = open_store(tmp_path / "store")
    assert store.clips["name"].tolist() == ["a", "c", "d"]
    train, test = split_rows(store)
    assert (train.tolist(), test.tolist()) == ([0], [1, 2])


@pytest.mark.parametrize("bad", ["a/b", "../b", "a\\b", "a\nb"])
def test_clip_names_that_are_paths(bad: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((2, 5, 17, 3)), label=[0, 0], name=["good", bad])
    with pytest.raises(SourceError, match=r"may not hold slashes or unprintable") as caught:
        import_data("arrays", tmp_path / "a.npz", tmp_path / "store", layout="coco17")
    assert "\n" not in str(caught.value)


def test_class_names_with_html_are_kept(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "a & 'b' \"c\""]
    np.savez(
        tmp_path / "a.npz", x=np.ones((2, 5, 17, 3)), label=[0, 1], class_names=names,
        layout="coco17",
    )  # fmt: skip
    import_data("arrays", tmp_path / "a.npz", tmp_path / "store")
    assert list(open_store(tmp_path / "store").class_names) == names


def test_what_stands_there_is_found_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(OutputError, match=r"exists already"):
        import_data("nw-ucla", tmp_path / "absent", tmp_path / "store")


def test_a_wrong_layout_writes_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError):
        import_data("nw-ucla", folder, tmp_path / "store", layout="ntu25")
    assert os.listdir(tmp_path) == ["recordings"]


class Watched:
    """A meter that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Watched]:
        self.told.append((description, total))
        yield self

    def update(self, done: int, text: str = "") -> None:
        self.told.append(done)


def test_progress_sees_every_recording(folder: Path, tmp_path: Path) -> None:
    watched = Watched()
    import_data("nw-ucla", folder, tmp_path / "store", progress=watched)
    assert watched.told == [("reading recordings", 20), *range(1, 21)]


@pytest.mark.parametrize("file", ["joints.npy", "clips.npy", "tracks.npy", "meta.json"])
def test_a_disk_that_fills_up(
    file: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    import_data("nw-ucla", folder, out)
    opened = Path.open

    def full(self: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if self.name == file and "w" in mode and ".part" in str(self.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return opened(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match=r"cannot write '.*store': No space left on device$"):
        import_data("nw-ucla", folder, out, force=True)
    assert sorted(os.listdir(tmp_path)) == ["recordings", "store"]
    open_store(out).verify()  # the old one stands


LIMITED = """
import resource, signal, sys
from pathlib import Path
from kinegraph.data.importing import import_data
from kinegraph.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    import_data("nw-ucla", Path(sys.argv[1]), Path(sys.argv[2]))
except OutputError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="the system has no such limit")
@pytest.mark.parametrize("limit", [1, 3000, 20_000])
def test_writes_that_the_system_refuses(limit: int, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    command = [sys.executable, "-c", LIMITED, str(folder), str(out), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == f"refused: cannot write '{out}': File too large\n"
    assert os.listdir(tmp_path) == ["recordings"]


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from kinegraph.data.importing import import_data

class Killer:
    def update(self, done, text=""):
        if done == 10:
            os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def watch(description, total):
    yield Killer()

import_data("nw-ucla", Path(sys.argv[1]), Path(sys.argv[2]), progress=watch)
"""


def test_a_killed_import_leaves_no_store(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    command = [sys.executable, "-c", KILLED, str(folder), str(out)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert not out.exists()
    (part,) = (name for name in os.listdir(tmp_path) if name != "recordings")
    with pytest.raises(KinegraphError, match=r"is not a store"):
        open_store(tmp_path / part)
    assert import_data("nw-ucla", folder, out).clips == 20


@pytest.mark.shared
def test_nw_ucla_as_users_download_it(shared_folder: Path, tmp_path: Path) -> None:
    source = shared_folder / "data" / "nw-ucla" / "all_sqe.zip"
    report = import_data("nw-ucla", source, tmp_path / "store")
    assert (report.clips, report.left_out, report.empty_classes) == (1484, (), ())
    assert report.seconds < 5
    store = open_store(tmp_path / "store")
    train, test = split_rows(store, "view3")
    assert (len(train), len(test)) == (1020, 464)
    assert (int(store.clips["frames"].min()), store.max_frames) == (1, 201)
    one_frame = store.clips["name"][store.clips["frames"] == 1].tolist()
    assert one_frame == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
