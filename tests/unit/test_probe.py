"""Judges of features by hand, and ``kinegraph probe`` of a run that learned without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from kinegraph.cli import main
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import ScoreError
from kinegraph.evaluation import probe
from kinegraph.evaluation.baselines import raw_coordinates
from kinegraph.evaluation.judges import Described, nearest_clips
from kinegraph.evaluation.opening import open_run
from kinegraph.evaluation.probe import (
    ENCODER,
    RANDOM,
    RAW,
    doubts,
    embed_clips,
    fit_linear,
    linear,
    probe_run,
    retrieval,
)


def at(*degrees: float) -> np.ndarray:
    """(N, 2) features in these directions, of different lengths."""
    angle, length = np.radians(degrees), np.arange(1, len(degrees) + 1)
    return (np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]).astype(np.float32)


def by_hand() -> Described:
    """Four training and three test clips; see the orders in the tests."""
    return Described(
        train_x=at(0, 20, 50, 90),
        train_y=np.array([0, 1, 1, 2]),
        test_x=at(5, 60, 85),
        test_y=np.array([1, 1, 3]),
    )


def test_neighbours_vote_by_cosine() -> None:
    # From the nearest: 5 degrees: 0 20 50 90; 60 degrees: 50 90 20 0; 85 degrees: 90 50 20 0.
    clips = by_hand()
    assert nearest_clips(clips) == {"top-1": pytest.approx(1 / 3)}  # 0, right, 2
    firsts = replace(clips, test_y=np.array([0, 1, 2]))
    assert nearest_clips(firsts, 2) == {"top-1": 1}  # of two classes that of the nearer clip wins
    assert nearest_clips(clips, 3) == {"top-1": pytest.approx(2 / 3)}  # two clips of class 1 win
    with pytest.raises(ScoreError, match="5 neighbours were asked for, but there are 4 training"):
        nearest_clips(clips, 5)


def test_retrieval_counts_places() -> None:
    # Places of class 1 are 2 and 3 of the first query, 1 and 3 of the second; no clip has class 3.
    precisions = ((1 / 2 + 2 / 3) / 2, (1 / 1 + 2 / 3) / 2, 0)
    expected = {"mAP": sum(precisions) / 3, "recall@1": 1 / 3, "recall@5": 2 / 3}
    assert retrieval(by_hand()) == pytest.approx(expected | {"recall@10": 2 / 3})


def test_many_queries_are_answered_in_parts(rng: np.random.Generator) -> None:
    train_y, test_y = rng.integers(0, 3, 40), rng.integers(0, 3, 600)
    signs = np.eye(3, dtype=np.float32)
    clips = Described(signs[train_y], train_y, signs[test_y], test_y)
    assert nearest_clips(clips) == {"top-1": 1}
    assert retrieval(clips)["mAP"] == 1


def test_linear_separates_and_repeats(rng: np.random.Generator) -> None:
    train_y, test_y = np.arange(30) % 3, np.arange(12) % 3
    corners = np.array([[0, 0], [1, 0], [0, 1]])
    noise = np.full((42, 1), 7.0)  # a feature that never changes must do no harm
    near = np.concatenate([corners[train_y], corners[test_y]]) + rng.uniform(-0.2, 0.2, (42, 2))
    # Scales that differ by millions: without standardising the second one would not count.
    x = np.concatenate([near * [1e3, 1e-3], noise], axis=1).astype(np.float32)
    clips = Described(x[:30], train_y, x[30:], test_y)
    assert linear(clips) == linear(clips) == {"top-1": 1}
    with pytest.raises(ScoreError, match="all training clips are of one class"):
        linear(Described(x[:30], np.zeros(30, np.int64), x[30:], test_y))


def test_the_linear_judge_says_what_takes_long(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = rng.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3
    clips = Described(x, y, x, y)
    before = x.copy()
    found = linear(clips)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(probe, "LARGE", 100)
    assert linear(clips) == found
    assert capsys.readouterr().err == (
        "fitting the linear judge to 30 clips of 4 numbers each: up to 2,000 steps, which may take"
        " minutes and more\n"
    )
    monkeypatch.setattr(probe, "ITERATIONS", 2)
    linear(clips)
    assert capsys.readouterr().err.endswith("the linear judge was stopped after 2 steps\n")
    linear(clips, remedy="a larger --strength helps")
    assert "after 2 steps; a larger --strength helps\n" in capsys.readouterr().err
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_judge_minimises_what_it_says(classes: int, rng: np.random.Generator) -> None:
    x, strength = rng.normal(size=(30, 4)), 0.1
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, 30 - classes)])

    def loss(values: np.ndarray) -> float:
        weights, biases = values[classes:].reshape(classes, 4), values[:classes]
        right = log_softmax(x @ weights.T + biases, axis=1)[np.arange(30), y]
        return float(strength / 2 * np.sum(weights**2) - right.mean())

    found = minimize(loss, np.zeros(5 * classes), tol=1e-10).x
    expected = softmax(x @ found[classes:].reshape(classes, 4).T + found[:classes], axis=1)
    judge = fit_linear(x, y, strength)
    np.testing.assert_allclose(judge.predict_proba(x), expected, atol=1e-3)


def test_doubts_name_what_is_not_beaten() -> None:
    rows = {ENCODER: {"top-1": 0.5}, RANDOM: {"top-1": 0.495}, RAW: {"top-1": 0.48}}
    (doubt,) = doubts(rows)
    assert "top-1 is +0.50 points from that of random encoder" in doubt
    assert doubts(rows | {RANDOM: {"top-1": 0.49}}) == []


def test_doubts_go_by_the_numbers_that_are_shown() -> None:
    rows = {ENCODER: {"top-1": 0.57}, RANDOM: {"top-1": 0.56}, RAW: {"top-1": 0.4}}
    assert 0.57 - 0.56 < 0.01, "as floating-point numbers"
    assert doubts(rows) == []
    (doubt,) = doubts(rows | {ENCODER: {"top-1": 0.5697}})
    assert "is +0.97 points from that of random encoder, less than 1.00 above it" in doubt
    (doubt,) = doubts(rows | {ENCODER: {"top-1": 0.55}})
    assert "is -1.00 points" in doubt
    assert doubts(rows | {ENCODER: {"top-1": 0.569951}}) == [], "57.00"


@pytest.fixture
def learned(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """A run of one epoch without labels, on a store with six training and four test clips."""
    monkeypatch.chdir(tmp_path)
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}]
    recipe = tiny_recipe(
        transforms={"query": crop, "key": crop},
        objective={"name": "skeletonclr", "queue": 5, "width": 4},
        training={"epochs": 1},
    )
    Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
    store = make_store(per_class=5).name
    words = ["train", "tiny.yaml", "--data.store", store, "--device", "cpu", "--out", "run"]
    assert main(words) == 0
    capsys.readouterr()
    return Path("run")


@pytest.mark.slow
def test_probe_sees_frozen_features_of_the_right_clips(learned: Path) -> None:
    seen: list[Described] = []

    def judge(clips: Described) -> dict[str, float]:
        seen.append(clips)
        return {"clips": len(clips.train_y)}

    probed = probe_run(learned, judge, device="cpu", batch_size=3)
    assert list(probed.rows) == [ENCODER, RANDOM, RAW]
    trained, random, raw = seen
    opened = open_run(learned)
    data, encoder = opened.data, opened.checkpoint.build()
    for part, x, y in (("train", "train_x", "train_y"), ("test", "test_x", "test_y")):
        rows = data.rows[part]
        loader = data.testing_loader(part, 1, torch.device("cpu"))
        with torch.no_grad():  # clip by clip: no statistics of a batch can have a part
            alone = [encoder.embed(batch.x, batch.people) for (batch,) in loader.epoch()]
        np.testing.assert_allclose(getattr(trained, x), torch.cat(alone), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(getattr(raw, x), raw_coordinates(data.store, rows))
        for clips in seen:
            np.testing.assert_array_equal(getattr(clips, y), data.store.clips["label"][rows])
    assert trained.train_x.shape == random.train_x.shape == (6, 16)
    assert not np.allclose(random.test_x, trained.test_x, rtol=1e-2)
    probe_run(learned, judge, device="cpu")
    np.testing.assert_allclose(seen[4].test_x, random.test_x, rtol=1e-4, atol=1e-6)


def test_features_that_are_no_numbers_are_those_of_a_row(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, cpu = open_run(learned), torch.device("cpu")
    encoder = opened.checkpoint.build()
    monkeypatch.setattr(probe, "score_clips", lambda *_, **__: np.array([[1, np.nan]]))
    whole, half = (lambda *_: None), (lambda *_: torch.float16)
    for row, precision, told in (
        (ENCODER, whole, "the encoder's features of test clips .*: the weights of the run are dam"),
        (RANDOM, half, "the random encoder's .*: the precision .* --training.precision fp32"),
        (RANDOM, whole, "the random encoder's .*: coordinates may be far too large"),
    ):
        monkeypatch.setattr(probe, "scoring_type", precision)
        with pytest.raises(ScoreError, match=told):
            embed_clips(encoder, opened, "test", cpu, row=row)

    def remembered(*_: Any, row: str, **__: Any) -> Any:
        rows.append(row)
        return np.eye(6, 4, dtype=np.float32)

    rows: list[str] = []
    monkeypatch.setattr(probe, "embed_clips", remembered)
    probe_run(learned, lambda _: {"top-1": 0.0}, device="cpu")
    assert rows == [ENCODER, ENCODER, RANDOM, RANDOM]


def test_three_rows_are_printed_together(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "run", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "trained: run; next: kinegraph probe run\n"
    assert main(["test", "run", "--device", "cpu"]) == 2
    assert "kinegraph probe run" in capsys.readouterr().err
    assert main(["probe", "run", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert all(name in out for name in (ENCODER, RANDOM, RAW))
    assert "the encoder's top-1 is" in err, "raw coordinates of these classes cannot be beaten"
    for protocol, measure in (("linear", "top-1"), ("retrieval", "mAP")):
        words = ["probe", "run", "--device", "cpu", "--protocol", protocol, "--json"]
        assert main(words) == 0
        facts = json.loads(capsys.readouterr().out)
        assert [*facts["rows"]] == [ENCODER, RANDOM, RAW]
        assert all(0 <= row[measure] <= 1 for row in facts["rows"].values())
        assert (facts["train_clips"], facts["test_clips"], facts["features"]) == (6, 4, 16)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--protocol", "lineer"], "found 'lineer', expected 'knn', 'linear', 'retrieval', 'tsne',"
         " 'finetune', 'semi' or 'transfer'; nearest: 'linear'"),
        (["--strength", "1"], "--strength belongs to --protocol linear, not to knn"),
        ([], "'nowhere' does not exist"),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "nowhere", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_other_classes_are_welcome(
    learned: Path, make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = open_store(make_store("three", classes=3, per_class=4))
    with create_store(Path("some"), source.skeleton, source.class_names, source="test") as writer:
        for clip in map(source.clip, range(len(source))):
            writer.add(replace(clip, label=-1) if clip.subject == 1 else clip)
        writer.default_split = "subjects"
    words = ["probe", "run", "--device", "cpu", "--json", "--data.store", "some"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert "does not hold the recordings that the run was trained on" in facts["notes"][0]
    assert (facts["train_clips"], facts["test_clips"]) == (3, 6), "clips without a label are not in"
    assert main([*words, "--neighbours", "4"]) == 2
    assert "4 neighbours were asked for" in capsys.readouterr().err
