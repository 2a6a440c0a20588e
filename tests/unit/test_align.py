"""Aligned bodies, frames from all parts of a clip, pixels, and noise by extent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.data.clip import Clip, Track
from kinegraph.data.reader import TrackReader
from kinegraph.data.store import create_store, open_store
from kinegraph.errors import LayoutError, RecipeError
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.transforms import TRANSFORMS
from kinegraph.transforms.align import follow_leading, turn_onto
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.sampling import UniformFrames
from kinegraph.transforms.streams import make_stream

NTU = load_layout("ntu25")
COCO = load_layout("coco17")


def reader_of(folder: Path, clips: Sequence[Clip], skeleton: Skeleton = NTU) -> TrackReader:
    with create_store(folder / "store", skeleton, ["a"], source="a test") as writer:
        for clip in clips:
            writer.add(clip)
    return TrackReader(open_store(folder / "store"), 3)


def clip_of(name: str, people: dict[int, tuple[int, Any]], frames: int, **extras: float) -> Clip:
    """Return a clip of people: place -> (first frame, (T, V, C) joints)."""
    tracks = tuple(Track(joints, first, person) for person, (first, joints) in people.items())
    return Clip(name, tracks, frames, label=0, extras=extras)


def body(random: np.random.Generator, frames: int, joints: int = 25) -> NDArray[np.float32]:
    return random.uniform(0.5, 2, (frames, joints, 3)).astype(np.float32)


def made(
    reader: TrackReader, configs: list[dict[str, Any]], *, original: bool = False, **options: Any
) -> Tensor:
    """Return (N, M, T, V, C)."""
    models = [TRANSFORMS[values["name"]].config.model_validate(values) for values in configs]
    pipeline = Pipeline(models, options.pop("stream", "joint"), reader.skeleton, original=original)
    rows = torch.arange(len(reader))
    x = pipeline(reader.read(rows), seed=0, epoch=0, index=rows, **options).dense()
    return x.permute(0, 4, 2, 3, 1)


def test_the_spine_stands_upright_and_all_keep_their_distances(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    clips = [clip_of(name, {0: (0, body(rng, 6)), 1: (2, body(rng, 4))}, 6) for name in "ab"]
    reader = reader_of(tmp_path, clips)
    found = made(reader, [{"name": "align_body"}, {"name": "pick_frames", "length": 6}])
    before = made(reader, [{"name": "pick_frames", "length": 6}])
    first = found[:, 0, 0]
    assert not first[:, 1].any(), "the middle of the spine lies at the origin"
    shoulders = first[:, 8] - first[:, 4]
    assert (shoulders[:, 0] > 0).all()
    torch.testing.assert_close(shoulders[:, 1:], torch.zeros(2, 2), atol=1e-5, rtol=0)
    distances = [
        torch.pdist(x[0, :2, 2:].reshape(-1, 3)) for x in (found, before)
    ]  # of all joints of both people in the frames that both are in
    torch.testing.assert_close(*distances, atol=1e-5, rtol=1e-5)
    assert not found[:, 1, :2].any(), "who is not there stays zero"
    only_spine = {"name": "align_body", "shoulders": ["left hip", "left hip"]}
    upright = made(reader, [only_spine, {"name": "pick_frames", "length": 6}])[:, 0, 0]
    torch.testing.assert_close(upright[:, 0, :2], torch.zeros(2, 2), atol=1e-5, rtol=0)
    assert (upright[:, 0, 2] < 0).all(), "the base of the spine lies below its middle"


def test_missing_joints_stay_missing(tmp_path: Path, rng: np.random.Generator) -> None:
    joints = body(rng, 3)
    joints[1:, 7] = 0
    reader = reader_of(tmp_path, [clip_of("a", {0: (0, joints)}, 3)])
    found = made(reader, [{"name": "align_body"}, {"name": "pick_frames", "length": 3}])
    assert not found[0, 0, 1:, 7].any()
    assert found[0, 0, 0, 7].any()


@settings(max_examples=30)
@given(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3))
def test_the_least_rotation_takes_a_vector_to_its_target(vector: list[float]) -> None:
    start = torch.tensor([vector], dtype=torch.float64)
    turn = turn_onto(start, (0.0, 0.0, 1.0))[0]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
    across = float(start[0, :2].abs().sum())
    if across > 1e-5:
        length = start.norm(dim=1)
        torch.testing.assert_close(
            turn @ start[0], torch.stack((length[0] * 0, length[0] * 0, length[0])),
            atol=1e-7, rtol=1e-6,
        )  # fmt: skip
    if across < 1e-6:
        assert torch.equal(turn, torch.eye(3, dtype=torch.float64)), "it turns nothing"


def test_the_original_follows_whoever_is_seen_more(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    short, long, gap = body(rng, 3), body(rng, 8), body(rng, 9)
    gap[4] = 0
    clips = [
        clip_of("the second leads", {0: (1, short), 1: (2, long)}, 10),
        clip_of("a gap", {0: (0, gap), 2: (4, body(rng, 1))}, 9),
        clip_of("nobody leads", {1: (1, long)}, 9),
    ]
    tracks = reader_of(tmp_path, clips).read(torch.arange(3)).compact()
    found = follow_leading(tracks)
    assert found.frames.tolist() == [8, 8, 9]
    assert found.person.tolist() == [0, 1, 0, 2, 1]
    assert found.clip.tolist() == [0, 0, 1, 1, 2]
    rows = [found.joints[o : o + n] for o, n in zip(found.offset, found.length, strict=True)]
    np.testing.assert_array_equal(rows[0], long)
    np.testing.assert_array_equal(rows[1], short[1:])  # of frames 1..3, those from frame 2 on
    np.testing.assert_array_equal(rows[2], np.delete(gap, 4, axis=0))
    assert not rows[3].any(), "nothing of the third person is left"
    assert int(found.first[3]) >= 8
    np.testing.assert_array_equal(rows[4], long)
    assert found.first.tolist()[:3] == [0, 0, 0]
    configs: list[dict[str, Any]] = [
        {"name": "align_body"}, {"name": "pick_frames", "length": 8}
    ]  # fmt: skip
    dense = made(reader_of(tmp_path / "again", clips), configs, original=True)
    assert not dense[1, 2].any()
    assert dense[0, 0].flatten(1).any(1).all()
    plain = made(reader_of(tmp_path / "plain", clips), configs)
    assert not plain[0, 0, 0].any(), "by default no frame goes and nobody changes places"


def test_layouts_without_a_spine_or_in_a_plane_are_refused() -> None:
    build, config = TRANSFORMS["align_body"].build, TRANSFORMS["align_body"].config
    with pytest.raises(LayoutError, match="'coco17' is 2D: use fit_image"):
        build(config(), COCO, False)
    with pytest.raises(RecipeError, match="unknown joint of layout 'ntu25' 'left sholder'"):
        build(config.model_validate({"shoulders": ["left sholder", 3]}), NTU, False)


def test_frames_come_from_all_parts_in_order() -> None:
    for frames in (1, 3, 8, 9, 13, 16, 40):
        count = torch.tensor([frames])
        for random in (False, True):
            sampler = UniformFrames(8, random)
            for seed in range(20):
                generator = torch.Generator().manual_seed(seed)
                draws = {
                    "begin": torch.tensor([0]), "count": count,
                    "ticket": torch.rand((1, 9), generator=generator) if random
                    else torch.full((1, 9), 0.5),
                }  # fmt: skip
                chosen = sampler.frames_of(draws, count)[0]
                assert chosen.min() >= 0
                assert chosen.max() < frames
                if frames >= 8:
                    assert (chosen.diff() >= 1).all(), "each frame once, in order"
                    assert (chosen.diff() <= 2 * -(-frames // 8)).all()
                else:
                    assert ((chosen.diff() == 1) | (chosen.diff() == 1 - frames)).all()


def test_a_random_part_stays_within_its_shares(tmp_path: Path, rng: np.random.Generator) -> None:
    clips = [clip_of(f"c{i}", {0: (0, body(rng, 40))}, 40) for i in range(30)]
    reader = reader_of(tmp_path, clips)
    sampler = UniformFrames(8, random=True, proportion=(0.5, 0.75))
    rows = torch.arange(30)
    draws = sampler.draw(ClipRandom(0, 0, rows), reader.read(rows))
    assert int(draws["count"].min()) >= 20
    assert int(draws["count"].max()) <= 30
    assert (draws["begin"] + draws["count"] <= 40).all()
    assert len(set(draws["begin"].tolist())) > 3


def test_pixels_are_brought_to_one_by_the_picture_of_each_clip(tmp_path: Path) -> None:
    joints = np.tile(np.array([160.0, 60.0, 0.9], np.float32), (2, 17, 1))
    joints[1, 3, 2] = 0.005
    clips = [clip_of("a", {0: (0, joints)}, 2, width=320, height=240),
             clip_of("b", {0: (0, joints)}, 2)]  # fmt: skip
    reader = reader_of(tmp_path, clips, COCO)
    configs = [{"name": "fit_image", "width": 640, "height": 480},
               {"name": "pick_frames", "length": 2}]  # fmt: skip
    found = made(reader, configs)[:, 0]
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([0.0, -0.5, 0.9]))
    torch.testing.assert_close(found[1, 0, 0], torch.tensor([-0.5, -0.75, 0.9]))
    assert not found[:, 1, 3].any()
    kept = made(reader, configs, original=True)[:, 0, 1, 3]
    torch.testing.assert_close(kept, torch.tensor([[0.0, 0.0, 0.005]] * 2))


def test_noise_by_extent_grows_with_the_person(tmp_path: Path, rng: np.random.Generator) -> None:
    small = body(rng, 30)
    clips = [clip_of("small", {0: (0, small)}, 30), clip_of("large", {0: (0, 10 * small)}, 30)]
    reader = reader_of(tmp_path, clips)
    sampling = {"name": "pick_frames", "length": 30}
    noise = {"name": "noise", "deviation": 0.01, "of_extent": True}
    moved = made(reader, [sampling, noise]) - made(reader, [sampling])
    lengths = moved[:, 0].norm(dim=-1)  # (N, T, V)
    extent = torch.from_numpy(small.max(1) - small.min(1)).norm(dim=-1)[:, None]
    for row, factor in ((0, 1.0), (1, 10.0)):
        share = lengths[row] / (factor * extent)
        assert 0.009 < float(share.square().mean().sqrt()) < 0.011


def test_each_axis_is_scaled_by_itself(tmp_path: Path, rng: np.random.Generator) -> None:
    reader = reader_of(tmp_path, [clip_of("a", {0: (0, body(rng, 4))}, 4)])
    sampling = {"name": "pick_frames", "length": 4}
    ratio = made(reader, [sampling, {"name": "scale_axes", "limit": 0.2}]) / made(
        reader, [sampling]
    )
    factors = ratio[0, 0, 0, 0]
    torch.testing.assert_close(ratio[0, 0], factors.expand_as(ratio[0, 0]))
    assert len(set(factors.tolist())) == 3
    assert ((factors > 0.8) & (factors < 1.2)).all()


def test_the_original_takes_the_mean_of_scores() -> None:
    joints = torch.rand(3, 17, 3)
    score = joints[..., 2]
    bones = make_stream(joints, COCO, "bone", original=True)
    torch.testing.assert_close(bones[..., 2], (score + score[:, list(COCO.bone_parents)]) / 2)
    moved = make_stream(joints, COCO, "joint-motion", original=True)
    torch.testing.assert_close(moved[:2, :, 2], (score[1:] + score[:-1]) / 2)
    assert not moved[2].any()
    for stream in ("bone", "joint-motion"):
        theirs = make_stream(joints, COCO, stream, original=True)[..., :2]
        assert torch.equal(theirs, make_stream(joints, COCO, stream)[..., :2])
        assert torch.equal(make_stream(joints, COCO, stream)[..., 2], score)
