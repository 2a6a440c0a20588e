from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kinegraph.cli import main
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import create_store
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint, make_objective, save_checkpoint

Capture = pytest.CaptureFixture[str]
CLASSES = ("wave", "clap [loud]", "fall", "sit")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained network for NW-UCLA recordings."""
    folder = tmp_path_factory.mktemp("run")
    recipe = parse_recipe(
        {
            "backbone": {"name": "stgcn", "width": 4},
            "transforms": {"test": [{"name": "pick_frames", "length": 8}]},
        }
    )
    skeleton = load_layout("ucla20")
    state = make_objective(recipe, skeleton, len(CLASSES), persons=1).state_dict()
    tensors = {f"model/{name}": value for name, value in state.items()}
    tensors["model/head.bias"] = torch.tensor([0.0, 3.0, 1.0, 2.0])
    tensors["model/head.weight"] = torch.zeros_like(tensors["model/head.weight"])
    checkpoint = Checkpoint(recipe, skeleton, CLASSES, persons=1, epoch=1, tensors=tensors)
    save_checkpoint(folder / "checkpoints" / "last.safetensors", checkpoint)
    return folder


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of three NW-UCLA recordings."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    random = np.random.default_rng(0)
    for action in (1, 5, 12):
        joints = random.normal(size=(10, 20, 3)).tolist()
        name = f"a{action:02}_s01_e00_v01"
        content = {"file_name": name, "skeletons": joints, "label": {1: 1, 5: 5, 12: 10}[action]}
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def predict_json(capsys: Capture, *words: object) -> list[dict[str, object]]:
    assert main(["predict", *map(str, words), "--json"]) == 0
    rows: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return rows


def test_files_give_their_top_labels_and_probabilities(
    run_folder: Path, recordings: Path, capsys: Capture
) -> None:
    files = sorted(recordings.iterdir())[:2]
    rows = predict_json(capsys, run_folder, *files, "--top", "2")
    assert [row["source"] for row in rows] == [str(file) for file in files]
    assert [row["label"] for row in rows] == ["pick up with one hand", "sit down"]
    odds = np.exp([0.0, 3.0, 1.0, 2.0])
    expected = [
        {"label": "clap [loud]", "probability": pytest.approx(odds[1] / odds.sum(), rel=1e-5)},
        {"label": "sit", "probability": pytest.approx(odds[3] / odds.sum(), rel=1e-5)},
    ]
    assert [row["predictions"] for row in rows] == [expected, expected]


def test_table_has_a_line_for_each_label(
    run_folder: Path, recordings: Path, capsys: Capture
) -> None:
    assert main(["predict", str(run_folder), str(recordings), "--batch-size", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("clap [loud]") == out.count("64.4%") == 3
    assert out.count("wave") == out.count("3.2%") == 3
    assert "a12_s01_e00_v01" in out
    assert "carry" in out


def test_checkpoint_folder_and_store_give_the_same(
    run_folder: Path, recordings: Path, tmp_path: Path, capsys: Capture
) -> None:
    rows = predict_json(capsys, run_folder, recordings)
    assert [row["clip"] for row in rows] == [file.stem for file in sorted(recordings.iterdir())]
    checkpoint = run_folder / "checkpoints" / "last.safetensors"
    skeleton = load_layout("ucla20")
    with create_store(tmp_path / "store", skeleton, ["x"], source="test") as store:
        for file in sorted(recordings.iterdir()):
            joints = np.array(json.loads(file.read_text())["skeletons"], dtype=np.float32)
            store.add(Clip(file.stem, (Track(joints),), len(joints)))
    stored = predict_json(capsys, checkpoint, tmp_path / "store")
    assert [row["label"] for row in stored] == [None] * 3
    for field in ("clip", "predictions"):
        assert [row[field] for row in stored] == [row[field] for row in rows]


def test_other_layout_is_refused_and_both_are_named(
    run_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    skeleton = load_layout("ntu25")
    joints = np.ones((5, 25, 3), dtype=np.float32)
    with create_store(tmp_path / "store", skeleton, ["x"], source="test") as store:
        store.add(Clip("one", (Track(joints),), 5))
    assert main(["predict", str(run_folder), str(tmp_path / "store"), "--skip-bad"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "layout 'ntu25' (25 joints" in captured.err
    assert "layout 'ucla20' (20 joints" in captured.err


@pytest.mark.parametrize("content", [b"", b"{", b'{"skeletons": []}', b"\x00\x01"])
def test_one_bad_file_is_named_and_can_be_left_out(
    run_folder: Path, recordings: Path, capsys: Capture, content: bytes
) -> None:
    bad = recordings / "a02_s01_e00_v01.json"
    bad.write_bytes(content)
    for source in ([recordings], sorted(recordings.iterdir())):
        words = ["predict", str(run_folder), *map(str, source)]
        assert main(words) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert bad.stem in captured.err
        assert main([*words, "--skip-bad", "--json"]) == 0
        captured = capsys.readouterr()
        assert len(json.loads(captured.out)) == 3
        assert captured.err.startswith("left out: ")
        assert bad.stem in captured.err
    assert main(["predict", str(run_folder), str(bad), "--skip-bad"]) == 2
    assert "none of the recordings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["RUN"], "no recordings given"),
        (["nowhere", "x.json"], "'nowhere' does not exist"),
        (["RUN", "nowhere.json"], "'nowhere.json' does not exist"),
        (["RUN", "x.json", "--top", "0"], "top"),
        (["RUN", "x.json", "--tpo", "1"], "unknown option --tpo"),
        (["RUN", "x.json", "--device", "abacus"], "device 'abacus'"),
    ],
)
def test_mistakes_are_one_line(
    run_folder: Path, capsys: Capture, words: list[str], complaint: str
) -> None:
    words = [str(run_folder) if word == "RUN" else word for word in words]
    assert main(["predict", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinegraph predict: ")
    assert captured.err.count("\n") == 1
    assert complaint in captured.err
