"""A store gives back what was written, and says what is wrong when it was damaged."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.store import Clip, Store, Track, create_store, open_store
from kinegraph.errors import ClipError, OutputError, StoreError
from kinegraph.skeleton import load_layout

UCLA = load_layout("ucla20")
CLASSES = ("walk", "<b>sit</b> & 'stand'")


def motion(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 20, 3)).astype(np.float32)


def a_clip(name: str = "a", length: int = 4, **changes: Any) -> Clip:
    clip = Clip(name, (Track(motion(length, len(name))),), length, label=0)
    return replace(clip, **changes)


def write(path: Path, *clips: Clip, **options: Any) -> Store:
    with create_store(path, UCLA, CLASSES, source="a test", **options) as writer:
        for clip in clips:
            writer.add(clip)
        writer.splits["mine"] = np.arange(len(clips)) % 3
        writer.default_split = "mine"
    return open_store(path)


@pytest.fixture
def pair() -> Clip:
    """Two people; the second comes later and is written first."""
    tracks = Track(motion(3, 1), first=2, person=1), Track(motion(5, 2), first=0, person=0)
    return Clip("pair", tracks, 6, 1, 7, 3, 2, 4, {"fps": 30.0})


@pytest.fixture
def store(tmp_path: Path, pair: Clip) -> Store:
    return write(tmp_path / "store", a_clip("one", 1), pair, a_clip("three", 9))


def test_clips_come_back(store: Store, pair: Clip) -> None:
    assert len(store) == 3
    assert store.class_names == CLASSES
    assert store.skeleton == UCLA
    assert (store.max_persons, store.max_frames) == (2, 9)
    assert store.joints.dtype == np.float32
    found = store.clip(store.find("pair"))
    assert (found.label, found.subject, found.camera, found.setup) == (1, 7, 3, 2)
    assert (found.replication, found.frames) == (4, 6)
    assert [(t.person, t.first) for t in found.tracks] == [(0, 0), (1, 2)]
    np.testing.assert_array_equal(found.tracks[0].joints, pair.tracks[1].joints)
    np.testing.assert_array_equal(found.tracks[1].joints, pair.tracks[0].joints)
    assert found.extras == {"fps": 30.0}
    assert np.isnan(store.clip(0).extras["fps"])
    np.testing.assert_array_equal(store.stored_splits["mine"], [0, 1, 2])
    store.verify()


def test_joints_are_a_map_that_cannot_be_written(store: Store) -> None:
    assert isinstance(store.joints, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        store.joints[0] = 1


def test_a_pickled_store_carries_no_arrays(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(store.path.parent)
    data = pickle.dumps(open_store(store.path.name))
    assert len(data) < 1000
    monkeypatch.chdir(tmp_path.parent)  # a relative path would no longer lead there
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.clip(2).tracks[0].joints, store.clip(2).tracks[0].joints)


def test_half_precision_halves_the_joints(tmp_path: Path) -> None:
    store = write(tmp_path / "store", a_clip(), dtype="float16")
    assert store.joints.dtype == np.float16
    np.testing.assert_allclose(store.joints, a_clip().tracks[0].joints, atol=2e-3)
    too_large = Track(np.full((1, 20, 3), 1e5))
    with pytest.raises(ClipError, match="'large': a coordinate is too large for float16"):
        write(tmp_path / "other", a_clip("large", tracks=(too_large,)), dtype="float16")


def test_an_unknown_clip_names_the_nearest(store: Store) -> None:
    with pytest.raises(StoreError, match="has no clip 'thre'; nearest: 'three'"):
        store.find("thre")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "needs 1 to 200 characters"),
        ({"name": "x" * 201}, "needs 1 to 200 characters"),
        ({"name": "a/b"}, "slashes"),
        ({"name": "..\\b"}, "slashes"),
        ({"name": "a\nb"}, "unprintable"),
        ({"name": "a\x00"}, "unprintable"),
        ({"name": "a\udc80"}, "unprintable"),
        ({"name": "a\u202eb"}, "unprintable"),
        ({"label": 2}, "label 2 is outside 0..1"),
        ({"label": -2}, "label -2 is outside"),
        ({"label": 1.0}, "label is 1.0, expected a whole number"),
        ({"label": True}, "label is True, expected a whole number"),
        ({"subject": 2**31}, "subject 2147483648 is outside"),
        ({"camera": None}, "camera is None, expected a whole number"),
        ({"frames": 3}, "spans frames 0..3 of a clip of 3"),
        ({"frames": 0}, "is empty"),
        ({"tracks": ()}, "is empty"),
        ({"tracks": (Track(np.zeros((4, 20, 3))),)}, "every joint of every frame is zero"),
        ({"tracks": (Track(np.ones((0, 20, 3))),)}, "spans frames"),
        ({"tracks": (Track(np.ones((4, 25, 3))),)}, "layout 'ucla20' expects (T, 20, 3)"),
        ({"tracks": (Track(np.ones((4, 20, 2))),)}, "layout 'ucla20' expects (T, 20, 3)"),
        ({"tracks": (Track(np.ones((20, 3))),)}, "layout 'ucla20' expects (T, 20, 3)"),
        ({"tracks": (Track(np.full((4, 20, 3), "1")),)}, "expected numbers"),
        ({"tracks": (Track(np.full((4, 20, 3), None)),)}, "expected numbers"),
        ({"tracks": (Track(motion(4), person=32),)}, "person slots [32]"),
        ({"tracks": (Track(motion(4)), Track(motion(4)))}, "person slots [0, 0]"),
        ({"tracks": (Track(motion(2), first=-1),)}, "spans frames -1..0"),
        ({"tracks": (Track(np.full((4, 20, 3), 1e39)),)}, "too large for float32"),
    ],
)  # fmt: skip
def test_bad_clips_are_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(ClipError) as caught:
        write(tmp_path / "store", a_clip(**changes))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_frame_that_is_not_finite_is_named(value: float, tmp_path: Path) -> None:
    joints = motion(5)
    joints[3, 2, 1] = value
    with pytest.raises(ClipError, match="frame 5 has a coordinate that is NaN or infinite"):
        write(tmp_path / "store", a_clip(frames=7, tracks=(Track(joints, first=2),)))


def test_names_are_unique(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="'a' occurs twice"):
        write(tmp_path / "store", a_clip("a"), a_clip("a"))


def test_a_store_needs_a_clip(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no clip could be read from 'a test'"):
        write(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("split", [[0, 1], [0, 1, 3], [0.0, 1.0, 2.0], [[0, 1, 2]]])
def test_a_split_that_does_not_fit_is_refused(split: list[Any], tmp_path: Path) -> None:

    def write_with_split() -> None:
        with create_store(tmp_path / "store", UCLA, CLASSES, source="a test") as writer:
            for name in "abc":
                writer.add(a_clip(name))
            writer.splits["s"] = np.array(split)

    with pytest.raises(StoreError, match="split 's' is not one of 0, 1 and 2 for each of the 3"):
        write_with_split()
    assert list(tmp_path.iterdir()) == []


def test_force_replaces_a_store_and_nothing_else(store: Store) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write(store.path, a_clip())
    assert len(open_store(store.path)) == 3
    assert len(write(store.path, a_clip(), force=True)) == 1
    precious = store.path.parent / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="is not a store, and --force replaces only stores"):
        write(precious, a_clip(), force=True)
    assert (precious / "thesis.txt").read_text() == "years"
    (precious / "thesis.txt").unlink()
    assert len(write(precious, a_clip(), force=True)) == 1  # an empty folder holds nothing


def test_the_current_folder_may_become_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with create_store(Path(), UCLA, CLASSES, source="a test", force=True) as writer:
        writer.add(a_clip())
    assert len(open_store(tmp_path / "here")) == 1


def test_names_that_are_no_text_can_be_left_out(tmp_path: Path) -> None:
    with create_store(tmp_path / "store", UCLA, CLASSES, source="x\udc80") as writer:
        writer.add(a_clip())
        writer.leave_out("b\udc80", "bad")
    meta = open_store(tmp_path / "store").meta
    assert meta["left_out"] == [{"clip": "b\\udc80", "reason": "bad"}]


def change_meta(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        meta.update(changes)
        (folder / "meta.json").write_text(json.dumps(meta))

    return damage


def change_rows(file: str, field: str, row: int, value: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        array = np.load(folder / file)
        array[field][row] = value
        np.save(folder / file, array)

    return damage


def cut(file: str, length: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / file).read_bytes()
        (folder / file).write_bytes(data[:length])

    return damage


def flip_last_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def replace_array(file: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / file, array)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no meta": (remove("meta.json"), "is not a store: it has no meta.json"),
    "empty meta": (cut("meta.json", 0), "meta.json is damaged"),
    "half a meta": (cut("meta.json", 200), "meta.json is damaged"),
    "a list": (lambda f: (f / "meta.json").write_text("[1]"), "meta.json is damaged"),
    "deep": (lambda f: (f / "meta.json").write_text("[" * 99999), "meta.json is damaged"),
    "newer": (change_meta(format_version=3), "has format version 3, this kinegraph reads 2"),
    "older": (change_meta(format_version=1), "reads 2; import the recordings again"),
    "odd shard": (change_meta(shard={"number": 1}), "lacks a sound shard"),
    "no version": (change_meta(format_version=None), "has format version None"),
    "no classes": (change_meta(class_names=None), "lacks a sound class_names"),
    "text rows": (change_meta(rows="many"), "lacks a sound rows"),
    "fewer classes": (change_meta(class_names=["walk"]), "labels outside the 1 classes"),
    "more rows": (change_meta(rows=99), "joints.npy is float32 (18, 20, 3), expected (99, 20, 3)"),
    "more clips": (change_meta(clips=4), "another number of rows than meta.json says"),
    "other type": (change_meta(dtype="float64"), "joints.npy is float32"),
    "other layout": (change_meta(skeleton=load_layout("ntu25").to_dict()), "(18, 20, 3), expected"),
    "no layout": (change_meta(skeleton={}), "skeleton description is malformed"),
    "no joints": (remove("joints.npy"), "joints.npy' does not exist"),
    "half the joints": (cut("joints.npy", 2000), "declares 4,320 bytes of data, 1,872 are there"),
    "half a header": (cut("joints.npy", 60), "not a readable .npy file"),
    "empty joints": (cut("joints.npy", 0), "not a readable .npy file"),
    "no clips": (remove("clips.npy"), "clips.npy' does not exist"),
    "half the clips": (cut("clips.npy", 350), "clips.npy' is cut short"),
    "no tracks": (remove("tracks.npy"), "tracks.npy' does not exist"),
    "half the tracks": (cut("tracks.npy", 210), "tracks.npy' is cut short"),
    "object clips": (replace_array("clips.npy", np.array([None] * 3)), "holds Python objects"),
    "other clips": (replace_array("clips.npy", np.arange(3)), "other fields"),
    "other tracks": (replace_array("tracks.npy", np.arange(4)), "other fields"),
    "label": (change_rows("clips.npy", "label", 1, 9), "labels outside the 2 classes"),
    "negative label": (change_rows("clips.npy", "label", 1, -2), "labels outside"),
    "subject": (change_rows("clips.npy", "subject", 1, -2), "has numbers below -1"),
    "frames": (change_rows("clips.npy", "frames", 2, 8), "row 3 of tracks.npy points outside"),
    "offset": (change_rows("tracks.npy", "offset", 3, 10), "row 3 of tracks.npy points outside"),
    "far offset": (change_rows("tracks.npy", "offset", 0, 2**62), "row 0 of tracks.npy points"),
    "negative offset": (change_rows("tracks.npy", "offset", 2, -1), "row 2 of tracks.npy points"),
    "length": (change_rows("tracks.npy", "length", 0, 0), "row 0 of tracks.npy points outside"),
    "long": (change_rows("tracks.npy", "length", 0, 2**31 - 1), "row 0 of tracks.npy points"),
    "first": (change_rows("tracks.npy", "first", 0, 2**31 - 1), "row 0 of tracks.npy points"),
    "person": (change_rows("tracks.npy", "person", 3, 99), "row 3 of tracks.npy points outside"),
    "same person": (change_rows("tracks.npy", "person", 2, 0), "not ordered by clip and person"),
    "clip": (change_rows("tracks.npy", "clip", 3, 7), "does not speak of the clips"),
    "clip order": (change_rows("tracks.npy", "clip", 1, 2), "not ordered by clip and person"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_does_not_open(damage: str, store: Store) -> None:
    change, expected = DAMAGES[damage]
    change(store.path)
    with pytest.raises(StoreError) as caught:
        open_store(store.path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["joints.npy", "clips.npy", "tracks.npy", "meta.json"])
def test_a_store_cut_short_anywhere_does_not_verify(file: str, store: Store) -> None:
    data = (store.path / file).read_bytes()
    for length in range(0, len(data) - 2, max(len(data) // 25, 1)):
        (store.path / file).write_bytes(data[:length])
        with pytest.raises(StoreError):
            open_store(store.path).verify()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("joints.npy", lambda folder: flip_last_bit(folder / "joints.npy")),
        ("clips.npy", change_rows("clips.npy", "subject", 0, 3)),
        ("tracks.npy", change_rows("tracks.npy", "person", 0, 1)),
    ],
)
def test_changed_bytes_do_not_verify(
    file: str, damage: Callable[[Path], None], store: Store
) -> None:
    damage(store.path)
    opened = open_store(store.path)  # everything fits; only the checksum can tell
    with pytest.raises(StoreError, match=f"checksum of {file} is not the one written"):
        opened.verify()


@pytest.mark.parametrize("kind", ["splits", "extras"])
@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_damaged_archives_do_not_verify(kind: str, damage: str, store: Store) -> None:
    file = store.path / f"{kind}.npz"
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-30])
    else:
        np.savez(file, mine=np.zeros(5), fps=np.zeros(5))
    opened = open_store(store.path)
    with pytest.raises(StoreError, match=f"checksum of {kind}.npz is not"):
        opened.verify()
    with pytest.raises(StoreError):
        opened.stored_splits if kind == "splits" else opened.extras  # noqa: B018


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is no folder"),
        (lambda path: path.mkdir(), "has no meta.json"),
    ],
)
def test_what_is_no_store(make: Callable[[Path], object], expected: str, tmp_path: Path) -> None:
    make(tmp_path / "store")
    with pytest.raises(StoreError, match=f"is not a store: it {expected}"):
        open_store(tmp_path / "store")
