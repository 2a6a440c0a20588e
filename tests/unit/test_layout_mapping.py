"""Clips brought to another layout: names, runs with `data.as_layout`, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinegraph.cli import main
from kinegraph.data.clip import Clip, Track
from kinegraph.data.reader import TrackReader, nonzero_frames
from kinegraph.data.resident import make_resident, resident_bytes
from kinegraph.data.store import Store, open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import CheckpointError, LayoutError, RecipeError
from kinegraph.evaluation.judges import nearest_clips
from kinegraph.evaluation.opening import open_run
from kinegraph.evaluation.probe import probe_run
from kinegraph.evaluation.testing import score_run
from kinegraph.inference.predictor import Predictor
from kinegraph.layout_mapping import JointMap, map_joints
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.training.checkpoint import load_checkpoint
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.setup import RunData, build_pipelines, open_data

CPU = torch.device("cpu")
UCLA, UTD, NTU, EDGE = map(load_layout, ("ucla20", "utd20", "ntu25", "ntu_edge"))
MakeStore = Callable[..., Path]
TinyRecipe = Callable[..., dict[str, Any]]


def places(joint_map: JointMap) -> dict[str, str]:
    """Target joint -> source joint, by name."""
    names = zip(joint_map.target.joints, joint_map.index, strict=True)
    return {name: joint_map.source.joints[joint] for name, joint in names}


def converted(store: Store, path: Path, target: Skeleton) -> Path:
    """Write a store in another layout, joint by joint."""
    origin = places(map_joints(store.skeleton, target))
    with create_store(path, target, store.class_names, source="test") as writer:
        for clip in map(store.clip, range(len(store))):
            tracks = []
            for track in clip.tracks:
                joints = np.zeros((len(track.joints), target.joint_count, 3), np.float32)
                for joint, name in enumerate(target.joints):
                    joints[:, joint] = track.joints[:, store.skeleton.joints.index(origin[name])]
                tracks.append(replace(track, joints=joints))
            writer.add(replace(clip, tracks=tuple(tracks)))
        writer.default_split = "subjects"
    return path


def test_the_same_joints_in_another_order_are_a_permutation() -> None:
    joint_map = map_joints(UCLA, UTD)
    assert sorted(joint_map.index) == list(range(20))
    assert joint_map.filled == ()
    assert all(name == origin for name, origin in places(joint_map).items())
    back = map_joints(UTD, UCLA)
    assert [joint_map.index[j] for j in back.index] == list(range(20))
    assert joint_map.describe() == "layout 'ucla20' is brought to 'utd20' by joint names"


def test_joints_that_are_missing_come_from_their_ancestors() -> None:
    joint_map = map_joints(UCLA, NTU)
    assert dict(joint_map.filled) == {
        "neck": "shoulder centre",
        "left hand tip": "left hand",
        "left thumb": "left hand",
        "right hand tip": "right hand",
        "right thumb": "right hand",
    }
    found = places(joint_map)
    assert found["base of spine"] == "hip centre"
    assert found["middle of spine"] == "spine"
    assert found["spine at shoulders"] == "shoulder centre"
    assert "filled in: neck from shoulder centre, left hand tip from left" in joint_map.describe()
    assert map_joints(NTU, UCLA).filled == ()


def test_a_root_that_is_missing_has_a_stand_in() -> None:
    assert dict(map_joints(EDGE, NTU).filled) == {"spine at shoulders": "neck"}
    assert dict(map_joints(EDGE, UCLA).filled) == {"shoulder centre": "neck"}
    metres = replace(load_layout("sbu15"), coordinates=UCLA.coordinates)
    assert dict(map_joints(UCLA, metres).filled) == {"neck": "shoulder centre"}
    # Nothing stands in for hips: the nearest joint in the middle of the body does, not a leg.
    names = ("hip centre", "spine", "left hip")
    without = tuple(f"other {n}" if n in names else n for n in UCLA.joints)
    filled = dict(map_joints(replace(UCLA, joints=without), UCLA.rooted_at(0)).filled)
    assert filled == {
        "hip centre": "shoulder centre", "spine": "shoulder centre", "left hip": "left knee"
    }  # fmt: skip


@pytest.mark.parametrize("source", [UCLA, UTD, NTU, EDGE])
@pytest.mark.parametrize("target", [UCLA, UTD, NTU, EDGE])
def test_pairs_stay_pairs(source: Skeleton, target: Skeleton) -> None:
    index = map_joints(source, target).index
    for joint, other in enumerate(target.mirror):
        assert index[other] == source.mirror[index[joint]]
        assert source.sides[index[joint]] == target.sides[joint]


@pytest.mark.parametrize(
    ("source", "target", "complaint"),
    [
        ("openpose18", "ntu25", "the axes of a joint are 'x y score' there, 'x y z' here"),
        ("sbu15", "ucla20", "the unit is 'pixel and millimetre' there, 'metre' here"),
        ("openpose18", "coco17", "the unit is 'image' there, 'pixel' here"),
    ],
)
def test_other_coordinates_are_refused(source: str, target: str, complaint: str) -> None:
    with pytest.raises(LayoutError, match=f"'{source}' cannot be brought to '{target}'") as caught:
        map_joints(load_layout(source), load_layout(target))
    assert complaint in str(caught.value)


def test_too_little_in_common_is_refused() -> None:
    few = replace(UCLA, joints=tuple(f"p{n}" if n > 8 else j for n, j in enumerate(UCLA.joints)))
    with pytest.raises(LayoutError, match="it has 9 of the 20 joints by name, expected half"):
        map_joints(few, UTD)
    turned = replace(UCLA, coordinates=replace(UCLA.coordinates, up="+z"))
    with pytest.raises(LayoutError, match=r"up is '\+z' there, '\+y' here"):
        map_joints(turned, UTD)


def opened(values: dict[str, Any], store: Path, as_layout: str | None, **data: Any) -> RunData:
    place = {"store": str(store), "split": "subjects", "as_layout": as_layout, **data}
    return open_data(parse_recipe(values | {"data": place}))


@pytest.mark.parametrize("quirks", ["none", "original"])
@pytest.mark.parametrize(("first", "layout"), [("centre", "utd20"), ("mirror", "ntu25")])
def test_batches_are_those_of_a_converted_store(
    tmp_path: Path,
    make_store: MakeStore,
    tiny_recipe: TinyRecipe,
    quirks: str,
    first: str,
    layout: str,
) -> None:
    store = make_store(layout="ucla20")
    crop = {"name": "crop_resize", "length": 6, "proportion": [0.5, 1.0]}
    steps = [{"name": "centre"}, crop] if first == "centre" else [crop, {"name": "mirror"}]
    values = tiny_recipe(quirks=quirks, stream="bone", transforms={"train": steps, "test": steps})
    one = opened(values, store, layout)
    other = opened(values, converted(open_store(store), tmp_path / "other", one.skeleton), None)
    assert one.skeleton.name == layout
    assert one.store.skeleton.name == "ucla20"
    pipelines = list(one.pipelines.values())
    readers = [
        one.reader,
        make_resident(one.reader, pipelines, CPU),
        pickle.loads(pickle.dumps(one.reader)),
        make_resident(other.reader, pipelines, CPU),
    ]
    assert resident_bytes(one.reader, pipelines) == readers[1].joints.nbytes
    rows = torch.arange(len(other.store))
    expected = one.pipelines["train"](other.reader.read(rows), seed=3, epoch=1, index=rows)
    assert expected.joints.shape[2:] == (one.skeleton.joint_count, 3)
    for reader in readers:
        found = one.pipelines["train"](reader.read(rows), seed=3, epoch=1, index=rows)
        assert torch.equal(found.joints, expected.joints)
    for (found,), (wanted,) in zip(
        one.training_loader(("train",), CPU).epoch(1),
        other.training_loader(("train",), CPU).epoch(1),
        strict=True,
    ):
        assert torch.equal(found.x, wanted.x)


def test_frames_are_counted_in_the_layout_that_is_seen(tmp_path: Path) -> None:
    joints = np.zeros((5, 25, 3))
    joints[[0, 2, 4]] = 1
    joints[3, NTU.joints.index("left thumb")] = 1  # which ucla20 does not have
    with create_store(tmp_path / "store", NTU, ["a"], source="test") as writer:
        writer.add(Clip("clip", (Track(joints),), 5, label=0))
    store = open_store(tmp_path / "store")
    assert nonzero_frames(store).tolist() == [4]
    assert nonzero_frames(store, map_joints(NTU, UCLA)).tolist() == [3]
    reader = TrackReader(store, 1, count_nonzero=True, joint_map=map_joints(NTU, UCLA))
    assert reader.read(torch.tensor([0])).frames.tolist() == [3]


def trained(folder: Path, values: dict[str, Any], store: Path, **data: Any) -> RunFolder:
    run = RunFolder(folder)
    place = {"store": str(store), "split": "subjects", **data}
    start(parse_recipe(values | {"data": place}), run, device="cpu")
    return run


@pytest.mark.slow
def test_a_run_has_the_numbers_of_one_on_a_converted_store(
    tmp_path: Path, make_store: MakeStore, tiny_recipe: TinyRecipe,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = make_store(layout="ucla20")
    target = converted(open_store(source), tmp_path / "ntu", NTU)
    one = trained(tmp_path / "one", tiny_recipe(), source, as_layout="ntu25", layout="ntu25")
    err = capsys.readouterr().err
    assert err.count("layout 'ucla20' is brought to 'ntu25'") == 1, (
        "what was filled in is said once"
    )
    two = trained(tmp_path / "two", tiny_recipe(), target)
    ours, theirs = load_checkpoint(one.last), load_checkpoint(two.last)
    assert ours.skeleton == NTU
    for name, tensor in theirs.group("model").items():
        assert torch.equal(ours.group("model")[name], tensor)
    expected = score_run(two.path).scores.logits
    np.testing.assert_array_equal(score_run(one.path).scores.logits, expected)
    # Such a run takes clips that have its layout as they are.
    np.testing.assert_array_equal(score_run(one.path, store=target).scores.logits, expected)
    assert not resume(one, device="cpu").progress.batches

    predictor = Predictor.from_run(one.path)
    for path in (source, target):
        store = open_store(path)
        names = score_run(one.path).scores.names
        clips = [store.clip(store.find(str(name))) for name in names]
        found = predictor.logits(clips, store.skeleton)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(LayoutError, match="the axes of a joint are"):
        predictor.logits([], load_layout("coco17"))
    capsys.readouterr()
    words = ["predict", str(one.path), str(source), str(source), str(target), "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.count("filled in: neck from shoulder centre") == 1
    answers = [row["predictions"] for row in json.loads(out)]
    assert len(answers) == 3 * 12
    assert answers[:12] == answers[12:24]
    for ours, theirs in zip(answers[:12], answers[24:], strict=True):
        probabilities = [[guess["probability"] for guess in each] for each in (ours, theirs)]
        np.testing.assert_allclose(*probabilities, rtol=1e-4)


def test_the_recipe_is_checked_against_what_the_network_sees(
    make_store: MakeStore, tiny_recipe: TinyRecipe, tmp_path: Path
) -> None:
    store = make_store(layout="ucla20")
    assert opened(tiny_recipe(), store, "utd20", layout="utd20").skeleton == UTD
    with pytest.raises(RecipeError, match=r"for layout 'ucla20', .* is brought to 'utd20' \(20 j"):
        opened(tiny_recipe(), store, "utd20", layout="ucla20")
    with pytest.raises(RecipeError, match="'ucla20' cannot be brought to 'coco17': the axes"):
        opened(tiny_recipe(), store, "coco17")
    with pytest.raises(LayoutError, match="unknown layout 'utd21'; nearest: 'utd20'"):
        opened(tiny_recipe(), store, "utd21")
    own = opened(tiny_recipe(), store, "ucla20")
    assert own.reader.read(torch.tensor([0])).frame_clip is None, "nothing is copied for nothing"


def test_a_layout_of_ones_own_may_be_gone_after_training(
    make_store: MakeStore, tiny_recipe: TinyRecipe, tmp_path: Path
) -> None:
    rows = [f'["{name}", "hips"]' for name in ("head", "left hand", "right hand")]
    parts = ["head", "arms", "hands", "hips", "legs", "feet"]
    lists = {"head": '"head"', "hips": '"hips"', "hands": '"left hand", "right hand"'}
    text = ['name = "stick"', 'title = "few"', 'centre = "hips"',
            f'joints = [["hips", ""], {", ".join(rows)}]',
            '[coordinates]', 'axes = ["x", "y", "z"]', 'up = "+y"', 'unit = "metre"',
            '[parts]', *(f"{part} = [{lists.get(part, '')}]" for part in parts)]  # fmt: skip
    file = tmp_path / "stick.toml"
    file.write_text("\n".join(text))
    values = tiny_recipe(training={"epochs": 1})
    run = trained(tmp_path / "run", values, make_store(layout="ucla20"), as_layout=str(file))
    file.unlink()
    assert load_checkpoint(run.last).skeleton.joint_count == 4
    assert len(score_run(run.path).scores.names) == 6
    resume(run, device="cpu")


def test_a_run_begins_from_one_of_another_layout(
    make_store: MakeStore, tiny_recipe: TinyRecipe, tmp_path: Path
) -> None:
    values = tiny_recipe(training={"epochs": 1})
    source = make_store(layout="ucla20")
    other = converted(open_store(source), tmp_path / "utd", UTD)
    before = trained(tmp_path / "before", values, source)
    begun = values | {"start": {"run": str(before.path), "learns": "head"}}
    with pytest.raises(RecipeError, match=r"--data\.as_layout ucla20 brings them there"):
        trained(tmp_path / "after", begun, other)
    after = trained(tmp_path / "after", begun, other, as_layout="ucla20")
    assert load_checkpoint(after.last).skeleton == UCLA


def test_probe_takes_other_layouts_and_test_does_not(
    make_store: MakeStore, tiny_recipe: TinyRecipe, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = make_store(layout="ucla20")
    run = trained(tmp_path / "run", tiny_recipe(training={"epochs": 1}), source, layout="ucla20")
    other = converted(open_store(source), tmp_path / "utd", UTD)
    capsys.readouterr()
    own = probe_run(run.path, nearest_clips, device="cpu").rows["encoder"]
    assert capsys.readouterr().err == ""
    assert probe_run(run.path, nearest_clips, store=other, device="cpu").rows["encoder"] == own
    assert "layout 'utd20' is brought to 'ucla20' by joint names\n" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"made for layout 'ucla20', but store .* has 'utd20'"):
        open_run(run.path, other)
    any_layout = trained(tmp_path / "any", tiny_recipe(training={"epochs": 1}), source)
    with pytest.raises(CheckpointError, match="was trained on layout 'ucla20'"):
        open_run(any_layout.path, other)
    flat = make_store("flat", layout="coco17")
    with pytest.raises(RecipeError, match="'coco17' cannot be brought to 'ucla20': the axes"):
        open_run(any_layout.path, flat, judging=True)
    assert build_pipelines(parse_recipe(tiny_recipe()), UCLA)
