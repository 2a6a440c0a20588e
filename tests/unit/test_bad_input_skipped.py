"""One bad recording among good ones, for every format, by the command that users type.

Without --skip-bad nothing is written and the bad one is named; with it the others are imported, and
``meta.json`` says what was left out and why.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.formats import FORMATS, open_recordings
from kinegraph.data.store import open_store


def cut(source: Any, fuzzing: Any) -> Any:
    """Cut the first file, which is one recording, in the middle of a line."""
    (path, content), *others = source.files
    middle = len(content) // 2
    end = content.find(b"\n", middle) + 20 if path.endswith((".txt", ".skeleton")) else middle
    return replace(source, files=((path, content[:end]), *others))


def spoilt_npz(key: str) -> Callable[[Any, Any], Any]:
    """Return a function that puts NaN into the first row of an array of an archive."""

    def spoil(source: Any, fuzzing: Any) -> Any:
        with np.load(io.BytesIO(source.files[0][1])) as archive:
            arrays = dict(archive)
        arrays[key][0, ..., 0, 0] = np.nan
        members = [(f"{name}.npy", fuzzing.seeds.array_file(a)) for name, a in arrays.items()]
        return replace(source, files=((source.files[0][0], fuzzing.seeds.pack(members)),))

    return spoil


def spoilt_npy(source: Any, fuzzing: Any) -> Any:
    (path, content), *others = source.files
    array = np.load(io.BytesIO(content))
    array[0, 0, 1] = np.inf
    return replace(source, files=((path, fuzzing.seeds.array_file(array)), *others))


def spoilt_annotation(source: Any, fuzzing: Any) -> Any:
    ((path, content),) = source.files
    tree = pickle.loads(content)
    tree["annotations"][0]["keypoint"][0, 1, 2, 0] = np.nan
    return replace(source, files=((path, pickle.dumps(tree)),))


SPOILT: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "nw-ucla": ("cut short or no JSON", cut),
    "ntu60": ("expected 12 (a joint)", cut),
    "ntu120": ("expected 12 (a joint)", cut),
    "kinetics": ("cut short or no JSON", cut),
    "pku-mmd": ("the file may be cut short", cut),
    "utd-mhad": ("it is no MATLAB 5 file", cut),
    "sbu": ("the file may be cut short", cut),
    "ctrgcn-npz": ("NaN or infinite", spoilt_npz("x_train")),
    "stgcn-npy": ("NaN or infinite", spoilt_npy),
    "aimclr-npy": ("NaN or infinite", spoilt_npy),
    "pyskl": ("NaN or infinite", spoilt_annotation),
    "arrays": ("NaN or infinite", spoilt_npz("x")),
}


OF_FILES = ("nw-ucla", "ntu60", "ntu120", "kinetics", "pku-mmd", "utd-mhad", "sbu")
CASES = [
    *((name, form) for name in OF_FILES for form in ("folder", "zip")),
    *((name, "folder") for name in ("stgcn-npy", "aimclr-npy")),
    *((name, "file") for name in ("ctrgcn-npz", "pyskl", "arrays")),
]


def test_every_format_is_here() -> None:
    assert set(SPOILT) == set(FORMATS)
    assert {name for name, _ in CASES} == set(FORMATS)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_the_rest_is_imported(
    name: str, form: str, fuzzing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, spoil = SPOILT[name]
    whole = next(each for each in fuzzing.seeds.seeds_of(name) if each.form == form)
    path, options = whole.write(tmp_path / "whole")
    with open_recordings(path, format_name=name, options=options) as recordings:
        clips = {item.read().name: item.read() for item in recordings.items}
    path, options = spoil(whole, fuzzing).write(tmp_path / "spoilt")
    with open_recordings(path, format_name=name, options=options) as recordings:
        bad = recordings.items[0].name
    words = ["data", "import", name, str(path), "--out", str(tmp_path / "out")]
    before = sorted(os.listdir(tmp_path))
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert "--skip-bad" in line
    assert sorted(set(os.listdir(tmp_path)) - {".out.import"}) == before
    assert main([*words, "--skip-bad"]) == 0
    assert "left out" in capsys.readouterr().err
    store = open_store(tmp_path / "out")
    left_out = json.loads((tmp_path / "out" / "meta.json").read_text())["left_out"]
    assert left_out[0]["clip"] == bad
    assert all(expected in each["reason"] for each in left_out)
    names = store.clips["name"].tolist()
    assert names == [each for each in clips if each in names]
    assert len(names) + len(left_out) == len(clips)
    for row, clip_name in enumerate(names):
        (first, *_) = store.clip(row).tracks
        assert np.array_equal(first.joints, clips[clip_name].tracks[0].joints.astype(np.float32))
