"""``kinegraph data check`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.synthetic import make_synthetic


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of synthetic people; tests must not change it."""
    return make_synthetic(tmp_path_factory.mktemp("made") / "store", clips_per_class=2, subjects=8)


def puppet_arrays(made: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the first people of a store as arrays that a user might bring."""
    from kinegraph.data.store import open_store

    store = open_store(made)
    x = np.stack([store.clip(row).tracks[0].joints[:40] for row in range(8)])  # (8, 40, 25, 3)
    return {"x": x, "layout": np.array("ntu25"), **changes}


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    message = capsys.readouterr().err
    assert message.startswith("kinegraph data check: ")
    return message


def test_a_whole_store_passes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(made)]) == 0
    *_, measured, verdict = capsys.readouterr().out.splitlines()
    assert "(metre), +y up, bones vary by" in measured
    assert verdict.startswith(f"{made} is whole: 32 clips, none doubtful")


def test_findings_come_with_a_remedy_and_strict_fails(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = puppet_arrays(made)
    arrays["x"][3, 20:, :, 0] += 3.0  # somebody else
    np.savez(tmp_path / "a.npz", **arrays)
    words = ["data", "check", str(tmp_path / "a.npz")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "warning a-3: all joints jump in frame 20 (" in shown
    assert "1 body-jump  a whole body that moves faster than people can: people changed" in shown
    assert "is whole: 8 clips, 1 doubtful" in shown
    assert main([*words, "--strict"]) == 1
    capsys.readouterr()
    assert main(["data", "check", str(made), "--strict"]) == 0  # it has notes alone


def test_json_has_facts_findings_and_a_row_for_each_clip(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = puppet_arrays(made)
    arrays["x"][5] = arrays["x"][2]
    np.savez(tmp_path / "a.npz", **arrays)
    assert main(["data", "check", str(tmp_path / "a.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["clips"] == 8
    assert found["facts"]["probable_unit"] == "metre"
    (copy,) = (each for each in found["findings"] if each["kind"] == "duplicate")
    assert (copy["clip"], copy["others"], copy["severity"]) == ("a-5", ["a-2"], "warning")
    assert copy["remedy"].startswith("keep one of them")
    assert found["kinds"]["duplicate"]["count"] == 1
    assert len(found["clips"]) == 8
    assert found["clips"][5]["findings"][0] == "duplicate"
    assert (found["clips"][5]["frames"], found["clips"][5]["people"]) == (40, 1)
    (body,) = found["clips"][5]["bodies"]
    assert 1.4 < body.pop("size") < 2.1
    assert 0 < body.pop("bone_variation") < 0.3
    assert body == {"unit": "metre", "up": "+y"}


def test_the_list_is_short_unless_all_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(0).uniform(1, 100, (30, 1, 17, 3))
    np.savez(tmp_path / "a.npz", x=x, layout="coco17")
    words = ["data", "check", str(tmp_path / "a.npz")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count(": it has one frame\n") == 3
    assert " more; --all lists them" in shown
    assert main([*words, "--all"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(": it has one frame\n") == 30
    assert "--all lists them" not in shown


def test_one_changed_bit_is_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make_synthetic(tmp_path / "s", clips_per_class=2, subjects=4)
    data = bytearray((store / "joints.npy").read_bytes())
    data[-100] ^= 1
    (store / "joints.npy").write_bytes(data)
    assert "the checksum of joints.npy is not the one written" in refused(
        capsys, "data", "check", store
    )


def test_bad_recordings_end_with_exit_code_2_after_the_rest_was_examined(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = puppet_arrays(made)
    arrays["x"][1, 7, 4, 2] = np.nan
    arrays["x"][6] = 0
    np.savez(tmp_path / "a.npz", **arrays)
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "a.npz")]) == 2
    shown = capsys.readouterr()
    assert "fault a-1: 1 coordinate is NaN or infinite in frame 7" in shown.out
    assert "fault a-6: clip 'a-6' is empty" in shown.out
    assert "is whole" not in shown.out
    assert "2 of 8 recordings are bad: clip 'a-1': frame 7 has a coordinate" in shown.err


def test_recordings_of_a_folder_are_read_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joints = np.random.default_rng(0).uniform(0.1, 1, (5, 20, 3)).round(4).tolist()
    for name in ("a01_s01_e00_v01", "a02_s01_e00_v01"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"skeletons": joints}))
    assert main(["data", "check", str(tmp_path / "a01_s01_e00_v01.json")]) == 0
    assert "is whole: 1 clip, " in capsys.readouterr().out
    assert main(["data", "check", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "but one is 'pick up with one hand' and the other 'pick up with two hands'" in shown


def test_the_page_loads_nothing_and_is_not_overwritten(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = puppet_arrays(made, name=np.array([f"<b>{row}" for row in range(8)]))
    arrays["x"][3, 20:, :, 0] += 3.0
    arrays["x"][5] = arrays["x"][2]
    np.savez(tmp_path / "a.npz", **arrays)
    page = tmp_path / "page.html"
    words = ["data", "check", str(tmp_path / "a.npz"), "--html", str(page)]
    assert main(words) == 0
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/png;base64,") >= 3  # the jump, and both copies
    assert "&lt;b&gt;3" in text
    assert "<b>3" not in text
    assert "People changed slots or frames are missing" in text
    assert "exists already" in refused(capsys, *words)
    assert main([*words, "--force"]) == 0


def test_what_a_user_says_about_recordings_is_passed_on(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = puppet_arrays(made)
    del arrays["layout"]
    np.savez(tmp_path / "a.npz", **arrays)
    words = ["data", "check", str(tmp_path / "a.npz")]
    assert "names no layout" in refused(capsys, *words)
    assert main([*words, "--layout", "ntu25"]) == 0
    message = refused(capsys, *words, "--layout", "ntu25", "--cleaning", "stgcn")
    assert "--cleaning means nothing to format 'arrays'" in message
    message = refused(capsys, *words, "--format", "nw-ucla")
    assert "a.npz" in message


@pytest.mark.parametrize("words", [("--cleaning", "stgcn"), ("--format", "ntu60"), ("--matching",)])
def test_what_is_said_about_recordings_means_nothing_to_a_store(
    made: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{words[0]} means nothing to store" in refused(capsys, "data", "check", made, *words)
