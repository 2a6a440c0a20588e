"""From ragged clips to T frames: crop and resize, picked frames, windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from kinegraph.skeleton import load_layout
from kinegraph.transforms import CropResizeConfig, PickFramesConfig
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.sampling import (
    CropResize,
    PickFrames,
    Window,
    gather_frames,
    resize_positions,
)
from kinegraph.transforms.tracks import RaggedTracks

SBU = load_layout("sbu15")
lengths = st.integers(1, 150)


def tracks_of(clips: list[Tensor]) -> RaggedTracks:
    """Return clips (T, V, C) with one person each, one after the other in memory."""
    frames = torch.tensor([len(clip) for clip in clips])
    ends = frames.cumsum(0)
    return RaggedTracks(
        joints=torch.cat(clips),
        offset=ends - frames,
        length=frames,
        first=torch.zeros_like(frames),
        clip=torch.arange(len(clips)),
        person=torch.zeros_like(frames),
        frames=frames,
        persons=1,
        skeleton=SBU,
    )


def some_clip(frames: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(frames, 15, 3, generator=random)


def counting_clip(frames: int) -> Tensor:
    """Return a clip whose coordinates are the number of the frame, from 1."""
    return torch.arange(1.0, frames + 1)[:, None, None].expand(frames, 15, 3).contiguous()


def draws_for(count: int, seed: int = 0) -> ClipRandom:
    return ClipRandom(seed, 0, torch.arange(count))


SAMPLERS = [
    CropResize(20, 0.95, 64),
    CropResize(20, (0.5, 1.0), 8),
    PickFrames(20, False),
    PickFrames(20, True),
]


@given(st.lists(lengths, min_size=1, max_size=4), st.sampled_from(SAMPLERS), st.integers(0, 99))
def test_a_constant_sequence_stays_constant(frames: list[int], sampler: object, seed: int) -> None:
    pose = some_clip(1, seed)
    tracks = tracks_of([pose.expand(count, 15, 3).contiguous() for count in frames])
    draws = sampler.draw(draws_for(len(frames), seed), tracks)  # type: ignore[attr-defined]
    sampled = sampler.apply(tracks, draws).joints  # type: ignore[attr-defined]
    assert sampled.shape == (len(frames), 20, 15, 3)
    torch.testing.assert_close(sampled, pose.expand(len(frames), 20, 15, 3).contiguous())


@given(lengths, st.integers(1, 80))
def test_resizing_is_torch_interpolation(frames: int, length: int) -> None:
    clip = some_clip(frames)
    frame, weight = resize_positions(torch.tensor([frames]), length)
    found = gather_frames(tracks_of([clip]), frame, weight).joints[0]
    flat = clip.reshape(1, frames, -1).transpose(1, 2)
    expected = functional.interpolate(flat, size=length, mode="linear", align_corners=False)
    expected = expected.transpose(1, 2).view(length, 15, 3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


@given(lengths, st.floats(0.05, 1))
def test_one_proportion_takes_the_middle(frames: int, proportion: float) -> None:
    tracks = tracks_of([counting_clip(frames)])
    draws = CropResize(8, proportion, 64).draw(draws_for(1), tracks)
    begin, crop = int(draws["begin"]), int(draws["crop"])
    assert crop >= 1
    assert begin == frames - begin - crop, "as much is cut on either side"
    assert abs(crop - proportion * frames) <= 2


@given(lengths, st.integers(0, 1000), st.integers(1, 64))
def test_a_random_part_lies_in_the_clip(frames: int, seed: int, minimum: int) -> None:
    tracks = tracks_of([counting_clip(frames)])
    draws = CropResize(8, (0.5, 1.0), minimum).draw(draws_for(1, seed), tracks)
    begin, crop = int(draws["begin"]), int(draws["crop"])
    assert begin >= 0
    assert begin + crop <= frames
    assert crop >= min(minimum, frames)
    assert crop >= int(0.5 * frames)


def test_random_parts_reach_both_ends() -> None:
    tracks = tracks_of([counting_clip(40)] * 2000)
    draws = CropResize(8, (0.5, 1.0), 4).draw(draws_for(2000), tracks)
    end = draws["begin"] + draws["crop"]
    assert draws["begin"].min() == 0
    assert end.max() == 40
    assert draws["crop"].min() == 20
    assert draws["crop"].max() >= 39


@given(lengths, st.integers(1, 90))
def test_spread_frames_are_those_of_numpy(frames: int, length: int) -> None:
    tracks = tracks_of([counting_clip(frames)])
    found = PickFrames(length, False).draw(draws_for(1), tracks)["frame"][0]
    expected = np.linspace(0, frames - 1, length).astype(int)
    np.testing.assert_array_equal(found.numpy(), expected)


@given(st.lists(lengths, min_size=1, max_size=5), st.integers(1, 90), st.integers(0, 1000))
def test_picked_frames_are_a_valid_sample(frames: list[int], length: int, seed: int) -> None:
    tracks = tracks_of([counting_clip(count) for count in frames])
    picked = PickFrames(length, True).draw(draws_for(len(frames), seed), tracks)["frame"]
    assert picked.shape == (len(frames), length)
    assert (picked >= 0).all()
    assert (picked < tracks.frames[:, None]).all()
    assert (picked.diff(dim=1) >= 0).all(), "sorted"
    most = max(int(row.bincount().max()) for row in picked)
    assert most <= 100, "there are a hundred copies of each frame"


def test_picked_frames_are_drawn_without_replacement() -> None:
    """Two copies of two frames hold four tickets; three of them always include both frames."""
    tracks = tracks_of([counting_clip(2)] * 500)
    picked = PickFrames(3, True, copies=2).draw(draws_for(500), tracks)["frame"]
    assert (picked.sum(1) >= 1).all()
    assert (picked.sum(1) <= 2).all()


def test_every_frame_is_picked_equally_often() -> None:
    tracks = tracks_of([counting_clip(10)] * 3000)
    picked = PickFrames(5, True).draw(draws_for(3000), tracks)["frame"]
    counts = picked.reshape(-1).bincount(minlength=10)
    assert (counts - 1500).abs().max() < 200  # more than five standard deviations


@given(lengths, st.integers(1, 150), st.integers(0, 1000))
def test_a_window_holds_a_run_of_frames_and_zeros(frames: int, length: int, seed: int) -> None:
    tracks = tracks_of([counting_clip(frames)])
    for random in (False, True):
        window = Window(length, random)
        draws = window.draw(draws_for(1, seed), tracks)
        values = window.apply(tracks, draws).joints[0, :, 0, 0]
        seen = values[values > 0]
        assert len(seen) == min(frames, length)
        assert (seen.diff() == 1).all()
        inside = values.nonzero()[:, 0]
        assert int(inside[-1] - inside[0]) + 1 == len(seen), "zeros only around it"
        if not random:
            assert int(inside[0]) == 0
            assert int(seen[0]) - 1 == max(frames - length, 0) // 2


@pytest.mark.parametrize(("frames", "length", "ends"), [(30, 10, (0, 20)), (10, 30, (-20, 0))])
def test_random_windows_reach_both_ends(frames: int, length: int, ends: tuple[int, int]) -> None:
    tracks = tracks_of([counting_clip(frames)] * 500)
    begin = Window(length, True).draw(draws_for(500), tracks)["begin"]
    assert (int(begin.min()), int(begin.max())) == ends


def test_a_person_who_comes_late_is_zero_before() -> None:
    clip = counting_clip(6)
    tracks = RaggedTracks(
        joints=torch.cat((clip, clip[:3])),
        offset=torch.tensor([0, 6]),
        length=torch.tensor([6, 3]),
        first=torch.tensor([0, 2]),
        clip=torch.tensor([0, 0]),
        person=torch.tensor([0, 1]),
        frames=torch.tensor([6]),
        persons=2,
        skeleton=SBU,
    )
    window = Window(6, False)
    fixed = window.apply(tracks, window.draw(draws_for(1), tracks))
    assert fixed.joints[1, :, 0, 0].tolist() == [0, 0, 1, 2, 3, 0]
    assert fixed.present().tolist() == [[True, True]]
    halfway = gather_frames(tracks, torch.tensor([[1, 4]]), torch.tensor([[0.5, 0.5]]))
    assert halfway.joints[1, :, 0, 0].tolist() == [0.5, 1.5], "blends towards zero at its ends"


def test_half_precision_stores_give_single_precision() -> None:
    clip = some_clip(9).half()
    sampled = PickFrames(4, False)
    tracks = tracks_of([clip])
    assert sampled.apply(tracks, sampled.draw(draws_for(1), tracks)).joints.dtype == torch.float32


@pytest.mark.parametrize("proportion", [0, -0.5, 1.5, (0.9, 0.5), (0, 1)])
def test_senseless_proportions_are_refused(proportion: object) -> None:
    with pytest.raises(ValidationError, match="proportion"):
        CropResizeConfig.model_validate({"proportion": proportion})


def test_no_frames_are_refused() -> None:
    with pytest.raises(ValidationError, match="length"):
        PickFramesConfig(length=0)
