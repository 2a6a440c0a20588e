"""Where a reproduction runs: the device in words, how many runs it takes at once, the versions."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import torch

from kinegraph.training.checkpoint import versions
from kinegraph.training.side_by_side import cores

GIB = 2**30
SHARE_OF_MEMORY = 0.9  # the rest is for what other processes and this one take meanwhile


def describe(device: torch.device) -> str:
    """Return the device in words, with its processor cores."""
    processor = f"{cores()} cores of {_processor()}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {processor}"
    return processor if device.type == "cpu" else f"{device.type}, {processor}"


def _processor() -> str:
    """Return the name of the processor; Linux tells more of it than Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def at_once(runs: int, device: torch.device, gib: float) -> int:
    """Return how many runs to train at a time.

    A run keeps one core busy with calling the device, or with computing itself; on a GPU the free
    memory is a limit as well.

    Args:
        runs: How many there are.
        device: Where they are trained.
        gib: Device memory that one of them gets, in GiB.
    """
    most = min(runs, cores())
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        most = min(most, int(SHARE_OF_MEMORY * free / GIB / gib))
    elif device.type != "cpu":
        most = 1  # nothing is known of how other devices are shared
    return max(most, 1)


def versions_here(device: torch.device) -> dict[str, str]:
    """Return what results depend on: versions of packages, the commit, the CUDA of torch."""
    found = versions() | {"commit": commit()}
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
    return found


def commit() -> str:
    """Return the commit of the source tree that runs, or ``unknown`` for an installed package."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(  # noqa: S603
            ["git", "-C", str(folder), *words],  # noqa: S607 - whatever git the user has
            capture_output=True, text=True, check=True, timeout=30,
        ).stdout.strip()  # fmt: skip

    try:
        # A package that lies ignored in somebody else's repository is not that repository's.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
