from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from kinegraph.errors import TrainingError
from kinegraph.kernels import dispatch
from kinegraph.kernels.dispatch import chosen_kernels, register_kernel, set_kernels, use_kernels

FLOATS = torch.zeros(2)


@pytest.fixture(autouse=True)
def _undo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a process that has decided nothing, and put the choice back."""
    monkeypatch.setattr(dispatch, "_verdicts", {})
    monkeypatch.setattr(dispatch, "_checks", {})
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    before = chosen_kernels()
    yield
    set_kernels(before)


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the CPU for a device on which kernels can run, as ``auto`` sees a CUDA device."""
    pytest.importorskip("triton")
    monkeypatch.setattr(dispatch, "KERNEL_DEVICES", ("cpu",))
    set_kernels("auto")


def answers(*numbers: float) -> tuple[Callable[[torch.device], float], list[str]]:
    """Return a self-check that gives these numbers in turn, and the list of its calls."""
    calls: list[str] = []

    def check(device: torch.device) -> float:
        calls.append(str(device))
        return numbers[len(calls) - 1]

    return check, calls


def test_a_kernel_is_checked_once_for_each_device(on_cuda: None) -> None:
    check, calls = answers(1e-6)
    register_kernel("test", check)
    assert use_kernels("test", FLOATS)
    assert use_kernels("test", FLOATS.half())
    assert calls == ["cpu"]


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_a_wrong_kernel_is_left_out_with_one_remark(
    on_cuda: None, difference: float, capsys: pytest.CaptureFixture[str]
) -> None:
    check, calls = answers(difference)
    register_kernel("test", check)
    assert not use_kernels("test", FLOATS)
    assert not use_kernels("test", FLOATS)
    assert calls == ["cpu"]
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "the test kernel is not used on cpu: it differs from plain operations by" in told


def test_a_kernel_that_fails_is_left_out_with_one_remark(
    on_cuda: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(device: torch.device) -> float:
        raise RuntimeError("out of registers\nand a long listing")

    register_kernel("test", check)
    assert not use_kernels("test", FLOATS)
    assert not use_kernels("test", FLOATS)
    told = capsys.readouterr().err
    assert told == (
        "Note: the test kernel is not used on cpu: it fails with RuntimeError: out of registers\n"
    )


def test_without_triton_everything_is_plain_and_nothing_is_said(
    on_cuda: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    check, calls = answers(0.0)
    register_kernel("test", check)
    assert not use_kernels("test", FLOATS)
    assert calls == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("maker", "capability", "obstacle"),
    [(None, (7, 5), "8.0 or newer"), ("6.4", (9, 0), "NVIDIA"), (None, (8, 0), None)],
)
def test_devices_that_are_too_old_or_of_another_maker_take_no_kernel(
    maker: str | None,
    capability: tuple[int, int],
    obstacle: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(torch.version, "hip", maker)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    found = dispatch._obstacle(torch.device("cuda"))
    assert found is None if obstacle is None else obstacle in str(found)


def test_plain_takes_no_kernel(on_cuda: None) -> None:
    check, calls = answers(0.0)
    register_kernel("test", check)
    set_kernels("plain")
    assert not use_kernels("test", FLOATS)
    assert calls == []


def test_float64_takes_no_kernel(on_cuda: None) -> None:
    check, calls = answers(0.0)
    register_kernel("test", check)
    assert not use_kernels("test", FLOATS.double())
    assert calls == []


def test_nothing_takes_no_kernel(on_cuda: None) -> None:
    check, calls = answers(0.0)
    register_kernel("test", check)
    assert not use_kernels("test", FLOATS[:0])
    assert calls == []


def test_auto_takes_no_kernel_on_the_cpu() -> None:
    check, calls = answers(0.0)
    register_kernel("test", check)
    set_kernels("auto")
    assert not use_kernels("test", FLOATS)
    assert calls == []


def test_fused_takes_kernels_where_triton_interprets() -> None:
    pytest.importorskip("triton")
    check, calls = answers(0.0)
    register_kernel("test", check)
    set_kernels("fused")
    assert use_kernels("test", FLOATS)
    assert use_kernels("test", FLOATS)
    assert calls == ["cpu"]


def test_fused_fails_where_a_kernel_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    check, _ = answers(0.5, 0.5)
    register_kernel("test", check)
    set_kernels("fused")
    with pytest.raises(TrainingError, match="the test kernel cannot be used on cpu: it differs"):
        use_kernels("test", FLOATS)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(TrainingError, match="Triton cannot be imported"):
        use_kernels("test", FLOATS)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(TrainingError, match="kernels need a CUDA device"):
        use_kernels("test", FLOATS)


def test_fused_asks_again_where_auto_had_fallen_back(on_cuda: None) -> None:
    check, calls = answers(0.5, 0.0)
    register_kernel("test", check)
    assert not use_kernels("test", FLOATS)
    set_kernels("fused")
    assert use_kernels("test", FLOATS)
    assert calls == ["cpu", "cpu"]


def test_the_check_runs_in_a_mode_of_its_own(on_cuda: None) -> None:
    modes: list[tuple[bool, bool, bool]] = []

    def check(device: torch.device) -> float:
        modes.append(
            (
                torch.is_inference_mode_enabled(),
                torch.is_grad_enabled(),
                torch.is_autocast_enabled("cpu"),
            )
        )
        return 0.0

    register_kernel("test", check)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert use_kernels("test", FLOATS)
    assert modes == [(False, True, False)]


def test_a_compiled_graph_holds_the_answer_and_no_check(on_cuda: None) -> None:
    calls: list[str] = []

    def check(device: torch.device) -> float:
        torch._dynamo.graph_break()  # fails if it is traced
        calls.append(str(device))
        return 0.0

    def double_or_not(x: torch.Tensor) -> torch.Tensor:
        return x * 2 if use_kernels("test", x) else x

    register_kernel("test", check)
    compiled: Any = torch.compile(double_or_not, backend="eager", fullgraph=True)
    ones = torch.ones(2)
    assert torch.equal(compiled(ones), ones * 2)
    assert torch.equal(compiled(ones), ones * 2)
    assert calls == ["cpu"]


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(TrainingError, match="unknown choice of kernels 'fuse'; nearest: 'fused'"):
        set_kernels("fuse")  # type: ignore[arg-type]
