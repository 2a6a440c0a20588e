"""Clips without a label train where no labels are needed, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kinegraph.cli import main
from kinegraph.data.clip import UNKNOWN, Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.errors import RecipeError
from kinegraph.recipe import load_recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.setup import open_data

CROP = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
NAMES = ("sit", "stand")


def write(path: Path, labels: list[int], subjects: list[int]) -> Path:
    """Write a store of clips of these classes and people."""
    skeleton, random = load_layout("coco17"), np.random.default_rng(0)
    classes = NAMES if max(labels) >= 0 else ()
    with create_store(path, skeleton, classes, source="a test") as writer:
        for number, (label, subject) in enumerate(zip(labels, subjects, strict=True)):
            joints = random.normal(label, 0.3, (9, 17, 3)).astype(np.float32)
            track = Track(person=0, joints=joints)
            writer.add(Clip(f"clip {number}", (track,), 9, label=label, subject=subject))
    return path


@pytest.fixture
def values(tmp_path: Path, tiny_recipe: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A recipe that needs no labels, on six clips with labels and five without."""
    labels = [0, 1, 0, 1, 0, 1, *[UNKNOWN] * 5]
    store = write(tmp_path / "some", labels, [1, 1, 2, 2, 3, 3, 1, 3, 2, 5, UNKNOWN])
    return tiny_recipe(
        data={"store": str(store), "split": "subjects"},
        transforms={"query": CROP, "key": CROP},
        objective={"name": "skeletonclr", "queue": 5, "width": 4},
    )


def rows_of(values: dict[str, Any], **sections: dict[str, Any]) -> dict[str, list[int]]:
    data = open_data(parse_recipe(values | sections))
    return {part: rows.tolist() for part, rows in data.rows.items()} | {
        "training": data.training_rows.tolist()
    }


def test_unlabelled_clips_of_training_people_train(values: dict[str, Any]) -> None:
    assert rows_of(values) == {
        "train": [0, 1, 4, 5], "test": [2, 3], "unlabelled": [6, 7, 9],
        "training": [0, 1, 4, 5, 6, 7, 9],
    }  # fmt: skip
    assert rows_of(values, objective={"name": "classify"}) == {
        "train": [0, 1, 4, 5], "test": [2, 3], "training": [0, 1, 4, 5],
    }  # fmt: skip


def test_people_set_aside_do_not_train_unlabelled_either(values: dict[str, Any]) -> None:
    store = Path(values["data"]["store"]).parent / "four"
    write(store, [0, 1] * 4 + [UNKNOWN] * 4, [1, 1, 3, 3, 5, 5, 2, 2, 1, 3, 5, 7])
    values["data"]["store"] = str(store)
    rows = rows_of(values, evaluation={"selection": "validation"})
    (aside,) = {[1, 1, 3, 3, 5, 5, 2, 2][row] for row in rows["validation"]}
    kept = [subject for subject in (1, 3, 5, 7) if subject != aside]
    assert rows["unlabelled"] == [8 + (1, 3, 5, 7).index(subject) for subject in kept]


@pytest.mark.parametrize("people", [[1, 2], [UNKNOWN, UNKNOWN]])
def test_nobody_is_set_aside_where_clips_are_drawn(
    values: dict[str, Any], people: list[int]
) -> None:
    """For two people are too few: each has clips that train and clips that validate."""
    store = Path(values["data"]["store"]).parent / "drawn"
    write(store, [0, 1, 1, 0] * 6 + [UNKNOWN] * 4, people * 14)
    values["data"] = {"store": str(store), "split": "random"}
    rows = rows_of(values, evaluation={"selection": "validation"})
    assert rows["validation"]
    assert rows["unlabelled"] == [24, 25, 26, 27]


def test_how_many_train_without_a_label_is_told_even_if_none_do(
    values: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = write(tmp_path / "who", [0, 1, 0, 1, *[UNKNOWN] * 5], [1, 1, 2, 2, *[UNKNOWN] * 5])
    values |= {"training": {"epochs": 1, "batch_size": 2}}
    values["data"] = {"store": str(store), "split": "subjects"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    words = ["--device", "cpu", "--out", str(tmp_path / "run")]
    assert main(["train", str(tmp_path / "tiny.yaml"), *words]) == 0
    assert "2 train, 2 test, 0 unlabelled clips, 2 classes" in capsys.readouterr().err


def test_the_split_of_a_published_recipe_is_passed_over_without_labels(
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("blind"), [UNKNOWN] * 8, [UNKNOWN] * 8)
    write(Path("testers"), [UNKNOWN] * 8, [3, 6] * 4)
    values["data"] = {"split": "xsub"}
    Path("tiny.yaml").write_text(yaml.safe_dump(values))
    words = ["train", "tiny.yaml", "--device", "cpu", "--out", "run", "--data.store"]
    assert main([*words, "blind", "--evaluation.selection", "validation"]) == 2
    assert (
        "evaluation.selection validation chooses an epoch by the nearest neighbours of validation"
        " clips, for which labels are needed, and there are none: choose last"
    ) in capsys.readouterr().err
    assert not Path("run").exists()
    assert main([*words, "blind"]) == 0
    assert "8 unlabelled clips" in capsys.readouterr().err
    assert main([*words, "testers", "--force"]) == 2
    said = capsys.readouterr().err
    assert "leaves no clip to train on in store" in said
    assert "(its subjects: 3, 6). No clip has a label" in said
    assert main([*words, "testers", "--force", "--data.split", "null"]) == 0
    assert "8 unlabelled clips" in capsys.readouterr().err


def test_labels_that_nobody_looks_at_choose_no_clips(
    values: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    options = [("data.label_share", "0.5")]
    with pytest.raises(RecipeError, match=r"data\.label_share 0\.5 .* objective skeletonclr does"):
        load_recipe(str(tmp_path / "tiny.yaml"), options)
    options.append(("objective.name", "classify"))
    assert load_recipe(str(tmp_path / "tiny.yaml"), options).data.label_share == 0.5


def test_nobody_needs_a_label_to_begin(
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("none"), [UNKNOWN] * 8, [1] * 8)
    values["data"] = {"store": "none"}
    Path("tiny.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", "tiny.yaml", "--device", "cpu", "--out", "run"]) == 0
    assert "8 unlabelled clips, 0 classes" in capsys.readouterr().err
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert all("alignment" in row and not any("knn" in key for key in row) for row in rows)
    assert main(["train", "--resume", "run", "--device", "cpu"]) == 0
    assert main(["probe", "run", "--device", "cpu"]) == 2
    assert "no labelled clips to judge features by" in capsys.readouterr().err
    assert main(["test", "run", "--device", "cpu"]) == 2
    assert "'run' has learned without labels and knows no classes" in capsys.readouterr().err
    Path("run/report.html").touch()  # as a probe leaves it
    assert main(["test", "run", "--device", "cpu"]) == 2
    assert "is told by kinegraph probe run" in capsys.readouterr().err
    Path("run/report.html").unlink()
    # With labels from elsewhere, it is an encoder like any other.
    options = ["--device", "cpu", "--no-report", "--data.store", "some", "--data.split", "subjects"]
    assert main(["probe", "run", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train_clips"] == 4
    values |= {"objective": {"name": "classify"}, "start": {"run": "run"}}
    values["data"] = {"store": "some", "split": "subjects"}
    values["transforms"]["train"] = CROP
    Path("tuned.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", "tuned.yaml", "--device", "cpu", "--out", "tuned"]) == 0
