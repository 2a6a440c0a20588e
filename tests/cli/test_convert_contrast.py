"""``kinegraph convert`` of AimCLR's files and their kin: probed, tested, added up, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinegraph.backbones import STGCNConfig, build_backbone
from kinegraph.cli import main
from kinegraph.compat.rules import CLASSIFIERS
from kinegraph.compat.state_dicts import to_original
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.evaluation.scores import load_scores
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import load_checkpoint

NAMES = ("push", "pull", "wave")


def pretrained(system: str) -> dict[str, Tensor]:
    """Return the state dict of pre-trained encoders, narrow, with random weights."""
    skeleton = load_layout("ntu25")
    torch.manual_seed(0)
    objective = build_objective(
        OBJECTIVES[system].config.model_validate({"queue": 6, "width": 5}),
        lambda: build_backbone(STGCNConfig(width=4, last_width=12), skeleton, original=True),
        num_classes=1,
        skeleton=skeleton,
        original=True,
    )
    state = objective.state_dict()
    return to_original("crossclr-3" if system == "crossclr" else system, state)


def classifiers(system: str, classes: int) -> dict[str, Tensor]:
    """Return what linear evaluation makes of them."""
    state = {
        name: tensor
        for name, tensor in pretrained(system).items()
        if name.startswith("encoder_q") and ".fc." not in name
    }
    for encoder in CLASSIFIERS:
        if f"{encoder}.A" in state:
            state[f"{encoder}.fc.weight"] = torch.randn(classes, 12)
            state[f"{encoder}.fc.bias"] = torch.randn(classes)
    return state


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A few clips of 50 frames, divided into training and test clips."""
    random = np.random.default_rng(0)
    path = tmp_path / "store"
    with create_store(path, load_layout("ntu25"), NAMES, source="made") as writer:
        for number in range(18):
            joints = random.normal(size=(50, 25, 3)).cumsum(0).astype(np.float32)
            writer.add(Clip(f"clip {number}", (Track(joints),), 50, number % 3))
        writer.splits["own"] = np.array([1] * 12 + [2] * 6)
        writer.default_split = "own"
    return path


