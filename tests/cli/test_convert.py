"""``kinegraph convert``: files of original weights in, checkpoints out, and the way back."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.cli import main
from kinegraph.compat.state_dicts import to_original
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.evaluation.scores import load_scores
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import load_checkpoint

OBJECTIVE = {"infogcn": "bottleneck"}


def weights(family: str, classes: int, layout: str, persons: int = 2) -> dict[str, Tensor]:
    """Return the state dict of an original network, narrow."""
    skeleton = load_layout(layout)
    config = BACKBONES[family].config.model_validate({"width": 8})
    objective = build_objective(
        OBJECTIVES[OBJECTIVE.get(family, "classify")].config(),
        lambda: build_backbone(config, skeleton, persons=persons, original=True),
        num_classes=classes,
        skeleton=skeleton,
        original=True,
    )
    return to_original(family, objective.state_dict())


@pytest.fixture
def ucla(tmp_path: Path) -> Path:
    path = tmp_path / "runs-65-40365.pt"
    torch.save(weights("ctrgcn", 10, "ucla20", 1), path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A few clips of the layout, classes and cameras of NW-UCLA."""
    from kinegraph.data.formats.nw_ucla import CLASSES

    random = np.random.default_rng(0)
    path = tmp_path / "store"
    skeleton = load_layout("ucla20")
    with create_store(path, skeleton, tuple(CLASSES.values()), source="made") as writer:
        for label in range(10):
            for camera in (1, 2, 3):
                joints = random.normal(size=(12, 20, 3)).cumsum(0).astype(np.float32)
                writer.add(
                    Clip(f"a{label:02d}c{camera}", (Track(joints),), 12, label=label, camera=camera)
                )
    return path


def run(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """Convert, and return what was said or complained about."""
    assert main(["convert", *map(str, words)]) == code
    captured = capsys.readouterr()
    if code:
        assert captured.out == ""
        assert captured.err.count("\n") == 1
    return captured.err if code else captured.out


def read(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return state


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[k], right[k]) for k in left)


