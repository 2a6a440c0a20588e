"""The baselines are what their names say."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import ScoreError
from kinegraph.evaluation.baselines import (
    chance,
    majority,
    measure_baselines,
    nearest_neighbour,
    raw_coordinates,
)
from kinegraph.skeleton import load_layout

UCLA = load_layout("ucla20")
HIPS = UCLA.joints.index("hip centre")


def write(path: Path, *clips: Clip) -> Store:
    with create_store(path, UCLA, ("a", "b"), source="test") as writer:
        for clip in clips:
            writer.add(clip)
    return open_store(path)


def motion(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 20, 3)).astype(np.float32)


def test_guessing() -> None:
    assert chance(10) == 0.1
    assert majority(np.array([0, 1, 1]), np.array([1, 1, 0, 2])) == 0.5


def test_the_most_frequent_class_is_told_where_it_beats_chance(tmp_path: Path) -> None:
    labels = [0, 0, 0, 1, 0, 0, 0, 1]
    clips = [Clip(f"c{i}", (Track(motion(4, i)),), 4, label=k) for i, k in enumerate(labels)]
    store = write(tmp_path / "s", *clips)
    found = measure_baselines(store, np.arange(4), np.arange(4, 8))
    assert list(found) == ["chance", "most frequent class", "1-NN, raw coordinates"]
    assert (found["chance"], found["most frequent class"]) == (0.5, 0.75)
    even = measure_baselines(store, np.arange(4), np.array([6, 7]))
    assert list(even) == ["chance", "1-NN, raw coordinates"], "it would repeat the number of chance"


def test_the_nearest_training_clip_decides() -> None:
    train, labels = np.array([[0.0], [10.0]]), np.array([3, 7])
    found = nearest_neighbour(train, labels, np.array([[1.0], [9.0], [6.0]]), np.array([3, 7, 3]))
    assert found == pytest.approx(2 / 3)
    with pytest.raises(ScoreError, match="found 2 and 0"):
        nearest_neighbour(train, labels, np.zeros((0, 1)), np.zeros(0, int))


def test_resampling_is_linear_and_the_hips_start_at_the_origin(tmp_path: Path) -> None:
    line = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None] * np.ones((5, 20, 3), np.float32)
    x = line + motion(1)  # every joint moves by one unit in each direction
    store = write(tmp_path / "s", Clip("c", (Track(x),), 5, label=0))
    found = raw_coordinates(store, np.array([0]), frames=9).reshape(1, 9, 20, 3)
    np.testing.assert_allclose(found[0, 0], x[0] - x[0, HIPS], atol=1e-5)
    np.testing.assert_allclose(found[0, 1] - found[0, 0], 0.125, atol=1e-5)
    np.testing.assert_allclose(found[0, 4] - found[0, 0], 0.5, atol=1e-5)
    np.testing.assert_allclose(found[0, 8] - found[0, 0], 1.0, atol=1e-5)


def test_people_stand_one_after_the_other_and_absent_ones_are_zero(tmp_path: Path) -> None:
    one, other = motion(6, 1), motion(3, 2)
    pair = Clip("pair", (Track(one), Track(other, first=3, person=1)), 6, label=0)
    store = write(tmp_path / "s", pair, Clip("alone", (Track(one),), 6, label=1))
    found = raw_coordinates(store, np.array([0, 1]), frames=6).reshape(2, 2, 6, 20, 3)
    np.testing.assert_allclose(found[0, 0], one - one[0, HIPS], rtol=1e-5)
    np.testing.assert_allclose(found[0, 1, 3:], other - one[0, HIPS], rtol=1e-5)
    assert not found[0, 1, :3].any()
    assert not found[1, 1].any()
    np.testing.assert_array_equal(found[0, 0], found[1, 0])


def test_one_frame_clips_and_shifted_clips(tmp_path: Path) -> None:
    still, x = motion(1), motion(8)
    clips = [Clip(n, (Track(t),), len(t)) for n, t in (("a", still), ("b", x), ("c", x + 5))]
    found = raw_coordinates(write(tmp_path / "s", *clips), np.arange(3))
    assert found.shape == (3, 32 * 20 * 3)
    assert np.all(found[0].reshape(32, -1) == found[0].reshape(32, -1)[0])
    np.testing.assert_allclose(found[1], found[2], atol=1e-5)


@pytest.mark.shared
def test_nw_ucla(tmp_path: Path, shared_folder: Path) -> None:
    source = shared_folder / "data/nw-ucla/all_sqe.zip"
    numbers = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
    clips, views = [], []
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            parts = re.search(r"a(\d+)_s\d+_e\d+_v(\d+)\.json$", name)
            if parts:
                joints = np.array(json.loads(archive.read(name))["skeletons"], dtype=np.float32)
                label = numbers.index(int(parts[1]))
                clips.append(Clip(Path(name).stem, (Track(joints),), len(joints), label=label))
                views.append(int(parts[2]))
    names = [str(number) for number in numbers]
    with create_store(tmp_path / "ucla", UCLA, names, source="test") as writer:
        for clip in clips:
            writer.add(clip)
    store = open_store(tmp_path / "ucla")
    train, test = np.flatnonzero(np.array(views) < 3), np.flatnonzero(np.array(views) == 3)
    labels = store.clips["label"]
    accuracy = nearest_neighbour(
        raw_coordinates(store, train), labels[train], raw_coordinates(store, test), labels[test]
    )
    assert (len(train), len(test)) == (1020, 464)
    assert 100 * accuracy == pytest.approx(63.6, abs=0.05)
