"""Recordings on the device give the batches that recordings on the host give, and never wait.

There is no device here: memory of the host stands in for it, and meta tensors, which have shapes
but no numbers, show that nothing asks for a number and that nothing stayed on the host.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kinegraph.data import loader as loader_module
from kinegraph.data import resident
from kinegraph.data.clip import Clip, Track
from kinegraph.data.loader import ClipLoader
from kinegraph.data.reader import TrackReader
from kinegraph.data.resident import choose_reader, fits, make_resident, resident_bytes
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.nn.persons import Rows, plan_rows, rows_of
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.setup import build_pipelines, open_data
from kinegraph.transforms import STREAMS, TRANSFORMS
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.tracks import RaggedTracks

CPU = torch.device("cpu")
NTU = load_layout("ntu25")
FLAT = load_layout("openpose18")  # a confidence beside two positions
CENTRE = {"name": "centre"}
CROP = {"name": "crop_resize", "length": 8, "proportion": [0.5, 1.0], "minimum": 4}
PICK = {"name": "pick_frames", "length": 6, "random": True}
LISTS: dict[str, list[dict[str, Any]]] = {
    "own data": [CENTRE, CROP, {"name": "rotate"}, {"name": "scale"}],
    "ucla": [CENTRE, {"name": "turn_view"}, {"name": "min_max"}, PICK],
    "ntu": [CROP, {"name": "rotate"}, {"name": "noise"}],
    "stgcn": [{"name": "window", "length": 12, "random": True}, {"name": "random_move"}],
    "uncentred": [{"name": "min_max"}, PICK, {"name": "mirror"}],
    "fr-head": [CENTRE, CROP, {"name": "scale_bones"}, {"name": "mask_frames"}],
    "aimclr": [PICK, {"name": "mirror_crop"}, {"name": "blur"}, {"name": "mask_axis"}],
}
every_list = pytest.mark.parametrize("name", LISTS)
both_ways = pytest.mark.parametrize("original", [False, True])


def make_store(path: Path, layout: str = "ntu25", *, dtype: str = "float32") -> Store:
    """Make clips whose people come late, lack joints and frames, and stand far from the camera."""
    skeleton = load_layout(layout)
    random = np.random.default_rng(0)
    shape = (skeleton.joint_count, skeleton.coordinates.channels)
    with create_store(path, skeleton, ["a", "b"], source="test", dtype=dtype) as writer:
        for row in range(24):
            frames = 6 + 3 * row
            walk = random.normal(0, 0.02, (frames, *shape)).cumsum(0)
            joints = walk + random.normal(0, 0.5, shape) + 5
            if row % 4 == 0:
                joints[0, skeleton.centre] = 0  # not seen in the first frame
                joints[3:5] = 0
            tracks = [Track(joints)]
            if row % 3 == 0:
                tracks.append(Track(joints[2:-1] + 0.5, first=2, person=1))
            if row % 8 == 5:
                tracks.append(Track(joints, person=2))  # beyond the slots
            writer.add(Clip(f"clip {row}", tuple(tracks), frames, label=row % 2))
        writer.default_split = "random"
    return open_store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("resident") / "store")


def pipeline_of(
    configs: list[dict[str, Any]], *, layout: str = "ntu25", stream: str = "bone", **options: bool
) -> Pipeline:
    recipe = parse_recipe({"transforms": {"train": configs}})
    return Pipeline(recipe.transforms["train"], stream, load_layout(layout), **options)


def loader_of(reader: TrackReader, pipeline: Pipeline, **options: Any) -> ClipLoader:
    return ClipLoader(
        reader, np.arange(len(reader)) % 2, np.arange(len(reader)), {"train": pipeline},
        views=("train",), **{"batch_size": 5, "shuffle": True, **options},
    )  # fmt: skip


def assert_same(first: ClipLoader, second: ClipLoader) -> None:
    pairs = list(zip(first.epoch(3), second.epoch(3), strict=True))
    assert len(pairs) == len(first) > 1
    for (one,), (two,) in pairs:
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.label, two.label)
        assert torch.equal(one.index, two.index)
        assert torch.equal(one.present, two.present)


@every_list
@both_ways
def test_resident_recordings_give_the_same_bits(store: Store, name: str, original: bool) -> None:
    pipeline = pipeline_of(LISTS[name], original=original)
    reader = TrackReader(store, 2, count_nonzero=original)
    there = make_resident(reader, [pipeline], CPU)
    assert there.joints.data_ptr() != reader.joints.data_ptr()
    assert_same(loader_of(reader, pipeline), loader_of(there, pipeline))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_confidence_and_the_numbers_of_the_store_are_kept(tmp_path: Path, dtype: str) -> None:
    flat = make_store(tmp_path / "flat", "openpose18", dtype=dtype)
    reader = TrackReader(flat, 2)
    for name in ("own data", "stgcn", "uncentred"):
        pipeline = pipeline_of(LISTS[name], layout="openpose18")
        there = make_resident(reader, [pipeline], CPU)
        centred = torch.float32 if name == "own data" else getattr(torch, dtype)
        assert there.joints.dtype == centred
        assert_same(loader_of(reader, pipeline), loader_of(there, pipeline))


def test_only_people_in_slots_are_copied(store: Store) -> None:
    reader = TrackReader(store, 1)
    pipeline = pipeline_of(LISTS["ntu"])
    there = make_resident(reader, [pipeline], CPU)
    kept = store.tracks["length"][store.tracks["person"] == 0].sum()
    assert there.joints.shape == (kept, 25, 3)
    assert len(store.joints) > kept
    assert there.joints.nbytes == resident_bytes(reader, [pipeline])


def test_clips_are_copied_in_several_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "CLIPS_AT_ONCE", 7)
    pipeline, reader = pipeline_of(LISTS["own data"]), TrackReader(store, 2)
    assert_same(
        loader_of(reader, pipeline), loader_of(make_resident(reader, [pipeline], CPU), pipeline)
    )


def test_clips_are_centred_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, reader = pipeline_of(LISTS["own data"]), TrackReader(store, 2)
    there = make_resident(reader, [pipeline], CPU)
    monkeypatch.setattr(Pipeline, "centred", lambda *_: pytest.fail("centred again"))
    monkeypatch.setattr(RaggedTracks, "compact", lambda *_: pytest.fail("whole clips are copied"))
    assert len(list(loader_of(there, pipeline).epoch())) == 5


def test_views_that_centre_differently_share_the_store_as_it_is(store: Store) -> None:
    first = pipeline_of([{"name": "centre", "joint": 3}, CROP])
    reader = TrackReader(store, 2)
    for second in (pipeline_of(LISTS["own data"]), pipeline_of(LISTS["ntu"])):
        there = make_resident(reader, [first, second], CPU)
        assert not there.read(torch.arange(1)).centred
        for pipeline in (first, second):
            assert_same(loader_of(reader, pipeline), loader_of(there, pipeline))


@pytest.mark.parametrize("name", ["own data", "ucla", "fr-head"])
def test_float16_is_the_same_everywhere_and_within_its_bound(store: Store, name: str) -> None:
    rounded = pipeline_of(LISTS[name], stream="joint", half=True)
    exact = pipeline_of(LISTS[name], stream="joint")
    reader = TrackReader(store, 2)
    there = make_resident(reader, [rounded], CPU)
    assert there.joints.dtype == torch.float16
    assert there.joints.nbytes == resident_bytes(reader, [rounded])
    assert_same(loader_of(reader, rounded), loader_of(there, rounded))
    if name == "fr-head":
        return  # missing joints aside, changes of bones add up along the body
    pairs = zip(loader_of(there, rounded).epoch(), loader_of(reader, exact).epoch(), strict=True)
    worst = max(float((one.x - two.x).abs().max()) for (one,), (two,) in pairs)
    assert 1e-6 < worst < 2e-3


def test_float16_rounds_to_a_millimetre_around_the_centre(store: Store) -> None:
    reader = TrackReader(store, 2)
    rounded = pipeline_of(LISTS["own data"], half=True)
    tracks = reader.read(torch.arange(len(reader)))
    exact = pipeline_of(LISTS["own data"]).centred(tracks).joints
    found = rounded.centred(tracks).joints
    distance = exact.abs()
    off = (found.float() - exact).abs()
    for within, bound in ((1.0, 0.00025), (2.0, 0.0005), (4.0, 0.001)):
        assert off[distance <= within].max() <= bound
    # Without centring, five metres from the camera, it would be several times as coarse.
    assert (tracks.joints.half().float() - tracks.joints).abs().max() > 0.0015


def test_float16_needs_a_centre() -> None:
    with pytest.raises(RecipeError, match=r"float16 needs transforms that begin with 'centre'"):
        pipeline_of(LISTS["ntu"], half=True)
    recipe = parse_recipe(
        {"data": {"precision": "float16"}, "transforms": {"train": [CENTRE, PICK], "test": [PICK]}}
    )
    with pytest.raises(RecipeError, match=r"found \['pick_frames'\]"):
        build_pipelines(recipe, NTU)


def test_float16_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    joints = np.ones((4, 25, 3)) * np.arange(1, 26)[:, None] * 4000.0
    with create_store(tmp_path / "store", NTU, ["a"], source="test") as writer:
        writer.add(Clip("far", (Track(joints),), 4, label=0))
    reader = TrackReader(open_store(tmp_path / "store"), 1)
    pipeline = pipeline_of(LISTS["own data"], half=True)
    for use in (lambda: make_resident(reader, [pipeline], CPU), lambda: loader_of(reader, pipeline)
                .batch(torch.tensor([0]))):  # fmt: skip
        with pytest.raises(RecipeError, match="reaches to 65504"):
            use()


@every_list
@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_batches_made_together_are_those_made_alone(
    store: Store, name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader_module, "HOST_CLIPS", at_once)
    loader = loader_of(TrackReader(store, 2), pipeline_of(LISTS[name]), repeat=2)
    assert loader.batches_at_once == max(1, at_once // 5)
    parts = loader.parts(2)
    for (found,), part in zip(loader.epoch(2), parts, strict=True):
        assert (part.turns // loader_module.MAX_TURNS == 2).all()
        turns = torch.from_numpy(part.turns)
        (expected,) = loader.batch(torch.from_numpy(part.rows), turns)
        assert torch.equal(found.x, expected.x)
        assert found.x.stride() == expected.x.stride(), "recorded steps want one memory layout"
        assert torch.equal(found.index, expected.index)
        assert torch.equal(found.label, expected.label)
        assert torch.equal(found.present, expected.present)


def test_as_much_is_made_at_once_as_memory_allows(store: Store) -> None:
    reader = TrackReader(store, 2)
    there = reader.over(torch.empty(reader.total, 25, 3, device="meta"), centred=False)
    short = loader_of(there, pipeline_of(LISTS["ntu"]), batch_size=64)
    assert short.batches_at_once == 1024 // 64
    window = pipeline_of([{"name": "window", "length": 300}])
    clips = loader_module.DEVICE_BYTES // (2 * 300 * 75 * 4)
    assert loader_of(there, window, batch_size=16).batches_at_once == clips // 16
    assert loader_of(there, window, batch_size=4000).batches_at_once == 1
    whole = loader_of(there, pipeline_of(LISTS["ucla"]), batch_size=1)
    assert (
        whole.batches_at_once <= loader_of(there, pipeline_of([PICK]), batch_size=1).batches_at_once
    )


class NoLooks(TorchDispatchMode):
    """Refuses what would wait for an accelerator: reading a number, sizes that depend on one."""

    # The last but one: constants that come from the host each time.
    REFUSED = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "lift_fresh", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert not name.startswith(self.REFUSED), f"{name} waits for the device"
        if name == "repeat_interleave":
            assert (kwargs or {}).get("output_size") is not None, "its size depends on numbers"
        if name.startswith("index") and any(isinstance(a, list) for a in args):
            (indices,) = (a for a in args if isinstance(a, list))
            masks = [i for i in indices if i is not None and i.dtype == torch.bool]
            assert not masks, f"{name} by a mask: its size depends on numbers"
        return func(*args, **(kwargs or {}))


def single(name: str, layout: str) -> list[dict[str, Any]]:
    """Return a list with one transform that draws, and a sampling one where it needs one."""
    wanted: dict[str, Any] = {"crop_resize": CROP, "pick_frames": PICK}.get(name, {"name": name})
    if name == "window":
        wanted = wanted | {"random": True, "length": 9}
    stage = pipeline_stage(name, layout)
    return {"clip": [wanted, PICK], "sample": [wanted], "batch": [PICK, wanted]}[stage]


def pipeline_stage(name: str, layout: str) -> str:
    config = TRANSFORMS[name].config.model_validate({"name": name})
    return str(TRANSFORMS[name].build(config, load_layout(layout), False).stage)


def run_on(reader: TrackReader, pipeline: Pipeline, device: str) -> Tensor:
    """Run a pipeline as the loader does, over recordings on a device."""
    rows = torch.tensor([3, 8, 0, 3, 13])
    tracks = reader.read(rows)
    index, times = rows.to(device), torch.arange(5).to(device)
    fixed = pipeline(tracks, seed=1, epoch=times, index=index)
    fixed.present()
    return fixed.dense()


CASES = [
    *((single(name, "ntu25"), "joint", "ntu25") for name in TRANSFORMS if name != "fit_image"),
    *((single(name, "openpose18"), "joint", "openpose18") for name in TRANSFORMS
      if name not in ("turn_view", "align_body")),
    *(([PICK], stream, "ntu25") for stream in STREAMS),
    *((configs, "bone", "ntu25") for configs in LISTS.values()),
]  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("stores")
    return {name: make_store(folder / name, name) for name in ("ntu25", "openpose18")}


@both_ways
@pytest.mark.parametrize(("configs", "stream", "layout"), CASES)
def test_nothing_on_the_way_waits_for_a_device(
    stores: dict[str, Store], configs: list[dict[str, Any]], stream: str, layout: str,
    original: bool, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pipeline = pipeline_of(configs, layout=layout, stream=stream, original=original)
    reader = TrackReader(stores[layout], 2)
    expected = run_on(reader, pipeline, "cpu")
    for module in ("normalise", "pipeline"):  # as on a device, where looking is not free
        monkeypatch.setattr(f"kinegraph.transforms.{module}.waits_for_nothing", lambda _: False)
    rows = torch.tensor([3, 8, 0, 3, 13])
    tracks, times = reader.read(rows), torch.arange(5)
    pipeline(tracks, seed=1, epoch=times, index=rows)  # constants are copied once
    with NoLooks():
        fixed = pipeline(tracks, seed=1, epoch=times, index=rows)
        x = fixed.dense()
        fixed.present()
    assert torch.equal(x, expected), "looking ahead changes no number"


@both_ways
@pytest.mark.parametrize(("configs", "stream", "layout"), CASES)
def test_nothing_on_the_way_stays_on_the_host(
    stores: dict[str, Store], configs: list[dict[str, Any]], stream: str, layout: str,
    original: bool,
) -> None:  # fmt: skip
    pipeline = pipeline_of(configs, layout=layout, stream=stream, original=original)
    reader = TrackReader(stores[layout], 2)
    expected = run_on(reader, pipeline, "cpu")
    stored = make_resident(reader, [pipeline], CPU)
    there = replace_joints(stored)
    x = run_on(there, pipeline, "meta")
    assert x.device.type == "meta"
    assert (x.shape, x.stride(), x.dtype) == (expected.shape, expected.stride(), expected.dtype)


def replace_joints(reader: TrackReader) -> TrackReader:
    """Return a reader whose joints have no numbers."""
    return reader.over(reader.joints.to("meta"), centred=reader.read(torch.arange(1)).centred)


def test_detectors_detect(store: Store) -> None:
    reader = TrackReader(store, 2)
    tracks = reader.read(torch.arange(3))
    for waits in (
        lambda: float(tracks.joints[0, 0, 0]),
        lambda: replace(tracks, total=None).compact(),
        lambda: tracks.joints[tracks.joints[:, 0, 0] > 0],
        lambda: torch.tensor([1.0]) + tracks.joints,
    ):
        with pytest.raises(AssertionError), NoLooks():
            waits()
    there = replace_joints(reader.over(torch.zeros(reader.total, 25, 3), centred=False))
    with pytest.raises((RuntimeError, NotImplementedError)):
        there.joints + torch.ones(25, 3)


def test_a_pickled_loader_goes_back_to_the_host(store: Store) -> None:
    reader, pipeline = TrackReader(store, 2), pipeline_of(LISTS["own data"])
    loader = loader_of(make_resident(reader, [pipeline], CPU), pipeline)
    data = pickle.dumps(loader)
    assert len(data) < 4000, "a pickled loader carries no recordings"
    assert_same(loader, pickle.loads(data))


def test_recordings_go_where_they_fit() -> None:
    assert fits(40, 100, "auto")
    assert not fits(60, 100, "auto")
    assert fits(60, 100, "device")
    with pytest.raises(TrainingError, match=r"take 3\.0 GB and the device has 2\.0 GB free; use"):
        fits(3 * 10**9, 2 * 10**9, "device")


@pytest.mark.parametrize(("place", "free", "expected"), [
    ("host", 10**9, False), ("auto", 10**9, True), ("auto", 1000, False), ("device", 10**9, True),
])  # fmt: skip
def test_the_reader_is_chosen(
    store: Store, place: str, free: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, pipelines = TrackReader(store, 2), [pipeline_of(LISTS["own data"])]
    marked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 2 * free))
    monkeypatch.setattr(
        resident, "make_resident", lambda *given: marked.append(given[2]) or "resident"
    )
    found = choose_reader(reader, pipelines, torch.device("cuda"), place)
    assert found == ("resident" if expected else reader)
    assert marked == ([torch.device("cuda")] if expected else [])
    for device in ("cpu", "mps"):
        assert choose_reader(reader, pipelines, torch.device(device), "device") is reader


def test_a_run_copies_its_recordings_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import kinegraph.training.setup as setup

    recipe = parse_recipe(
        {"data": {"store": str(store.path)}, "transforms": {"train": [CROP], "test": [PICK]},
         "training": {"batch_size": 4}}
    )  # fmt: skip
    data, calls = open_data(recipe), []
    monkeypatch.setattr(setup, "choose_reader", lambda *given: calls.append(given) or given[0])
    training = data.training_loader(("train",), CPU)
    testing = data.testing_loader("test", 4, CPU)
    assert training.reader is testing.reader is data.reader
    assert len(calls) == 1
    assert calls[0][2:] == (CPU, "auto")
    assert training.ahead == testing.ahead == 0
    assert data.training_loader(("train",), torch.device("meta")).ahead > 0


def rows_are(found: Rows | None, expected: Rows) -> None:
    assert found is not None
    assert (found.clips, found.persons) == (expected.clips, expected.persons)
    for name in ("index", "share", "source", "weight", "counted"):
        one, two = getattr(found, name), getattr(expected, name)
        assert (one is None) == (two is None), name
        assert one is None or torch.equal(one, two), name


@both_ways
@pytest.mark.parametrize("name", ["own data", "stgcn"])
@pytest.mark.parametrize("persons", [1, 2])
def test_the_rows_are_those_that_the_objective_would_choose(
    store: Store, name: str, original: bool, persons: int
) -> None:
    pipeline = pipeline_of(LISTS[name], original=original, stream="joint")
    loader = loader_of(TrackReader(store, persons), pipeline, count_absent=original, batch_size=3)
    sizes = set()
    for (batch,) in loader.epoch():
        rows_are(batch.rows, rows_of(batch.x, batch.present, count_absent=original))
        sizes.add(len(batch.rows))  # type: ignore[arg-type]
    full = {3 * persons}
    if persons == 1 or (original and name == "stgcn"):
        assert sizes == full, "moved, absent people are not alike any more"
    else:
        assert sizes != full


def test_numbers_of_rows_can_be_made_few(store: Store) -> None:
    reader, pipeline = TrackReader(store, 2), pipeline_of(LISTS["own data"])
    loader = loader_of(reader, pipeline, row_multiple=4, batch_size=6)
    for (batch,), part in zip(loader.epoch(), loader.parts(0), strict=True):
        rows_are(batch.rows, plan_rows(reader.present[part.rows], multiple=4))
    (alone,) = loader.batch(torch.tensor([1, 2]))
    assert alone.rows is not None
    assert len(alone.rows) == 4


def test_views_have_rows_of_their_own(store: Store) -> None:
    plain = pipeline_of(LISTS["own data"], original=True)
    moved = pipeline_of(LISTS["stgcn"], original=True)
    loader = ClipLoader(
        TrackReader(store, 2), np.arange(24), np.array([1, 2, 3]), {"a": plain, "b": moved},
        views=("a", "b"), count_absent=True,
    )  # fmt: skip
    ((first, second),) = loader.epoch()
    assert (len(first.people), len(second.people)) == (3 + 1 + 1, 6)  # type: ignore[arg-type]


def test_half_precision_of_who_asks_does_not_reach_the_joints(store: Store) -> None:
    pipeline = pipeline_of(LISTS["ntu"], stream="k-mode-2")
    loader = loader_of(TrackReader(store, 2), pipeline)
    expected = [batch.x for (batch,) in loader.epoch()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [batch.x for (batch,) in loader.epoch()]
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))
