"""The report shows the numbers, loads nothing, and no name in it becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.errors import OutputError, ScoreError
from kinegraph.evaluation.ensemble import build_ensemble
from kinegraph.evaluation.figures import _ticks, confusion_figure, line_chart
from kinegraph.evaluation.metrics import confusion_matrix
from kinegraph.evaluation.report import wilson_interval, write_report
from kinegraph.evaluation.scores import Scores
from kinegraph.evaluation.tuning import TUNED_ON_REPORTED

from .html_page import Page

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"


def scores(classes: int = 7, clips: int = 140, **changes: Any) -> Scores:
    rng = np.random.default_rng(0)
    labels = np.arange(clips) % classes
    logits = rng.normal(size=(clips, classes)) + 2 * np.eye(classes)[labels]
    names = np.array([f"clip{i}" for i in range(clips)])
    table = Scores(names, logits.astype(np.float32), labels, source="mine", split="test")
    return replace(table, **changes)


def page(path: Path, table: Scores, title: str = "A title", **options: Any) -> Page:
    return Page(write_report(path / "report.html", table, title=title, **options).read_text())


def curves(epochs: int = 12) -> list[dict[str, Any]]:
    return [
        {"epoch": i, "loss": 2 / i, "accuracy": 1 - 1 / i, "lr": 0.1, "seconds": 3.0}
        | ({"test_top1": 1 - 1.2 / i} if i % 5 == 0 else {})
        for i in range(1, epochs + 1)
    ]


def test_it_shows_the_numbers(tmp_path: Path) -> None:
    table = scores(classes=7)
    found = page(tmp_path, table, recipe_yaml="seed: 3", provenance={"seed": "3"}, notes=["Mind."])
    right = int(np.trace(confusion_matrix(table.logits, table.labels)))
    for text in (
        f"{100 * right / 140:.2f}",
        "140 clips, 7 classes, split test",
        "seed: 3",
        "Mind.",
    ):
        assert text in found.text
    for heading in ("Top-5", "Confusion matrix", "Hardest pairs", "Classes", "Calibration"):
        assert heading in found.text
    assert "kinegraph 0" in found.text
    assert "Learning curves" not in found.text
    assert "Members" not in found.text


def test_names_stay_text(tmp_path: Path) -> None:
    classes = (EVIL, *(f"class <{i}>" for i in range(6)))
    found = page(
        tmp_path,
        replace(scores(), classes=classes, split=EVIL, stream=EVIL),
        EVIL,
        curves=[{"epoch": 1, "loss": 1.0, EVIL: 2.0}],
        recipe_yaml=f"summary: {EVIL}",
        ensemble=build_ensemble([scores(stream=EVIL, source=EVIL), scores()]),
        baselines={EVIL: 0.5},
        provenance={EVIL: EVIL},
        notes=[EVIL],
    )
    assert "script" not in {tag for tag, _ in found.tags}
    assert found.text.count(EVIL) > 12
    assert not [
        name for _, attributes in found.tags for name in attributes if name.startswith("on")
    ]


def test_it_loads_nothing(tmp_path: Path) -> None:
    found = page(tmp_path, scores(), curves=curves(), recipe_yaml="seed: 0")
    html = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|url\(|@import|src=|href=", html)
    assert {tag for tag, _ in found.tags}.isdisjoint({"link", "script", "img", "iframe", "object"})
    policy = dict(found.tags)["meta"]
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"


@pytest.mark.parametrize("classes", [2, 5, 10, 30, 31, 60, 120])
def test_every_number_of_classes(classes: int, tmp_path: Path) -> None:
    found = page(tmp_path, scores(classes, 3 * classes))
    assert ("Top-5" in found.text) == (classes > 5)
    assert found.text.count(f"class {classes - 1}") >= 3  # a row, a column, the table
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_missing_classes_and_labels_are_named(tmp_path: Path) -> None:
    labels = np.where(np.arange(140) < 5, -1, 0)
    found = page(tmp_path, scores(labels=labels))
    assert "5 clips without a known label are left out." in found.text
    assert "6 classes have no clips here: class 1, class 2" in found.text
    with pytest.raises(ScoreError, match="hold no labels"):
        page(tmp_path, scores(labels=np.full(140, -1)))


def test_a_perfect_result(tmp_path: Path) -> None:
    table = scores()
    perfect = replace(table, logits=np.eye(7, dtype=np.float32)[table.labels] * 20)
    assert "No clip was mistaken." in page(tmp_path, perfect).text


def test_curves_are_drawn(tmp_path: Path) -> None:
    found = page(tmp_path, scores(), curves=[*curves(), {"epoch": 13, "loss": float("nan")}])
    lines = [attributes["points"] for tag, attributes in found.tags if tag == "polyline"]
    assert [len(str(points).split()) for points in lines] == [12, 2, 12, 12]
    assert "nan" not in str(lines)
    assert "test, epoch 5: 76.00 %" in found.text


def test_members_and_tuned_weights_are_named(tmp_path: Path) -> None:
    ensemble = build_ensemble([scores(stream="joint"), scores(stream="bone")], [0.6, 0.4])
    found = page(tmp_path, ensemble.combined, ensemble=ensemble, baselines={"chance": 1 / 7})
    for text in ("Weights as given.", "joint", "bone", "0.6", "Baselines", "14.29"):
        assert text in found.text
    assert ("p", {"class": "note"}) not in found.tags
    for how in (TUNED_ON_REPORTED, "weights tuned on 9 clips that may be the reported ones"):
        tuned = build_ensemble(ensemble.members, [0.6, 0.4], how, flatters=True)
        found = page(tmp_path, tuned.combined, ensemble=tuned)
        assert ("p", {"class": "note"}) in found.tags
        assert how in found.text


def test_it_is_not_overwritten_without_force(tmp_path: Path) -> None:
    page(tmp_path, scores())
    with pytest.raises(OutputError, match="--force"):
        page(tmp_path, scores(), force=False)


def test_wilson_interval() -> None:
    low, high = wilson_interval(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 10)[0] == pytest.approx(0.0)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_enclose_the_range(low: float, span: float) -> None:
    ticks = _ticks(low, low + span)
    slack = 1e-6 * (abs(low) + span)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


def test_marks_lie_inside_their_chart() -> None:
    chart = line_chart("Loss", {"loss": [(1, 5.0), (2, float("inf")), (3, 1e-3)]})
    assert chart is not None
    plot = chart.plot
    assert len(chart.lines[0].points) == 2
    for x, y, _ in chart.lines[0].points:
        assert plot.left <= x <= plot.right
        assert plot.top <= y <= plot.bottom
    assert line_chart("Loss", {"loss": [(1, float("nan"))]}) is None
    assert line_chart("Loss", {"loss": [(1, 0.0)]}) is not None


def test_confusion_cells_stand_for_their_pair() -> None:
    figure = confusion_figure(np.array([[3, 1], [0, 4]]), ["a", "b"])
    right, wrong, other = figure.cells
    assert (right.count, wrong.count, other.count) == (3, 1, 4)
    assert wrong.title == "a taken for b: 1 of 4 clips"
    assert wrong.x > right.x
    assert wrong.y == right.y
    assert wrong.share == 0.25
    assert not wrong.right
