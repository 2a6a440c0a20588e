"""Archives and folders that were damaged, or made to do harm, for every format that reads them."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kinegraph.data.arrays import read_npz
from kinegraph.data.clip import Clip, check_clip
from kinegraph.data.formats import FORMATS, Recording, detect_format, open_recordings
from kinegraph.errors import ClipError, KinegraphError, SourceError, StoreError
from kinegraph.skeleton import load_layout

IN_ARCHIVES = ("nw-ucla", "ntu60", "ntu120", "kinetics", "pku-mmd", "utd-mhad", "sbu")
LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
MEGABYTE = 1 << 20


@pytest.fixture
def closed(tmp_path: Path) -> None:
    """Skip the test where permissions do not hold, as for root."""
    (tmp_path / "closed").touch(mode=0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("this user may read everything")


def zip_of(fuzzing: SimpleNamespace, name: str) -> bytes:
    """Return the whole archive of a format."""
    source = next(each for each in fuzzing.seeds.seeds_of(name) if each.form == "zip")
    return bytes(fuzzing.seeds.pack(list(source.files)))


def changed(data: bytes, signature: bytes, offset: int, form: str, value: int) -> bytes:
    """Return an archive with another value in a field of the first such record."""
    place = data.index(signature) + offset
    return data[:place] + struct.pack(form, value) + data[place + struct.calcsize(form) :]


def refusal(path: Path, name: str) -> str:
    """Open a source that must be refused, and return why."""
    with (
        pytest.raises(SourceError) as caught,
        open_recordings(path, format_name=name) as recordings,
    ):
        recordings.items[0].read()
    return str(caught.value)


def read_all(path: Path, name: str) -> tuple[list[Clip], list[str]]:
    """Read a source; return the clips, and why the others are none."""
    clips, reasons = [], []
    with open_recordings(path, format_name=name) as recordings:
        for item in recordings.items:
            try:
                clips.append(item.read())
            except ClipError as error:
                reasons.append(str(error))
    return clips, reasons


def with_method(method: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        for signature, offset in ((LOCAL, 8), (CENTRAL, 10)):
            data = changed(data, signature, offset, "<H", method)
        return data

    return change


def encrypted(data: bytes) -> bytes:
    return changed(changed(data, LOCAL, 6, "<H", 1), CENTRAL, 8, "<H", 1)


def said_to_be_huge(data: bytes) -> bytes:
    return changed(data, CENTRAL, 24, "<I", 1 << 30)


def overlapping(data: bytes) -> bytes:
    """Name the first member 30,000 times: one small piece would unpack again and again."""
    end = data.index(END)
    first = data.index(CENTRAL)
    length = 46 + sum(struct.unpack("<HHH", data[first + 28 : first + 34]))
    entries = data[first : first + length] * 30_000
    record = struct.pack("<4s4H2IH", END, 0, 0, 30_000, 30_000, len(entries), first, 0)
    assert data[end:].startswith(END)
    return data[:first] + entries + record


def outside(data: bytes) -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(data), "a") as archive:
        archive.writestr("../../outside.json", "{}")
    return file.getvalue()


def without_name(data: bytes) -> bytes:
    """Leave the name of a member out of the directory."""
    first = data.index(CENTRAL)
    length = struct.unpack("<H", data[first + 28 : first + 30])[0]
    cut = data[: first + 46] + data[first + 46 + length :]
    cut = changed(cut, CENTRAL, 28, "<H", 0)
    size = struct.unpack("<I", data[data.index(END) + 12 :][:4])[0]
    return changed(cut, END, 12, "<I", size - length)


UNSAFE: list[tuple[Callable[[bytes], bytes], str]] = [
    (with_method(zipfile.ZIP_BZIP2), "packed by method 12, expected 'deflate'"),
    (with_method(zipfile.ZIP_LZMA), "packed by method 14"),
    (with_method(9), "packed by method 9"),
    (encrypted, "is encrypted; unpack it yourself"),
    (said_to_be_huge, "1,073,741,824 bytes, more than the 268,435,456"),
    (outside, "points outside"),
    (lambda data: data[: len(data) // 2], "is not a zip archive, or was cut short"),
]


@pytest.mark.parametrize("name", IN_ARCHIVES)
@pytest.mark.parametrize(("change", "expected"), UNSAFE)
def test_unsafe_archives_are_refused_as_a_whole(
    name: str, change: Callable[[bytes], bytes], expected: str, fuzzing: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(change(zip_of(fuzzing, name)))
    tracemalloc.start()
    assert expected in refusal(tmp_path / "a.zip", name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * MEGABYTE


@pytest.mark.parametrize("name", IN_ARCHIVES)
def test_members_that_overlap_are_a_bomb(name: str, fuzzing: Any, tmp_path: Path) -> None:
    whole = zip_of(fuzzing, name)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    path, _ = members[0]
    bomb = overlapping(fuzzing.seeds.pack([(path, b"0 " * MEGABYTE), *members[1:]]))
    (tmp_path / "a.zip").write_bytes(bomb)
    assert "would unpack to" in refusal(tmp_path / "a.zip", name)


@pytest.mark.parametrize("name", [name for name in IN_ARCHIVES if name != "pku-mmd"])
@pytest.mark.parametrize(
    ("offset", "form", "value"),
    [
        (16, "<I", 12345), (24, "<I", 7), (24, "<I", 60_000), (20, "<I", 9),
        (20, "<I", 0xFFFFFFFE), (42, "<I", 11),
    ],
    ids=["checksum", "too short", "too long", "cut", "huge when packed", "another place"],
)  # fmt: skip
def test_a_damaged_member_is_damaged_alone(
    name: str, offset: int, form: str, value: int, fuzzing: Any, tmp_path: Path
) -> None:
    whole = zip_of(fuzzing, name)
    (tmp_path / "whole.zip").write_bytes(whole)
    (tmp_path / "a.zip").write_bytes(changed(whole, CENTRAL, offset, form, value))
    clips, reasons = read_all(tmp_path / "whole.zip", name)
    assert (len(clips), reasons) == (2, [])
    left, reasons = read_all(tmp_path / "a.zip", name)
    assert [clip.name for clip in left] == [clips[1].name]
    (reason,) = reasons
    assert "is damaged in the archive" in reason


def test_archives_with_many_tiny_members_are_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.json", "")
    clips, reasons = read_all(tmp_path / "a.zip", "nw-ucla")
    assert not clips
    assert len(reasons) == 3000
    assert all("is empty" in reason for reason in reasons)


def test_an_archive_in_an_archive_is_not_opened(fuzzing: Any, tmp_path: Path) -> None:
    inner = zip_of(fuzzing, "nw-ucla")
    (tmp_path / "a.zip").write_bytes(fuzzing.seeds.pack([("inner.zip", inner)]))
    assert "holds no file that ends in '.json'" in refusal(tmp_path / "a.zip", "nw-ucla")


def test_members_without_a_name_are_no_recordings(fuzzing: Any, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(without_name(zip_of(fuzzing, "nw-ucla")))
    clips, _ = read_all(tmp_path / "a.zip", "nw-ucla")
    assert len(clips) == 1


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("suffix", ["", ".zip", ".npz", ".pkl", ".json", "_data.npy", ".skeleton"])
def test_pipes_and_devices_are_no_sources(name: str, suffix: str, tmp_path: Path) -> None:
    pipe = tmp_path / f"train{suffix}"
    os.mkfifo(pipe)  # to open it would wait for ever
    for path in (pipe, Path("/dev/zero"), Path("/dev/null")):
        assert str(path) in refusal(path, name)
        with pytest.raises(SourceError, match="looks like none of the formats"):
            detect_format(path)


@pytest.mark.parametrize("name", IN_ARCHIVES)
def test_what_is_no_file_is_passed_over_in_folders(name: str, fuzzing: Any, tmp_path: Path) -> None:
    source = next(each for each in fuzzing.seeds.seeds_of(name) if each.form == "folder")
    path, options = source.write(tmp_path)
    with open_recordings(path, format_name=name, options=options) as recordings:
        names = [item.name for item in recordings.items]
    for file in [file for file in path.rglob("*") if file.is_file()]:
        pipe = file.with_name(f"a{file.name}")
        os.mkfifo(pipe)
        file.with_name(f"b{file.name}").symlink_to("nowhere")
        file.with_name(f"c{file.name}").symlink_to(f"c{file.name}")
        file.with_name(f"d{file.name}").mkdir()
        if not (file.parent / "again").is_symlink():
            (file.parent / "again").symlink_to(file.parent)
    (path / "up").symlink_to(path)
    with open_recordings(path, format_name=name, options=options) as recordings:
        assert [item.name for item in recordings.items] == names


def test_folders_that_lead_to_each_other_are_walked_once(fuzzing: Any, tmp_path: Path) -> None:
    (source, *_) = [each for each in fuzzing.seeds.seeds_of("nw-ucla") if each.form == "folder"]
    path, _ = source.write(tmp_path / "it")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "real").symlink_to(path)
    (tmp_path / "one" / "two").symlink_to(tmp_path / "two")
    (tmp_path / "two" / "one").symlink_to(tmp_path / "one")
    clips, reasons = read_all(tmp_path / "one", "nw-ucla")
    assert (len(clips), reasons) == (2, [])


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("name", IN_ARCHIVES)
def test_folders_and_files_that_may_not_be_read(name: str, fuzzing: Any, tmp_path: Path) -> None:
    source = next(each for each in fuzzing.seeds.seeds_of(name) if each.form == "folder")
    path, _ = source.write(tmp_path / "it")
    (path / "closed").mkdir(mode=0)
    try:
        assert "Permission denied" in refusal(path, name)
    finally:
        (path / "closed").rmdir()
    for file in [file for file in path.rglob("*") if file.is_file()]:
        file.chmod(0)
    with pytest.raises(KinegraphError, match="Permission denied"):
        open_and_read(path, name)


def open_and_read(path: Path, name: str) -> None:
    with open_recordings(path, format_name=name) as recordings:
        recordings.items[0].read()


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(IN_ARCHIVES)))
def test_files_that_may_not_be_read(name: str, fuzzing: Any, tmp_path: Path) -> None:
    (source, *_) = fuzzing.seeds.seeds_of(name)
    path, _ = source.write(tmp_path / "it")
    for file in [path, *path.rglob("*")]:
        if file.is_file():
            file.chmod(0)
    assert "Permission denied" in refusal(path, name)


def reason(item: Recording) -> str:
    """Return in a printable line why a recording is refused, or nothing."""
    try:
        check_clip(item.read(), load_layout("ntu25"))
    except ClipError as error:
        return str(error) if str(error).isprintable() else ""
    return ""


@pytest.mark.parametrize("name", IN_ARCHIVES)
def test_names_of_any_bytes(name: str, fuzzing: Any, tmp_path: Path) -> None:
    source = next(each for each in fuzzing.seeds.seeds_of(name) if each.form == "folder")
    path, _ = source.write(tmp_path)
    file = next(each for each in sorted(path.rglob("*")) if each.is_file())
    for sign in (b"\xff", b"\n", b"\x1b[2J", b"\xe2\x80\xae"):
        odd = os.fsencode(file.parent) + b"/x" + sign + os.fsencode(file.name)
        with open(odd, "wb") as other:
            other.write(file.read_bytes())
    with open_recordings(path, format_name=name) as recordings:
        assert recordings.count >= 2
        assert all(item.name.isprintable() or reason(item) for item in recordings.items)


@pytest.mark.parametrize("name", FORMATS)
def test_paths_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    assert "File name too long" in refusal(path, name)
    assert "does not exist" in refusal(tmp_path / "absent", name)
    with pytest.raises(SourceError, match="File name too long"):
        detect_format(path)
    assert "is no path" in refusal(tmp_path / "a\0b", name)
    with pytest.raises(SourceError, match="is no path"):
        detect_format(tmp_path / "a\0b")


BOMBS: dict[str, dict[str, Any]] = {
    "ctrgcn-npz": {"x_train": np.zeros((1, 50_000, 150), np.float32), "y_train": np.zeros(1)},
    "arrays": {"x": np.zeros((1, 60_000, 17, 3)), "layout": np.array("coco17")},
}


@pytest.mark.parametrize("name", BOMBS)
def test_clips_that_would_fill_the_memory_are_refused(name: str, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **BOMBS[name])
    assert (tmp_path / "a.npz").stat().st_size < 50_000
    tracemalloc.start()
    assert "more than 500 times as many" in refusal(tmp_path / "a.npz", name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEGABYTE


def test_arrays_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", label=np.zeros(40 * MEGABYTE, np.uint8))
    with pytest.raises(StoreError, match="would unpack to 41,943,168, more than 500 times"):
        read_npz(tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "b.npz", label=np.zeros(MEGABYTE, np.int64))
    assert len(read_npz(tmp_path / "b.npz")["label"]) == MEGABYTE  # honest, and packed as well
