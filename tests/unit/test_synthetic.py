"""The synthetic motion data: bodies keep their bones, actions are what their names say."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.data.store import Store, open_store
from kinegraph.data.synthetic import CLASS_NAMES, make_synthetic
from kinegraph.data.synthetic.body import Floats, puppet_tree, rotation, turned, two_bones
from kinegraph.data.synthetic.dataset import GRID, draw_cast, perform_alone, perform_together
from kinegraph.data.synthetic.interactions import INTERACTIONS
from kinegraph.data.synthetic.motions import ACTIONS
from kinegraph.data.synthetic.sensor import occlude
from kinegraph.errors import OutputError, RecipeError

JOINTS = {name: joint for joint, name in enumerate(puppet_tree().joints)}
TAKES = range(6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("synthetic") / "store"
    return open_store(make_synthetic(folder, seed=5, clips_per_class=8, subjects=10))


def alone(name: str, take: int) -> Floats:
    return perform_alone(np.random.default_rng([9, take]), name, draw_cast(9, 6)[take % 6])


def together(name: str, take: int) -> tuple[Floats, Floats]:
    cast = draw_cast(9, 6)
    rng = np.random.default_rng([9, take])
    return perform_together(rng, name, cast[take % 6], cast[(take + 1) % 6])


def path(joints: Floats, name: str) -> Floats:
    return joints[:, JOINTS[name]]


def apart(a: Floats, b: Floats) -> Floats:
    return np.linalg.norm(a - b, axis=-1)


def sha(folder: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}


class TestBodies:
    @pytest.mark.parametrize("name", CLASS_NAMES)
    def test_bones_keep_their_length(self, name: str) -> None:
        cast = draw_cast(9, 6)
        for take in TAKES:
            if name in ACTIONS:
                people = ((alone(name, take), cast[take % 6]),)
            else:
                first, second = together(name, take)
                people = ((first, cast[take % 6]), (second, cast[(take + 1) % 6]))
            for joints, subject in people:
                for child, parent in puppet_tree().edges:
                    length = apart(joints[:, child], joints[:, parent])
                    bone = puppet_tree().joints[child]
                    if bone.endswith("hand tip"):
                        np.testing.assert_allclose(length, length[0], rtol=1e-9)
                    else:
                        np.testing.assert_allclose(length, subject.body.lengths[bone], rtol=1e-9)

    def test_people_are_of_human_size_and_differ(self) -> None:
        statures = []
        for take in range(12):
            rng = np.random.default_rng([4, take])
            subject = draw_cast(4, 12)[take]
            standing = perform_alone(rng, "wave", subject)[0]
            statures.append(float(np.ptp(standing[:, 1])) + 0.06 * subject.body.stature)
        assert 1.4 < min(statures) < 1.65
        assert 1.75 < max(statures) < 2.1

    def test_left_is_left_and_feet_are_on_the_floor(self) -> None:
        for take in TAKES:
            standing = alone("wave", take)[0]
            assert standing[JOINTS["left shoulder"], 0] > standing[JOINTS["right shoulder"], 0]
            assert standing[JOINTS["left knee"], 0] > standing[JOINTS["right knee"], 0]
            toes, ankle = standing[JOINTS["left foot"]], standing[JOINTS["left ankle"]]
            assert toes[2] > ankle[2] + 0.05
            assert -0.02 < toes[1] < ankle[1] < 0.15

    @given(
        goal=st.tuples(*[st.floats(-2, 2, width=32)] * 3),
        bend=st.tuples(*[st.floats(-1, 1, width=32)] * 3),
    )
    def test_two_bones_reach_what_they_can(
        self, goal: tuple[float, ...], bend: tuple[float, ...]
    ) -> None:
        start, aim, gives = np.zeros((1, 3)), np.array([goal]), np.array([bend])
        distance = float(np.linalg.norm(aim))
        if distance < 1e-3 or np.linalg.norm(np.cross(aim, gives)) < 1e-3:
            return  # no direction is asked for, or none to bend in
        first, second = two_bones(start, aim, 0.5, 0.4, gives)
        np.testing.assert_allclose(np.linalg.norm(first), 1, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(second), 1, atol=1e-9)
        end = 0.5 * first + 0.4 * second
        if 0.2 < distance < 0.89:
            np.testing.assert_allclose(end, aim, atol=1e-9)
        else:
            np.testing.assert_allclose(np.cross(end, aim), 0, atol=1e-6)

    def test_rotations_are_right_handed(self) -> None:
        quarter = np.array([np.pi / 2])
        np.testing.assert_allclose(
            turned(rotation("y", quarter), (0, 0, 1)), [[1, 0, 0]], atol=1e-9
        )
        np.testing.assert_allclose(
            turned(rotation("x", quarter), (0, 1, 0)), [[0, 0, 1]], atol=1e-9
        )
        np.testing.assert_allclose(
            turned(rotation("z", quarter), (1, 0, 0)), [[0, 1, 0]], atol=1e-9
        )


@pytest.mark.parametrize("take", TAKES)
class TestMeaning:
    """What a person would look for to name the action."""

    def test_wave_swings_a_raised_hand(self, take: int) -> None:
        joints = alone("wave", take)
        hands = [path(joints, f"{side} wrist") for side in ("left", "right")]
        shoulder = path(joints, "left shoulder")[:, 1]
        hand = max(hands, key=lambda p: float(p[:, 1].max()))
        raised = hand[hand[:, 1] > shoulder]
        turns = np.count_nonzero(np.diff(np.sign(np.diff(raised[:, 0]))))
        assert turns >= 4

    def test_clap_brings_the_hands_together_again_and_again(self, take: int) -> None:
        joints = alone("clap", take)
        gap = apart(path(joints, "left wrist"), path(joints, "right wrist"))
        closed = gap < 0.5 * (gap[gap < 0.5].max() + gap.min())
        assert np.count_nonzero(np.diff(closed.astype(int)) == 1) >= 3

    def test_drink_takes_a_hand_to_the_mouth(self, take: int) -> None:
        joints = alone("drink", take)
        near = min(
            apart(path(joints, f"{side} hand"), path(joints, "head")).min()
            for side in ("left", "right")
        )
        assert near < 0.23

    def test_sitting_and_standing_are_each_other_backwards(self, take: int) -> None:
        for name, first, last in (("sit down", 0, -1), ("stand up", -1, 0)):
            hips = path(alone(name, take), "base of spine")[:, 1]
            assert hips[last] < 0.7 * hips[first]

    def test_jump_leaves_the_floor_and_march_never_with_both_feet(self, take: int) -> None:
        for name, flies in (("jump", True), ("march", False)):
            joints = alone(name, take)
            lower = np.minimum(path(joints, "left foot"), path(joints, "right foot"))[:, 1]
            assert bool(np.ptp(lower) > 0.08) == flies

    def test_kick_swings_a_foot_up(self, take: int) -> None:
        joints = alone("kick", take)
        heights = [np.ptp(path(joints, f"{side} ankle")[:, 1]) for side in ("left", "right")]
        assert max(heights) > 0.25 > 4 * min(heights)

    def test_pick_up_reaches_the_floor(self, take: int) -> None:
        joints = alone("pick up", take)
        assert min(path(joints, f"{s} hand")[:, 1].min() for s in ("left", "right")) < 0.25

    def test_bow_lowers_the_head_over_straight_legs(self, take: int) -> None:
        joints = alone("bow", take)
        assert np.ptp(path(joints, "head")[:, 1]) > 0.2
        assert np.ptp(path(joints, "left knee")[:, 1]) < 0.08

    def test_punch_and_throw_stretch_an_arm(self, take: int) -> None:
        for name in ("punch", "throw"):
            joints = alone(name, take)
            level = []
            for side in ("left", "right"):
                arm = path(joints, f"{side} wrist") - path(joints, f"{side} shoulder")
                length = np.linalg.norm(arm, axis=-1)
                flat = np.abs(arm[:, 1]) < 0.5 * length
                level.append(float((length * flat).max()))
            assert max(level) > 0.42

    def test_shaking_hands_joins_the_right_hands(self, take: int) -> None:
        first, second = together("shake hands", take)
        gap = apart(path(first, "right hand"), path(second, "right hand"))
        assert gap.min() < 0.12 < 0.6 < gap[0]

    def test_hugging_comes_close_and_reaches_behind_the_other(self, take: int) -> None:
        first, second = together("hug", take)
        gap = apart(path(first, "middle of spine"), path(second, "middle of spine"))
        assert gap.min() < 0.5 < gap[0]
        assert (path(first, "left hand")[:, 2] > path(second, "middle of spine")[:, 2]).any()

    def test_the_pushed_one_moves_away_and_only_after_the_hands_came(self, take: int) -> None:
        first, second = together("push", take)
        pushed = path(second, "base of spine")[:, 2]
        touch = int(np.argmax(path(first, "left hand")[:, 2]))
        assert pushed[-1] > pushed[: touch - 2].min() + 0.3
        assert (
            abs(path(first, "base of spine")[-1, 2] - path(first, "base of spine")[touch, 2]) < 0.3
        )


class TestOcclusion:
    def test_one_limb_is_lost_for_a_while(self) -> None:
        joints = alone("jump", 0) + np.array([0.0, -1.0, 3.0])
        kinds = set()
        for draw in range(60):
            lost = occlude(np.random.default_rng(draw), joints)
            changed = np.any(lost != joints, axis=-1)
            frames = np.flatnonzero(changed.any(1))
            assert len(frames) <= 10
            sides = {puppet_tree().sides[joint] for joint in np.flatnonzero(changed.any(0))}
            assert len(sides) <= 1
            assert np.count_nonzero(changed.any(0)) <= 4
            vanished = changed.any() and not lost[changed].any()
            frozen = len(frames) > 1 and np.ptp(lost[frames][:, changed.any(0)], axis=0).max() == 0
            kinds.add("vanish" if vanished else "freeze" if frozen else "jump")
        assert kinds == {"vanish", "freeze", "jump"}


class TestStore:
    def test_is_whole_and_measured_in_metres_before_a_camera(self, store: Store) -> None:
        store.verify()
        assert store.skeleton.name == "ntu25"
        joints = np.asarray(store.joints)
        seen = joints[joints.any(-1)]
        assert joints.dtype == np.float32
        assert np.isfinite(joints).all()
        assert 1.0 < seen[:, 2].min() < seen[:, 2].max() < 6.0
        assert np.abs(seen[:, :2]).max() < 2.5
        np.testing.assert_array_equal(seen / GRID, np.round(seen / GRID))
        assert store.clips["frames"].min() >= 30
        assert store.clips["frames"].max() <= 90
        assert set(store.clips["camera"]) == {1, 2, 3}

    def test_has_enough_classes_and_people(self, store: Store) -> None:
        assert store.class_names == CLASS_NAMES
        assert len(ACTIONS) >= 12
        assert len(INTERACTIONS) >= 2
        assert len(np.unique(store.clips["subject"])) >= 8

    def test_two_people_where_two_are_needed_and_one_elsewhere(self, store: Store) -> None:
        for row in range(len(store)):
            clip = store.clip(row)
            assert len(clip.tracks) == (2 if CLASS_NAMES[clip.label] in INTERACTIONS else 1)

    def test_nobody_is_in_both_halves(self, store: Store) -> None:
        assert store.meta["default_split"] == "xsub"
        split, subject = store.stored_splits["xsub"], store.clips["subject"]
        partner = store.extras["partner"]
        people = {
            half: set(subject[split == half]) | set(partner[(split == half) & ~np.isnan(partner)])
            for half in (1, 2)
        }
        assert set(split) == {1, 2}
        assert not people[1] & people[2]
        assert not np.any(partner == subject)

    def test_every_class_is_in_both_halves_even_of_the_smallest_set(self, tmp_path: Path) -> None:
        small = open_store(make_synthetic(tmp_path / "s", clips_per_class=2, subjects=4))
        for half in (1, 2):
            labels = small.clips["label"][small.stored_splits["xsub"] == half]
            assert set(labels) == set(range(len(CLASS_NAMES)))

    def test_refuses_nonsense_and_existing_folders(self, tmp_path: Path) -> None:
        with pytest.raises(RecipeError, match="subjects is 3, expected 4"):
            make_synthetic(tmp_path / "s", subjects=3)
        with pytest.raises(RecipeError, match="seed is -1"):
            make_synthetic(tmp_path / "s", seed=-1)
        with pytest.raises(RecipeError, match="clips_per_class is 1"):
            make_synthetic(tmp_path / "s", clips_per_class=1)
        assert not (tmp_path / "s").exists()
        (tmp_path / "s").mkdir()
        with pytest.raises(OutputError, match="--force"):
            make_synthetic(tmp_path / "s", clips_per_class=2)
        make_synthetic(tmp_path / "s", clips_per_class=2, force=True)


class TestSeed:
    def test_fixes_every_byte_and_another_gives_other_data(self, tmp_path: Path) -> None:
        made = [
            sha(make_synthetic(tmp_path / name, seed=seed, clips_per_class=2))
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        ]
        assert made[0] == made[1]
        assert made[0]["joints.npy"] != made[2]["joints.npy"]

    @pytest.mark.slow
    def test_fixes_every_byte_in_another_process_without_vector_instructions(
        self, tmp_path: Path
    ) -> None:
        from numpy._core import _multiarray_umath as umath

        here = sha(make_synthetic(tmp_path / "a", seed=1, clips_per_class=2))
        wide = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__[name]]
        code = (
            "from pathlib import Path; from kinegraph.data.synthetic import make_synthetic;"
            f"make_synthetic(Path({str(tmp_path / 'b')!r}), seed=1, clips_per_class=2)"
        )
        other = {"NPY_DISABLE_CPU_FEATURES": " ".join(wide), "PYTHONHASHSEED": "77"}
        subprocess.run([sys.executable, "-c", code], env=os.environ | other, check=True)
        assert sha(tmp_path / "b") == here


@pytest.mark.slow
def test_raw_coordinates_alone_do_not_tell_the_classes(tmp_path: Path) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    store = open_store(make_synthetic(tmp_path / "s"))
    features = []
    for row in range(len(store)):
        clip = store.clip(row)
        dense = np.zeros((clip.frames, 2, 25, 3))
        for track in clip.tracks:
            dense[track.first : track.first + len(track.joints), track.person] = track.joints
        centred = np.where(dense.any(-1, keepdims=True), dense - dense[0, 0, 20], 0)
        features.append(centred[np.linspace(0, clip.frames - 1, 20).round().astype(int)].ravel())
    table, labels, split = np.array(features), store.clips["label"], store.stored_splits["xsub"]
    nearest = KNeighborsClassifier(1).fit(table[split == 1], labels[split == 1])
    accuracy = nearest.score(table[split == 2], labels[split == 2])
    assert 0.4 < accuracy < 0.8
