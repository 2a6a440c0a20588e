"""Rows of `bench_gpu` about the device and single kernels: right first, then how fast.

Every kernel is compared, forward and backward, with its plain form in float64 at the sizes that it
has in a network. Not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from gpu_networks import precise
from gpu_report import Found, Line, Place, Row
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from kinegraph.benchmarking.ceilings import measure_ceilings
from kinegraph.benchmarking.timing import rounds_of, seconds_of
from kinegraph.kernels import dispatch
from kinegraph.kernels.aggregate import Refinement, project_and_aggregate
from kinegraph.kernels.norm_act import Norm, norm_act
from kinegraph.kernels.temporal_branches import temporal_branches

JOINTS, SUBSETS = 25, 3
DTYPES = (torch.float32, torch.bfloat16)
FLOAT32_LIMIT = 1e-4
TIMES = "kernels, bf16, 512 people"
WARM_UP, ROUNDS, SECONDS = 5, 5, 0.3
LEVELS = ((64, 64), (128, 32), (256, 16))  # channels and frames of CTR-GCN's blocks
EPSILON = 1e-5


@dataclass(frozen=True)
class Case:
    """A computation that a kernel does, at one size.

    Attributes:
        kernel: Its name in `kinegraph.kernels.dispatch`.
        size: Words for the size.
        make: Draws the inputs: big ones (activations), then small ones (weights).
        run: The computation.
        big: How many of the inputs are activations.
        bfloat16_limit: How far results in bfloat16 may be from float64.
    """

    kernel: str
    size: str
    make: Callable[[Place], list[Tensor]]
    run: Callable[..., Tensor]
    big: int = 1
    bfloat16_limit: float = 2e-2

    def limit(self, dtype: torch.dtype) -> float:
        """Return how far results may be from float64."""
        return FLOAT32_LIMIT if dtype == torch.float32 else self.bfloat16_limit

    def inputs(self, place: Place, dtype: torch.dtype) -> list[Tensor]:
        """Draw inputs on the device; weights stay float32 unless all is float64."""
        drawn = self.make(place)
        weights = torch.promote_types(dtype, torch.float32)
        kinds = [dtype if i < self.big else weights for i in range(len(drawn))]
        return [
            tensor.to(place.device, kind).requires_grad_()
            for tensor, kind in zip(drawn, kinds, strict=True)
        ]


def draw(*shape: int) -> Tensor:
    """Draw normal numbers."""
    return torch.randn(shape)


def activations(rows: int, channels: int, frames: int) -> Tensor:
    """Draw (R, C, T, V), channels last in memory."""
    return draw(rows, frames, JOINTS, channels).permute(0, 3, 1, 2)


def rows_in(place: Place, checked: bool) -> int:
    """Return R: of a batch of 256 where it is timed, of fewer clips where it is compared."""
    return place.size(16 if checked else 512, 2)


def _refined(channels: int, frames: int, checked: bool, place: Place) -> list[Tensor]:
    rows, channels = rows_in(place, checked), place.size(channels, 16)
    relation, frames = max(8, channels // 8), place.size(frames, 5)
    return [
        activations(rows, channels, frames),
        draw(SUBSETS * channels, channels) / channels**0.5,
        draw(SUBSETS * channels),
        draw(1, SUBSETS, JOINTS, JOINTS) / 5,
        draw(rows, SUBSETS, relation, JOINTS),
        draw(rows, SUBSETS, relation, JOINTS),
        draw(SUBSETS, channels, relation) / relation**0.5,
        draw(SUBSETS, channels),
        torch.full((1,), 0.5),
    ]


def _run_refined(x: Tensor, weight: Tensor, bias: Tensor, base: Tensor, *parts: Tensor) -> Tensor:
    return project_and_aggregate(x, weight, bias, base, Refinement(*parts))


def _shared(channels: int, frames: int, checked: bool, place: Place) -> list[Tensor]:
    return _refined(channels, frames, checked, place)[:4]


def _normed(channels: int, frames: int, checked: bool, place: Place) -> list[Tensor]:
    rows, channels = rows_in(place, checked), place.size(channels, 16)
    frames = place.size(frames, 5)
    both = [activations(rows, channels, frames) for _ in range(2)]
    return [*both, draw(channels), draw(channels)]


def _run_normed(x: Tensor, residual: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return norm_act(x, Norm(scale, shift, epsilon=EPSILON), residual=residual, relu=True)


def _branched(channels: int, frames: int, stride: int, checked: bool, place: Place) -> list[Tensor]:
    rows, channels = rows_in(place, checked), place.size(channels, 16)
    width = channels // 4
    weights = [draw(width, width, 5, 1) / (5 * width) ** 0.5 for _ in range(2)]
    biases = [draw(width) for _ in range(2)]
    z = activations(rows, channels, place.size(frames, 6))
    return [z, draw(3 * width), draw(3 * width), *weights, *biases]


def _run_branched(stride: int, z: Tensor, scale: Tensor, shift: Tensor, *others: Tensor) -> Tensor:
    norm = Norm(scale, shift, epsilon=EPSILON)
    return temporal_branches(z, norm, others[:2], others[2:], stride, (1, 2))


def cases(*, checked: bool) -> Iterator[Case]:
    """Yield the cases, at the sizes of a comparison or of a time."""
    for channels, frames in LEVELS:
        size = f"{channels} channels, {frames} frames"
        make = partial(_refined, channels, frames, checked)
        yield Case("aggregation", f"refined, {size}", make, _run_refined)
        make = partial(_normed, channels, frames, checked)
        yield Case("batch norm", f"with residual and ReLU, {size}", make, _run_normed, big=2)
        for stride in (1, 2) if channels == 64 else (1,):
            make = partial(_branched, channels, frames, stride, checked)
            run = partial(_run_branched, stride)
            # The gradient of a maximum jumps where rounding changes who is the largest: plain
            # operations are off by as much.
            yield Case(
                "temporal branches", f"stride {stride}, {size}", make, run, bfloat16_limit=0.1
            )
    make = partial(_shared, 64, 300, checked)
    yield Case("aggregation", "shared, 64 channels, 300 frames", make, project_and_aggregate)


def _kernels(device: torch.device, kernels: dispatch.Choice) -> dispatch.Choice:
    """Return the choice; a CPU has kernels only where Triton interprets them."""
    return "plain" if device.type != "cuda" and not dispatch.interpreted() else kernels


def results(case: Case, inputs: Sequence[Tensor], gradient: Tensor | None) -> list[Tensor]:
    """Return the output and the gradients of all inputs, as ``gradient`` arrives."""
    out = case.run(*inputs)
    arriving = torch.cos(out.detach()) if gradient is None else gradient.to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, list(inputs), arriving)]


def check(case: Case, dtype: torch.dtype, place: Place) -> list[Found]:
    """How far a kernel is from plain operations in float64, in the worst of all results."""
    precise()
    torch.manual_seed(0)
    device = torch.device(place.device)
    inputs = case.inputs(place, dtype)
    dispatch.set_kernels("plain")
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wanted = results(case, exact, None)
    dispatch.set_kernels(_kernels(device, "fused"))
    found = results(case, inputs, torch.cos(wanted[0]))
    dispatch.set_kernels("plain")
    usual = distances(results(case, inputs, torch.cos(wanted[0])), wanted)
    far = distances(found, wanted)
    bad = not all(bool(torch.isfinite(tensor).all()) for tensor in found)
    details = {"each": far, "plain operations in this type": usual}
    return [Found([float("inf") if bad else max(far)], details)]


def distances(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[float]:
    """Return how far tensors are from others, relative to those."""
    return [
        float((a.double() - b).norm() / b.norm().clamp(min=1e-30))
        for a, b in zip(found, wanted, strict=True)
    ]


def self_check(kernel: str, place: Place) -> list[Found]:
    """The check that a kernel passes before it is first used."""
    precise()
    if torch.device(place.device).type != "cuda" and not dispatch.interpreted():
        return [Found([])]
    return [Found([dispatch._checks[kernel](torch.device(place.device))])]


def timed(case: Case, dtype: torch.dtype, place: Place) -> list[Found]:
    """Milliseconds forward, and forward and backward; plain ones and what is moved beside them."""
    precise()
    torch.manual_seed(0)
    device = torch.device(place.device)
    inputs = case.inputs(place, dtype)
    dispatch.set_kernels("plain")
    out = case.run(*inputs)
    arriving = torch.randn_like(out)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        case.run(*inputs)
    moved = sum(t.numel() * t.itemsize for t in (*inputs, out.detach()))
    flops = counter.get_total_flops()

    def forward() -> None:
        with torch.no_grad():
            case.run(*inputs)

    def both() -> None:
        torch.autograd.grad(case.run(*inputs), inputs, arriving)

    found = []
    for run in (forward, both):
        times: dict[str, list[float]] = {}
        for name in ("plain", "fused"):
            dispatch.set_kernels(_kernels(device, "plain" if name == "plain" else "fused"))
            seconds_of(run, device, place.size(WARM_UP, 1))
            rounds, seconds = place.size(ROUNDS, 1), place.size(1, 0) * SECONDS
            times[name] = rounds_of(run, device, rounds=rounds, seconds=seconds)
        quick = min(times["fused"])
        details: dict[str, Any] = {"plain_ms": 1e3 * min(times["plain"])}
        if run is forward:
            details |= {"gb_per_s": moved / quick / 1e9, "tflop_per_s": flops / quick / 1e12}
        found.append(Found([1e3 * seconds for seconds in times["fused"]], details))
    return found


def ceilings(dtype: torch.dtype, place: Place) -> list[Found]:
    """What the device does at best."""
    precise()
    matrix = 32 if place.smoke else None
    best = measure_ceilings(
        torch.device(place.device), dtype, matrix=matrix,
        copy_bytes=1 << 12 if place.smoke else None, seconds=place.size(1, 0),
    )  # fmt: skip
    return [Found([best.flops / 1e12]), Found([best.bytes / 1e12])]


def check_rows() -> list[Row]:
    """Return the rows that say whether kernels are right."""
    found = [
        Row(
            "correct",
            (Line(f"{kernel} kernel, its own check", "relative", must=dispatch.TOLERANCE),),
            partial(self_check, kernel),
            60,
        )
        for kernel in dispatch._checks
    ]
    for case in cases(checked=True):
        # Every size and type is compiled by itself; networks train in bfloat16.
        for dtype in DTYPES if " 64 channels" in case.size else DTYPES[1:]:
            kind = str(dtype).removeprefix("torch.")
            name = f"{case.kernel}, {case.size}, {kind}, from float64"
            run = partial(check, case, dtype)
            found.append(Row("correct", (Line(name, "relative", must=case.limit(dtype)),), run, 45))
    return found


def ceiling_rows() -> list[Row]:
    """Return the rows that measure the device."""
    lines = Line("product of matrices, bf16", "TFLOP/s"), Line("copy of memory", "TB/s")
    single = (Line("product of matrices, fp32 (no TF32)", "TFLOP/s"),)
    return [
        Row("device", lines, partial(ceilings, torch.bfloat16), 30),
        Row("device", single, partial(ceilings, torch.float32), 30),
    ]


def time_rows() -> list[Row]:
    """Return the rows that time kernels."""
    found = []
    for case in cases(checked=False):
        name = f"{case.kernel}, {case.size}"
        lines = Line(f"{name}: forward", "ms"), Line(f"{name}: both ways", "ms")
        found.append(Row(TIMES, lines, partial(timed, case, torch.bfloat16)))
    return found
