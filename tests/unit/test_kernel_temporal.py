"""The temporal branches: interpreted kernels and plain operations against float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.kernels import temporal_branches as module
from kinegraph.kernels.dispatch import chosen_kernels, set_kernels
from kinegraph.kernels.norm_act import Norm, Running
from kinegraph.kernels.temporal_branches import check_branches, temporal_branches

pytest.importorskip("triton")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EPSILON = 1e-5


@pytest.fixture(params=["plain", "fused"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let each test run by plain operations and by kernels, on a GPU where there is one."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = chosen_kernels()
    set_kernels(request.param)
    with DEVICE:
        yield request.param
    set_kernels(before)


@dataclass(frozen=True)
class Case:
    """Sizes of one problem."""

    rows: int = 2
    width: int = 16
    frames: int = 9
    joints: int = 5
    stride: int = 1
    taps: int = 5
    dilations: tuple[int, ...] = (1, 2)

    def random(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """z, scale, shift, then the weights and the biases of every convolution."""
        branches, width = len(self.dilations), self.width
        z = torch.randn(self.rows, (branches + 2) * width, self.frames, self.joints) * 2 + 0.5
        z = z.to(dtype).contiguous(memory_format=torch.channels_last)
        scale, shift = torch.randn(2, (branches + 1) * width)
        shapes = [(width, width, self.taps, 1)] * branches + [(width,)] * branches
        return [z, scale, shift, *(torch.randn(shape) for shape in shapes)]

    def run(self, tensors: list[Tensor], weight: Tensor | None = None) -> Tensor:
        z, scale, shift, *others = tensors
        norm, convolutions = Norm(scale, shift, weight=weight), len(self.dilations)
        return temporal_branches(
            z, norm, others[:convolutions], others[convolutions:], self.stride, self.dilations
        )

    def reference(self, tensors: list[Tensor], weight: Tensor | None = None) -> Tensor:
        """What it should be, by PyTorch's own operations; autograd differentiates it."""
        z, scale, shift, *others = tensors
        last = z[:, len(scale) :, :: self.stride]
        rectified = normalised(z[:, : len(scale)], scale, shift, weight).relu()
        *parts, largest = rectified.split(self.width, dim=1)
        convolutions = [
            functional.conv2d(
                part, kernel, bias, (self.stride, 1), (self.taps // 2 * dilation, 0), (dilation, 1)
            )
            for part, kernel, bias, dilation in zip(
                parts, others[: len(parts)], others[len(parts) :], self.dilations, strict=True
            )
        ]
        largest = functional.max_pool2d(largest, (3, 1), (self.stride, 1), (1, 0))
        return torch.cat((*convolutions, largest, last), dim=1)

    def compare(
        self, tensors: list[Tensor], weight: Tensor | None = None, tolerance: float = 2e-5
    ) -> None:
        """Compare value and all gradients with the reference."""
        given = [tensor.detach().requires_grad_() for tensor in tensors]
        exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
        found, expected = self.run(given, weight), self.reference(exact, weight)
        assert found.dtype == given[0].dtype
        close(found, expected, tolerance)
        arriving = torch.randn(expected.shape)  # contiguous, unlike the result of a kernel
        for one, other in zip(
            torch.autograd.grad(found, given, arriving.to(found.dtype)),
            torch.autograd.grad(expected, exact, arriving.double()),
            strict=True,
        ):
            close(one, other, 5 * tolerance)


def normalised(x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor | None) -> Tensor:
    share = torch.ones(len(x)) if weight is None else weight
    share = share.to(x.dtype)[:, None, None, None].expand_as(x)
    total = share.sum((0, 2, 3))
    mean = ((x * share).sum((0, 2, 3)) / total)[:, None, None]
    variance = (((x - mean).square() * share).sum((0, 2, 3)) / total)[:, None, None]
    return (x - mean) / (variance + EPSILON).sqrt() * scale[:, None, None] + shift[:, None, None]


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    size = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * size)


