"""Sums of scores, published weights, and weights that are tuned honestly."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinegraph.errors import ScoreError
from kinegraph.evaluation.ensemble import build_ensemble, check_weights
from kinegraph.evaluation.metrics import are_probabilities, probabilities, top_k
from kinegraph.evaluation.presets import PRESETS, assumed_streams, find_preset, preset_weights
from kinegraph.evaluation.scores import Scores, load_scores, save_scores
from kinegraph.evaluation.tuning import TUNED_ON_REPORTED, tune_on_other_clips, tune_weights

GOLDEN = Path(__file__).parents[1] / "golden/data/ensemble.npz"
FOUR = ("joint", "bone", "joint-motion", "bone-motion")


def stream(seed: int, strength: float, *, clips: int = 200, first: int = 0) -> Scores:
    """Scores of 6 classes; the higher ``strength`` is, the more of them are right."""
    labels = np.arange(clips) % 6
    noise = np.random.default_rng(seed).normal(size=(clips, 6))
    logits = noise + strength * np.eye(6)[labels]
    names = np.array([f"clip{first + i}" for i in range(clips)])
    return Scores(names, logits.astype(np.float32), labels, source=f"s{seed}")


def test_scores_are_added_by_name() -> None:
    one, other = stream(0, 2.0), stream(1, 1.0)
    order = np.random.default_rng(0).permutation(len(one))
    found = build_ensemble([one, other.select(order)], [2.0, 0.5]).combined
    np.testing.assert_allclose(found.logits, 2 * one.logits + 0.5 * other.logits, rtol=1e-6)
    assert found.stream == "ensemble"
    assert found.source == "2 x s0 + 0.5 x s1"


def test_equal_weights_by_default_and_better_than_the_members() -> None:
    result = build_ensemble([stream(i, 1.5) for i in range(4)])
    *members, total = result.summaries()
    assert result.weights == (1.0, 1.0, 1.0, 1.0)
    assert result.how == "equal weights"
    assert total is not None
    assert total.top1 > max(member.top1 for member in members if member is not None)


def test_one_weight_of_zero_leaves_the_stream_out() -> None:
    one, other = stream(0, 2.0), stream(1, 1.0)
    assert (
        build_ensemble([one, other], [1, 0]).summaries()[-1]
        == build_ensemble([one]).summaries()[-1]
    )


@pytest.mark.parametrize(
    "weights", [[1.0], [1, 2, 3], [0, 0], [-1, 2], [math.nan, 1], [math.inf, 1]]
)
def test_weights_that_make_no_sense(weights: list[float]) -> None:
    with pytest.raises(ScoreError, match=r"weights|expected"):
        check_weights(weights, 2)


def test_sums_of_probabilities_stay_probabilities() -> None:
    members = [replace(s, logits=probabilities(s.logits)) for s in (stream(0, 2), stream(1, 2))]
    assert are_probabilities(build_ensemble(members, [3, 1]).combined.logits)
    mixed = build_ensemble([members[0], stream(1, 2)])
    assert mixed.notes == ("probabilities are added to raw scores: s0",)


def test_notes_name_what_a_reader_must_know() -> None:
    numbers = np.array([f"#{i}" for i in range(200)])
    one, other = (replace(stream(i, 1), names=numbers, stream="joint") for i in (0, 1))
    partly = np.where(np.arange(200) < 3, -1, one.labels)
    notes = build_ensemble([replace(one, labels=partly), replace(other, labels=partly)]).notes
    assert any("paired by these numbers; nothing confirms it" in note for note in notes)
    assert any(note.startswith("3 of 200 clips have no known label") for note in notes)
    assert any("several members are of stream joint" in note for note in notes)
    assert "their labels agree" in build_ensemble([one, other]).notes[0]


def test_without_labels_there_is_a_sum_but_no_accuracy() -> None:
    bare = [replace(stream(i, 1), labels=np.full(200, -1)) for i in (0, 1)]
    assert build_ensemble(bare).summaries() == (None, None, None)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("ctrgcn", (0.6, 0.6, 0.4, 0.4)),
        ("ctrgcn:ntu120-xset", (0.6, 0.6, 0.4, 0.4)),
        ("lst:nw-ucla", (0.8, 0.8, 0.2, 0.2)),
        ("frhead:ntu60-xsub", (2, 2, 1, 1)),
        ("frhead:ntu60-xview", (0.6, 0.6, 0.4, 0.4)),
        ("frhead:nw-ucla", (0.6, 0.6, 0.4, 0.4)),
        ("frhead:ntu120-xsub", (0.6, 0.75, 0.3, 0.15)),
        ("frhead:ntu120-xset", (0.6, 0.75, 0.3, 0.15)),
        ("infogcn", (1.5, 1.5, 1, 1)),
    ],
)
def test_published_weights(name: str, weights: tuple[float, ...]) -> None:
    assert preset_weights(name, FOUR) == weights
    turned = preset_weights(name, FOUR[::-1])
    assert turned == weights[::-1], "weights follow the streams, not the places"
    if name != "infogcn":
        assert preset_weights(name, [""] * 4) == weights


def test_streams_are_assumed_only_where_the_weights_need_it() -> None:
    published = ("joint", "bone", "joint motion", "bone motion")
    assert assumed_streams("ctrgcn", [""] * 4) == published
    for name, streams in (("ctrgcn", FOUR), ("ctrgcn", [""] * 3), ("infogcn", [""] * 2)):
        assert assumed_streams(name, streams) == ()


def test_published_weights_of_other_stream_sets() -> None:
    assert preset_weights("aimclr", ["motion", "joint", "bone"]) == (0.4, 0.6, 0.6)
    six = ["joint", "bone", "k8", "joint-motion", "bone_motion", "k8 motion"]
    assert preset_weights("infogcn:ntu60-xsub", six) == (1.5, 1.5, 1.5, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "streams", "message"),
    [
        ("frhed:nw-ucla", FOUR, "unknown preset 'frhed:nw-ucla'; nearest: 'frhead:nw-ucla'"),
        ("frhead", FOUR, "unknown preset 'frhead'"),
        ("ctrgcn:nw-ukla", FOUR, "unknown data set 'nw-ukla'; nearest: 'nw-ucla'"),
        ("ctrgcn", FOUR[:3], "weighs joint, bone, joint motion, bone motion; found joint, bone"),
        ("ctrgcn", ("joint", "joint", *FOUR[2:]), "found joint, joint"),
        ("ctrgcn", ("joint", "", "", ""), "--streams"),
        ("ctrgcn", ("",) * 3, "found 3 score files of unknown stream"),
        ("infogcn", ("",) * 4, "--streams"),
    ],
)
def test_presets_that_do_not_fit(name: str, streams: tuple[str, ...], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        preset_weights(name, streams)


def test_every_preset_is_whole() -> None:
    for name in PRESETS:
        preset = find_preset(name)
        assert len(preset.streams) == len(preset.weights)


def test_tuning_finds_the_useful_stream_and_repeats_itself() -> None:
    noise, good = stream(0, 0.0), stream(1, 3.0)
    weights = tune_weights([noise.logits, good.logits], good.labels)
    assert weights == tune_weights([noise.logits, good.logits], good.labels)
    assert weights[1] > 0.8
    assert sum(weights) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("members", [1, 2, 4, 7])
def test_tuned_is_never_worse_than_equal_on_the_tuning_clips(members: int) -> None:
    tables = [stream(i, 0.5 + 0.3 * i, clips=120) for i in range(members)]
    logits, labels = [t.logits for t in tables], tables[0].labels
    weights = tune_weights(logits, labels)
    tuned = sum(w * x for w, x in zip(weights, logits, strict=True))
    assert top_k(tuned, labels) >= top_k(sum(logits), labels)


def test_tuning_on_other_clips_and_on_the_reported_ones() -> None:
    members = [stream(0, 1.0), stream(1, 2.0)]
    others = [stream(2, 1.0, first=1000, clips=60), stream(3, 2.0, first=1000, clips=60)]
    found = tune_on_other_clips(members, others)
    assert found.how == "weights tuned on 60 other clips"
    assert not found.flatters
    assert found.weights == tune_weights([o.logits for o in others], others[0].labels)
    overlapping = [stream(2, 1.0, first=199), stream(3, 2.0, first=199)]
    with pytest.raises(ScoreError, match=r"1 of the clips to tune on .*\(clip199\).*reported"):
        tune_on_other_clips(members, overlapping)
    found = tune_on_other_clips(members, members, allow_reported=True)
    assert (found.how, found.flatters) == (TUNED_ON_REPORTED, True)
    assert TUNED_ON_REPORTED == "weights tuned on the reported clips"


def test_tuning_clips_without_names_may_be_the_reported_ones() -> None:
    members = [stream(0, 1.0), stream(1, 2.0)]
    nameless = [replace(m, names=np.array([f"#{i}" for i in range(200)])) for m in members]
    with pytest.raises(ScoreError, match="cannot be told apart"):
        tune_on_other_clips(members, nameless)
    found = tune_on_other_clips(members, nameless, allow_reported=True)
    assert found.how == "weights tuned on 200 clips that may be the reported ones"
    assert found.flatters


def test_weights_that_flatter_are_named_wherever_the_sum_goes(tmp_path: Path) -> None:
    members = [stream(0, 1.0), stream(1, 2.0)]
    nameless = [replace(m, names=np.array([f"#{i}" for i in range(200)])) for m in members]
    for tuning in (members, nameless):
        tuned = tune_on_other_clips(members, tuning, allow_reported=True)
        result = build_ensemble(members, tuned.weights, tuned.how, flatters=tuned.flatters)
        assert result.how == tuned.how
        assert result.notes == result.combined.notes == (tuned.how,)
        save_scores(tmp_path / "sum.npz", result.combined)
        loaded = load_scores(tmp_path / "sum.npz")
        assert loaded.notes == (tuned.how,)
        assert tuned.how in build_ensemble([loaded, stream(2, 1.0)]).combined.notes
    assert build_ensemble(members, [1, 2], "weights tuned on 60 other clips").notes == ()


def test_tuning_tables_must_fit_the_members() -> None:
    members = [replace(stream(0, 1.0), stream="joint"), replace(stream(1, 2.0), stream="bone")]
    others = [replace(m, names=np.char.add(m.names, "x")) for m in members]
    with pytest.raises(ScoreError, match="1 score files to tune on for 2"):
        tune_on_other_clips(members, others[:1])
    with pytest.raises(ScoreError, match="are of stream 'bone', but their place"):
        tune_on_other_clips(members, others[::-1])
    fewer = [replace(o, logits=o.logits[:, :5], labels=o.labels * 0) for o in others]
    with pytest.raises(ScoreError, match="have 5 classes"):
        tune_on_other_clips(members, fewer)
    unlabelled = [replace(o, labels=np.full(200, -1)) for o in others]
    with pytest.raises(ScoreError, match="hold no labels"):
        tune_on_other_clips(members, unlabelled)


def test_equal_to_the_original_programs() -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    results = json.loads(str(golden["meta"]))["results"]
    presets = {
        "CTR-GCN": "ctrgcn:{}", "FR-Head": "frhead:{}", "LST": "lst:{}",
    }  # fmt: skip
    compared = 0
    for case, expected in results.items():
        system, data_set, count = case.split("|")[:3]
        if count != "4":
            continue
        key = data_set.replace("/", "_")
        ours = data_set.lower().replace("ntu/", "ntu60-").replace("ntu120/", "ntu120-")
        labels = golden[f"{key}_labels"]
        names = np.array([f"clip{i}" for i in range(len(labels))])
        members = [Scores(names, s, labels, source=case) for s in golden[f"{key}_scores"]]
        weights = preset_weights(presets[system].format(ours), FOUR)
        summary = build_ensemble(members, weights).summaries()[-1]
        assert summary is not None
        assert 100 * summary.top1 == pytest.approx(expected["top1"], abs=1e-3), case
        assert 100 * summary.top5 == pytest.approx(expected["top5"], abs=1e-3), case
        compared += 1
    assert compared == 6
