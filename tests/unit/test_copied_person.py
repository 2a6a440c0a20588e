"""The copied second person of NTU RGB+D 120: only there, only with ``quirks: original``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.data.clip import Clip, Track
from kinegraph.data.copied_person import (
    copies_a_lone_person,
    with_copied_person,
    with_copied_tracks,
)
from kinegraph.data.formats.processed import ntu_class_names
from kinegraph.data.reader import TrackReader
from kinegraph.data.resident import make_resident
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import create_store
from kinegraph.evaluation.scoring import score_clips
from kinegraph.inference.predictor import Predictor
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint, make_objective
from kinegraph.training.setup import build_pipelines, open_data

CLASSES = ntu_class_names()
LONE, PAIR, JOINED, LATE = range(4)


def people(*frames: int, first: int = 0, seed: int = 0) -> tuple[Track, ...]:
    random = np.random.default_rng(seed)
    return tuple(
        Track(random.normal(size=(count, 25, 3)).astype(np.float32), first, person)
        for person, count in enumerate(frames)
    )


def made(path: Path, class_names: tuple[str, ...] = CLASSES) -> Store:
    """Make clips of one person, of two, of one that was two bodies, and of one who comes late."""
    clips = [
        Clip("lone", people(7), 7, label=0, subject=1),
        Clip("pair", people(7, 5, seed=1), 7, label=1, subject=1),
        Clip("joined", people(8, seed=2), 8, label=0, subject=3, extras={"bodies": 2}),
        Clip("late", people(4, first=2, seed=3), 6, label=1, subject=3),
    ]
    with create_store(path, load_layout("ntu25"), class_names, source="a test") as writer:
        for clip in clips:
            writer.add(clip)
        writer.default_split = "xsub"
    return open_store(path)


def dense(reader: TrackReader) -> np.ndarray[Any, Any]:
    """Return (N, M, T, V, C) of all clips."""
    tracks = reader.read(torch.arange(len(reader)))
    out = np.zeros((len(reader), reader.persons, 8, 25, 3), dtype=np.float32)
    for row in range(len(tracks.clip)):
        offset, length, first = (
            int(each[row]) for each in (tracks.offset, tracks.length, tracks.first)
        )
        place = (int(tracks.clip[row]), int(tracks.person[row]), slice(first, first + length))
        out[place] = tracks.joints[offset : offset + length]
    return out


def test_only_the_classes_of_120_copy() -> None:
    assert copies_a_lone_person(CLASSES)
    assert copies_a_lone_person(list(CLASSES))
    assert not copies_a_lone_person(CLASSES[:60])
    assert not copies_a_lone_person([f"class {number}" for number in range(120)])


def test_whoever_is_alone_stands_in_both_places(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    plain, copied = TrackReader(store, 2), TrackReader(store, 2, copy_alone=True)
    before, after = dense(plain), dense(copied)
    assert np.array_equal(after[:, 0], before[:, 0])
    assert np.array_equal(after[[LONE, LATE], 1], before[[LONE, LATE], 0])
    assert np.array_equal(after[PAIR, 1], before[PAIR, 1])
    assert not after[JOINED, 1].any()  # the original files have zeros there
    assert copied.present.tolist() == [[True, True], [True, True], [True, False], [True, True]]
    assert copied.total == plain.total + 7 + 4
    assert len(with_copied_tracks(store)) == len(store.tracks) + 2


def test_one_place_needs_no_copy(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    assert np.array_equal(
        dense(TrackReader(store, 1, copy_alone=True)), dense(TrackReader(store, 1))
    )


def test_copies_survive_pickling_and_other_memory(tmp_path: Path) -> None:
    reader = TrackReader(made(tmp_path / "store"), 2, copy_alone=True)
    expected = dense(reader)
    assert np.array_equal(dense(pickle.loads(pickle.dumps(reader))), expected)
    recipe = {"transforms": {"test": [{"name": "crop_resize", "length": 6}]}}
    pipelines = build_pipelines(parse_recipe(recipe), reader.skeleton)
    resident = make_resident(reader, list(pipelines.values()), torch.device("cpu"))
    assert np.array_equal(dense(resident), expected)


def test_a_clip_is_copied_like_a_store(tmp_path: Path) -> None:
    store = made(tmp_path / "store")
    tracks = [with_copied_person(store.clip(row)).tracks for row in range(4)]
    assert [len(each) for each in tracks] == [2, 2, 1, 2]
    assert np.array_equal(tracks[LATE][0].joints, tracks[LATE][1].joints)
    assert [track.first for track in tracks[LATE]] == [2, 2]


@pytest.mark.parametrize(
    ("quirks", "class_names", "copies"),
    [
        ("original", CLASSES, True),
        ("none", CLASSES, False),
        ("original", CLASSES[:60], False),
    ],
    ids=["120 as published", "120", "60 as published"],
)
def test_a_run_copies_where_published_ones_did(
    quirks: str,
    class_names: tuple[str, ...],
    copies: bool,
    tmp_path: Path,
    tiny_recipe: Callable[..., dict[str, Any]],
) -> None:
    store = made(tmp_path / "store", class_names)
    recipe = parse_recipe(tiny_recipe(quirks=quirks, data={"store": str(store.path)}))
    assert open_data(recipe).reader.present[LONE].tolist() == [True, copies]


@pytest.mark.parametrize("quirks", ["none", "original"])
def test_a_prediction_sees_the_copy_as_the_test_did(
    quirks: str, tmp_path: Path, tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    store = made(tmp_path / "store")
    values = tiny_recipe(quirks=quirks, data={"store": str(store.path)})
    recipe = parse_recipe(values)
    objective = make_objective(recipe, store.skeleton, len(CLASSES), persons=2)
    torch.nn.init.normal_(objective.get_submodule("head").weight, std=3.0)
    tensors = {f"model/{name}": value for name, value in objective.state_dict().items()}
    checkpoint = Checkpoint(recipe, store.skeleton, CLASSES, persons=2, epoch=1, tensors=tensors)
    data = open_data(recipe)
    data.rows["test"] = np.arange(len(store))
    expected = score_clips(checkpoint.build(), data.testing_loader("test", 64, torch.device("cpu")))
    clips = [store.clip(row) for row in range(len(store))]
    found = Predictor(checkpoint, where="here").logits(clips, store.skeleton)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
