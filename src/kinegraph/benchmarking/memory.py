"""The most memory that some work holds at once."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # what Linux wants to read there, see proc_pid_clear_refs(5)


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """Run something and return the most memory that was held meanwhile, or None if unknown.

    On a CUDA device: tensors on it, everything that was there before included. On a CPU: the
    largest resident set of the whole process, Python and libraries included, as Linux tells it.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not forget_resident_peak():
        run()
        return None
    run()
    return resident_peak()


def forget_resident_peak() -> bool:
    """Let the largest resident set of this process begin anew; whether that can be done."""
    try:
        CLEAR.write_text(FORGET_PEAK)
    except OSError:
        return False
    return STATUS.is_file()


def resident_peak() -> int | None:
    """Return the largest resident set of this process, in bytes, where the system tells it."""
    for line in STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024  # it says kB and means KiB
    return None
