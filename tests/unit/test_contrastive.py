"""Augmentation for contrastive learning: what each does to frames, points and what is missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from kinegraph.skeleton import layout_names, load_layout
from kinegraph.transforms import TRANSFORMS
from kinegraph.transforms.augment import Mirror, Noise
from kinegraph.transforms.contrastive import (
    Blur,
    MaskAxis,
    MirrorCrop,
    ReverseTime,
    RotateAboutAxis,
    Shear,
)
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.tracks import FixedTracks

layouts = st.sampled_from(layout_names())
seeds = st.integers(0, 1000)
BLUR = Blur(1.0, 15, 0.1, 2.0)


def tracks_of(layout: str, frames: int = 12) -> FixedTracks:
    """Return three clips, the middle one with two people."""
    skeleton = load_layout(layout)
    shape = (4, frames, skeleton.joint_count, skeleton.coordinates.channels)
    return FixedTracks(
        joints=torch.randn(shape, generator=torch.Generator().manual_seed(0)),
        clip=torch.tensor([0, 1, 1, 2]),
        person=torch.tensor([0, 0, 1, 0]),
        clips=3,
        persons=2,
        skeleton=skeleton,
    )


def drawn_by(transform: object, tracks: FixedTracks, seed: int = 0) -> dict[str, Tensor]:
    random = ClipRandom(seed, 0, torch.arange(tracks.clips))
    draws: dict[str, Tensor] = transform.draw(random, tracks)  # type: ignore[attr-defined]
    return draws


def apply(transform: object, tracks: FixedTracks, seed: int = 0) -> Tensor:
    drawn = drawn_by(transform, tracks, seed)
    moved: FixedTracks = transform.apply(tracks, drawn)  # type: ignore[attr-defined]
    return moved.joints


def test_a_crop_reads_mirrored_frames_beyond_both_ends() -> None:
    tracks = tracks_of("ntu25")
    tracks.joints[:] = torch.arange(12.0)[None, :, None, None]
    cut = MirrorCrop(4).apply(tracks, {"begin": torch.tensor([0, 3, 6])}).joints[:, :, 0, 0]
    assert cut[0].tolist() == [2, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert cut[1].tolist() == cut[2].tolist() == list(range(12))
    assert cut[3].tolist() == [3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 10, 9]


def test_a_crop_begins_anywhere_in_the_longer_clip() -> None:
    tracks = replace(tracks_of("ntu25", frames=13), clips=2000)
    begin = drawn_by(MirrorCrop(6), tracks)["begin"]
    assert begin.unique().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(apply(MirrorCrop(20), tracks), tracks.joints), "too short to be longer"


def test_shear_adds_shares_of_the_other_axes() -> None:
    tracks = tracks_of("ntu25")
    x, y, z = tracks.joints.unbind(-1)
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]).expand(3, 6)
    found = Shear(1.0).apply(tracks, {"shares": shares}).joints
    expected = (x + 0.1 * y + 0.4 * z, 0.2 * x + y + 0.5 * z, 0.3 * x + 0.6 * y + z)
    torch.testing.assert_close(found, torch.stack(expected, -1))


def test_a_flat_layout_is_slanted_in_its_plane() -> None:
    tracks = tracks_of("coco17")
    x, y, score = tracks.joints.unbind(-1)
    shares = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]]).expand(3, 6)
    found = Shear(1.0).apply(tracks, {"shares": shares}).joints
    torch.testing.assert_close(found, torch.stack((x + 0.1 * y, 0.2 * x + y, score), -1))


@given(layouts, seeds)
def test_nothing_is_done_at_zero(layout: str, seed: int) -> None:
    tracks = tracks_of(layout)
    for transform in (Shear(0.0), RotateAboutAxis(0.0, 0.0)):
        torch.testing.assert_close(apply(transform, tracks, seed), tracks.joints)
    never = Blur(0.0, 15, 0.1, 2.0), MaskAxis(0.0), ReverseTime(0.0), Noise(1.0, probability=0.0)
    for transform in never:
        assert torch.equal(apply(transform, tracks, seed), tracks.joints)


def test_angles_are_positive_and_large_about_one_axis() -> None:
    tracks = replace(tracks_of("ntu25"), clips=4000)
    degrees = drawn_by(RotateAboutAxis(30, 1), tracks)["angles"] * 180 / math.pi
    assert degrees.min() >= 0
    ordered = degrees.sort(dim=1).values
    assert 29.9 < ordered[:, 2].max() <= 30
    assert 0.99 < ordered[:, 1].max() <= 1
    share = torch.bincount(degrees.argmax(1)) / 4000
    assert (share - 1 / 3).abs().max() < 0.05, "each axis is the main one as often"


def test_a_flat_layout_turns_as_about_its_main_axis() -> None:
    tracks = tracks_of("coco17")
    angles = drawn_by(RotateAboutAxis(30, 0), tracks)["angles"]
    assert (angles[:, 2] > 0).all()
    points = tracks.joints[..., :2]
    found = apply(RotateAboutAxis(30, 0), tracks)
    torch.testing.assert_close(found[..., :2].norm(dim=-1), points.norm(dim=-1))
    assert not torch.allclose(found[..., :2], points, atol=1e-3)
    assert torch.equal(found[..., 2], tracks.joints[..., 2])


@given(layouts, seeds)
def test_blurring_leaves_what_stands_still(layout: str, seed: int) -> None:
    tracks = tracks_of(layout)
    tracks.joints[:] = tracks.joints[:, :1].clone()
    torch.testing.assert_close(apply(BLUR, tracks, seed), tracks.joints)


def test_blurring_is_a_weighted_mean_of_near_frames() -> None:
    tracks = tracks_of("ntu25", frames=30)
    draws = {"sigma": torch.full((3,), 1.5), "on": torch.tensor([True, False, True])}
    found = BLUR.apply(tracks, draws).joints
    weight = torch.tensor([math.exp(-0.5 * (i / 1.5) ** 2) for i in range(-7, 8)])
    near = tracks.joints.unfold(1, 15, 1)  # (R, 16, V, C, 15), around the frames 7..22
    expected = near @ weight
    torch.testing.assert_close(found[0, 7:23], expected[0] / weight.sum())
    assert torch.equal(found[1:3], tracks.joints[1:3]), "only clips that are on"
    sums = replace(BLUR, original=True).apply(tracks, draws).joints
    torch.testing.assert_close(sums[0, 7:23], expected[0])
    torch.testing.assert_close(
        sums[0, 0], torch.einsum("tvc,t->vc", tracks.joints[0, :8], weight[7:])
    )


@pytest.mark.parametrize("layout", ["ntu25", "coco17"])
def test_blurring_neither_fills_nor_counts_what_is_missing(layout: str) -> None:
    tracks = tracks_of(layout)
    tracks.joints[:] = tracks.joints[:, :1].clone()
    if layout == "ntu25":
        tracks.joints[0, 4] = 0
    else:
        tracks.joints[0, 4, 3] = torch.tensor([100.0, 100.0, 0.0])
    torch.testing.assert_close(apply(BLUR, tracks), tracks.joints)
    assert not torch.allclose(apply(replace(BLUR, original=True), tracks), tracks.joints)


def test_no_weight_of_a_blur_is_subnormal() -> None:
    weights = BLUR._weights(torch.linspace(0.05, 2, 200), 50)
    assert weights[weights > 0].min() > torch.finfo(torch.float32).tiny


def test_a_confidence_is_not_blurred() -> None:
    tracks = tracks_of("coco17")
    found = apply(BLUR, tracks)
    assert torch.equal(found[..., 2], tracks.joints[..., 2])
    assert not torch.allclose(found[..., :2], tracks.joints[..., :2])


@given(layouts, seeds)
def test_one_axis_of_a_clip_is_masked(layout: str, seed: int) -> None:
    tracks = tracks_of(layout)
    size = tracks.skeleton.coordinates.positions
    axis = drawn_by(MaskAxis(1.0), tracks, seed)["axis"]
    found = apply(MaskAxis(1.0), tracks, seed)
    zero = (found == 0).all(2).all(1)  # (R, C)
    wanted = torch.nn.functional.one_hot(axis, found.shape[-1]).bool()
    assert torch.equal(zero, wanted[tracks.clip])
    assert torch.equal(found[~zero[:, None, None].expand_as(found)],
                       tracks.joints[~zero[:, None, None].expand_as(found)])  # fmt: skip
    assert not zero[:, size:].any(), "a confidence is no axis"


def test_time_is_reversed_and_twice_is_not() -> None:
    tracks = tracks_of("ntu25")
    draws = {"on": torch.tensor([True, False, True])}
    once = ReverseTime(0.5).apply(tracks, draws)
    assert torch.equal(once.joints[0], tracks.joints[0].flip(0))
    assert torch.equal(once.joints[1:3], tracks.joints[1:3])
    assert torch.equal(ReverseTime(0.5).apply(once, draws).joints, tracks.joints)


@given(layouts)
def test_sides_can_be_exchanged_without_a_mirror(layout: str) -> None:
    tracks = tracks_of(layout)
    draws = {"swap": torch.tensor([True, False, True])}
    exchanged = Mirror(0.5, exchange_only=True).apply(tracks, draws).joints
    other = list(tracks.skeleton.mirror)
    assert torch.equal(exchanged[0], tracks.joints[0][:, other])
    assert torch.equal(exchanged[1:3], tracks.joints[1:3])
    mirrored = Mirror(0.5).apply(tracks, draws).joints
    assert torch.equal(mirrored[0, ..., 0], -exchanged[0, ..., 0])


def test_some_clips_get_the_noise_that_all_would_get() -> None:
    tracks = replace(tracks_of("ntu25", frames=2), clips=40)
    every = drawn_by(Noise(0.1), tracks)["noise"]
    some = drawn_by(Noise(0.1, probability=0.5), tracks)["noise"]
    got = some.any(dim=1)
    assert 10 < int(got.sum()) < 30
    assert torch.equal(some[got], every[got])


def test_noise_of_the_original_moves_everything() -> None:
    tracks = tracks_of("ntu25")
    tracks.joints[0, 5] = 0
    noise = Noise(0.1, move_missing=True)
    moved = noise.apply(tracks, drawn_by(noise, tracks)).dense()
    assert moved[0, :, 5, :, 0].all()
    assert moved[0, ..., 1].all(), "absent people, too"
    assert moved[1:].all()


SHARES: list[tuple[str, Callable[[dict[str, Tensor]], Tensor]]] = [
    ("blur", lambda draws: draws["on"]),
    ("mask_axis", lambda draws: draws["on"]),
    ("reverse_time", lambda draws: draws["on"]),
    ("noise", lambda draws: draws["noise"].any(dim=1)),
]


@pytest.mark.parametrize(("name", "on"), SHARES, ids=[name for name, _ in SHARES])
def test_probabilities_are_kept(name: str, on: Callable[[dict[str, Tensor]], Tensor]) -> None:
    tracks = replace(tracks_of("sbu15", frames=2), clips=2000)
    config = TRANSFORMS[name].config.model_validate({"name": name, "probability": 0.25})
    transform = TRANSFORMS[name].build(config, tracks.skeleton, False)
    assert abs(float(on(drawn_by(transform, tracks)).float().mean()) - 0.25) < 0.03


@pytest.mark.parametrize(
    ("name", "values", "complaint"),
    [
        ("blur", {"taps": 14}, "taps is 14, which has no middle; give an odd number"),
        ("blur", {"low": 3.0}, "the deviation goes from 3 down to 2"),
        ("mirror_crop", {"ratio": 0}, "greater than or equal to 1"),
        ("shear", {"amplitude": -1.0}, "greater than or equal to 0"),
    ],
)
def test_values_that_make_no_sense(name: str, values: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        TRANSFORMS[name].config.model_validate({"name": name, **values})
