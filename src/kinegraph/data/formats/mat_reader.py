"""``.mat`` files (MATLAB 5), read in a process whose memory and time are limited.

A damaged or malicious file may make SciPy ask for any amount of memory: that must not end the
program. One process serves all files of a source and is started anew only after a failure.
"""

from __future__ import annotations

import io
import os
import select
import struct
import subprocess
import sys
import time
from importlib import util
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.arrays import read_header
from kinegraph.data.limits import MAT_MEMORY, MAT_SECONDS, MAX_MAT_BYTES
from kinegraph.errors import ClipError, SourceError

SECONDS_TO_START = 60.0  # for the interpreter and SciPy on a busy machine
LARGEST_ANSWER = (1 << 26) + 1024
CHILD = Path(__file__).with_name("mat_child.py")
LENGTH = struct.Struct("<Q")


class MatReader:
    """Reads arrays of numbers out of ``.mat`` files; a context manager.

    The process begins with the first file.
    """

    def __init__(self, *, memory: int = MAT_MEMORY, seconds: float = MAT_SECONDS) -> None:
        self._memory, self._seconds = memory, seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MatReader:
        """Check that SciPy is there.

        Raises:
            SourceError: It is not installed.
        """
        if util.find_spec("scipy") is None:
            raise SourceError(
                "reading .mat files needs SciPy, which is not installed: pip install"
                " 'kinegraph[mat]'"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def read(self, data: bytes, variable: str, where: str) -> NDArray[Any]:
        """Return one variable of a file.

        Args:
            data: The bytes of the file.
            variable: The variable's name.
            where: Names the file in errors.

        Raises:
            ClipError: It cannot be read, or is no array of numbers.
        """
        if not data:
            raise ClipError(f"{where} is empty")
        if len(data) > MAX_MAT_BYTES:
            raise ClipError(f"{where} has {len(data):,} bytes, more than {MAX_MAT_BYTES:,}")
        try:
            reply = self._ask(f"{variable}\n".encode() + data)
        except (OSError, EOFError, TimeoutError) as error:
            self._stop()
            late = isinstance(error, TimeoutError)
            reason = f"took longer than {self._seconds:g} s" if late else "ended SciPy's process"
            raise ClipError(f"{where} is damaged: reading it {reason}") from error
        if not reply.startswith(b"+"):
            raise ClipError(f"{where}: {reply[1:].decode(errors='replace')}")
        file = io.BytesIO(reply[1:])
        header = read_header(file, len(reply) - 1, where, error=ClipError)
        values = np.frombuffer(file.read(), dtype=header.dtype)
        return values.reshape(header.shape, order="F" if header.fortran else "C")

    def _ask(self, request: bytes) -> bytes:
        """Send a request and wait for the answer, for a limited time.

        Raises:
            OSError: The process is gone (EOFError: while it answered).
            TimeoutError: It takes too long.
        """
        questions, answers = self._pipes()
        until = time.monotonic() + self._seconds
        questions.write(LENGTH.pack(len(request)))
        questions.write(request)
        questions.flush()
        (size,) = LENGTH.unpack(_receive(answers, LENGTH.size, until))
        if size > LARGEST_ANSWER:
            raise EOFError(f"an answer of {size} bytes")
        return _receive(answers, size, until)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Return the pipes to and from the process, which is started if there is none.

        Raises:
            SourceError: It does not start.
        """
        started = self._process is None
        if self._process is None:
            # One thread, or the threads of a library for linear algebra would count as memory.
            quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                # -P: modules beside the program must not hide others of the same name.
                [sys.executable, "-P", str(CHILD), str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **quiet},
            )
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        if started:
            try:
                _receive(answers, LENGTH.size, time.monotonic() + SECONDS_TO_START)
            except (OSError, EOFError, TimeoutError) as error:
                self._stop()
                raise SourceError(
                    "the process that reads .mat files does not start; does 'python -c \"import"
                    " scipy.io\"' work?"
                ) from error
        return questions, answers

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)
        self._process.wait()
        self._process = None


def _receive(pipe: IO[bytes], size: int, until: float) -> bytes:
    """Read exactly so many bytes before a point in time."""
    parts, missing = [], size
    while missing:
        left = until - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        part = os.read(pipe.fileno(), min(missing, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _close(pipe: IO[bytes]) -> None:
    """Close a pipe whose other end may be gone, with unsent bytes in it."""
    try:
        pipe.close()
    except OSError:
        return
