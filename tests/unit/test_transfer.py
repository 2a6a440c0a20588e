"""Batches that a thread makes in advance are the same ones, and the thread never outlives them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from kinegraph.batch import Batch
from kinegraph.data.transfer import carried, prefetch


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "kinegraph-batches"]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


def counted(limit: int, made: list[int]) -> Iterator[int]:
    for number in range(limit):
        made.append(number)
        yield number


def wait_for(made: list[int], count: int) -> None:
    deadline = time.monotonic() + 20
    while len(made) < count and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize("ahead", [1, 2, 50])
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_items_come_in_order(ahead: int, limit: int) -> None:
    assert list(prefetch(iter(range(limit)), ahead)) == list(range(limit))


def test_items_are_made_in_another_thread_ahead_of_time_but_not_further() -> None:
    made: list[int] = []
    items = prefetch(counted(100, made), 3)
    assert made == []
    assert next(items) == 0
    # Three wait, and one more is made that has no place yet.
    wait_for(made, 5)
    assert made == [0, 1, 2, 3, 4]
    time.sleep(0.02)
    assert len(made) == 5
    (thread,) = threads()
    assert thread is not threading.current_thread()
    items.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("clip 3")

    found: list[int] = []
    with pytest.raises(KeyError, match="clip 3") as caught:
        found.extend(prefetch(failing(), 5))
    assert found == [1, 2]
    assert "failing" in str(caught.traceback[-1]), "the place of the error is kept"


def test_stopping_early_stops_the_thread() -> None:
    made: list[int] = []
    for item in prefetch(counted(10**9, made), 2):
        if item == 5:
            break
    gc.collect()
    assert threads() == []
    assert len(made) < 12


def test_an_interrupt_where_items_are_used_stops_the_thread() -> None:
    def use() -> None:
        for _ in prefetch(counted(10**9, []), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    gc.collect()
    assert threads() == []


def test_a_thread_that_fails_while_nobody_asks_can_be_stopped() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError

    items = prefetch(failing(), 1)
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert threads() == []


def batches(count: int = 3) -> Iterator[tuple[Batch, ...]]:
    for number in range(count):
        index = torch.arange(2) + number
        x = torch.full((2, 3, 4, 5, 1), float(number))
        yield (Batch(x=x, label=index, index=index, present=torch.ones(2, 1, dtype=torch.bool)),)


def test_batches_are_carried_to_a_device() -> None:
    found = list(carried(batches(), torch.device("meta")))
    assert [batch.x.device.type for (batch,) in found] == ["meta"] * 3
    same = list(carried(prefetch(batches(), 2), torch.device("cpu")))
    for (one,), (two,) in zip(same, batches(), strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.index, two.index)


def test_who_stops_being_carried_to_stops_the_thread() -> None:
    ahead = prefetch(batches(10**6), 2)
    moved = carried(ahead, torch.device("cpu"))
    next(moved)
    assert len(threads()) == 1
    moved.close()  # type: ignore[attr-defined]
    assert threads() == []
