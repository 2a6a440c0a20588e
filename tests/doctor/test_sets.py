"""What is wrong with a whole set: layout, unit, axes, sides, copies, leaks, balance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinegraph.data.clip import Clip, Track
from kinegraph.data.doctor import Diagnosis, examine_recordings
from kinegraph.data.formats import Options, open_recordings
from kinegraph.skeleton import Skeleton, load_layout

from .sets import REAL, Joints, Set, all_sets, changed, examine, find_set, joints_of, kinds

SOLID = load_layout("ntu25")


def whole(diagnosis: Diagnosis) -> dict[str, str]:
    """Return kind -> text of the findings about the whole set."""
    return {finding.kind: finding.text for finding in diagnosis.findings if not finding.clip}


def mapped(made: Set, change: np.ndarray | float) -> list[Clip]:
    """Return the clips of a set with scaled axes."""
    return [
        replace(clip, tracks=tuple(replace(t, joints=t.joints * change) for t in clip.tracks))
        for clip in made.clips
    ]


@pytest.mark.parametrize("name", all_sets())
def test_sound_sets_are_sound(name: str) -> None:
    made = find_set(name)
    diagnosis = examine(made.clips, made.skeleton, made.class_names)
    assert set(kinds(diagnosis)) <= {""}
    assert set(whole(diagnosis)) <= {"empty-class", "imbalance", "lone-subject"}  # it is a part
    facts = diagnosis.facts()
    assert facts["probable_up"] == "+y"
    assert facts["probable_unit"] == ("millimetre" if name == "sbu" else "metre")


@pytest.mark.parametrize(("factor", "unit"), [(1000, "millimetre"), (100, "centimetre")])
def test_a_unit_that_the_layout_does_not_name(factor: float, unit: str) -> None:
    made = find_set("synthetic")
    found = whole(examine(mapped(made, factor), made.skeleton))
    assert f"speak of '{unit}', the layout says 'metre'" in found["unit"]


def test_bodies_that_were_scaled_to_one_are_not_metres() -> None:
    made = find_set("synthetic")
    clips = [changed(c, (j := joints_of(c)[:, :25]) / (4 * np.abs(j).max())) for c in made.clips]
    clips = [replace(clip, tracks=clip.tracks[:1]) for clip in clips]
    assert "'normalised'" in whole(examine(clips, made.skeleton))["unit"]


@pytest.mark.parametrize(("declared", "scale"), [("pixel", 1), ("image", 300)])
def test_pixels_and_shares_of_a_picture(declared: str, scale: float) -> None:
    layout = load_layout("coco17" if declared == "pixel" else "openpose18")
    random = np.random.default_rng(0)
    clips = []
    for row in range(6):
        figure = random.uniform(0.2, 0.8, (1, layout.joint_count, 3))
        figure[..., layout.parts["head"], 1] = 0.1  # y grows downwards
        sway = 0.01 * np.sin(np.arange(30) / 5)[:, None, None] + 0.001 * row
        joints = np.concatenate([scale * (figure + sway)[..., :2], figure[..., 2:] + sway * 0], -1)
        clips.append(Clip(f"c{row}", (Track(joints),), 30))
    found = whole(examine(clips, layout, ()))
    assert f"the layout says '{declared}'" in found["unit"]
    other = load_layout("openpose18" if declared == "pixel" else "coco17").coordinates
    assert whole(examine(clips, replace(layout, coordinates=other), ())) == {}


@pytest.mark.parametrize("name", all_sets())
@pytest.mark.parametrize(
    ("order", "up"), [((0, 2, 1), "+z"), ((1, 0, 2), "+x")], ids=["z up", "x up"]
)
def test_another_axis_points_up(name: str, order: tuple[int, ...], up: str) -> None:
    made = find_set(name)
    clips = [
        replace(c, tracks=tuple(replace(t, joints=t.joints[..., order]) for t in c.tracks))
        for c in made.clips
    ]
    found = whole(examine(clips, made.skeleton, made.class_names))
    assert found["up-axis"] == f"heads point to {up}, the layout says +y"


@pytest.mark.parametrize("name", [p for p in all_sets() if "sbu" not in str(p)])
def test_a_mirrored_set_faces_backwards(name: str) -> None:
    made = find_set(name)
    found = examine(mapped(made, np.array([-1, 1, 1])), made.skeleton, made.class_names)
    assert "feet point backwards" in whole(found)["sides"]
    order = list(made.skeleton.mirror)
    clips = [
        replace(c, tracks=tuple(replace(t, joints=t.joints[:, order]) for t in c.tracks))
        for c in made.clips
    ]
    assert "sides" in whole(examine(clips, made.skeleton, made.class_names))
    # Half a mistake: only the arms are exchanged.
    arms = [
        made.skeleton.mirror[joint] if joint in range(4, 12) else joint
        for joint in range(made.skeleton.joint_count)
    ]
    clips = [
        replace(c, tracks=tuple(replace(t, joints=t.joints[:, arms]) for t in c.tracks))
        for c in made.clips
    ]
    found = examine(clips, made.skeleton, made.class_names)
    assert "shoulders and hips contradict each other" in whole(found)["sides"]


@pytest.mark.shared
def test_the_published_alignment_of_ntu_mirrors_people(shared_folder: Path) -> None:
    samples = shared_folder / "data" / "ntu-samples"
    kinds_by_cleaning = {}
    for cleaning in ("denoised", "aligned"):
        with open_recordings(samples, options=Options(cleaning=cleaning)) as recordings:
            kinds_by_cleaning[cleaning] = set(whole(examine_recordings(recordings)))
    assert kinds_by_cleaning["aligned"] - kinds_by_cleaning["denoised"] == {"sides"}


def test_joints_in_the_order_of_another_layout() -> None:
    made = find_set("synthetic")
    ucla, utd = load_layout("ucla20"), load_layout("utd20")
    same = {"shoulder centre": "spine at shoulders", "hip centre": "base of spine",
            "spine": "middle of spine"}  # fmt: skip
    order = [SOLID.joints.index(same.get(joint, joint)) for joint in utd.joints]
    clips = []
    for clip in made.clips:
        joints = joints_of(clip)[:, order]
        # Kinect v1's spine lies near the hips.
        joints[:, 2] = 0.3 * joints[:, 2] + 0.7 * joints[:, 3]
        clips.append(replace(clip, tracks=(replace(clip.tracks[0], joints=joints),)))
    found = whole(examine(clips, ucla))
    assert found["joint-order"].endswith("; the order of layout 'utd20' fits")
    assert "joint-order" not in whole(examine(clips, utd))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "wrong"), [("nw-ucla", "utd20"), ("utd-mhad", "ucla20")])
def test_real_joints_in_the_order_of_another_layout(name: str, wrong: str) -> None:
    made = find_set(name)
    found = whole(examine(made.clips, load_layout(wrong), made.class_names))
    assert found["joint-order"].endswith(f"; the order of layout '{made.skeleton.name}' fits")


@pytest.mark.parametrize("name", all_sets())
@pytest.mark.parametrize(
    "pair", [("left shoulder", "left knee"), ("head", "right hip"), ("right hip", "right knee")]
)
def test_exchanged_joints_are_named(name: str, pair: tuple[str, str]) -> None:
    made = find_set(name)
    order = np.arange(made.skeleton.joint_count)
    one, two = sorted(made.skeleton.joints.index(joint) for joint in pair)
    order[[one, two]] = two, one
    clips = [
        replace(c, tracks=tuple(replace(t, joints=t.joints[:, order]) for t in c.tracks))
        for c in made.clips
    ]
    found = whole(examine(clips, made.skeleton, made.class_names))
    names = made.skeleton.joints
    assert found["joint-order"].endswith(f"; {names[one]} and {names[two]} may have been exchanged")


def _copy(clip: Clip, kind: str, share: float) -> Clip:
    """Return a clip under another name, changed as copies are."""
    height = 1700 if clip.tracks[0].joints.max() > 100 else 1.7
    tracks = [replace(track, joints=np.array(track.joints, np.float64)) for track in clip.tracks]

    def change(joints: Joints) -> Joints:
        match kind:
            case "rounded":
                return np.asarray((joints / height).round(4) * height)
            case "half":
                return joints.astype(np.float16)
            case "moved":
                return joints + height * np.array([0.7, 0.1, -0.4])
        return joints

    tracks = [replace(track, joints=change(track.joints)) for track in tracks]
    frames = clip.frames
    if kind == "cut":
        away = 1 + int(share * 0.35 * frames)
        tracks = [
            replace(t, joints=t.joints[max(0, away - t.first) :], first=max(0, t.first - away))
            for t in tracks
        ]
        frames -= away
    return replace(clip, name="copy", tracks=tuple(tracks), frames=frames)


@pytest.mark.parametrize("name", all_sets())
@pytest.mark.parametrize("kind", ["exact", "rounded", "half", "moved", "cut"])
def test_copies_are_found(name: str, kind: str) -> None:
    made = find_set(name)

    @settings(max_examples=6)
    @given(st.integers(0, len(made.clips) - 1), st.floats(0, 1), st.integers(0, 8))
    def copy_any(row: int, share: float, place: int) -> None:
        twin = _copy(made.clips[row], kind, share)
        clips = [*made.clips[:place], twin, *made.clips[place:]]
        found = [
            each
            for each in examine(clips, made.skeleton, made.class_names).findings
            if "duplicate" in each.kind
        ]
        assert [{each.clip, *each.others} for each in found] == [{"copy", made.clips[row].name}]
        assert (found[0].kind == "duplicate") == (kind == "exact")
        assert (" at another place" in found[0].text) == (kind == "moved")

    copy_any()


def test_copies_say_where_their_frames_are_in_the_other() -> None:
    made = find_set("synthetic")
    joints = joints_of(made.clips[0])[:40]
    one = Clip("one", (Track(joints, first=5),), 45, label=0)
    two = Clip("two", (Track(joints[10:]),), 30, label=0)

    def text(*clips: Clip) -> str:
        (found,) = (f for f in examine(clips, SOLID).findings if f.kind == "near-duplicate")
        return found.text

    assert text(one, two) == "30 frames the same as one, 15 frames later there"
    assert text(two, one) == "30 frames the same as two, 15 frames earlier there"


def test_a_short_part_in_common_is_an_overlap() -> None:
    made = find_set("synthetic")
    one, two = (joints_of(made.clips[row])[:40] for row in (0, 1))
    two[:12] = one[-12:]
    clips = [Clip("a", (Track(one),), 40, label=0), Clip("b", (Track(two),), 40, label=0)]
    (found,) = (f for f in examine(clips, made.skeleton).findings if f.kind == "overlap")
    assert (found.text, found.others) == ("12 frames the same as in a", ("a",))
    two[:] = joints_of(made.clips[1])[:40]
    two[:3] = one[-3:]  # a cutter's seam
    clips[1] = Clip("b", (Track(two),), 40, label=0)
    assert "overlap" not in kinds(examine(clips, made.skeleton)).get("b", set())


def test_a_copy_with_another_label_contradicts() -> None:
    made = find_set("synthetic")
    twin = replace(_copy(made.clips[2], "rounded", 0), label=(made.clips[2].label + 1) % 16)
    (found,) = (
        f for f in examine([*made.clips, twin], made.skeleton).findings if f.kind == "contradiction"
    )
    assert found.clip == "copy"
    one, two = (made.class_names[clip.label] for clip in (made.clips[2], twin))
    assert found.text.endswith(f"but one is '{one}' and the other '{two}'")


def test_leaks_between_the_sides_of_a_split() -> None:
    made = find_set("synthetic")
    twin = _copy(made.clips[4], "rounded", 0)
    sides = {clip.name: 1 for clip in made.clips} | {"copy": 2}
    found = examine([*made.clips, twin], made.skeleton, splits={"own": sides})
    (leak,) = (each for each in found.findings if each.kind == "leakage")
    name = made.clips[4].name
    assert leak.text == f"tests in split 'own', where {name}, the same one, trains"
    found = examine([*made.clips, twin], made.skeleton, splits={"own": dict.fromkeys(sides, 1)})
    assert "leakage" not in {each.kind for each in found.findings}
    # By a rule: subjects with odd numbers train, others test.
    both = [replace(made.clips[4], subject=1), replace(twin, subject=2)]
    found = examine(both, made.skeleton, default_split="subjects")
    assert [each.clip for each in found.findings if each.kind == "leakage"] == ["copy"]


def _people(counts: list[int], subjects: list[int]) -> list[Clip]:
    """Return clips of one body that never repeats: so many of each class."""
    made = find_set("synthetic")
    random = np.random.default_rng(0)
    clips = []
    for label, count in enumerate(counts):
        for _ in range(count):
            clip = made.clips[len(clips) % len(made.clips)]
            joints = joints_of(clip) * random.uniform(0.9, 1.1)
            name = f"c{len(clips)}"
            subject = subjects[len(clips) % len(subjects)]
            clips.append(Clip(name, (Track(joints),), len(joints), label, subject))
    return clips


def _texts(clips: list[Clip], names: tuple[str, ...], **source: object) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in examine(clips, SOLID, names, **source).findings:
        found.setdefault(finding.kind, []).append(finding.text)
    return found


def test_balance_of_classes_and_subjects() -> None:
    names = ("a", "b", "c", "d")
    sound = _people([6, 6, 6, 6], [1, 2, 3, 4])
    assert _texts(sound, names) == {}
    found = _texts(_people([6, 6, 6, 0], [1, 2, 3, 4]), names)
    assert found["empty-class"] == ["no clip shows 'd'"]
    found = _texts(_people([9, 1, 9, 9], [1, 2, 3, 4]), names)
    assert found["imbalance"] == ["'b' has 1 clips, the middle class 9"]
    found = _texts(_people([40, 6, 6, 6], [1, 2, 3, 4]), names)
    assert found["imbalance"] == ["'a' has 40 clips, the middle class 6"]
    clips = [replace(clip, subject=3) if clip.label == 2 else clip for clip in sound]
    assert _texts(clips, names)["lone-subject"] == ["'c' is shown by subject 3 alone"]
    clips = [replace(clip, label=-1) if clip.label == 2 else clip for clip in sound]
    assert _texts(clips, names)["unlabelled"] == ["6 of 24 clips have no label"]


def test_splits_that_lack_a_class_or_share_people() -> None:
    names = ("a", "b", "c", "d")
    clips = _people([6, 6, 6, 6], [1, 2, 3, 4])
    sides = {clip.name: 1 if clip.label == 3 or clip.subject in (1, 2) else 2 for clip in clips}
    found = _texts(clips, names, splits={"own": sides})
    assert found["one-sided-class"] == ["in split 'own' no clip tests 'd'"]
    assert found["shared-subjects"] == ["in split 'own' 2 people train and test"]
    sides = {clip.name: 1 if clip.subject in (1, 2) else 2 for clip in clips}
    assert _texts(clips, names, splits={"own": sides}) == {}


def test_an_unknown_layout_is_judged_by_what_can_be_told() -> None:
    made = find_set("synthetic")
    renamed = replace(
        made.skeleton, joints=tuple(f"j{joint}" for joint in range(made.skeleton.joint_count))
    )
    _names_nothing(renamed, made)


def _names_nothing(skeleton: Skeleton, made: Set) -> None:
    diagnosis = examine(made.clips, skeleton, made.class_names)
    assert set(kinds(diagnosis)) <= {""}
    assert set(whole(diagnosis)) <= {"empty-class"}
    twin = _copy(made.clips[0], "moved", 0)
    found = examine([*made.clips, twin], skeleton, made.class_names)
    assert kinds(found)["copy"] == {"near-duplicate"}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("nw-ucla", {
            "leakage": 95, "contradiction": 5, "duplicate": 95, "near-duplicate": 5,
            "clip-sides": 5, "clip-order": 14, "body-jump": 75, "one-frame": 2, "zero-joints": 2,
            "repeated": 1, "joint-jump": 30, "overlap": 5,
        }),
        ("utd-mhad", {"joint-jump": 3}),
        ("sbu", {"clip-order": 29, "repeated": 4, "shared-subjects": 5}),
    ],
)  # fmt: skip
def test_the_real_sets_have_the_faults_that_we_say_and_no_others(
    name: str, counts: dict[str, int], shared_folder: Path
) -> None:
    if name == "utd-mhad":
        pytest.importorskip("scipy")
    with open_recordings(shared_folder / "data" / REAL[name], format_name=name) as recordings:
        assert dict(examine_recordings(recordings).case.ledger.counts) == counts
