"""Exports are, number by number, what the original programs prepare from the same recordings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinegraph.data.export import ExportOptions, export_store
from kinegraph.data.formats import Options
from kinegraph.data.formats.processed import dense_clip, last_seen
from kinegraph.data.importing import import_data
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.pickles import read_pickle
from kinegraph.skeleton import load_layout

SMALL = Path(__file__).parents[1] / "golden" / "data"
FURTHER = "KINEGRAPH_GOLDEN"
further = pytest.mark.skipif(
    not (Path(os.environ.get(FURTHER, "")) / "ntu_raw_mini").is_dir() or FURTHER not in os.environ,
    reason=f"{FURTHER} names no folder with made recordings",
)
SPLITS = {"CS": "xsub", "CV": "xview", "CSub": "xsub", "CSet": "xset"}


def golden(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(folder / name) as archive:
        arrays = {key: archive[key] for key in archive.files if key != "meta"}
        return arrays, json.loads(str(archive["meta"]))


def same_rows(store: Store, arrays: dict[str, Any], folder: Path) -> None:
    """Export every benchmark and compare rows and their order with the original's."""
    benchmarks = {name.removeprefix("train_") for name in arrays if name.startswith("train_")}
    assert len(benchmarks) == 2
    for name in benchmarks:
        out = folder / f"{name}.npz"
        options = ExportOptions(split=SPLITS[name], frames=arrays["x"].shape[1])
        export_store(store, "ctrgcn-npz", out, options)
        with np.load(out) as found:
            for part in ("train", "test"):
                rows = arrays[f"{part}_{name}"]
                np.testing.assert_array_equal(found[f"x_{part}"], arrays["x"][rows])
                np.testing.assert_array_equal(found[f"y_{part}"].argmax(1), arrays["y"][rows])


def test_rows_stand_in_the_order_of_the_original(tmp_path: Path) -> None:
    arrays, meta = golden(SMALL, "ntu_raw_mini_NTU60_translated_seed0.npz")
    empty = ~arrays["x"].any(axis=(1, 2))  # the small copy leaves some clips out
    arrays["x"][empty, 0, 0] = 1 + np.arange(empty.sum())
    names = [f"class {number}" for number in range(60)]
    with create_store(tmp_path / "store", load_layout("ntu25"), names, source="golden") as writer:
        for name, label, row in zip(meta["names"], arrays["y"], arrays["x"], strict=True):
            people = row.reshape(len(row), 2, 25, 3).transpose(1, 0, 2, 3)  # (M, T, V, C)
            writer.add(dense_clip(name, people, int(label), last_seen(people, name)))
    same_rows(open_store(tmp_path / "store"), arrays, tmp_path)


@further
@pytest.mark.parametrize("name", ["ntu60", "ntu120"])
def test_raw_recordings_become_the_files_of_ctrgcn(name: str, tmp_path: Path) -> None:
    folder = Path(os.environ[FURTHER])
    arrays, _ = golden(folder, f"ntu_raw_mini_{name.upper()}_translated_seed0.npz")
    options = Options(cleaning="denoised")
    import_data(name, folder / "ntu_raw_mini", tmp_path / "store", options=options)
    same_rows(open_store(tmp_path / "store"), arrays, tmp_path)


@further
def test_raw_recordings_become_the_annotations_of_pyskl(tmp_path: Path) -> None:
    folder = Path(os.environ[FURTHER])
    arrays, meta = golden(folder, "pyskl_ntu_preproc_seed0.npz")
    options = Options(cleaning="pyskl")
    import_data("ntu120", folder / "ntu_raw_mini", tmp_path / "store", options=options)
    export_store(open_store(tmp_path / "store"), "pyskl", tmp_path / "a.pkl")
    found = {each["frame_dir"]: each for each in read_pickle(tmp_path / "a.pkl")["annotations"]}
    assert sorted(found) == sorted(meta["names"])
    begin = 0
    for name, shape in zip(meta["names"], meta["shapes"], strict=True):
        end = begin + int(np.prod(shape))
        np.testing.assert_array_equal(
            found[name]["keypoint"].ravel(), arrays["keypoint"][begin:end]
        )
        assert found[name]["keypoint"].shape == tuple(shape)
        begin = end
