from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import create_store
from kinegraph.errors import CheckpointError, ClipError, LayoutError, TrainingError
from kinegraph.evaluation.scoring import score_clips
from kinegraph.inference.predictor import Predictor
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    make_objective,
    save_checkpoint,
)
from kinegraph.training.setup import open_data

CLASSES = ("wave", "clap", "fall")


def save_tiny(
    path: Path,
    skeleton: Skeleton,
    *,
    quirks: str = "none",
    stream: str = "bone",
    ema: bool = False,
    first: str = "centre",
) -> Path:
    """Write the checkpoint of a narrow ST-GCN for up to two people, whose scores differ by clip."""
    recipe = parse_recipe(
        {
            "stream": stream,
            "quirks": quirks,
            "backbone": {"name": "stgcn", "width": 4},
            "data": {"split": "random"},
            "transforms": {
                "train": [{"name": "pick_frames", "length": 8, "random": True}],
                "test": [{"name": first}, {"name": "crop_resize", "length": 8}],
            },
        }
    )
    torch.manual_seed(1)
    objective = make_objective(recipe, skeleton, len(CLASSES), persons=2)
    torch.nn.init.normal_(objective.get_submodule("head").weight, std=3.0)
    # Batch statistics as after training; without them the signal of a clip dies away.
    for module in objective.modules():
        if hasattr(module, "momentum"):
            module.momentum = 1.0
    x = torch.randn(8, skeleton.coordinates.channels, 8, skeleton.joint_count, 2)
    with torch.no_grad():
        objective.train().logits(x, torch.ones(8, 2, dtype=torch.bool))
    state = objective.state_dict()
    tensors = {f"model/{name}": value for name, value in state.items()}
    if ema:
        tensors |= {f"ema/{name}": value * 0 for name, value in state.items()}
    save_checkpoint(
        path,
        Checkpoint(recipe, skeleton, CLASSES, persons=2, epoch=1, tensors=tensors),
    )
    return path


