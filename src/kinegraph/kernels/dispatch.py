"""Which way a computation goes: through a Triton kernel or through plain PyTorch operations.

Every kernel is registered here under a name, with a self-check that compares it with its plain
reference. The check runs once for each device, on tiny random tensors, before the kernel is first
used there. A kernel that does not compile or does not agree is left out from then on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from kinegraph.console import remark
from kinegraph.errors import TrainingError, unknown

Choice = Literal["auto", "plain", "fused"]
SelfCheck = Callable[[torch.device], float]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
TOLERANCE = 1e-3  # of float32 results, relative to the largest; a wrong kernel is off by far more
KERNEL_DEVICES = ("cuda",)  # where ``auto`` takes kernels
OLDEST_CAPABILITY = (8, 0)  # bfloat16 and TF32 tensor cores, and the shared memory that is needed

_checks: dict[str, SelfCheck] = {}
_verdicts: dict[tuple[str, str], bool] = {}
_choice: Choice = "auto"


def set_kernels(choice: Choice) -> None:
    """Choose for the whole process how computations go that have a kernel.

    Args:
        choice: ``auto`` takes kernels on CUDA devices where they work and plain operations
            elsewhere; ``plain`` never takes one; ``fused`` fails where ``auto`` would fall back,
            and takes them on the CPU as well where Triton interprets (TRITON_INTERPRET=1).

    Raises:
        TrainingError: The choice is unknown.
    """
    global _choice
    if choice not in get_args(Choice):
        raise TrainingError(unknown("choice of kernels", choice, get_args(Choice)))
    _choice = choice


def chosen_kernels() -> Choice:
    """Return what `set_kernels` chose."""
    return _choice


def register_kernel(name: str, check: SelfCheck) -> None:
    """Make a kernel known.

    Args:
        name: Words for messages, such as ``aggregation``.
        check: Runs the kernel, forward and backward in float32, and its plain reference on a
            device; returns the largest difference relative to the largest number.
    """
    _checks[name] = check


def forget_verdicts() -> None:
    """Let every kernel be checked anew before its next use."""
    _verdicts.clear()


def interpreted() -> bool:
    """Whether Triton interprets kernels in Python, which also works on the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


def use_kernels(name: str, x: Tensor) -> bool:
    """Whether a computation on ``x`` is to go through the kernel of this name.

    May be called under ``torch.compile``; the answer is then part of the graph.

    Raises:
        TrainingError: ``fused`` was chosen, and the kernel cannot be used.
    """
    if _choice == "plain" or (_choice == "auto" and x.device.type not in KERNEL_DEVICES):
        return False
    if x.dtype not in DTYPES or x.numel() == 0:  # of several processes, one may have no clips
        return False
    return _verdict(name, str(x.device), _choice == "fused")


def _verdict(name: str, device: str, insist: bool) -> bool:
    """Return whether a kernel works on a device; finds out when it is asked first."""
    key = (name, device)
    if insist and not _verdicts.get(key, False):
        problem = _problem(name, torch.device(device))
        if problem is not None:
            raise TrainingError(
                f"the {name} kernel cannot be used on {device}: {problem}; choose 'auto' kernels "
                "to go on without it"
            )
        _verdicts[key] = True
    if key not in _verdicts:
        _verdicts[key] = _works(name, torch.device(device))
    return _verdicts[key]


# torch.compile calls it while it traces, and keeps the answer: a check is no part of a graph.
_verdict._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _works(name: str, device: torch.device) -> bool:
    if _obstacle(device) is not None:
        return False
    problem = _problem(name, device)
    if problem is not None:
        remark(f"Note: the {name} kernel is not used on {device}: {problem}")
    return problem is None


def _obstacle(device: torch.device) -> str | None:
    """Say why no kernel can run on a device at all, in words; None where they can."""
    if device.type == "cuda":
        if torch.version.hip is not None:
            return "kernels need an NVIDIA device"
        if torch.cuda.get_device_capability(device) < OLDEST_CAPABILITY:
            return "kernels need compute capability 8.0 or newer"
    elif not interpreted():
        return "kernels need a CUDA device"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    return None


def _problem(name: str, device: torch.device) -> str | None:
    """Check a kernel; say in words what is wrong with it, or None."""
    obstacle = _obstacle(device)
    if obstacle is not None:
        return obstacle
    try:
        # Whatever mode the caller is in: the check is in float32 and goes backward.
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            difference = _checks[name](device)
    except Exception as error:  # compilers fail in many ways, and none may stop a run
        first = (str(error).strip() or "no message").splitlines()[0]
        return f"it fails with {type(error).__name__}: {first}"
    if not difference <= TOLERANCE:  # also where it is not a number
        return f"it differs from plain operations by {difference:.1e}, more than {TOLERANCE:.0e}"
    return None
