"""How stores differ, and which of their files are not what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.clip import Clip, Track
from kinegraph.data.diffing import compare_stores
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.data.verifying import changed_files
from kinegraph.errors import StoreError
from kinegraph.skeleton import load_layout

CLASSES = ("push", "pull", "hug")
FILES = ("joints.npy", "tracks.npy", "clips.npy", "splits.npz", "extras.npz", "meta.json")


def some_clips() -> list[Clip]:
    random = np.random.default_rng(0)
    clips = []
    for number, name in enumerate("abcdefgh"):
        joints = random.normal(size=(number % 2 + 1, number + 1, 15, 3))
        tracks = tuple(Track(block, 0, person) for person, block in enumerate(joints))
        clips.append(
            Clip(name, tracks, number + 1, number % 3, number, extras={"fps": float(number)})
        )
    return clips


def write(path: Path, clips: list[Clip], **changes: Any) -> Store:
    options = {"layout": "sbu15", "classes": CLASSES, "dtype": "float32", "splits": ("s",)}
    options |= changes
    with create_store(
        path, load_layout(str(options["layout"])), options["classes"], source="a test",
        dtype=str(options["dtype"]),
    ) as writer:  # fmt: skip
        for clip in clips:
            writer.add(clip)
        for number, split in enumerate(options["splits"]):
            writer.splits[split] = (np.arange(len(clips)) + number) % 3
        writer.provenance = {"options": {"cleaning": options.get("cleaning", "none")}}
        writer.leave_out("z", "bad")
    return open_store(path)


@pytest.fixture
def first(tmp_path: Path) -> Store:
    return write(tmp_path / "first", some_clips())


def moved(clip: Clip, far: float) -> Clip:
    """Return a clip with one joint of its last person a little further away."""
    *others, last = clip.tracks
    joints = last.joints.astype(np.float32)
    joints[-1, 3, 2] += far
    return replace(clip, tracks=(*others, replace(last, joints=joints)))


def test_equal_stores_do_not_differ(first: Store, tmp_path: Path) -> None:
    assert compare_stores(first, write(tmp_path / "second", some_clips())) == {}
    assert compare_stores(first, first) == {}


def test_clips_that_are_only_in_one(first: Store, tmp_path: Path) -> None:
    a, *others = some_clips()
    found = compare_stores(first, write(tmp_path / "second", [*others, replace(a, name="x")]))
    assert found["clips"] == {
        "only_first": {"count": 1, "first": ["a"]},
        "only_second": {"count": 1, "first": ["x"]},
    }
    assert not found.keys() & {"order", "joints", "people", "fields"}


def test_joints_that_differ_are_counted(first: Store, tmp_path: Path) -> None:
    clips = some_clips()
    clips[3], clips[5] = moved(clips[3], 0.25), moved(clips[5], 2.0)
    found = compare_stores(first, write(tmp_path / "second", clips))
    assert list(found) == ["joints"]
    assert found["joints"] | {"largest": 0} == {
        "clips": 2, "largest": 0, "largest_in": "f", "first": ["d", "f"],
    }  # fmt: skip
    assert found["joints"]["largest"] == pytest.approx(2.0, abs=1e-6)


def test_another_order_is_told_and_nothing_else(first: Store, tmp_path: Path) -> None:
    found = compare_stores(first, write(tmp_path / "second", some_clips()[::-1], splits=()))
    assert list(found) == ["order", "splits"]
    assert found["splits"] == {"s": {"only": "first"}}


def test_fields_people_and_extras(first: Store, tmp_path: Path) -> None:
    clips = some_clips()
    clips[2] = replace(clips[2], label=0, subject=9)
    clips[4] = replace(clips[4], frames=20, tracks=(replace(clips[4].tracks[0], first=1),))
    clips[5] = replace(clips[5], tracks=clips[5].tracks[:1])
    clips[6] = replace(clips[6], extras={})
    found = compare_stores(first, write(tmp_path / "second", clips))
    assert list(found) == ["fields", "people", "extras"]
    assert {name: value["clips"] for name, value in found["fields"].items()} == {
        "label": 1, "subject": 1, "frames": 1,
    }  # fmt: skip
    assert found["fields"]["subject"]["first_ones"] == [{"clip": "c", "first": 2, "second": 9}]
    assert found["people"] == {"clips": 2, "first": ["e", "f"]}
    assert found["extras"]["fps"]["first_ones"] == [{"clip": "g", "first": 6.0, "second": None}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classes": ("push", "hug", "pull")}, {"classes"}),
        ({"classes": (*CLASSES, "kick")}, {"classes"}),
        ({"splits": ("s", "t")}, {"splits", "meta"}),
        ({"cleaning": "denoised"}, {"meta"}),
    ],
)
def test_what_stands_around_the_clips(
    changes: dict[str, Any], expected: set[str], first: Store, tmp_path: Path
) -> None:
    found = compare_stores(first, write(tmp_path / "second", some_clips(), **changes))
    assert set(found) == expected - ({"meta"} if "splits" in changes else set())
    if "cleaning" in changes:
        cleaning = found["meta"]["provenance"]["options"]["cleaning"]
        assert cleaning == {"first": "none", "second": "denoised"}


def test_half_precision_differs_by_its_rounding(first: Store, tmp_path: Path) -> None:
    found = compare_stores(first, write(tmp_path / "second", some_clips(), dtype="float16"))
    assert set(found) == {"joints", "meta"}
    assert 1e-5 < found["joints"]["largest"] < 2e-3
    assert found["joints"]["clips"] == 8


def test_other_layouts_are_not_compared_joint_by_joint(first: Store, tmp_path: Path) -> None:
    joints = np.ones((1, 20, 3))
    other = write(tmp_path / "second", [Clip("a", (Track(joints),), 1, 0)], layout="ucla20")
    found = compare_stores(first, other)
    assert found["layout"]["name"] == {"first": "sbu15", "second": "ucla20"}
    assert not found.keys() & {"joints", "people"}


def flip(folder: Path, file: str, place: int) -> None:
    data = bytearray((folder / file).read_bytes())
    data[place] ^= 1
    (folder / file).write_bytes(data)


def what_changed(folder: Path) -> list[str]:
    try:
        return changed_files(folder)
    except StoreError as error:  # what is no JSON any more has no checksums
        return ["meta.json" if "meta.json" in str(error) or "version" in str(error) else "?"]


@pytest.mark.parametrize("file", FILES)
def test_any_changed_byte_names_its_file(file: str, first: Store) -> None:
    assert changed_files(first.path) == []
    size = (first.path / file).stat().st_size
    kept = (first.path / file).read_bytes()
    for place in range(0, size, max(size // 40, 1)):
        flip(first.path, file, place)
        assert what_changed(first.path) == [file]
        (first.path / file).write_bytes(kept)


def test_all_changed_files_are_named(first: Store) -> None:
    (first.path / "joints.npy").unlink()
    flip(first.path, "splits.npz", 60)
    (first.path / "clips.npy").write_bytes(b"")
    with pytest.raises(StoreError, match=r"checksums of joints.npy, clips.npy, splits.npz are not"):
        first.verify()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda meta: meta.update(clips=7), ["meta.json"]),
        (lambda meta: meta["left_out"].clear(), ["meta.json"]),
        (lambda meta: meta["provenance"].update(kinegraph="9"), ["meta.json"]),
        (lambda meta: meta["checksums"].update(joints="0"), ["meta.json"]),
    ],
)
def test_changed_metadata(
    damage: Callable[[dict[str, Any]], None], expected: list[str], first: Store
) -> None:
    file = first.path / "meta.json"
    meta = json.loads(file.read_text())
    damage(meta)
    file.write_text(json.dumps(meta))
    assert changed_files(first.path) == expected


def test_an_archive_that_nobody_wrote(tmp_path: Path) -> None:
    store = write(tmp_path / "store", some_clips(), splits=())
    np.savez(store.path / "splits.npz", s=np.zeros(8, np.uint8))
    assert changed_files(store.path) == ["splits.npz"]
