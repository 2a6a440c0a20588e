"""Several stores become one: shards of a source, and whole stores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import FORMATS, Options
from kinegraph.data.importing import import_data
from kinegraph.data.merging import merge_stores
from kinegraph.data.splits import split_rows
from kinegraph.data.store import create_store, open_store
from kinegraph.errors import OutputError, StoreError
from kinegraph.skeleton import load_layout

from .made_recordings import Made, contents

CLASSES = ("push", "pull")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    made = Made(30)
    monkeypatch.setitem(FORMATS, "made", made.format())
    (tmp_path / "source").write_text("made")
    return made


@pytest.fixture
def shards(made: Made, tmp_path: Path) -> list[Path]:
    """Three shards of thirty recordings."""
    outs = [tmp_path / f"shard {number}" for number in (1, 2, 3)]
    for number, out in enumerate(outs, start=1):
        import_data("made", tmp_path / "source", out, shard=(number, 3))
    return outs


def whole(
    path: Path, names: str, *, layout: str = "sbu15", classes: tuple[str, ...] = CLASSES,
    dtype: str = "float32", splits: tuple[str, ...] = (), default: str = "", fps: bool = False,
) -> Path:  # fmt: skip
    """Write a store of clips with names of one letter."""
    skeleton = load_layout(layout)
    random = np.random.default_rng(len(names))
    with create_store(path, skeleton, classes, source=f"store of {names}", dtype=dtype) as writer:
        for number, name in enumerate(names):
            joints = random.normal(size=(number + 1, skeleton.joint_count, 3))
            extras = {"fps": 30.0} if fps else {}
            writer.add(Clip(name, (Track(joints),), number + 1, label=0, extras=extras))
        for split in splits:
            writer.splits[split] = np.arange(len(names)) % 3
        writer.default_split = default
        writer.leave_out(f"not {names}", "bad")
    return path


def test_a_shard_can_be_used_and_says_that_it_is_one(shards: list[Path]) -> None:
    store = open_store(shards[1])
    store.verify()
    assert store.shard == {"number": 2, "of": 3, "begin": 10, "end": 20, "recordings": 30}
    assert len(store) == 10
    train, test = split_rows(store)
    assert len(train) + len(test) > 0


def test_shards_without_a_clip_can_be_merged(made: Made, tmp_path: Path) -> None:
    made.bad = frozenset(range(10, 20))
    import_data("made", tmp_path / "source", tmp_path / "whole", skip_bad=True)
    outs = [tmp_path / f"shard {number}" for number in (1, 2, 3)]
    for number, out in enumerate(outs, start=1):
        import_data("made", tmp_path / "source", out, skip_bad=True, shard=(number, 3))
    assert len(open_store(outs[1])) == 0
    merge_stores(outs, tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_shards_that_are_not_all_there(shards: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "merged"
    with pytest.raises(StoreError, match="of 3 shards, 2 is missing"):
        merge_stores([shards[0], shards[2]], out)
    with pytest.raises(StoreError, match="of 3 shards, 1, 3 are missing"):
        merge_stores(shards[1:2], out)
    with pytest.raises(StoreError, match="shard 2 is there twice"):
        merge_stores([*shards, shards[1]], out)
    with pytest.raises(StoreError, match=r"is a shard and '.*' is a whole store"):
        merge_stores([*shards, whole(tmp_path / "other", "abc")], out)
    assert not out.exists()


@pytest.mark.parametrize("change", ["source", "options", "count"])
def test_shards_of_different_imports(
    change: str, shards: list[Path], made: Made, tmp_path: Path
) -> None:
    options = Options()
    if change == "source":
        (tmp_path / "source").write_text("another")
    elif change == "options":
        options = Options(part="2")
    else:
        made.count = 31
    import_data("made", tmp_path / "source", shards[2], shard=(3, 3), options=options, force=True)
    with pytest.raises(StoreError, match=r"are no shards of one import: .*'provenance' in meta"):
        merge_stores(shards, tmp_path / "merged")


def test_shards_of_another_number(shards: list[Path], made: Made, tmp_path: Path) -> None:
    import_data("made", tmp_path / "source", tmp_path / "half", shard=(2, 2))
    with pytest.raises(StoreError, match="one is of 3 shards of 30 recordings, the other of 2 of"):
        merge_stores([shards[0], tmp_path / "half"], tmp_path / "merged")


def test_a_shard_whose_gaps_do_not_fit(shards: list[Path], made: Made, tmp_path: Path) -> None:
    made.copies = {25: 1}
    import_data("made", tmp_path / "source", shards[2], shard=(3, 3), force=True)
    file = shards[2] / "meta.json"
    meta = json.loads(file.read_text())
    meta["left_out"] = [{"recording": 21, "clip": "a", "reason": "b"}]
    file.write_text(json.dumps(meta))
    with pytest.raises(StoreError, match="is damaged: of 10 recordings it left out 1, but it has"):
        merge_stores(shards, tmp_path / "merged")


def test_whole_stores_are_joined_in_their_order(tmp_path: Path) -> None:
    one = whole(tmp_path / "one", "ab", splits=("s", "t"), default="s", fps=True)
    two = whole(tmp_path / "two", "cde", splits=("s",), default="s")
    merged = merge_stores([two, one], tmp_path / "merged")
    merged.verify()
    assert merged.clips["name"].tolist() == list("cdeab")
    assert list(merged.stored_splits) == ["s"]
    assert merged.stored_splits["s"].tolist() == [0, 1, 2, 0, 1]
    assert merged.default_split == "s"
    np.testing.assert_array_equal(merged.extras["fps"], [np.nan] * 3 + [30.0] * 2)
    assert merged.meta["source"] == "store of cde + store of ab"
    assert [entry["clip"] for entry in merged.meta["left_out"]] == ["not cde", "not ab"]
    assert [each["clips"] for each in merged.meta["provenance"]["merged"]] == [3, 2]
    for store in map(open_store, (one, two)):
        for row in range(len(store)):
            clip = store.clip(row)
            joints = merged.clip(merged.find(clip.name)).tracks[0].joints
            np.testing.assert_array_equal(joints, clip.tracks[0].joints)


REFUSED: dict[str, tuple[Callable[[Path], list[Path]], str]] = {
    "names": (
        lambda path: [whole(path / "a", "abc"), whole(path / "b", "xbcy")],
        "2 clip names occur in more than one of these stores, the first of them 'b', 'c'",
    ),
    "layout": (
        lambda path: [whole(path / "a", "a"), whole(path / "b", "b", layout="ucla20")],
        "their layouts 'sbu15' and 'ucla20' differ",
    ),
    "classes": (
        lambda path: [whole(path / "a", "a"), whole(path / "b", "b", classes=("push",))],
        "their classes differ",
    ),
    "dtype": (
        lambda path: [whole(path / "a", "a"), whole(path / "b", "b", dtype="float16")],
        "one holds float32, the other float16",
    ),
    "nothing": (lambda path: [], "nothing to merge"),
    "no store": (lambda path: [whole(path / "a", "a"), path], "is not a store"),
    "itself": (lambda path: [whole(path / "out", "a")], "is merged itself"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_merged(reason: str, tmp_path: Path) -> None:
    make, expected = REFUSED[reason]
    stores = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StoreError) as caught:
        merge_stores(stores, tmp_path / "out", force=True)
    assert expected in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_merging_overwrites_only_when_told(tmp_path: Path) -> None:
    stores = [whole(tmp_path / "a", "a"), whole(tmp_path / "b", "b")]
    merge_stores(stores, tmp_path / "out")
    with pytest.raises(OutputError, match="exists already"):
        merge_stores(stores, tmp_path / "out")
    assert len(merge_stores(stores[:1], tmp_path / "out", force=True)) == 1
