"""What `data info` counts and what `data check` finds odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from kinegraph.data.inspection import describe_store, doubts
from kinegraph.data.store import Clip, Track, create_store, open_store
from kinegraph.skeleton import load_layout

UCLA = load_layout("ucla20")


def body(frames: int = 30) -> np.ndarray:
    """Return a body of size one that sways smoothly."""
    rest = np.random.default_rng(0).uniform(0.1, 1.1, size=(20, 3))
    sway = 0.05 * np.sin(np.arange(frames) / 5.0)[:, None, None]
    return rest + sway


def odd(joints: np.ndarray, **track: int) -> list[str]:
    frames = len(joints) + track.get("first", 0)
    return doubts(Clip("a", (Track(joints, **track),), frames), UCLA)


def test_a_plain_clip_is_not_odd() -> None:
    assert odd(body()) == []


def test_one_frame() -> None:
    assert odd(body(1)) == ["it has one frame"]


def test_joints_at_the_origin() -> None:
    joints = body()
    joints[7, [3, 5]] = 0
    assert "head, left elbow all zero in frame 9" in odd(joints, first=2)
    joints[3:9, :4] = 0
    text = (
        "hip centre, spine, shoulder centre and 2 more joints all zero in frames 3, 4, 5 and 3 more"
    )
    assert text in odd(joints)


def test_a_score_says_itself_that_a_joint_was_not_seen() -> None:
    joints = np.repeat(np.random.default_rng(0).uniform(0.1, 0.9, (1, 18, 3)), 3, axis=0)
    joints[1, 4] = 0
    assert doubts(Clip("a", (Track(joints),), 3), load_layout("openpose18")) == []


def test_frozen_joints() -> None:
    joints = body()
    joints[5:14, 3] = joints[5, 3]
    assert odd(joints) == []  # nine frames
    joints[5:15, 3] = joints[5, 3]
    assert odd(joints) == ["head frozen for 10 frames"]
    assert odd(np.repeat(body(1), 10, axis=0)) == ["all joints frozen for 10 frames"]


def test_jumps_are_measured_in_body_sizes() -> None:
    joints = body()
    joints[20:, 3, 1] += 0.8
    assert odd(joints) == []
    joints[20:, 3, 1] += 0.8
    assert odd(joints) == ["head jump by a body's size in frame 20"]
    assert odd(1000 * joints) == odd(joints)  # in millimetres too


def test_people_are_named_where_there_are_several() -> None:
    tracks = Track(body()), Track(np.repeat(body(1), 30, axis=0), person=1)
    assert doubts(Clip("a", tracks, 30), UCLA) == ["person 1: all joints frozen for 10 frames"]


def test_the_description_counts(tmp_path: Path) -> None:
    with create_store(tmp_path / "s", UCLA, ["walk", "sit", "fly"], source="a test") as writer:
        for number, (label, subject) in enumerate([(0, 1), (0, 2), (1, 2), (-1, -1)]):
            tracks = tuple(Track(body(5), person=m) for m in range(1 + (number == 2)))
            writer.add(Clip(f"c{number}", tracks, 5 + number, label, subject))
        writer.leave_out("c9", "broken")
        writer.default_split = "subjects"
    facts = describe_store(open_store(tmp_path / "s"))
    assert facts["clips"] == 4
    assert facts["classes"] == {"walk": 2, "sit": 1, "fly": 0}
    assert facts["unlabelled"] == 1
    assert facts["subjects"] == {"1": 1, "2": 2}
    assert facts["cameras"] == {}
    assert facts["clips_by_persons"] == {"1": 3, "2": 1}
    assert facts["length_percentiles"]["0%"] == 5
    assert facts["length_percentiles"]["100%"] == 8
    assert facts["splits"]["subjects"] == {"train": 1, "test": 2}
    assert facts["default_split"] == "subjects"
    assert facts["left_out"] == [{"clip": "c9", "reason": "broken"}]
    assert facts["bytes"] > 5 * 25 * 60
    orjson.dumps(facts)
