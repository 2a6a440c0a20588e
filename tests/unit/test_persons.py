"""People as rows."""

from __future__ import annotations

import torch

from kinegraph.nn.persons import fold, pool


def test_rows_are_the_people_who_are_there() -> None:
    x = torch.arange(2 * 1 * 3 * 2 * 2, dtype=torch.float32).view(2, 1, 3, 2, 2)
    present = torch.tensor([[True, False], [True, True]])
    rows, layout = fold(x, present)
    assert rows.shape == (3, 1, 3, 2)
    assert torch.equal(rows[0], x[0, ..., 0])
    assert torch.equal(rows[1], x[1, ..., 0])
    assert torch.equal(rows[2], x[1, ..., 1])
    back = layout.unfold(rows)  # (N, M, C, T, V)
    assert torch.equal(back[1], x[1].permute(3, 0, 1, 2))
    assert not back[0, 1].any()


def test_pooling_is_the_mean_of_people_not_of_rows() -> None:
    x = torch.randn(3, 2, 4, 5, 2)
    present = torch.tensor([[True, True], [False, True], [True, False]])
    rows, layout = fold(x, present)
    pooled = pool(rows, layout)
    torch.testing.assert_close(pooled[0], x[0].mean((1, 2, 3)))
    torch.testing.assert_close(pooled[1], x[1, ..., 1].mean((1, 2)))
    torch.testing.assert_close(pooled[2], x[2, ..., 0].mean((1, 2)))


def test_without_present_empty_slots_count() -> None:
    x = torch.randn(2, 3, 4, 5, 2)
    x[..., 1] = 0
    rows, layout = fold(x, None)
    torch.testing.assert_close(pool(rows, layout), x[..., 0].mean((2, 3)) / 2)
    assert torch.equal(layout.unfold(rows), x.permute(0, 4, 1, 2, 3))


def test_a_clip_without_anyone_pools_to_zero() -> None:
    rows, layout = fold(torch.randn(2, 3, 4, 5, 1), torch.tensor([[False], [True]]))
    assert not pool(rows, layout)[0].any()
