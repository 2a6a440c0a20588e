"""Imports in parts: the same bytes whatever the number of processes, shards and interruptions."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinegraph.data import importing
from kinegraph.data.formats import FORMATS, Options
from kinegraph.data.importing import import_data
from kinegraph.data.importing.parts import Span, Workspace, work_folder
from kinegraph.data.merging import merge_stores
from kinegraph.data.store import open_store
from kinegraph.errors import OutputError, SourceError

from .made_recordings import Made, contents, garble

COUNT = 40
PART = 7


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "DIRECT_RECORDINGS", 10)
    monkeypatch.setattr(importing, "PART_RECORDINGS", PART)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """A format of which no recording is bad and all are counted."""
    made = Made(COUNT)
    monkeypatch.setitem(FORMATS, "made", made.format())
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Something that stands for the source of made recordings."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("made")
    return tmp_path / "source"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty NW-UCLA recordings; one is broken, and one stands in the folder twice."""
    folder = tmp_path / "recordings"
    (folder / "z").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(COUNT):
        joints = random.normal(size=(number % 4 + 1, 20, 3)).tolist()
        text = "{" if number == 5 else json.dumps({"skeletons": joints})
        (folder / f"{ucla_name(number)}.json").write_text(text)
    again = f"{ucla_name(12)}.json"
    (folder / "z" / again).write_text((folder / again).read_text())
    return folder


def ucla_name(number: int) -> str:
    return f"a01_s{number // 10:02}_e{number % 10:02}_v{number % 3 + 1:02}"


def in_one_go(name: str, source: Path, out: Path, **options: Any) -> dict[str, bytes]:
    """Return the bytes of a store that was written without parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "DIRECT_RECORDINGS", 1000)
        import_data(name, source, out, skip_bad=True, **options)
    return contents(out)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_bytes(
    workers: int, folder: Path, tmp_path: Path
) -> None:
    expected = in_one_go("nw-ucla", folder, tmp_path / "whole")
    report = import_data("nw-ucla", folder, tmp_path / "s", skip_bad=True, workers=workers)
    assert contents(tmp_path / "s") == expected
    assert report.clips == 39
    (broken, why), again = report.left_out
    assert (broken, "is cut short or no JSON" in why) == (ucla_name(5), True)
    assert again == (ucla_name(12), f"clip '{ucla_name(12)}' occurs twice")
    assert sorted(os.listdir(tmp_path)) == ["recordings", "s", "whole"]


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(11, 30),
    size=st.integers(1, 9),
    shards=st.integers(1, 4),
    bad=st.frozensets(st.integers(0, 29), max_size=6),
    copies=st.dictionaries(st.integers(1, 29), st.integers(0, 29), max_size=5),
)
def test_parts_and_shards_give_what_one_go_gives(
    count: int, size: int, shards: int, bad: frozenset[int], copies: dict[int, int],
    source: Path, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    tmp_path = tmp_path_factory.mktemp("any")
    made = Made(count, bad, {later: first for later, first in copies.items() if first < later})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, "made", made.format())
        expected = in_one_go("made", source, tmp_path / "whole")
        patch.setattr(importing, "PART_RECORDINGS", size)
        import_data("made", source, tmp_path / "parts", skip_bad=True)
        assert contents(tmp_path / "parts") == expected
        outs = [tmp_path / f"shard {number}" for number in range(shards)]
        for number, out in enumerate(outs, start=1):
            import_data("made", source, out, skip_bad=True, shard=(number, shards))
        merge_stores(outs[::-1], tmp_path / "merged")
    assert contents(tmp_path / "merged") == expected
    open_store(tmp_path / "merged").verify()


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path
from kinegraph.data import importing

importing.DIRECT_RECORDINGS, importing.PART_RECORDINGS = 10, 7
source, out, number, workers = sys.argv[1:]

class Killer:
    def update(self, done, text=""):
        if done >= int(number):
            print(*(child.pid for child in active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def watch(description, total):
    yield Killer()

if __name__ == "__main__":
    importing.import_data("nw-ucla", Path(source), Path(out), skip_bad=True, workers=int(workers),
                          progress=watch)
"""


