"""The faults of published data sets that the page lists are there.

Most are counted without the doctor; then the doctor must report the same.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import Store, open_store
from kinegraph.evaluation.presets import PRESETS
from kinegraph.evaluation.scores import load_scores, read_order

from .documents import ROOT

pytestmark = pytest.mark.shared
PAGE = " ".join((ROOT / "docs/datasets.md").read_text("utf-8").split())
SCORES = {
    "joint": "Joint_94.40.pkl", "bone": "Bone_93.10.pkl",
    "joint motion": "Joint_Motion_92.89.pkl", "bone motion": "Bone_Motion_89.44.pkl",
}  # fmt: skip


@pytest.fixture(scope="module")
def ucla(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("ucla") / "store"
    import_data("nw-ucla", shared_folder / "data" / "nw-ucla" / "all_sqe.zip", out)
    return open_store(out)


def frames(store: Store, row: int) -> list[bytes]:
    """Return the frames of a clip of one person as bytes that can be compared."""
    (track,) = store.clip(row).tracks
    return [frame.tobytes() for frame in np.asarray(track.joints)]


def twins(store: Store) -> list[list[str]]:
    """Return the names of clips that are the same number by number."""
    same = defaultdict(list)
    for row, name in enumerate(store.clips["name"].tolist()):
        same[b"".join(frames(store, row))].append(name)
    return [sorted(names) for names in same.values() if len(names) > 1]


def leaked(store: Store) -> set[str]:
    """Return the test clips of ``view3`` that are in training as well."""
    train, test = (set(store.clips["name"][rows].tolist()) for rows in split_rows(store, "view3"))
    return {name for names in twins(store) if train & set(names) for name in names if name in test}


def test_a_fifth_of_the_test_clips_is_in_training(ucla: Store) -> None:
    found = leaked(ucla)
    by_action = {
        action: sum(name.startswith(action) for name in found) for action in ("a02", "a03")
    }
    assert by_action == {"a02": 50, "a03": 45}
    assert all(names == [f"{names[0][:-1]}2", f"{names[0][:-1]}3"] for names in twins(ucla))
    assert len(found) == len(twins(ucla)) == 95
    test = ucla.clips["name"][split_rows(ucla, "view3")[1]].tolist()
    for action, count in by_action.items():
        assert sum(name.startswith(action) for name in test) == count  # all there are
    assert (
        "all 50 test clips of *pick up with two hands* (`a02`) and all 45 of *drop trash*" in PAGE
    )
    assert f"These 95 of {len(test)} test clips" in PAGE
    assert f"the {len(test) - 95} others" in PAGE


def test_the_table_of_published_scores_without_them(ucla: Store, shared_folder: Path) -> None:
    folder = shared_folder / "data" / "scores" / "frhead-nw-ucla"
    order = read_order(folder / "order.txt")
    labels = dict(zip(ucla.clips["name"].tolist(), ucla.clips["label"].tolist(), strict=True))
    found = leaked(ucla)
    inside = np.array([name in found for name in order])
    truth = np.array([labels[name] for name in order])
    logits = [
        np.asarray(load_scores(folder / file, order=order).logits) for file in SCORES.values()
    ]
    weights = PRESETS["frhead:nw-ucla"].weights
    total = sum(weight * each for weight, each in zip(weights, logits, strict=True))
    rows = [*zip(SCORES, logits, strict=True), ("ensemble 0.6, 0.6, 0.4, 0.4", total)]
    for name, each in rows:
        right = np.asarray(each).argmax(axis=1) == truth
        assert (
            f"| {name} | {right.mean():.2%} | {right[~inside].mean():.2%} |".replace("%", " %")
            in PAGE
        ), name
        assert right[inside].all() == (name != "bone motion"), name


def shared_runs(store: Store) -> Iterator[tuple[str, str, int]]:
    """Yield pairs of clips that are no twins, with how many frames they share."""
    where: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
    lengths = []
    for row in range(len(store)):
        found = frames(store, row)
        lengths.append(len(found))
        for number, frame in enumerate(found):
            where[frame].append((row, number))
    pairs: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for places in where.values():
        for first in places:
            for second in places:
                if first[0] < second[0]:
                    pairs[first[0], second[0]].append((first[1], second[1]))
    names = store.clips["name"].tolist()
    for (one, other), places in pairs.items():
        if len(places) >= 5 and not len(places) == lengths[one] == lengths[other]:
            yield names[one], names[other], len(places)


def test_cuts_of_one_recording_overlap(ucla: Store) -> None:
    found = sorted(shared_runs(ucla), key=lambda pair: pair[2])
    assert {name[:7] for one, other, _ in found for name in (one, other)} == {"a08_s01", "a09_s01"}
    assert {name[-3:] for one, other, _ in found for name in (one, other)} == {"v01", "v02"}
    said = re.search(r"(\d+) pairs of clips .*? share (\d+) to (\d+) frames", PAGE)
    assert said is not None
    assert tuple(map(int, said.groups())) == (len(found), found[0][2], found[-1][2])
    assert ("a08_s01_e04_v01", "a09_s01_e04_v02", 65) in found
    assert ucla.clips["frames"][ucla.clips["name"] == "a09_s01_e04_v02"].tolist() == [65]


def test_clips_of_one_frame_and_joints_at_the_origin(ucla: Store) -> None:
    short = ucla.clips["name"][ucla.clips["frames"] == 1].tolist()
    assert short == ["a02_s09_e04_v02", "a02_s09_e04_v03"]
    zeros = {}
    for row, name in enumerate(ucla.clips["name"].tolist()):
        (track,) = ucla.clip(row).tracks
        lost = ~np.asarray(track.joints).any(axis=2)  # (T, V)
        zeros |= {
            (name, int(frame)): int(lost[frame].sum()) for frame in np.flatnonzero(lost.any(1))
        }
    assert zeros == {("a04_s01_e01_v01", 34): 6, ("a04_s04_e02_v01", 45): 6}
    assert "Six joints are at the origin in frame 34 of `a04_s01_e01_v01`" in PAGE


COUNTS = {  # what the page says -> kind of finding
    "nw-ucla": {
        "These (95) of 464 test clips": "leakage",
        "In (5) pairs of different labels": "contradiction",
        r"\*\*The whole body jumps\*\* in (75) clips": "body-jump",
        r"\*\*No human bones\*\* in (14) clips": "clip-order",
        r"contradict each other\*\* about left and right in (5):": "clip-sides",
        "faster than 30 m/s between two frames in (30)": "joint-jump",
    },
    "sbu": {r"\*\*An impossible arm\*\* in (29) clips": "clip-order"},
}


@pytest.mark.parametrize(("name", "source"), [
    ("nw-ucla", "nw-ucla/all_sqe.zip"),
    ("utd-mhad", "utd-mhad/Skeleton.zip"),
    ("sbu", "sbu/SBU.zip"),
])  # fmt: skip
def test_the_doctor_reports_what_the_page_says(
    name: str, source: str, shared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(shared_folder / "data" / source), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for said, kind in COUNTS.get(name, {}).items():
        found = re.search(said, PAGE)
        assert found is not None, said
        clips = {finding["clip"] for finding in report["findings"] if finding["kind"] == kind}
        assert len(clips) == int(found[1]), kind
    if name == "utd-mhad":
        assert set(report["kinds"]) == {"joint-jump"}
        assert {finding["clip"] for finding in report["findings"]} == {
            clip for clip in ("a15_s2_t2", "a15_s3_t2", "a12_s4_t3") if f"`{clip}`" in PAGE
        }