def test_there_and_back(ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pt"
    text = run(capsys, ucla, "--system", "ctrgcn", "--out", ours)
    assert "layout ucla20, 1 person, 10 classes, stream joint" in text
    assert "assumed: stream joint" in text
    assert load_checkpoint(ours).epoch == 65
    run(capsys, ours, "--reverse", "--out", back)
    assert same(read(ucla), read(back))


@pytest.mark.parametrize("legacy", [False, True])
def test_both_forms_of_file_and_names_of_parallel_training(
    legacy: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = weights("infogcn", 60, "ntu25")
    old = {f"module.{_older(name)}": tensor for name, tensor in state.items()}
    file, ours, back = (tmp_path / name for name in ("w.pth", "ours.safetensors", "back.pth"))
    torch.save(old, file, _use_new_zipfile_serialization=not legacy)
    words = (file, "--system", "infogcn", "--stream", "k-mode-1", "--out", ours)
    facts = json.loads(run(capsys, *words, "--json"))
    assert facts["stream"] == "k-mode-1"
    assert facts["missing"] == ["prior"]
    assert len(facts["used"]) == len(old)
    run(capsys, ours, "--reverse", "--out", back)
    assert same(read(back), old)


def _older(name: str) -> str:
    """Count the blocks from 2, as the first InfoGCN did."""
    block, dot, rest = name.partition(".")
    number = block[1:]
    return f"l{int(number) + 1}{dot}{rest}" if block[0] == "l" and number.isdigit() else name


def test_a_head_for_120_classes_is_cut_and_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = weights("aagcn", 120, "ntu25")
    state["ren_low.spatio_squeeze.0.weight"] = torch.randn(4, 8, 1, 1)
    file, ours, back = (tmp_path / name for name in ("w.pt", "ours.safetensors", "back.pt"))
    torch.save({"state_dict": state, "epoch": 3}, file)
    text = run(capsys, file, "--system", "frhead", "--classes", "ntu60", "--out", ours)
    assert "60 classes" in text
    assert "head: 60 rows without a class are kept apart" in text
    assert "left over, kept but never computed with: 1 (ren_low.spatio_squeeze" in text
    network = load_checkpoint(ours).build()
    assert network.logits(torch.zeros(1, 3, 8, 25, 2)).shape == (1, 60)
    run(capsys, ours, "--reverse", "--out", back)
    assert same(read(back), state)


def test_a_converted_file_is_tested(
    ucla: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, scores = tmp_path / "ours.safetensors", tmp_path / "scores.npz"
    run(capsys, ucla, "--split", "view3", "--out", ours)
    assert main(["test", str(ours), "--data.store", str(store), "--out", str(scores)]) == 0
    capsys.readouterr()
    assert load_scores(scores).logits.shape == (10, 10)
    assert main(["test", str(ours), "--data.store", str(store)]) == 0
    captured = capsys.readouterr()
    assert "10 test clips, epoch 65" in captured.out
    assert "--out FILE.npz" in captured.err
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in (ucla, store, ours, scores)
    }


def test_a_run_folder_with_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "work_dir"
    folder.mkdir()
    state = weights("ctrgcn", 10, "ucla20", 1)
    state |= {"logit_scale": torch.ones(1, 5), "part_list.0.bias": torch.zeros(4)}
    for epoch in (9, 65):
        torch.save(state, folder / f"runs-{epoch}-{epoch * 7}.pt")
    (folder / "config.yaml").write_text(
        "feeder: feeders.feeder_ucla.Feeder\nk: 6\n"
        "model_args: {graph: graph.ucla.Graph, num_person: 1, num_class: 10}\n"
        "test_feeder_args: {data_path: joint_motion, split: val}\n"
    )
    ours = tmp_path / "ours.safetensors"
    facts = json.loads(run(capsys, folder, "--system", "lst", "--out", ours, "--json"))
    assert facts["stream"] == "k-mode-6-motion"
    assert facts["split"] == "view3"
    assert facts["file"].endswith("runs-65-455.pt")
    assert facts["left_over"] == ["logit_scale", "part_list.0.bias"]


def test_a_file_trained_here_is_written_as_the_original(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    from kinegraph.training.checkpoint import save_checkpoint

    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pt"
    run(capsys, ucla, "--out", ours)
    checkpoint = load_checkpoint(ours)
    save_checkpoint(ours, replace(checkpoint, progress={}))  # as if it had been trained
    text = run(capsys, ours, "--reverse", "--out", back)
    assert "trained here" in text
    assert "ours.safetensors: weights of ctrgcn\n" in text
    assert read(back).keys() == read(ucla).keys()
    for system, reason in (
        ("aagcn", "was trained here and has the network of 'ctrgcn', not of 'aagcn'"),
        ("nonsense", "unknown system 'nonsense'"),
    ):
        words = ["convert", str(ours), "--reverse", "--system", system, "--out", str(back)]
        assert main([*words, "--force"]) == 2
        assert reason in capsys.readouterr().err
    assert "of ctrgcn" in run(capsys, ours, "--reverse", "--system", "ctrgcn", "--out", back,
                              "--force")  # fmt: skip


class Evil:
    """Would run a function where a file that holds it is read carelessly."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code was run",)


def test_bad_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "evil.pt": "would run code",
        "cut.pt": "no whole file",
        "text.pt": "no file of PyTorch weights: it holds something else, or is damaged$",
        "list.pt": "holds a list, expected a state dict",
        "mixed.pt": "more than tensors \\('epoch'\\)",
        "empty.pt": "it is empty, or ends too early",
        "sparse.pt": "'a' of .* is a tensor of another kind \\(sparse_coo\\)",
        "meta.pt": "another kind \\(without numbers\\)",
        "complex.pt": "another kind \\(complex64\\)",
        "flipped.pt": "is damaged: its part '.*data/0' does not have its checksum",
        "ours.safetensors": "one of kinegraph: --reverse converts it back",
    }
    torch.save({"a": Evil()}, tmp_path / "evil.pt")
    torch.save({"a": torch.zeros(9000)}, tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pt").write_text("no weights at all")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"epoch": 3, "a": torch.zeros(1)}, tmp_path / "mixed.pt")
    (tmp_path / "empty.pt").touch()
    torch.save({"a": torch.eye(2).to_sparse()}, tmp_path / "sparse.pt")
    torch.save({"a": torch.empty(2, device="meta")}, tmp_path / "meta.pt")
    torch.save({"a": torch.ones(2, dtype=torch.complex64)}, tmp_path / "complex.pt")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "flipped.pt").write_bytes(flipped)
    (tmp_path / "ours.safetensors").touch()
    for name, reason in files.items():
        error = run(capsys, tmp_path / name, "--out", tmp_path / "x.safetensors", code=2)
        assert re.search(reason, error), error
    assert not (tmp_path / "x.safetensors").exists()


def test_a_pickle_of_the_old_form_is_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": Evil()}))
    error = run(capsys, tmp_path / "old.pt", "--out", tmp_path / "x.safetensors", code=2)
    assert "code was run" not in error


def test_wrong_wishes_are_explained(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.safetensors"
    cases = {
        ("--system", "ctrgnc"): "unknown system 'ctrgnc'; nearest: 'ctrgcn'",
        ("--system", "stgcn"): "its names are those of 'ctrgcn': --system ctrgcn",
        ("--layout", "ntu25"): "layout 'ntu25' has 25 joints, but the file is made for 20",
        ("--persons", "2"): "made for 1 people, not 2",
        ("--classes", "ntu60"): "the head of the file has 10 classes, expected 60",
        ("--classes", "nowhere.txt"): "No such file",
        ("--stream", "bonne"): "unknown stream 'bonne'; nearest: 'bone'",
    }
    for words, reason in cases.items():
        assert reason in run(capsys, ucla, *words, "--out", out, code=2)
    assert "ends in .safetensors" in run(capsys, ucla, "--out", tmp_path / "x.pt", code=2)
    assert not out.exists()


def test_nothing_is_overwritten(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.safetensors"
    out.write_text("mine")
    assert "exists already" in run(capsys, ucla, "--out", out, code=2)
    assert out.read_text() == "mine"
    run(capsys, ucla, "--out", out, "--force")
    assert load_checkpoint(out).persons == 1


def test_missing_and_strange_names_are_listed(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read(ucla)
    torch.save({**state, "more.weight": torch.zeros(2)}, ucla)
    out = tmp_path / "x.safetensors"
    assert "'more.weight', which this network does not" in run(capsys, ucla, "--out", out, code=2)
    del state["l3.gcn1.PA"]
    torch.save(state, ucla)
    assert "lacks 'l3.gcn1.PA'" in run(capsys, ucla, "--out", out, code=2)


def test_weights_that_are_not_finite_are_named(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read(ucla)
    state["l3.gcn1.PA"][0, 1] = torch.nan
    torch.save(state, ucla)
    text = run(capsys, ucla, "--out", tmp_path / "x.safetensors")
    assert "NaN or infinite, so that no result can be trusted: 1 (l3.gcn1.PA)" in text


def test_a_stream_that_is_named_goes_before_k_zero_in_settings(
    ucla: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("k: 0\n")
    words = (ucla, "--system", "ctrgcn", "--config", config, "--out", tmp_path / "a.safetensors")
    assert "every input zero; name the stream" in run(capsys, *words, code=2)
    assert "stream bone" in run(capsys, *words, "--stream", "bone")