CASES = [
    Case(),
    Case(stride=2),
    Case(rows=1, frames=8, stride=2, joints=17),
    Case(rows=3, width=5, frames=7, joints=20),
    Case(rows=1, width=4, frames=13, joints=25, stride=2),
    Case(rows=2, width=20, frames=5, joints=5),
    Case(rows=1, width=33, frames=5, joints=5, stride=2),
    Case(rows=2, width=8, frames=1, joints=5),
    Case(rows=2, width=8, frames=2, joints=5, stride=2),
    Case(width=8, taps=3, dilations=(1, 2, 3)),
    Case(width=8, taps=7, dilations=(2,)),
    Case(rows=2, width=1, frames=11, joints=3, stride=3),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value_and_gradients(case: Case) -> None:
    case.compare(case.random())


@pytest.mark.parametrize("stride", [1, 2])
def test_weighted_rows(stride: int) -> None:
    case = Case(rows=3, width=8, stride=stride)
    case.compare(case.random(), torch.tensor([1.0, 0.0, 3.0]))


@pytest.mark.parametrize("layout", ["contiguous", "slice of channels", "every second frame"])
def test_layouts_of_memory(layout: str) -> None:
    case = Case(rows=2, width=4, frames=6)
    tensors = case.random()
    z = tensors[0]
    if layout == "contiguous":
        z = z.contiguous()
    elif layout == "slice of channels":
        z = torch.cat((z, z, z), 1).contiguous(memory_format=torch.channels_last)[:, 16:32]
    else:
        z = z.repeat_interleave(2, 2).contiguous(memory_format=torch.channels_last)[:, :, ::2]
    assert layout == "contiguous" or not z.is_contiguous(memory_format=torch.channels_last)
    case.compare([z, *tensors[1:]])


def test_many_blocks_and_chunks(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "fused":
        from kinegraph.kernels import temporal_branches_operators as operators

        monkeypatch.setattr(operators, "TILE", 64)
        monkeypatch.setattr(operators, "FEWEST", 16)
        monkeypatch.setattr(operators, "PROGRAMS", 6)
    for stride in (1, 2):
        case = Case(rows=3, width=6, frames=7, joints=7, stride=stride)
        case.compare(case.random())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    """Against the same steps in full precision, from the same rounded numbers.

    Numbers that differ by less than what is rounded off may be the largest in one and not in the
    other, and one ReLU may open where the other does not: gradients agree on the whole only.
    """
    case = Case(width=16, frames=11)
    tensors = case.random(dtype)
    given = [tensor.requires_grad_() for tensor in tensors]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    found, expected = case.run(given), case.reference(exact)
    assert found.dtype == dtype
    close(found, expected, 2e-2)
    arriving = torch.randn(expected.shape)
    for one, other in zip(
        torch.autograd.grad(found, given, arriving.to(dtype)),
        torch.autograd.grad(expected, exact, arriving.double()),
        strict=True,
    ):
        assert float((one.double() - other).norm() / other.norm()) < 3e-2


@pytest.mark.parametrize("stride", [1, 2])
def test_of_equal_numbers_the_first_gets_the_gradient(stride: int) -> None:
    case = Case(rows=2, width=4, frames=20, joints=5, stride=stride)
    tensors = case.random()
    z, (_, scale, shift) = tensors[0].round(), tensors[:3]  # many equal ones
    tensors[0] = z
    largest = normalised(z[:, :12], scale, shift, None)[:, 8:]
    equal = (largest[:, :, 1:] == largest[:, :, :-1]) & (largest[:, :, 1:] > 0)
    assert equal.sum() > 20
    case.compare(tensors)


def test_no_rows() -> None:
    case = Case(rows=0, width=4)
    tensors = [tensor.requires_grad_() for tensor in case.random()]
    y = case.run(tensors)
    gradients = torch.autograd.grad(y.sum(), tensors)
    assert y.shape == tensors[0].shape
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("stride", [1, 2])
def test_fixed_statistics(stride: int) -> None:
    case = Case(rows=2, width=4, stride=stride)
    z, scale, shift, *others = (tensor.requires_grad_() for tensor in case.random())
    running = Running(torch.randn(12), torch.rand(12) + 0.5, torch.tensor(3), 0.1)
    norm = Norm(scale, shift, running, training=False)
    found = temporal_branches(z, norm, others[:2], others[2:], stride, case.dilations)
    plain = functional.batch_norm(z[:, :12], running.mean, running.variance, scale, shift).relu()
    first, second, largest = plain.split(4, dim=1)
    expected = torch.cat(
        (
            functional.conv2d(first, others[0], others[2], (stride, 1), (2, 0)),
            functional.conv2d(second, others[1], others[3], (stride, 1), (4, 0), (2, 1)),
            functional.max_pool2d(largest, (3, 1), (stride, 1), (1, 0)),
            z[:, 12:, ::stride],
        ),
        dim=1,
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    found, expected = (
        torch.autograd.grad(y.square().sum(), [z, scale, others[1]]) for y in (found, expected)
    )
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)
    assert running.batches == 3


def test_running_statistics_move() -> None:
    case = Case(width=4)
    z, scale, shift, *others = case.random()
    running = Running(torch.zeros(12), torch.ones(12), torch.tensor(0), 1.0)
    norm = Norm(scale, shift, running)
    temporal_branches(z, norm, others[:2], others[2:], 1, case.dilations)
    torch.testing.assert_close(running.mean, z[:, :12].mean((0, 2, 3)))
    torch.testing.assert_close(running.variance, z[:, :12].var((0, 2, 3)))


def test_not_a_number_is_not_hidden() -> None:
    case = Case(width=4)
    tensors = case.random()
    tensors[0][1, 9, 3, 2] = float("nan")  # in the branch of the maximum
    y = case.run(tensors)
    assert y[:, 9].isnan().all()
    assert y[:, :8].isfinite().all()


def test_the_same_input_gives_the_same_bits() -> None:
    case = Case(width=8, joints=25)
    tensors = [tensor.requires_grad_() for tensor in case.random()]
    results = []
    for _ in range(2):
        y = case.run(tensors)
        results.append((y, *torch.autograd.grad(y.square().sum(), tensors)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_wide_branches_are_left_to_plain_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WIDEST", 3)
    monkeypatch.setattr(module, "_by_kernels", None)
    case = Case(rows=1, width=4)
    case.compare(case.random())


# PyTorch's own tracer makes the object that PyTorch warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_break() -> None:
    case = Case(width=4, frames=5)
    tensors = [tensor.requires_grad_() for tensor in case.random()]

    def step() -> Tensor:
        return case.run(tensors).square()

    torch._dynamo.reset()
    results = []
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        y = function()
        results.append((y, *torch.autograd.grad(y.sum(), tensors)))
    torch.testing.assert_close(*results)


def test_the_check_accepts_the_kernels_and_finds_wrong_ones(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "plain":
        pytest.skip("checks kernels")
    from kinegraph.kernels import temporal_branches_operators as operators

    assert check_branches(DEVICE) < 3e-4
    packed = operators._packed
    monkeypatch.setattr(operators, "_packed", lambda weights, z: packed(weights, z).flip(1))
    assert check_branches(DEVICE) > 1e-3
