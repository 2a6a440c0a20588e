"""From rows of a store to batches."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.batch import Batch
from kinegraph.data.clip import Clip, Track
from kinegraph.data.loader import ClipLoader, Share
from kinegraph.data.reader import TrackReader, nonzero_frames
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.errors import ClipError
from kinegraph.skeleton import load_layout
from kinegraph.transforms import CropResizeConfig, PickFramesConfig, RotateConfig
from kinegraph.transforms.pipeline import Pipeline

NTU = load_layout("ntu25")
LABELS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2]  # of ten clips; the odd ones have two people


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("loader") / "store"
    with create_store(path, NTU, ["a", "b", "c"], source="test") as writer:
        for row, label in enumerate(LABELS):
            frames = 5 + 4 * row
            tracks = [Track(random.standard_normal((frames, 25, 3)))]
            if row % 2:
                late = random.standard_normal((frames - 2, 25, 3))
                tracks.append(Track(late, first=1, person=1))
            writer.add(Clip(f"clip {row}", tuple(tracks), frames, label))
    return open_store(path)


def loader_of(store: Store, *, rows: list[int] | None = None, **options: object) -> ClipLoader:
    pipeline = Pipeline(
        [CropResizeConfig(length=8, proportion=(0.5, 1), minimum=2), RotateConfig()], "joint", NTU
    )
    return ClipLoader(
        TrackReader(store, 2),
        store.clips["label"],
        np.arange(len(store)) if rows is None else np.array(rows),
        {"train": pipeline},
        views=("train",),
        **options,  # type: ignore[arg-type]
    )


def one_view(loader: ClipLoader, epoch: int = 0, skip: int = 0) -> list[Batch]:
    return [batch for (batch,) in loader.epoch(epoch, skip=skip)]


def by_clip(batches: list[Batch]) -> dict[int, torch.Tensor]:
    """Return the input of each clip (the last one, where a clip occurs several times)."""
    return {int(i): x for batch in batches for i, x in zip(batch.index, batch.x, strict=True)}


def test_batches_hold_what_the_store_holds(store: Store) -> None:
    pipeline = Pipeline([PickFramesConfig(length=5)], "joint", NTU)
    loader = ClipLoader(
        TrackReader(store, 2), store.clips["label"], np.array([3, 0]), {"test": pipeline}
    )
    ((batch,),) = loader.epoch()
    assert batch.x.shape == (2, 3, 5, 25, 2)
    assert batch.label.tolist() == [0, 0]
    assert batch.index.tolist() == [3, 0]
    assert batch.present.tolist() == [[True, True], [True, False]]
    first = store.clip(3).tracks[0].joints
    np.testing.assert_array_equal(batch.x[0, :, 0, :, 0].T.numpy(), first[0])
    assert not batch.x[0, :, 0, :, 1].any(), "the second person comes in frame 1"
    assert not batch.x[1, ..., 1].any()


def test_people_beyond_the_slots_are_left_out(store: Store) -> None:
    tracks = TrackReader(store, 1).read(torch.tensor([1, 3]))
    assert tracks.clip.tolist() == [0, 1]
    assert tracks.person.tolist() == [0, 0]


def test_more_slots_than_people(store: Store) -> None:
    pipeline = Pipeline([PickFramesConfig(length=5)], "joint", NTU)
    reader = TrackReader(store, 4)
    index = torch.tensor([1])
    x = pipeline(reader.read(index), seed=0, epoch=0, index=index).dense()
    assert x.shape == (1, 3, 5, 25, 4)
    assert not x[..., 2:].any()


def test_a_clip_without_anyone_in_the_slots_is_named(tmp_path: Path) -> None:
    with create_store(tmp_path / "store", NTU, ["a"], source="test") as writer:
        writer.add(Clip("early", (Track(np.ones((4, 25, 3))),), 4))
        writer.add(Clip("odd", (Track(np.ones((4, 25, 3)), person=1),), 4))
    reader = TrackReader(open_store(tmp_path / "store"), 2)
    assert reader.read(torch.tensor([1])).person.tolist() == [1]
    with pytest.raises(ClipError, match="clip 'odd' has people only beyond the first 1 person"):
        TrackReader(open_store(tmp_path / "store"), 1)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5))
def test_a_clip_is_the_same_in_any_batch(store: Store, first: int, second: int, epoch: int) -> None:
    one = by_clip(one_view(loader_of(store, batch_size=first, shuffle=True), epoch))
    two = by_clip(one_view(loader_of(store, batch_size=second, rows=[7, 2, 4]), epoch))
    for row, x in two.items():
        assert torch.equal(x, one[row])


def test_epochs_and_seeds_differ(store: Store) -> None:
    first = by_clip(one_view(loader_of(store)))
    for other in (
        by_clip(one_view(loader_of(store), epoch=1)),
        by_clip(one_view(loader_of(store, seed=1))),
    ):
        assert all(not torch.equal(other[row], x) for row, x in first.items())


def test_every_occurrence_has_draws_of_its_own(store: Store) -> None:
    batches = one_view(loader_of(store, rows=[2, 5], repeat=4, batch_size=3))
    x, index = torch.cat([b.x for b in batches]), torch.cat([b.index for b in batches])
    for row in (2, 5):
        inputs = x[index == row]
        assert len(inputs) == 4
        for i in range(4):
            for j in range(i):
                assert not torch.equal(inputs[i], inputs[j])
    later = one_view(loader_of(store, rows=[2, 5], repeat=4, batch_size=8), epoch=1)
    everything = torch.cat((x, later[0].x)).flatten(1)
    assert len(everything.unique(dim=0)) == 16


def test_draws_repeat_place_by_place_where_the_original_asks_for_it(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).standard_normal((12, 25, 3))
    with create_store(tmp_path / "alike", NTU, ["a"], source="test") as writer:
        for row in range(6):  # only draws can tell these clips apart
            writer.add(Clip(f"clip {row}", (Track(joints),), 12, 0))
    alike = open_store(tmp_path / "alike")

    def places(epoch: int, **options: object) -> torch.Tensor:
        loader = loader_of(alike, shuffle=True, batch_size=4, **options)
        return torch.cat([batch.x for batch in one_view(loader, epoch)])

    first = places(0, repeat_draws=True)
    assert torch.equal(first, places(7, repeat_draws=True))
    assert len(torch.unique(first, dim=0)) == 6, "each place has draws of its own"
    assert not torch.equal(first, places(0, repeat_draws=True, seed=1))
    assert not torch.equal(places(0), places(7))
    halves = [
        loader_of(alike, shuffle=True, batch_size=6, repeat_draws=True, share=Share(rank, 2))
        for rank in range(2)
    ]
    shared = torch.cat([batch.x for half in halves for batch in one_view(half, 3)])
    assert torch.equal(shared, first)


def test_shuffling_gives_every_clip_once_in_a_new_order(store: Store) -> None:
    loader = loader_of(store, shuffle=True, batch_size=4)
    orders = [torch.cat([b.index for b in one_view(loader, epoch)]).tolist() for epoch in (0, 1)]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    again = torch.cat([b.index for b in one_view(loader_of(store, shuffle=True), 1)]).tolist()
    assert again == orders[1]


def test_the_order_of_the_rows_is_kept_without_shuffling(store: Store) -> None:
    batches = one_view(loader_of(store, rows=[9, 0, 4], batch_size=2))
    assert [b.index.tolist() for b in batches] == [[9, 0], [4]]


@given(st.integers(1, 12), st.integers(1, 3), st.booleans())
def test_lengths(store: Store, batch_size: int, repeat: int, drop_last: bool) -> None:
    loader = loader_of(store, batch_size=batch_size, repeat=repeat, drop_last=drop_last)
    sizes = [len(batch) for batch in one_view(loader)]
    assert len(sizes) == len(loader)
    assert sum(sizes) == loader.clips_per_epoch
    if drop_last:
        assert set(sizes) <= {batch_size}
        assert 10 * repeat - sum(sizes) < batch_size
    else:
        assert sum(sizes) == 10 * repeat


@pytest.mark.parametrize("balanced", [False, True])
def test_skipping_goes_on_identically(store: Store, balanced: bool) -> None:
    loader = loader_of(store, shuffle=True, balanced=balanced, repeat=2, batch_size=3)
    whole = one_view(loader, 2)
    for skip in range(len(whole) + 1):
        rest = one_view(loader, 2, skip=skip)
        assert len(rest) == len(whole) - skip
        for found, expected in zip(rest, whole[skip:], strict=True):
            assert torch.equal(found.x, expected.x)
            assert torch.equal(found.index, expected.index)


def test_balanced_epochs_show_every_class_equally_often(store: Store) -> None:
    loader = loader_of(store, balanced=True, repeat=3, batch_size=7)
    batches = one_view(loader)
    labels, index = torch.cat([b.label for b in batches]), torch.cat([b.index for b in batches])
    assert labels.bincount().tolist() == [10, 10, 10]
    for members in ([0, 1, 2, 3, 4, 5], [6, 7, 8]):  # within a class as equally as can be
        counts = index.bincount(minlength=10)[members]
        assert counts.max() - counts.min() <= 1
    order = torch.cat([b.index for b in one_view(loader, 1)])
    assert not torch.equal(order, index)


def test_several_views_of_the_same_clips(store: Store) -> None:
    pipeline = Pipeline([PickFramesConfig(length=5), RotateConfig()], "joint", NTU)
    plain = Pipeline([PickFramesConfig(length=7)], "bone", NTU)
    loader = ClipLoader(
        TrackReader(store, 2),
        store.clips["label"],
        np.array([1, 4]),
        {"first": pipeline, "second": pipeline, "other": plain},
        views=("first", "second", "other"),
    )
    ((first, second, other),) = loader.epoch()
    assert first.index.tolist() == second.index.tolist() == other.index.tolist()
    assert not torch.equal(first.x, second.x)
    assert other.x.shape[2] == 7


def test_counting_frames_that_are_not_zero(tmp_path: Path) -> None:
    joints = np.ones((6, 25, 3))
    joints[[2, 5]] = 0
    late = np.ones((2, 25, 3))
    with create_store(tmp_path / "store", NTU, ["a"], source="test") as writer:
        writer.add(Clip("gap", (Track(joints),), frames=8))
        writer.add(Clip("two", (Track(joints), Track(late, first=4, person=1)), frames=6))
    store = open_store(tmp_path / "store")
    assert nonzero_frames(store).tolist() == [4, 5]
    assert TrackReader(store, 2).read(torch.arange(2)).frames.tolist() == [8, 6]
    counted = TrackReader(store, 2, count_nonzero=True)
    assert counted.read(torch.arange(2)).frames.tolist() == [4, 5]


def test_a_batch_moves_as_a_whole(store: Store) -> None:
    batch = one_view(loader_of(store))[0]
    moved = batch.to("meta")
    assert {field.device.type for field in (moved.x, moved.label, moved.index, moved.present)} == {
        "meta"
    }
    assert len(batch) == 10


def test_pickled_loaders_open_the_store_again(store: Store) -> None:
    loader = loader_of(store)
    data = pickle.dumps(loader)
    assert store.joints.nbytes > 50_000
    assert len(data) < 4000, "a pickled loader carries no recordings"
    copied = pickle.loads(data)
    for mine, other in zip(one_view(loader), one_view(copied), strict=True):
        assert torch.equal(mine.x, other.x)
        assert torch.equal(mine.label, other.label)


def test_pickled_readers_keep_their_options(tmp_path: Path) -> None:
    gap = np.ones((6, 25, 3))
    gap[2] = 0
    with create_store(tmp_path / "store", NTU, ["a"], source="test") as writer:
        writer.add(Clip("gap", (Track(gap), Track(gap, person=2)), frames=6))
    reader = TrackReader(open_store(tmp_path / "store"), 1, count_nonzero=True)
    found = pickle.loads(pickle.dumps(reader)).read(torch.arange(1))
    assert found.frames.tolist() == [5]
    assert (found.persons, found.person.tolist()) == (1, [0])


def test_stores_and_batches_pickle(store: Store) -> None:
    assert len(pickle.dumps(store)) < 1000, "a pickled store carries no arrays"
    batch = one_view(loader_of(store))[0]
    assert torch.equal(pickle.loads(pickle.dumps(batch)).x, batch.x)
    assert torch.equal(copy.copy(batch).x, batch.x)


@given(
    size=st.integers(1, 5),
    batch_size=st.integers(1, 11),
    repeat=st.integers(1, 3),
    skip=st.integers(0, 3),
)
def test_processes_make_the_parts_of_the_same_batches(
    store: Store, size: int, batch_size: int, repeat: int, skip: int
) -> None:
    options = {"batch_size": batch_size, "repeat": repeat, "shuffle": True, "seed": 4}
    alone = one_view(loader_of(store, **options), 2, skip)
    shared = [
        one_view(loader_of(store, **options, share=Share(rank, size)), 2, skip)
        for rank in range(size)
    ]
    assert {len(batches) for batches in shared} == {len(alone)}
    for number, whole in enumerate(alone):
        parts = [batches[number] for batches in shared]
        assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
        assert torch.equal(torch.cat([part.index for part in parts]), whole.index)
        assert torch.equal(torch.cat([part.label for part in parts]), whole.label)
        assert torch.equal(torch.cat([part.present for part in parts]), whole.present)
        assert {part.whole for part in parts} == {len(whole) if size > 1 else None}
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert [part.rows.clips for part in parts if part.rows is not None] == sizes
