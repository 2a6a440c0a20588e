"""Draws that depend on (seed, epoch, clip, view) alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinegraph.transforms.random import ClipRandom, mix

CLIPS = torch.arange(20_000)


def golden_mix(value: int) -> int:
    """The finaliser of splitmix64, in whole numbers of any size."""
    value &= 2**64 - 1
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


@given(st.integers(-(2**63), 2**63 - 1))
def test_mix_is_the_published_function(value: int) -> None:
    found = int(mix(torch.tensor([value]))[0])
    assert found % 2**64 == golden_mix(value)


def test_uniform_numbers_are_uniform() -> None:
    drawn = ClipRandom(0, 0, CLIPS).uniform(3).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        counts, _ = np.histogram(column, bins=20, range=(0, 1))
        chi_square = ((counts - len(CLIPS) / 20) ** 2 / (len(CLIPS) / 20)).sum()
        assert chi_square < 45  # 19 degrees of freedom; one in a thousand is above 43.8


def test_normal_numbers_are_normal() -> None:
    drawn = ClipRandom(0, 0, CLIPS).normal(4)
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert abs(float((drawn.abs() < 1).float().mean()) - 0.6827) < 0.01
    related = np.corrcoef(drawn.abs().numpy(), rowvar=False) - np.eye(4)
    assert np.abs(related).max() < 0.05, "two that come from the same bits know nothing of it"
    assert torch.equal(ClipRandom(0, 0, CLIPS).normal(3)[:, 0], drawn[:, 0])


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_below_reaches_every_number_and_no_other(limit: int) -> None:
    drawn = ClipRandom(0, 0, CLIPS).below(limit, 2)
    assert drawn.dtype == torch.int64
    assert drawn.min() == 0
    assert drawn.max() == limit - 1
    counts = torch.bincount(drawn.reshape(-1), minlength=limit)
    assert counts.min() > 0.5 * drawn.numel() / limit - 5


def test_below_takes_a_limit_for_each_clip() -> None:
    limits = torch.tensor([1, 5, 300])
    drawn = ClipRandom(0, 0, torch.arange(3)).below(limits, 500)
    assert (drawn.max(1).values < limits).all()
    assert (drawn.max(1).values >= limits * 0.9 - 1).all()


def test_purposes_epochs_views_seeds_and_clips_are_independent() -> None:
    streams = [
        ClipRandom(seed, epoch, CLIPS, view=view, purpose=purpose).uniform()[:, 0].numpy()
        for seed, epoch, view, purpose in itertools.product((0, 1), repeat=4)
    ]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 0.035  # about five standard deviations
    neighbours = np.corrcoef(streams[0][:-1], streams[0][1:])[0, 1]
    assert abs(neighbours) < 0.035


def test_later_draws_are_new_ones() -> None:
    random = ClipRandom(0, 0, CLIPS)
    first, second = random.uniform()[:, 0], random.uniform()[:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.035
    both = ClipRandom(0, 0, CLIPS).uniform(2)
    assert torch.equal(both, torch.stack((first, second), 1))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.integers(0, 2**31 - 1))
def test_a_clip_draws_the_same_in_any_company(clips: list[int], seed: int) -> None:
    together = ClipRandom(seed, 3, torch.tensor(clips)).normal(3)
    for row, clip in enumerate(clips):
        alone = ClipRandom(seed, 3, torch.tensor([clip])).normal(3)
        assert torch.equal(alone[0], together[row])


def test_each_clip_may_have_its_own_epoch() -> None:
    clips, epochs = torch.tensor([4, 4, 9]), torch.tensor([0, 7, 7])
    together = ClipRandom(0, epochs, clips).uniform()
    assert together[0] != together[1]
    assert torch.equal(together[1:2], ClipRandom(0, 7, clips[:1]).uniform())
