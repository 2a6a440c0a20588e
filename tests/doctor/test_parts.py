"""Parts of the doctor by themselves, and anything at all as its patient."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinegraph.data.clip import Clip, Track
from kinegraph.data.doctor import findings, sameness
from kinegraph.data.doctor.anatomy import FIGURE, Anatomy, misfit
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.findings import KINDS, Finding, Ledger, frame_list
from kinegraph.data.doctor.medians import middle
from kinegraph.data.doctor.page import cut
from kinegraph.data.doctor.sameness import pose_hashes
from kinegraph.skeleton import layout_names, load_layout

from .sets import examine, find_set, joints_of, kinds


def test_faults_come_first_and_the_worst_of_a_kind() -> None:
    ledger = Ledger()
    for kind, clip, size in (
        ("overlap", "a", 1.0), ("body-jump", "b", 2.0), ("unit", "", 0.0), ("body-jump", "c", 5.0),
    ):  # fmt: skip
        ledger.add(Finding(kind, "text", clip, size=size))
    assert [finding.clip for finding in ledger] == ["", "c", "b", "a"]
    assert ledger.kinds() == ["unit", "body-jump", "overlap"]
    assert (ledger.clips("warning"), ledger.clips("warning", "note"), ledger.clips("fault")) == (
        2, 3, 0,
    )  # fmt: skip


def test_findings_beyond_a_number_are_counted_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "KEPT", 3)
    ledger = Ledger()
    for number in range(10):
        ledger.add(Finding("frozen", "text", f"c{number}"))
    assert (len(list(ledger)), ledger.counts["frozen"], ledger.clips("note")) == (3, 10, 10)


def test_frames_in_words() -> None:
    assert frame_list([7]) == "frame 7"
    assert frame_list([7, 8]) == "frames 7, 8"
    assert frame_list([1, 2, 3]) == "frames 1, 2, 3"
    assert frame_list([1, 2, 3, 9, 11]) == "frames 1, 2, 3 and 2 more"


def test_joints_in_words() -> None:
    made = find_set("synthetic")
    case = examine([], made.skeleton).case
    assert case.joints(np.array([3])) == "head"
    assert case.joints(np.array([3, 5, 20])) == "head, left elbow, spine at shoulders"
    assert case.joints(np.arange(5)) == "base of spine, middle of spine, neck and 2 more joints"
    assert case.joints(np.arange(25)) == "all joints"


def test_the_middle_of_what_is_there() -> None:
    values = np.array([[3.0, np.nan, 1.0], [np.nan, np.nan, 5.0], [2.0, np.nan, 4.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = middle(values, axis=0)
    assert found[0] == 2.0
    assert np.isnan(found[1])
    assert found[2] == 4.0
    assert middle(values, axis=1).tolist() == [1.0, 5.0, 2.0]


def test_the_figure_knows_every_joint_of_every_layout_and_fits_itself() -> None:
    used = set()
    for name in layout_names():
        anatomy = Anatomy.of(load_layout(name))
        assert np.isfinite(anatomy.figure).all(), name
        assert anatomy.known
        assert misfit(1.7 * anatomy.expected, anatomy.expected) == pytest.approx(0)
        sides = {joint.removeprefix("left ").removeprefix("right ") for joint in
                 anatomy.skeleton.joints}  # fmt: skip
        used |= sides
    assert used == set(FIGURE)


@pytest.mark.parametrize("factor", [0.001, 1.0, 1000.0])
def test_bodies_are_as_tall_as_they_are(factor: float) -> None:
    made = find_set("synthetic")
    anatomy = Anatomy.of(made.skeleton)
    sizes = [Body.of(Track(joints_of(c) * factor), anatomy).size for c in made.clips]
    assert 1.4 < min(sizes) / factor < 1.7 < max(sizes) / factor < 2.0


def test_a_part_of_a_clip() -> None:
    joints = np.arange(10 * 2 * 3.0).reshape(10, 2, 3)
    clip = Clip("a", (Track(joints), Track(joints[:4], first=6, person=1)), 10)
    part, first = cut(clip, 5, 9)
    assert (part.frames, first) == (4, 5)
    assert [(track.first, len(track.joints)) for track in part.tracks] == [(0, 4), (1, 3)]
    np.testing.assert_array_equal(part.tracks[0].joints, joints[5:9])
    np.testing.assert_array_equal(part.tracks[1].joints, joints[:3])
    part, first = cut(clip, -3, 4)
    assert (part.frames, first, len(part.tracks)) == (4, 0, 1)
    late = replace(clip, tracks=clip.tracks[1:])
    assert cut(late, 0, 4) == (late, 0)  # nobody is there


def test_hashes_of_poses_forget_place_and_rounding_but_not_the_pose() -> None:
    made = find_set("synthetic")
    anatomy = Anatomy.of(made.skeleton)
    joints = joints_of(made.clips[0])

    def hashes(joints: np.ndarray) -> np.ndarray:
        return pose_hashes(Body.of(Track(joints), anatomy), 0.07)

    own = hashes(joints)
    assert (hashes(joints.round(4)) == own).mean() > 0.6
    assert (hashes(joints + np.array([1.0, 2.0, 3.0])) == own).mean() > 0.9
    assert not np.isin(hashes(1.3 * joints), own).any()
    others = np.concatenate([hashes(joints_of(clip)) for clip in made.clips[1:]])
    assert not np.isin(own, others).any()
    assert 0.15 < np.mean(others % sameness.KEEP == 0) < 0.35


def test_a_pose_that_everybody_has_makes_no_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_set("synthetic")
    monkeypatch.setattr(sameness, "KEEP", 1)
    compared = []
    own = sameness.shared_frames
    monkeypatch.setattr(
        sameness, "shared_frames", lambda *bodies: compared.append(1) or own(*bodies)
    )
    rest = joints_of(made.clips[0])[:1]
    clips = []
    for row, clip in enumerate(made.clips[: sameness.CROWD + 2] * 2):
        joints = joints_of(clip)[:40] * (1 + 0.004 * row)
        joints[:9] = rest
        clips.append(Clip(f"c{row}", (Track(joints),), len(joints)))
    examine(clips, made.skeleton, ())
    assert len(compared) < 10
    compared.clear()
    examine(clips[:3], made.skeleton, ())
    assert len(compared) >= 1


def test_pairs_that_are_too_many_are_not_kept_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    made = find_set("synthetic")
    monkeypatch.setattr(sameness, "COMPARED", 1)
    joints = [joints_of(made.clips[row])[:40] for row in (0, 0, 1, 1)]
    joints[1], joints[3] = joints[1] + 0.5, joints[3] + 0.5
    clips = [Clip(f"c{row}", (Track(each),), 40) for row, each in enumerate(joints)]
    diagnosis = examine(clips, made.skeleton, ())
    assert diagnosis.facts()["pairs_not_compared"] == 1
    assert [each.kind for each in diagnosis.findings] == ["near-duplicate"]


def test_a_rate_other_than_30_frames_a_second() -> None:
    made = find_set("synthetic")
    clip = replace(made.clips[0], tracks=(Track(joints_of(made.clips[0])[::6]),))
    clip = replace(clip, frames=len(clip.tracks[0].joints))
    slow = replace(clip, extras={"fps": 5.0})
    fast = replace(clip, extras={"fps": 240.0})
    assert "joint-jump" not in kinds(examine([slow], made.skeleton)).get(clip.name, set())
    assert "joint-jump" in kinds(examine([fast], made.skeleton))[clip.name]
    odd = replace(clip, extras={"fps": float("nan")})
    examine([odd], made.skeleton)


@settings(max_examples=40)
@given(
    layout=st.sampled_from(layout_names()),
    frames=st.integers(1, 14),
    people=st.integers(1, 3),
    scale=st.sampled_from([1e-300, 1e-9, 1.0, 1e6, 1e30, 1e300]),
    zeros=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    steady=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_nothing_that_a_store_may_hold_upsets_it(
    layout: str, frames: int, people: int, scale: float, zeros: float, steady: bool, seed: int
) -> None:
    skeleton = load_layout(layout)
    random = np.random.default_rng(seed)
    clips = []
    for row in range(int(random.integers(1, 8))):
        shape = (1 if steady else frames, skeleton.joint_count, skeleton.coordinates.channels)
        tracks = []
        for person in range(people):
            joints = (
                scale * random.normal(size=shape) * (random.random(shape[:2]) >= zeros)[..., None]
            )
            joints = np.repeat(joints, frames if steady else 1, axis=0)
            tracks.append(Track(joints, first=int(random.integers(0, 3)), person=person))
        clips.append(Clip(f"c{row}", tuple(tracks), frames + 3, label=row % 3))
    clips.append(replace(clips[0], name="again"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diagnosis = examine(clips, skeleton, ("a", "b", "c"), splits={"own": {"c0": 1, "again": 2}})
    assert len(diagnosis.bad) + diagnosis.facts()["clips"] == len(clips)
    assert all(each.kind in KINDS and each.text for each in diagnosis.findings)
    if "c0" in diagnosis.case.census.names:
        assert "duplicate" in kinds(diagnosis)["again"]
        assert "leakage" in kinds(diagnosis)["again"]


def test_nothing_at_all_is_no_set() -> None:
    diagnosis = examine([], load_layout("ntu25"), ())
    assert (diagnosis.findings, diagnosis.facts()["clips"]) == ([], 0)
