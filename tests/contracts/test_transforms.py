"""Every transform and every stream, on every layout."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.data.reader import TrackReader
from kinegraph.errors import LayoutError
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout
from kinegraph.transforms import STREAMS, TRANSFORMS, PickFramesConfig
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.random import ClipRandom

from .samples import LAYOUTS, small_store

FRAMES = 16
MakeReader = Callable[[str], TrackReader]
RANDOM: dict[str, dict[str, Any]] = {  # what makes a transform draw, where it does not by itself
    "crop_resize": {"proportion": (0.5, 1.0), "minimum": 4},
    "pick_frames": {"random": True},
    "window": {"random": True},
    "uniform_frames": {"random": True, "proportion": (0.5, 1.0)},
}
SOLID = ("turn_view", "align_body")  # transforms that refuse layouts in a plane
FLAT = ("fit_image",)  # transforms that refuse layouts in space
every_transform = pytest.mark.parametrize("name", TRANSFORMS)


@pytest.fixture
def reader_of(tmp_path: Path) -> MakeReader:
    """Make a reader of a small store of any layout."""

    def make(layout: str) -> TrackReader:
        return TrackReader(small_store(tmp_path / layout, load_layout(layout)), persons=2)

    return make


def layout_for(name: str) -> str:
    """Return a layout that a transform works on."""
    return "coco17" if name in FLAT else "ntu25"


def configs_with(name: str) -> list[Config]:
    """Return a list with one transform and, if it does not sample itself, a sampling one."""
    config = TRANSFORMS[name].config
    length = {"length": FRAMES} if "length" in config.model_fields else {}
    tested = config.model_validate({"name": name, **RANDOM.get(name, {}), **length})
    stage = TRANSFORMS[name].build(tested, load_layout("ntu25"), False).stage
    sampling = PickFramesConfig(length=FRAMES)
    return {"clip": [tested, sampling], "sample": [tested], "batch": [sampling, tested]}[stage]


def result(
    pipeline: Pipeline, reader: TrackReader, rows: list[int], epoch: int = 0, seed: int = 0
) -> Tensor:
    """Return x (N, C, T, V, M) of some clips."""
    index = torch.tensor(rows)
    return pipeline(reader.read(index), seed=seed, epoch=epoch, index=index).dense()


def built(name: str, reader: TrackReader, original: bool) -> Tensor:
    """Build a pipeline and return what it makes of some clips."""
    pipeline = Pipeline(configs_with(name), "joint", reader.skeleton, original=original)
    return result(pipeline, reader, [0, 1, 2, 3])


@every_transform
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("original", [False, True])
def test_works_on_every_layout(
    name: str, layout: str, original: bool, reader_of: MakeReader
) -> None:
    reader = reader_of(layout)
    skeleton = reader.skeleton
    if name in (SOLID if skeleton.coordinates.positions == 2 else FLAT):
        with pytest.raises(LayoutError, match=layout):
            built(name, reader, original)
        return
    x = built(name, reader, original)
    assert x.shape == (4, skeleton.coordinates.channels, FRAMES, skeleton.joint_count, 2)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    if not original:
        assert not x[::2, ..., 1].any(), "an absent person stays zero"


@every_transform
def test_draws_depend_on_seed_epoch_and_clip_alone(name: str, reader_of: MakeReader) -> None:
    reader = reader_of(layout_for(name))
    pipeline = Pipeline(configs_with(name), "joint", reader.skeleton)
    together = result(pipeline, reader, [0, 1, 2, 3, 4, 5])
    for rows in ([3], [5, 1], [4, 3, 2, 1, 0]):
        assert torch.equal(result(pipeline, reader, rows), together[rows])
    assert torch.equal(result(pipeline, reader, [3, 3])[1], together[3])
    with_draws = bool(_draws(pipeline, reader))
    for change in ({"epoch": 1}, {"seed": 1}):
        same = torch.equal(result(pipeline, reader, [0, 1, 2, 3, 4, 5], **change), together)
        assert same != with_draws


@every_transform
def test_replayed_draws_give_the_same(name: str, reader_of: MakeReader) -> None:
    reader = reader_of(layout_for(name))
    pipeline = Pipeline(configs_with(name), "joint", reader.skeleton)
    rows = torch.tensor([1, 2, 5])
    expected = pipeline(reader.read(rows), seed=4, epoch=2, index=rows).dense()
    draws = _draws(pipeline, reader, rows, seed=4, epoch=2)
    position = [transform.stage for transform in pipeline.transforms].index(_stage(name))
    replay = [draws if place == position else None for place in range(len(pipeline.transforms))]
    found = pipeline(reader.read(rows), seed=9, epoch=9, index=rows, replay=replay).dense()
    assert torch.equal(found, expected)


@every_transform
def test_the_store_is_never_changed(name: str, reader_of: MakeReader) -> None:
    reader = reader_of(layout_for(name))
    before = reader.joints.clone()
    result(Pipeline(configs_with(name), "bone-motion", reader.skeleton), reader, [0, 1, 2, 3])
    assert torch.equal(reader.joints, before)


@every_transform
def test_pickles(name: str, reader_of: MakeReader) -> None:
    reader = reader_of(layout_for(name))
    pipeline = Pipeline(configs_with(name), "joint", reader.skeleton)
    twin = pickle.loads(pickle.dumps(pipeline))
    assert torch.equal(result(twin, reader, [0, 1]), result(pipeline, reader, [0, 1]))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_streams(stream: str, layout: str, reader_of: MakeReader) -> None:
    reader = reader_of(layout)
    sampling = [PickFramesConfig(length=FRAMES)]
    x = result(Pipeline(sampling, stream, reader.skeleton), reader, [0, 1, 2, 3])
    joints = result(Pipeline(sampling, "joint", reader.skeleton), reader, [0, 1, 2, 3])
    assert x.shape == joints.shape
    assert x.isfinite().all()
    assert not x[::2, ..., 1].any(), "an absent person stays zero"
    assert x.any()
    positions = reader.skeleton.coordinates.positions
    assert torch.equal(x[:, positions:], joints[:, positions:]), "a confidence is no position"
    if stream.endswith("motion"):
        assert not x[:, :positions, -1].any(), "nothing follows the last frame"


def _stage(name: str) -> str:
    (config,) = (config for config in configs_with(name) if config.name == name)  # type: ignore[attr-defined]
    return str(TRANSFORMS[name].build(config, load_layout("ntu25"), False).stage)


def _draws(
    pipeline: Pipeline,
    reader: TrackReader,
    rows: Tensor | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> dict[str, Tensor]:
    """Return what the tested transform of a pipeline draws for some clips."""
    rows = torch.arange(3) if rows is None else rows
    current = reader.read(rows).compact()
    for position, transform in enumerate(pipeline.transforms):
        draws = transform.draw(ClipRandom(seed, epoch, rows, purpose=position), current)
        tested = pipeline.names[position] != "pick_frames" or len(pipeline.names) == 1
        if tested:
            assert all(len(values) == len(rows) for values in draws.values())
            return draws
        current = transform.apply(current, draws)
    raise AssertionError("no transform was tested")
