"""Reads ``.mat`` files for another process, with little memory; run as a program, never imported.

SciPy believes the sizes that a file declares. Here such a belief ends in a refusal, or at worst in
the end of this process, and the other one goes on. `mat_reader` starts it.

Messages are a length of 8 bytes and so many bytes; an empty one says that all is ready. A request
is the variable's name, a line end and the file; the answer is ``+`` and a ``.npy`` file, or ``-``
and a reason.
"""

from __future__ import annotations

import io
import resource
import struct
import sys

import numpy as np
from scipy.io import loadmat  # type: ignore[import-untyped, unused-ignore]

MEMORY = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 28  # bytes above those of the interpreter
LARGEST_ANSWER = 1 << 26
LENGTH = struct.Struct("<Q")


def limit_memory() -> None:
    """Let this process have ``MEMORY`` bytes more than it has now."""
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux: Python and SciPy themselves need less than 4 GB of addresses
        used = 1 << 32
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        try:
            resource.setrlimit(kind, (used + MEMORY, used + MEMORY))
        except (ValueError, OSError):  # a lower limit holds already
            continue


def answer(request: bytes) -> bytes:
    """Return the answer to one request."""
    name, _, data = request.partition(b"\n")
    variable = name.decode()
    try:
        found = loadmat(io.BytesIO(data), variable_names=[variable])  # type: ignore[arg-type, unused-ignore]
    except MemoryError:
        return b"-it declares more data than it holds"
    except Exception as error:  # whatever SciPy stumbles over is a fault of the file
        return b"-" + f"it is no MATLAB 5 file: {str(error) or type(error).__name__}".encode()
    array = found.get(variable)
    if array is None:
        return b"-" + f"it has no variable '{variable}'".encode()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        return b"-" + f"'{variable}' is no array of numbers".encode()
    if array.nbytes > LARGEST_ANSWER:
        return b"-" + f"'{variable}' has {array.nbytes:,} bytes, too many for a recording".encode()
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    return b"+" + file.getvalue()


def main() -> None:
    """Answer until nobody asks any more."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    limit_memory()
    answers.write(LENGTH.pack(0))
    answers.flush()
    while len(head := questions.read(LENGTH.size)) == LENGTH.size:
        request = questions.read(*LENGTH.unpack(head))
        reply = answer(request)
        answers.write(LENGTH.pack(len(reply)) + reply)
        answers.flush()


if __name__ == "__main__":
    main()