@pytest.mark.parametrize(("number", "workers"), [(7, 1), (21, 1), (41, 1), (14, 2), (28, 3)])
def test_a_killed_import_goes_on_where_it_stopped(
    number: int, workers: int, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = in_one_go("nw-ucla", folder, tmp_path / "whole")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(out), str(number), str(workers)],
        check=False, timeout=120, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    for child in map(int, done.stdout.split()):
        wait_until_gone(child)
    parts = sorted(work_folder(out).glob("part-*"))
    assert len(parts) >= number // PART
    # What has been read is not looked at again: it would not be found sound any more.
    read = [range(*map(int, part.name.split("-")[1:])) for part in parts]
    for numbers in read:
        for each in numbers:
            if each < COUNT:
                garble(folder / f"{ucla_name(each)}.json")
    report = import_data("nw-ucla", folder, out, skip_bad=True, workers=workers)
    assert contents(out) == expected
    assert report.went_on == sum(map(len, read))
    assert f"{report.went_on} of 41 recordings have been read already" in capfd.readouterr().err
    assert not work_folder(out).exists()


SLOW = """
import time
from contextlib import contextmanager
import numpy as np
from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import FORMATS, Format, Lazy, Recording, Recordings
from kinegraph.skeleton import load_layout

def read(number):
    if number >= 14:
        time.sleep(300)
    return Clip(f"clip {number}", (Track(np.ones((1, 15, 3))),), 1, 0)

@contextmanager
def open_slow(source, options):
    items = Lazy(40, lambda number: Recording(f"clip {number}", lambda: read(number)))
    yield Recordings(load_layout("sbu15"), ("push",), items)

FORMATS["slow"] = Format("slow", "slow", ("sbu15",), lambda path: False, open_slow)
"""


def test_processes_end_with_an_import_of_a_plug_in_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    script = tmp_path / "killed.py"
    loads = "import sys\nfrom kinegraph.registry import load_plugin\nfrom pathlib import Path\n"
    loads += "if __name__ == '__main__':\n    load_plugin(Path(sys.argv[1]))\n"
    script.write_text(loads + KILLED.replace('"nw-ucla"', '"slow"'))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "slow.py"), str(tmp_path / "out"), "14", "2"],
        check=False, timeout=120, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    children = [int(child) for child in done.stdout.split()]
    assert len(children) == 2
    for child in children:
        wait_until_gone(child)


def wait_until_gone(process: int) -> None:
    """Wait until a process that nobody waits for has ended."""
    for _ in range(600):
        status = Path(f"/proc/{process}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {process} outlives the import that started it")


def test_each_recording_of_a_finished_part_is_read_once(
    made: Made, source: Path, tmp_path: Path
) -> None:
    expected = in_one_go("made", source, tmp_path / "whole")
    out = tmp_path / "store"
    for stop in (3, 17, 30, 39):
        made.reads.clear()

        def interrupt(number: int, stop: int = stop) -> None:
            if number == stop:
                raise KeyboardInterrupt

        made.before = interrupt
        with pytest.raises(KeyboardInterrupt):
            import_data("made", source, out)
        finished = len(list(work_folder(out).glob("part-*")))
        assert finished == stop // PART
        assert not out.exists()
    made.before = None
    made.reads.clear()
    import_data("made", source, out)
    assert made.reads == list(range(35, 40))
    assert contents(out) == expected


def test_an_interruption_before_the_first_part_leaves_nothing(
    made: Made, source: Path, tmp_path: Path
) -> None:
    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    made.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        import_data("made", source, tmp_path / "store")
    assert os.listdir(tmp_path) == ["source"]


