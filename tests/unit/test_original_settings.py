"""What the config.yaml files of the original programs tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinegraph.compat.original_settings import Settings, read_settings, stream_told
from kinegraph.errors import RecipeError

NTU = "model_args: {graph: graph.ntu_rgb_d.Graph, num_class: 60, num_person: 2}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            NTU + "test_feeder_args: {data_path: data/ntu/NTU60_CS.npz, bone: true, vel: true}",
            Settings("ntu25", "ntu60", 2, "bone-motion", "xsub"),
        ),
        (
            NTU + "test_feeder_args: {data_path: data/ntu120/NTU120_CSet.npz, bone: 'False'}",
            Settings("ntu25", "ntu120", 2, "joint", "xset"),
        ),
        (
            "dataset: ntu\ndatacase: CV\nmodal_idx: 7\nuse_vel: 'True'\nnum_class: 60\n",
            Settings(None, None, None, "k-mode-1-motion", "xview"),
        ),
        (
            "feeder: feeders.feeder_ucla.Feeder\nmodel_args: {graph: graph.ucla.Graph, k: 1}\n"
            "test_feeder_args: {data_path: joint}",
            Settings("ucla20", None, None, "k-mode-1", "view3"),
        ),
        (
            "model_args:\n  graph_args: {layout: openpose, strategy: spatial}\n"
            "test_feeder_args: {data_path: ./data/Kinetics/kinetics-skeleton/val_data.npy}",
            Settings("openpose18", None, None, "joint", None),
        ),
        (
            "model_args: {graph_args: {layout: ntu-rgb+d}}\n"
            "test_feeder_args: {data_path: ./data/NTU-RGB-D/xview/val_data.npy}",
            Settings("ntu25", None, None, "joint", "xview"),
        ),
        (
            "test_feeder_args: {data_path: /home/pkumar/NTU-RGB-D/xview/val_data.npy}",
            Settings(stream="joint", split="xview"),
        ),
        ("phase: test\n", Settings()),
        ("k: 0\n", Settings(zero_k=0)),
        ("modal_idx: 9\n", Settings(zero_k=-1)),
        ("view: motion\n", Settings(stream="joint-motion")),
        ("stream: [joint, bone]\nview: {a: joint}\n", Settings()),
    ],
)
def test_files_of_every_program(text: str, expected: Settings, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert read_settings(path) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a\n- b", "not a mapping"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system [echo run]", "not valid YAML"),
    ],
)
def test_what_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=reason):
        read_settings(path)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.yaml")


def test_k_zero_is_refused_where_no_stream_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("k: 0\nuse_vel: true\n")
    told = read_settings(path)
    with pytest.raises(RecipeError, match="says k = 0, which makes every input zero"):
        stream_told(told, "infogcn")
    assert stream_told(told, "lst") == "k-mode-8-motion"
