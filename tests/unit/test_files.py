"""Partial results never look whole, and nothing is overwritten by accident."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kinegraph.errors import OutputError
from kinegraph.files import atomic_file, atomic_folder, write_text


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".txt"  # writers that look at the suffix are not confused
    assert target.read_text() == "half"
    assert os.listdir(target.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with (
        pytest.raises(OutputError, match=r"exists already; .* --force"),
        atomic_file(target, force=False),
    ):
        pytest.fail("the block must not run")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "absent")
    with (
        pytest.raises(OutputError, match="exists already"),
        atomic_folder(link),
    ):
        pytest.fail("the block must not run")


def test_folders_and_devices_are_not_replaced_by_a_file(tmp_path: Path) -> None:
    for target in (tmp_path, Path(os.devnull)):
        with pytest.raises(OutputError, match="not a file"), atomic_file(target):
            pytest.fail("the block must not run")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        with atomic_folder(tmp_path / "b") as folder:
            (folder / "c").write_text("x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o750


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with pytest.raises(OutputError) as caught, atomic_file(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value) == f"cannot write '{target}': No space left on device"
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for context in (atomic_file, atomic_folder):
        with (
            pytest.raises(OutputError, match=r"cannot write .*file") as caught,
            context(tmp_path / "file" / "a"),
        ):
            pytest.fail("the block must not run")
        assert "part" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"), atomic_folder(tmp_path / "a"):
        pytest.fail("the block must not run")


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.b"
    with atomic_folder(target) as folder:
        (folder / "inside").mkdir()
        (folder / "inside" / "x").write_text("1")
        assert not target.exists()
    assert (target / "inside" / "x").read_text() == "1"
    with atomic_folder(target, force=True) as folder:
        (folder / "y").write_text("2")
        assert (target / "inside").exists()
    assert os.listdir(target) == ["y"]
    assert os.listdir(tmp_path) == ["a.b"]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").write_text("1")

    def fail() -> None:
        with atomic_folder(target, force=True) as folder:
            (folder / "new").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_rename_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").write_text("1")
    rename = Path.rename

    def fail_once(self: Path, other: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail_once)
    with (
        pytest.raises(OutputError, match="Input/output error"),
        atomic_folder(target, force=True) as folder,
    ):
        (folder / "new").write_text("2")
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["a"]


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "a"

    def race() -> None:
        with atomic_folder(target):
            target.mkdir()
            (target / "theirs").write_text("1")

    with pytest.raises(OutputError, match="exists already"):
        race()
    assert os.listdir(target) == ["theirs"]


KILLED = """
import os, signal, sys
from pathlib import Path
from kinegraph.files import atomic_file, atomic_folder
target = Path(sys.argv[2])
with {"file": atomic_file, "folder": atomic_folder}[sys.argv[1]](target) as temporary:
    file = temporary if temporary.is_file() else temporary / "a"
    file.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_process_leaves_nothing_that_looks_whole(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "result"
    command = [sys.executable, "-c", KILLED, kind, str(target)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9
    assert not target.exists()
    assert all(name.startswith(".result.") for name in os.listdir(tmp_path))
