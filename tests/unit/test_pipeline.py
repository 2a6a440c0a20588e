"""Lists of transforms."""

from __future__ import annotations

import math

import pytest
import torch

from kinegraph.errors import RecipeError
from kinegraph.skeleton import load_layout
from kinegraph.transforms import (
    CentreConfig,
    CropResizeConfig,
    MaskFramesConfig,
    MirrorConfig,
    PickFramesConfig,
    RotateConfig,
)
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.tracks import RaggedTracks

NTU = load_layout("ntu25")


def tracks_of(frames: int = 12) -> RaggedTracks:
    """Return one clip with one person, inside a longer array."""
    joints = torch.randn(frames + 5, 25, 3, generator=torch.Generator().manual_seed(0))
    return RaggedTracks(
        joints=joints,
        offset=torch.tensor([3]),
        length=torch.tensor([frames]),
        first=torch.tensor([0]),
        clip=torch.tensor([0]),
        person=torch.tensor([0]),
        frames=torch.tensor([frames]),
        persons=1,
        skeleton=NTU,
    )


@pytest.mark.parametrize(
    "configs",
    [
        [],
        [RotateConfig()],
        [PickFramesConfig(), CropResizeConfig()],
    ],
)
def test_exactly_one_transform_samples(configs: list) -> None:
    with pytest.raises(RecipeError, match="exactly one that samples"):
        Pipeline(configs, "joint", NTU)


@pytest.mark.parametrize(
    "configs", [[PickFramesConfig(), CentreConfig()], [RotateConfig(), PickFramesConfig()]]
)
def test_the_order_is_checked(configs: list) -> None:
    with pytest.raises(RecipeError, match="out of order"):
        Pipeline(configs, "joint", NTU)


def test_the_stream_is_checked() -> None:
    with pytest.raises(RecipeError, match="unknown stream 'joints'; nearest: 'joint'"):
        Pipeline([PickFramesConfig()], "joints", NTU)


def test_transforms_apply_in_order_and_the_stream_last() -> None:
    tracks, index = tracks_of(), torch.tensor([0])
    configs = [PickFramesConfig(length=6), RotateConfig(), MaskFramesConfig(share=0.5)]
    replay = [
        {"frame": torch.arange(6)[None]},
        {"angles": torch.tensor([[0.0, 0.0, torch.pi]])},
        {"frame": torch.tensor([[2, 4]])},
    ]
    found = Pipeline(configs, "joint-motion", NTU)(
        tracks, seed=0, epoch=0, index=index, replay=replay
    )
    expected = tracks.joints[3:9] * torch.tensor([-1.0, -1.0, 1.0])
    expected[[2, 4]] = 0
    torch.testing.assert_close(found.joints[0, :-1], expected.diff(dim=0), atol=1e-5, rtol=1e-5)


def test_transforms_do_not_share_draws() -> None:
    """Two rotations in one plane add up; with shared draws the second would repeat the first."""
    tracks, index = tracks_of(), torch.tensor([0])
    spin = RotateConfig(limits=(0, 0, 1))
    configs = [PickFramesConfig(length=12), spin, spin]
    once = Pipeline(configs[:2], "joint", NTU)(tracks, seed=0, epoch=0, index=index).joints
    twice = Pipeline(configs, "joint", NTU)(tracks, seed=0, epoch=0, index=index).joints
    start = tracks.joints[3:15][None]
    angles = [_angle(start, once), _angle(once, twice)]
    assert abs(angles[0] - angles[1]) > 0.01


def test_views_differ() -> None:
    tracks, index = tracks_of(), torch.tensor([0])
    pipeline = Pipeline([PickFramesConfig(length=6), RotateConfig()], "joint", NTU)
    first = pipeline(tracks, seed=0, epoch=0, index=index, view=0).joints
    assert not torch.equal(first, pipeline(tracks, seed=0, epoch=0, index=index, view=1).joints)


def test_a_mirror_of_every_clip_is_the_mirrored_clip() -> None:
    tracks, index = tracks_of(), torch.tensor([0])
    pipeline = Pipeline([PickFramesConfig(length=12), MirrorConfig(probability=1)], "joint", NTU)
    found = pipeline(tracks, seed=0, epoch=0, index=index).joints[0]
    expected = tracks.joints[3:15][:, list(NTU.mirror)] * torch.tensor([-1.0, 1, 1])
    assert torch.equal(found, expected)


def _angle(before: torch.Tensor, after: torch.Tensor) -> float:
    """Return by how much one point was turned about the z axis."""
    x, y, _ = before[0, 0, 0].tolist()
    u, v, _ = after[0, 0, 0].tolist()
    return (math.atan2(v, u) - math.atan2(y, x)) % (2 * math.pi)
