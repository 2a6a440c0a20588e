"""What a device can do at best, measured on it: products of matrices, and copies of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

from kinegraph.benchmarking.timing import rounds_of

ROUNDS = 5
SECONDS = 1.0  # for each of the two
MATRIX = {"cuda": 8192}  # rows of a matrix; large enough that starting a product costs nothing
COPY_BYTES = {"cuda": 2 << 30}  # many times the cache
OTHER_MATRIX, OTHER_COPY_BYTES = 1024, 128 << 20
FRAME = 40  # rows and columns of what a convolution goes over

Run = Callable[[], object]


@dataclass(frozen=True)
class Ceilings:
    """The most that was reached on a device.

    Attributes:
        flops: Operations a second in products of matrices; a multiplication and an addition are
            two.
        bytes: Bytes a second that a copy reads and writes.
        dtype: Type of the numbers in the products.
    """

    flops: float
    bytes: float
    dtype: str


def measure_ceilings(
    device: torch.device,
    dtype: torch.dtype,
    *,
    matrix: int | None = None,
    copy_bytes: int | None = None,
    seconds: float = SECONDS,
) -> Ceilings:
    """Measure them with random numbers; products of zeros are quicker than others.

    Args:
        device: The device.
        dtype: Type of the numbers in the products.
        matrix: Rows and columns of a matrix; default: by device.
        copy_bytes: Bytes that are copied; default: by device.
        seconds: For each of the two measurements.
    """
    size = matrix or MATRIX.get(device.type, OTHER_MATRIX)
    products = list(_products(device, dtype, size))
    share = seconds / len(products)
    with torch.no_grad():
        flops = max(count / _best(run, device, share) for run, count in products)
    count = (copy_bytes or COPY_BYTES.get(device.type, OTHER_COPY_BYTES)) // 4
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)
    copy = _best(lambda: target.copy_(source), device, seconds)
    return Ceilings(flops, bytes=2 * 4 * count / copy, dtype=str(dtype).split(".")[-1])


def _products(device: torch.device, dtype: torch.dtype, size: int) -> Iterator[tuple[Run, int]]:
    """Yield what multiplies and adds, and how many operations it takes.

    On a CPU a convolution too: other libraries do it, and some are the quicker ones.
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    yield lambda: torch.mm(a, b, out=out), 2 * size**3
    if device.type == "cpu":
        channels = max(1, size // 16)
        x = torch.randn(16, channels, FRAME, FRAME, device=device).to(dtype)
        weight = torch.randn(channels, channels, 1, 1, device=device).to(dtype)
        yield lambda: functional.conv2d(x, weight), 2 * 16 * FRAME**2 * channels**2


def _best(run: Run, device: torch.device, seconds: float) -> float:
    """Return the seconds of the quickest round: a limit is what was reached once."""
    for _ in range(2):
        run()
    return min(rounds_of(run, device, rounds=ROUNDS, seconds=seconds))
