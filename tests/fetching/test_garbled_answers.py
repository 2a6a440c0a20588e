"""Whatever a server answers, a download ends with a file or with one typed error."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kinegraph.data.fetching import Patience, fetch_file
from kinegraph.errors import FetchError

ARCHIVE = b"PK\x05\x06" + bytes(18)  # an empty one
ANSWERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\nETag: "a"\r\nLast-Modified: x\r\n\r\n' + ARCHIVE,
    b'HTTP/1.1 206 Part\r\nContent-Range: bytes 5-21/22\r\nETag: "a"\r\n\r\n' + ARCHIVE[5:],
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n" + ARCHIVE + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
    b"HTTP/1.1 416 No\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\n\r\n",
    b'HTTP/1.0 200 OK\r\nContent-Type: text/html; charset="\r\n\r\n<title>&#x110000;</title>',
)
PIECES = (
    b"\r\n", b"\n", b"\0", b"\xff", b": ", b"-", b"9" * 5000, b"x" * 70_000, b"bytes ", b"gzip",
    b"Content-Length: ", b"Content-Encoding: ", b"text/html", b"chunked", b"Location: ",
)  # fmt: skip


def garbled(chance: random.Random) -> bytes:
    """Return an answer with up to six faults."""
    answer = bytearray(chance.choice(ANSWERS))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        place, kind = chance.randrange(len(answer) + 1), chance.random()
        if kind < 0.4:
            answer[place:place] = chance.choice(PIECES)
        elif kind < 0.7:
            del answer[place : place + chance.choice((1, 2, 5, 20))]
        else:
            answer[place : place + 1] = bytes((chance.randrange(256),))
    return bytes(answer)


@contextmanager
def serve_garbled(seed: int) -> Iterator[str]:
    """Answer each request with something else, until the block ends."""
    chance, over = random.Random(seed), threading.Event()

    def answer() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                if over.is_set():
                    return
                connection.settimeout(5.0)
                try:
                    connection.recv(1 << 16)
                    connection.sendall(garbled(chance))
                except OSError:  # the client has had enough
                    continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://{host}:{port}/all.zip"
        finally:
            over.set()
            socket.create_connection((host, port)).close()
            thread.join()


@pytest.mark.parametrize("seed", range(4))
def test_only_files_and_typed_errors_come_out(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    patience = Patience(timeout=2.0, tries=2, pause=0.0, longest=0.0)
    outcomes = {"whole": 0, "refused": 0}
    with serve_garbled(seed) as url:
        for number in range(100):
            # Few names: what one download left behind is there for the next.
            path = tmp_path / f"{number % 5}.zip"
            try:
                fetch_file(url, path, patience=patience, force=True)
            except FetchError:
                outcomes["refused"] += 1
            else:
                outcomes["whole"] += 1
                assert ARCHIVE[:4] in path.read_bytes()
    assert min(outcomes.values()) >= 5, outcomes
