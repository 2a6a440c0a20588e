"""What `data info` counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from kinegraph.data.inspection import describe_store
from kinegraph.data.store import Clip, Track, create_store, open_store
from kinegraph.skeleton import load_layout

UCLA = load_layout("ucla20")


def body(frames: int) -> np.ndarray:
    """Return joints of no meaning."""
    return np.random.default_rng(0).uniform(0.1, 1.1, size=(frames, 20, 3))


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