def make_clips(skeleton: Skeleton) -> list[Clip]:
    """Clips of one frame and many, of one to three people, with gaps and all-zero frames."""
    random = np.random.default_rng(0)
    shape = (skeleton.joint_count, skeleton.coordinates.channels)

    def people(*spans: tuple[int, int, int]) -> tuple[Track, ...]:
        tracks = []
        for person, first, length in spans:
            joints = random.normal(size=(length, *shape)).astype(np.float32)
            joints[length // 2 + 1 :: 3] = 0
            tracks.append(Track(joints, first=first, person=person))
        return tuple(tracks)

    return [
        Clip("alone", people((0, 0, 30)), 30, label=0),
        Clip("pair", people((1, 5, 12), (0, 0, 20)), 20, label=1),
        Clip("one frame", people((0, 0, 1)), 1, label=2),
        Clip("crowd", people((0, 0, 9), (1, 3, 5), (2, 0, 9)), 9, label=0),
        Clip("second only", people((1, 2, 6)), 10, label=1),
        Clip("late", people((0, 40, 20)), 70, label=2),
    ]


@pytest.mark.parametrize("quirks", ["none", "original"])
@pytest.mark.parametrize(
    ("layout", "stream", "first"),
    [
        ("ntu25", "bone", "centre"),
        ("coco17", "joint-motion", "centre"),
        ("coco17", "bone", "fit_image"),
        ("ntu25", "joint", "align_body"),
    ],
)
def test_scores_equal_those_of_testing(
    tmp_path: Path, quirks: str, layout: str, stream: str, first: str
) -> None:
    skeleton = load_layout(layout)
    path = tmp_path / "run.safetensors"
    save_tiny(path, skeleton, quirks=quirks, stream=stream, first=first)
    clips = make_clips(skeleton)
    for row in (1, 3):  # pictures of a few pixels, so that their size makes a difference
        clips[row] = replace(clips[row], extras={"width": 4.0, "height": 2.0 + row})
    with create_store(tmp_path / "store", skeleton, CLASSES, source="test") as store:
        for clip in clips:
            store.add(clip)
    checkpoint = load_checkpoint(path)
    data = open_data(checkpoint.recipe, tmp_path / "store")
    data.rows["test"] = np.arange(len(clips))
    loader = data.testing_loader("test", 64, torch.device("cpu"))
    expected = score_clips(checkpoint.build(), loader)
    assert np.ptp(expected, axis=0).min() > 0.5  # the scores do tell clips apart

    predictor = Predictor.from_run(path)
    np.testing.assert_allclose(predictor.logits(clips, skeleton), expected, rtol=1e-5, atol=1e-5)
    for batch_size in (1, 4):
        found = predictor.logits(clips, skeleton, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_predictions_are_sorted_probabilities(tmp_path: Path) -> None:
    skeleton = load_layout("ntu25")
    predictor = Predictor.from_run(save_tiny(tmp_path / "a.safetensors", skeleton))
    clips = make_clips(skeleton)
    predictions = predictor.predict(clips, skeleton)
    assert [p.name for p in predictions] == [clip.name for clip in clips]
    logits = predictor.logits(clips, skeleton)
    for prediction, row in zip(predictions, logits, strict=True):
        assert sum(prediction.probabilities) == pytest.approx(1)
        assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
        assert sorted(prediction.labels) == sorted(CLASSES)
        assert prediction.labels[0] == CLASSES[row.argmax()]
        odds = np.log(prediction.probabilities[0] / prediction.probabilities[-1])
        assert odds == pytest.approx(np.ptp(row), rel=1e-6)
    assert predictor.predict([], skeleton) == []


def test_weights_are_the_moving_average_where_there_is_one(tmp_path: Path) -> None:
    skeleton = load_layout("ntu25")
    path = save_tiny(tmp_path / "a.safetensors", skeleton, ema=True)
    assert any(name.startswith("ema/") for name in load_file(path))
    logits = Predictor.from_run(path).logits(make_clips(skeleton), skeleton)
    np.testing.assert_array_equal(logits, 0)


def test_run_folder_gives_its_selected_checkpoint(tmp_path: Path) -> None:
    ntu, coco = load_layout("ntu25"), load_layout("coco17")
    save_tiny(tmp_path / "run" / "checkpoints" / "last.safetensors", ntu)
    assert Predictor.from_run(tmp_path / "run").skeleton == ntu
    save_tiny(tmp_path / "run" / "checkpoints" / "best.safetensors", coco)
    assert Predictor.from_run(tmp_path / "run").skeleton == coco
    with pytest.raises(CheckpointError, match="does not exist"):
        Predictor.from_run(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="device 'abacus'"):
        Predictor.from_run(tmp_path / "run", device="abacus")


def test_other_layouts_are_refused_and_both_are_named(tmp_path: Path) -> None:
    skeleton = load_layout("ucla20")
    predictor = Predictor.from_run(save_tiny(tmp_path / "a.safetensors", skeleton))
    # The same number of joints in another order would go through a network unnoticed.
    with pytest.raises(LayoutError, match=r"'utd20' \(20 joints.*'ucla20' \(20 joints"):
        predictor.predict(make_clips(load_layout("utd20")), load_layout("utd20"))
    swapped = replace(
        skeleton, joints=(skeleton.joints[1], skeleton.joints[0], *skeleton.joints[2:])
    )
    with pytest.raises(LayoutError, match="does not fit"):
        predictor.predict([], swapped)


def test_unusable_clips_are_refused_by_name(tmp_path: Path) -> None:
    skeleton = load_layout("ntu25")
    predictor = Predictor.from_run(save_tiny(tmp_path / "a.safetensors", skeleton))
    good = make_clips(skeleton)[0]
    joints = good.tracks[0].joints

    def refused(tracks: tuple[Track, ...], complaint: str) -> None:
        with pytest.raises(ClipError, match=f"'odd'.*{complaint}"):
            predictor.predict([good, Clip("odd", tracks, 30)], skeleton)

    refused((Track(joints, person=2),), "slots above 1")
    refused((Track(np.full_like(joints, np.nan)),), "NaN")
    refused((Track(joints[:, :20]),), "expects")
    refused((), "empty")
