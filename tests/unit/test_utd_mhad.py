"""UTD-MHAD: ``.mat`` files by name, read in a process of their own; and files that are none."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kinegraph.data.formats import detect_format, mat_reader, open_recordings, read_file
from kinegraph.data.formats.mat_reader import MatReader
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, LayoutError, SourceError

LARGE = 40_000_000  # what a declared size asks for, far above the memory that is allowed


def joints(frames: int = 5, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(20, 3, frames))


def mat(compress: bool = False, **arrays: Any) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, arrays, do_compression=compress)
    return file.getvalue()


def write(folder: Path, name: str = "a3_s2_t4", **arrays: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}_skeleton.mat"
    file.write_bytes(mat(**(arrays or {"d_skel": joints()})))
    return file


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def lying_cells() -> bytes:
    """A MATLAB 5 file of a few bytes whose one variable declares ``LARGE`` cells."""
    header = mat(d_skel=joints())[:128]
    flags = element(6, struct.pack("<II", 1, 0))  # class 1: cells
    sizes = element(5, struct.pack("<ii", LARGE, 1))
    return header + element(14, flags + sizes + element(1, b"d_skel"))


@pytest.mark.parametrize("compress", [False, True])
def test_a_recording_is_read(compress: bool, tmp_path: Path) -> None:
    file = tmp_path / "a3_s2_t4_skeleton.mat"
    file.write_bytes(mat(compress, d_skel=joints()))
    clip, skeleton = read_file(file)
    assert skeleton.name == "utd20"
    assert (clip.name, clip.label, clip.subject, clip.replication) == ("a3_s2_t4", 2, 2, 4)
    np.testing.assert_array_equal(clip.tracks[0].joints, joints().transpose(2, 0, 1))


def test_actions_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("a10_s1_t1", "a2_s1_t1", "a2_s1_t2"):
        write(tmp_path, name)
    (tmp_path / "a2_s1_t1_inertial.mat").write_bytes(b"another sensor")
    with open_recordings(tmp_path) as recordings:
        assert [item.name for item in recordings.items] == ["a2_s1_t1", "a2_s1_t2", "a10_s1_t1"]
        assert len(recordings.class_names) == 27


def test_odd_subjects_train(tmp_path: Path) -> None:
    for subject in (1, 2, 3, 4):
        write(tmp_path / "in", f"a1_s{subject}_t1")
    source = tmp_path / "Skeleton.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for file in (tmp_path / "in").iterdir():
            archive.write(file, f"Skeleton/{file.name}")
    assert detect_format(source).name == "utd-mhad"
    import_data("utd-mhad", source, tmp_path / "store")
    store = open_store(tmp_path / "store")
    train, test = split_rows(store)
    assert store.clips["subject"][train].tolist() == [1, 3]
    assert store.clips["subject"][test].tolist() == [2, 4]


BAD: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"", "is empty"),
    (lambda: b"no such file", "no MATLAB 5 file"),
    (lambda: mat(d_skel=joints())[:-900], "no MATLAB 5 file"),
    (lambda: mat(compress=True, d_skel=joints())[:-90], "no MATLAB 5 file"),
    (lambda: mat(d_iner=joints()), "no variable 'd_skel'"),
    (lambda: mat(d_skel="text"), "no array of numbers"),
    (lambda: mat(d_skel={"a": 1}), "no array of numbers"),
    (lambda: mat(d_skel=joints()[:19]), r"shape \(19, 3, 5\), expected \(20, 3, T\)"),
    (lambda: mat(d_skel=joints()[..., 0]), "expected"),
    (lambda: mat(d_skel=joints() * np.nan), "NaN or infinite"),
    (lying_cells, "declares more data than it holds"),
]


def test_bad_files_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    for number, (content, _) in enumerate(BAD, start=1):
        write(tmp_path / "in", f"a1_s1_t{number}").write_bytes(content())
    for name in ("a1_s2_t1", "a2_s1_t1"):
        write(tmp_path / "in", name)
    with pytest.raises(SourceError, match=f"{len(BAD)} of {len(BAD) + 2} recordings"):
        import_data("utd-mhad", tmp_path / "in", tmp_path / "store")
    assert not (tmp_path / "store").exists()
    report = import_data("utd-mhad", tmp_path / "in", tmp_path / "store", skip_bad=True)
    assert open_store(tmp_path / "store").clips["name"].tolist() == ["a1_s2_t1", "a2_s1_t1"]
    assert [name for name, _ in report.left_out] == [f"a1_s1_t{n + 1}" for n in range(len(BAD))]
    for (name, reason), (_, complaint) in zip(report.left_out, BAD, strict=True):
        assert re.search(f"{name}.*{complaint}", reason), reason


def test_the_process_serves_all_files_and_is_replaced_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import sys, os\n"
        "out, questions = sys.stdout.buffer, sys.stdin.buffer\n"
        "send = lambda data: (out.write(len(data).to_bytes(8, 'little') + data), out.flush())\n"
        "send(b'')\n"
        "while head := questions.read(8):\n"
        "    word = questions.read(int.from_bytes(head, 'little')).partition(b'\\n')[2]\n"
        "    if word == b'end': os._exit(1)\n"
        "    if word == b'hang': import time; time.sleep(60)\n"
        "    if word == b'flood': out.write((1 << 40).to_bytes(8, 'little')); out.flush()\n"
        "    else: send(b'-process %d' % os.getpid())\n"
    )
    monkeypatch.setattr(mat_reader, "CHILD", child)
    with MatReader(seconds=1.5) as reader:

        def ask(word: bytes) -> str:
            with pytest.raises(ClipError) as caught:
                reader.read(word, "d_skel", "'x'")
            return str(caught.value)

        first = ask(b"one")
        assert first.startswith("'x': process")
        assert ask(b"two") == first
        assert "ended SciPy's process" in ask(b"end")
        second = ask(b"three")
        assert second not in (first, "")
        assert "took longer than 1.5 s" in ask(b"hang")
        third = ask(b"four")
        assert third != second
        assert "ended SciPy's process" in ask(b"flood")  # too long an answer


def test_a_process_that_does_not_start_is_no_fault_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "child.py").write_text("raise ImportError")
    monkeypatch.setattr(mat_reader, "CHILD", tmp_path / "child.py")
    with MatReader() as reader, pytest.raises(SourceError, match="does not start"):
        reader.read(b"data", "d_skel", "'x'")


def test_scipy_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mat_reader.util, "find_spec", lambda name: None)
    write(tmp_path)
    with pytest.raises(SourceError, match=r"pip install 'kinegraph\[mat\]'"):
        open_recordings(tmp_path).__enter__()


def test_unknown_actions_names_and_layouts(tmp_path: Path) -> None:
    write(tmp_path, "a28_s1_t1")
    with open_recordings(tmp_path) as recordings, pytest.raises(ClipError, match="a28"):
        recordings.items[0].read()
    (tmp_path / "mine.mat").write_bytes(mat(d_skel=joints()))
    clip, _ = read_file(tmp_path / "mine.mat")
    assert (clip.name, clip.label, clip.subject) == ("mine", -1, -1)
    with pytest.raises(LayoutError, match="'utd20', not 'ucla20'"):
        open_recordings(tmp_path, layout="ucla20").__enter__()


@pytest.mark.shared
def test_the_real_set_is_whole(shared_folder: Path, tmp_path: Path) -> None:
    source = shared_folder / "data" / "utd-mhad" / "Skeleton.zip"
    import_data("utd-mhad", source, tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert len(store) == 861
    assert [len(rows) for rows in split_rows(store)] == [431, 430]
    head, foot = store.joints[:, 0, 1], store.joints[:, 15, 1]
    assert 1.0 < np.median(head - foot) < 2.0  # metres, y points up
