from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kinegraph.data.store import Store, open_store
from kinegraph.errors import TrainingError
from kinegraph.training.guards import FiniteGuard, Interrupted, Interruption


@pytest.fixture
def store(make_store: Callable[..., Path]) -> Store:
    return open_store(make_store())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_the_second_acts(number: int) -> None:
    caught: list[int] = []
    before = signal.signal(number, lambda number, frame: caught.append(number))
    try:
        with Interruption() as interruption:
            interruption.check()
            os.kill(os.getpid(), number)
            assert interruption.signal == number
            assert caught == []
            with pytest.raises(Interrupted, match=f"stopped by signal {int(number)}") as stop:
                interruption.check()
            assert stop.value.signal == number
            os.kill(os.getpid(), number)
            assert caught == [number]
        os.kill(os.getpid(), number)
        assert caught == [number, number]
    finally:
        signal.signal(number, before)


def test_losses_are_looked_at_in_bunches(store: Store) -> None:
    guard = FiniteGuard(store, interval=3)
    guard.watch(torch.tensor(1.0), torch.tensor([0, 1]))
    guard.watch(torch.tensor(float("inf")), torch.tensor([2, 3]))
    with pytest.raises(
        TrainingError, match=r"became inf in the batch of the clips clip 2, clip 3;"
    ):
        guard.watch(torch.tensor(float("nan")), torch.tensor([4]))


def test_finite_losses_pass(store: Store) -> None:
    guard = FiniteGuard(store, interval=2)
    for _ in range(5):
        guard.watch(torch.tensor(1.0), torch.tensor([0]))
    guard.look()
    guard.look_at(torch.nn.BatchNorm1d(3))


def test_weights_are_looked_at(store: Store) -> None:
    guard = FiniteGuard(store, interval=1)
    guard.watch(torch.tensor(1.0), torch.tensor([5]))
    module = torch.nn.BatchNorm1d(3)
    assert module.running_var is not None
    module.running_var[1] = float("inf")
    with pytest.raises(TrainingError, match=r"'running_var' are not finite after .* clips clip 5;"):
        guard.look_at(module)
