"""How this process asks the system for memory."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # names of glibc's malloc.h
_LARGEST = 2**31 - 1
_STEP = 2**28


def keep_memory() -> bool:
    """Keep freed memory for the next use instead of giving it back, where that can be set.

    A training step on a processor takes and frees the same large blocks every time. By default
    glibc returns each of them to the system, which then clears every page anew: about a fifth of
    a step. The process keeps the most that it ever had in use.

    Returns:
        Whether it could be set: on Linux with glibc.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, _STEP))
    return all(mallopt(name, value) == 1 for name, value in settings)
