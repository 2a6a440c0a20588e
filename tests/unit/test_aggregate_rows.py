"""Mixing joints row by row on a processor, and keeping memory for it."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from kinegraph.kernels import aggregate as module
from kinegraph.kernels.aggregate import Refinement, aggregate_reference, project_and_aggregate
from kinegraph.kernels.aggregate_rows import aggregate_by_rows
from kinegraph.kernels.dispatch import set_kernels
from kinegraph.memory import keep_memory


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, dtype=torch.float64, generator=random).requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize(
    ("rows", "subsets", "channels", "frames", "joints", "relation"),
    [(3, 3, 8, 6, 5, 4), (1, 1, 3, 7, 17, 9), (2, 2, 5, 1, 20, 8), (2, 3, 4, 3, 25, 8)],
)
def test_results_and_gradients_are_those_of_the_reference(
    rows: int, subsets: int, channels: int, frames: int, joints: int, relation: int
) -> None:
    inputs = draw(
        rows + joints,
        (rows, subsets, channels, frames, joints),
        (1, subsets, joints, joints),
        (rows, subsets, relation, joints),
        (rows, subsets, relation, joints),
        (subsets, channels, relation),
        (subsets, channels),
        (1,),
    )
    found = aggregate_by_rows(*inputs)
    expected = aggregate_reference(inputs[0], inputs[1], Refinement(*inputs[2:]))
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(expected.shape, dtype=torch.float64).mT.contiguous().mT
    for mine, theirs in zip(
        torch.autograd.grad(found, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def some_problem(rows: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor, Refinement]:
    inputs = draw(
        0, (rows, 6, 5, 7), (12, 6), (12,), (1, 3, 7, 7),
        (rows, 3, 8, 7), (rows, 3, 8, 7), (3, 4, 8), (3, 4), (1,),
    )  # fmt: skip
    x, weight, bias, base, *rest = (tensor.detach().float() for tensor in inputs)
    return x, weight, bias, base, Refinement(*rest)


def test_processors_go_by_rows_unless_plain_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def note(*tensors: Tensor) -> Tensor:
        calls.append(len(tensors))
        return aggregate_by_rows(*tensors)

    monkeypatch.setattr(module, "aggregate_by_rows", note)
    found = project_and_aggregate(*some_problem())
    assert calls == [7]
    set_kernels("plain")
    try:
        expected = project_and_aggregate(*some_problem())
    finally:
        set_kernels("auto")
    assert calls == [7]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_batch_without_rows_gives_none() -> None:
    assert project_and_aggregate(*some_problem(rows=0)).shape == (0, 4, 5, 7)
    mixed = module._mix_first(torch.zeros(0, 3, 5, 7), torch.ones(8, 3), torch.ones(1, 2, 7, 7))
    assert mixed.shape == (0, 4, 5, 7)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_is_kept_by_the_process() -> None:
    # In a process of its own: the setting stays as long as the process.
    program = (
        "import ctypes, resource\n"
        "from kinegraph.memory import keep_memory\n"
        "assert keep_memory()\n"
        "take = ctypes.CDLL(None)\n"
        "take.malloc.restype, take.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]\n"
        "take.free.argtypes = [ctypes.c_void_p]\n"
        "def use():\n"
        "    block = take.malloc(2**26); ctypes.memset(block, 1, 2**26); take.free(block)\n"
        "use()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "use()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 1000  # 2**26 bytes given back would be 16,384 pages


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_memory()