def done(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command and return what it said."""
    capsys.readouterr()
    assert main([*map(str, words)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def same(file: Path, state: dict[str, Tensor]) -> bool:
    back: dict[str, Tensor] = torch.load(file, weights_only=True)
    return list(back) == list(state) and all(torch.equal(back[n], state[n]) for n in state)


@pytest.mark.parametrize("system", ["aimclr", "skeletonclr", "crossclr"])
def test_a_pretrained_file_is_probed_and_goes_back(
    system: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours, back = (tmp_path / name for name in ("w.pt", "ours.safetensors", "back.pt"))
    state = pretrained(system)
    torch.save(state, theirs)
    text = done(capsys, "convert", theirs, "--system", system, "--out", ours)
    streams = "joint, joint-motion, bone" if system == "crossclr" else "joint"
    assert f"2 people, no classes learned, stream {streams}\n" in text
    assert "kinegraph probe tells what it is worth" in text
    assert "which has them in 50 frames" in text
    probe = ("probe", ours, "--data.store", store, "--device", "cpu", "--json")
    facts = json.loads(done(capsys, *probe))
    assert facts["features"] == (36 if system == "crossclr" else 12)
    assert list(facts["rows"]) == ["encoder", "random encoder", "raw coordinates"]
    assert main(["test", str(ours), "--data.store", str(store)]) == 2
    done(capsys, "convert", ours, "--reverse", "--out", back)
    assert same(back, state)


def test_names_of_published_files_tell_the_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {n: t for n, t in pretrained("aimclr").items() if n.startswith("encoder_q")}
    for name, stream, split, classes in (
        ("ntu60_xview_motion", "joint-motion", "xview", 60),
        ("pkup1cs_bone", "bone", "xsub", 51),
    ):
        torch.save(state, tmp_path / f"{name}.pt")
        ours = tmp_path / f"{name}.safetensors"
        text = done(capsys, "convert", tmp_path / f"{name}.pt", "--out", ours)
        assert f"assumed: stream {stream}, split {split}, " in text
        assert "no encoder of keys and no queue" in text
        assert "if it was that, --system skeletonclr" in text
        checkpoint = load_checkpoint(ours)
        assert (checkpoint.recipe.stream, checkpoint.recipe.data.split) == (stream, split)
        assert len(checkpoint.class_names) == classes


def test_what_options_say_is_not_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = tmp_path / "ntu60_xsub_joint.pt", tmp_path / "ours.safetensors"
    torch.save(pretrained("aimclr"), theirs)
    options = ("--stream", "bone", "--split", "xview", "--classes", "ntu120")
    for count, expected in (
        (0, "assumed: stream joint, split xsub, classes of ntu60 (the file's name)\n"),
        (2, "assumed: split xsub, classes of ntu60 (the file's name)\n"),
        (4, "assumed: classes of ntu60 (the file's name)\n"),
        (6, ""),
    ):
        text = done(capsys, "convert", theirs, *options[:count], "--out", ours, "--force")
        assert expected in text
        assert ("assumed: " in text) == bool(expected)


def test_a_file_that_makes_its_streams_does_not_mind_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a user who types a stream is told to leave it out."""
    torch.save(pretrained("crossclr"), tmp_path / "w.pt")
    (tmp_path / "config.yaml").write_text("stream: motion\n")
    ours = tmp_path / "ours.safetensors"
    text = done(capsys, "convert", tmp_path / "w.pt", "--out", ours)
    assert "stream joint, joint-motion, bone\n" in text
    assert load_checkpoint(ours).recipe.stream == "joint"
    words = ["convert", str(tmp_path / "w.pt"), "--stream", "bone", "--out", str(ours), "--force"]
    assert main(words) == 2
    assert "leave out --stream bone" in capsys.readouterr().err


def test_settings_beside_a_file_tell_the_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(pretrained("aimclr"), tmp_path / "epoch300_model.pt")
    (tmp_path / "config.yaml").write_text(
        "stream: motion\n"
        "train_feeder_args: {data_path: /data/NTU60_frame50/xview/train_position.npy}\n"
        "model_args: {graph_args: {layout: ntu-rgb+d, strategy: spatial}}\n"
    )
    facts = json.loads(
        done(capsys, "convert", tmp_path, "--out", tmp_path / "ours.safetensors", "--json")
    )
    assert (facts["stream"], facts["split"]) == ("joint-motion", "xview")
    assert facts["assumed"] == []
    assert facts["objective"] == "aimclr"
    assert load_checkpoint(tmp_path / "ours.safetensors").epoch == 300


def test_classifiers_are_tested_and_added_up(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sum over the streams of CrosSCLR has the order of the original's mean of logits."""
    theirs = tmp_path / "w.pt"
    state = classifiers("crossclr", 3)
    torch.save(state, theirs)
    scores = []
    for stream in CLASSIFIERS.values():
        ours, back = tmp_path / f"{stream}.safetensors", tmp_path / f"{stream}.pt"
        words = ("convert", theirs, "--stream", stream, "--classes", store, "--out", ours)
        text = done(capsys, *words)
        assert "3 classes" in text
        assert f"this is the classifier of stream {stream}; those of" in text
        scores.append(tmp_path / f"{stream}.npz")
        done(capsys, "test", ours, "--data.store", store, "--out", scores[-1], "--device", "cpu")
        done(capsys, "convert", ours, "--reverse", "--out", back)
        assert same(back, state)
    total = tmp_path / "sum.npz"
    done(capsys, "ensemble", *scores, "--streams", *CLASSIFIERS.values(), "--out", total)
    mean = np.mean([load_scores(file).logits for file in scores], axis=0)
    np.testing.assert_allclose(load_scores(total).logits, 3 * mean, rtol=1e-5, atol=1e-6)


def test_a_classifier_of_aimclr_is_tested(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours, scores = (tmp_path / n for n in ("w.pt", "ours.safetensors", "scores.npz"))
    torch.save(classifiers("aimclr", 3), theirs)
    text = done(capsys, "convert", theirs, "--classes", store, "--out", ours)
    assert "used: 179 tensors" in text
    assert "probe" not in text
    done(capsys, "test", ours, "--data.store", store, "--out", scores, "--device", "cpu")
    assert load_scores(scores).logits.shape == (6, 3)
    capsys.readouterr()
    assert main(["convert", str(theirs), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "the head has 3 classes on layout 'ntu25'" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()
