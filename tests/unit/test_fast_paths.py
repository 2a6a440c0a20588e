"""The quick ways through sampling, rotation and draws give what the plain ways give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinegraph.skeleton import load_layout
from kinegraph.transforms.augment import transform_points
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.sampling import gather_frames
from kinegraph.transforms.tracks import RaggedTracks


@pytest.fixture
def tracks() -> RaggedTracks:
    """Two clips; the second person of the first enters late, and the second clip has only one."""
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(7 + 4 + 9, 25, 3, generator=generator).to(torch.float16)
    return RaggedTracks(
        joints=joints.to(torch.float32),
        offset=torch.tensor([0, 7, 11]),
        length=torch.tensor([7, 4, 9]),
        first=torch.tensor([0, 3, 0]),
        clip=torch.tensor([0, 0, 1]),
        person=torch.tensor([0, 1, 0]),
        frames=torch.tensor([7, 9]),
        persons=2,
        skeleton=load_layout("ntu25"),
    )


def plain(tracks: RaggedTracks, row: int, frame: int) -> torch.Tensor:
    own = frame - int(tracks.first[row])
    if not 0 <= own < int(tracks.length[row]):
        return torch.zeros(25, 3)
    return tracks.joints[int(tracks.offset[row]) + own].to(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("between", [False, True])
def test_frames_equal_those_read_one_by_one(
    tracks: RaggedTracks, dtype: torch.dtype, between: bool
) -> None:
    tracks = replace(tracks, joints=tracks.joints.to(dtype))
    frame = torch.tensor([[-1, 0, 2, 3, 6, 7], [0, 1, 5, 7, 8, 9]])
    weight = torch.linspace(0, 0.9, 12).view(2, 6) if between else torch.zeros(2, 6)
    made = gather_frames(tracks, frame, weight if between else None).joints
    for row, clip in enumerate(tracks.clip.tolist()):
        for step in range(6):
            here, w = int(frame[clip, step]), weight[clip, step]
            now, then = plain(tracks, row, here), plain(tracks, row, here + 1)
            torch.testing.assert_close(made[row, step], (1 - w) * now + w * then)


@pytest.mark.parametrize("points", [(2, 5), (64, 25), (63, 25), (52, 20)])
@pytest.mark.parametrize(("size", "channels"), [(3, 3), (2, 2), (2, 3)])
def test_points_are_multiplied_by_their_matrix(
    points: tuple[int, int], size: int, channels: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    joints = torch.randn(3, *points, channels, generator=generator)
    matrices = torch.randn(3, size, size, generator=generator)
    made = transform_points(joints, matrices)
    moved = torch.einsum("rij,rtvj->rtvi", matrices, joints[..., :size])
    torch.testing.assert_close(made[..., :size], moved)
    assert torch.equal(made[..., size:], joints[..., size:])


def test_absent_people_are_zero_in_the_batch(tracks: RaggedTracks) -> None:
    fixed = gather_frames(tracks, torch.tensor([[0, 4], [3, 5]]))
    x = fixed.dense()
    assert x.shape == (2, 3, 2, 25, 2)
    for row, (clip, person) in enumerate(zip(tracks.clip, tracks.person, strict=True)):
        assert torch.equal(x[clip, :, :, :, person].permute(1, 2, 0), fixed.joints[row])
    assert torch.count_nonzero(x[1, ..., 1]) == 0


@pytest.mark.parametrize("epoch", [3, torch.tensor([3, 3 << 20, 5])])
def test_purposes_share_no_draws_and_keep_their_own(epoch: int | torch.Tensor) -> None:
    index = torch.tensor([0, 7, 2**40])
    parent = ClipRandom(5, epoch, index, view=1)
    parent.uniform(4)
    made = parent.for_purpose(2).uniform(3)
    assert torch.equal(made, ClipRandom(5, epoch, index, view=1, purpose=2).uniform(3))
    assert not torch.equal(made, parent.for_purpose(1).uniform(3))


def test_draws_do_not_change_from_version_to_version() -> None:
    drawn = ClipRandom(7, 2, torch.tensor([0, 1]), view=1, purpose=3).uniform(2)
    epochs = ClipRandom(7, torch.tensor([2, 2]), torch.tensor([0, 1]), view=1, purpose=3).uniform(2)
    assert torch.equal(drawn, epochs)
    assert (drawn * 2**24).to(torch.int64).tolist() == [[1633631, 7578929], [11436826, 4452417]]