@pytest.mark.parametrize("change", ["size", "time", "new file", "options", "dtype", "shard"])
def test_what_was_read_of_another_source_is_dropped(
    change: str, made: Made, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    made.bad = frozenset({30})
    with pytest.raises(SourceError, match=r"1 of 40 .*with --skip-bad \(what has been read is"):
        import_data("made", source, out)
    made.bad = frozenset()
    changed: dict[str, Any] = {}
    if change == "size":
        (source / "file").write_text("longer")
    elif change == "time":
        os.utime(source / "file", (1, 1))
    elif change == "new file":
        (source / "other").write_text("")
    else:
        changed = {
            "options": {"options": Options(part="2")},
            "dtype": {"dtype": "float16"},
            "shard": {"shard": (1, 2)},
        }[change]
    made.reads.clear()
    import_data("made", source, out, **changed)
    assert made.reads == list(range(20 if change == "shard" else 40))
    assert "what it had read is dropped" in capfd.readouterr().err


def test_a_failed_import_is_not_read_again_with_skip_bad(
    made: Made, source: Path, tmp_path: Path
) -> None:
    made.bad = frozenset({3, 30})
    with pytest.raises(SourceError, match="2 of 40 recordings"):
        import_data("made", source, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    made.reads.clear()
    report = import_data("made", source, tmp_path / "store", skip_bad=True)
    assert made.reads == []
    assert [name for name, _ in report.left_out] == ["file 3", "file 30"]


def test_a_damaged_part_is_read_again(made: Made, source: Path, tmp_path: Path) -> None:
    expected = in_one_go("made", source, tmp_path / "whole")
    made.bad = frozenset({39})
    with pytest.raises(SourceError):
        import_data("made", source, tmp_path / "store")
    made.bad = frozenset()
    parts = sorted(work_folder(tmp_path / "store").glob("part-*"))
    (parts[1] / "clips.npy").write_bytes(b"")
    (parts[5] / "meta.json").unlink()
    made.reads.clear()
    import_data("made", source, tmp_path / "store")
    assert made.reads == [*range(7, 14), *range(35, 40)]
    assert contents(tmp_path / "store") == expected


def test_two_imports_to_one_place(made: Made, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    with (
        Workspace(out, "another", Span(0, 40, 40).cut(PART)),
        pytest.raises(OutputError, match=r"another import to '.*store' is at work"),
    ):
        import_data("made", source, out)
    import_data("made", source, out)


class Interrupter:
    """A meter that does something when the first part is finished."""

    def __init__(self, act: Any) -> None:
        self.act = act

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Interrupter]:
        yield self

    def update(self, done: int, text: str = "") -> None:
        if done:
            self.act()


def test_a_process_that_is_killed_is_told(folder: Path, tmp_path: Path) -> None:
    def kill() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)

    out = tmp_path / "store"
    with pytest.raises(SourceError, match=r"killed by signal 9 \(the system does so when memory"):
        import_data("nw-ucla", folder, out, skip_bad=True, workers=2, progress=Interrupter(kill))
    assert multiprocessing.active_children() == []
    expected = in_one_go("nw-ucla", folder, tmp_path / "whole")
    report = import_data("nw-ucla", folder, out, skip_bad=True, workers=2)
    assert report.went_on >= PART
    assert contents(out) == expected


def test_what_ends_an_import_in_a_process_ends_it(folder: Path, tmp_path: Path) -> None:
    def remove() -> None:
        (folder / f"{ucla_name(39)}.json").unlink(missing_ok=True)

    remove_later = Interrupter(remove)
    with pytest.raises(SourceError, match=r"cannot be read|changes while it is read"):
        import_data("nw-ucla", folder, tmp_path / "s", workers=2, progress=remove_later)


def test_what_can_only_be_read_in_order_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4, 17, 3))
    np.savez_compressed(tmp_path / "a.npz", x=x, split=np.arange(30) % 3, layout="coco17")
    expected = in_one_go("arrays", tmp_path / "a.npz", tmp_path / "whole")
    import_data("arrays", tmp_path / "a.npz", tmp_path / "store", workers=3)
    assert contents(tmp_path / "store") == expected
    assert "can only be read in order: one process reads it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("shard", "expected"),
    [((0, 3), "shard 0/3 is none"), ((4, 3), "expected 1/3 to 3/3"), ((1, 41), "into 41 shards")],
)
def test_shards_that_are_none(
    shard: tuple[int, int], expected: str, made: Made, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=expected):
        import_data("made", source, tmp_path / "store", shard=shard)


def test_a_store_may_be_made_inside_its_source(made: Made, source: Path) -> None:
    first = in_one_go("made", source, source / "store")
    import_data("made", source, source / "store", force=True)
    assert contents(source / "store") == first
