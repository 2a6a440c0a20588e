"""A web server of our own, on this machine, that misbehaves as it is told."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server offers, how it misbehaves, and what it was asked.

    Attributes:
        content: The bytes of the file.
        etag: Its mark; empty for none.
        modified: Its date; empty for none.
        ranges: Whether the server can send a part.
        minds_if_range: Whether it looks at ``If-Range``.
        cut: After how many bytes it cuts each of the next answers; used up one by one.
        fail: The next answers are these status codes instead; used up one by one.
        declared: The length that it declares, if not the true one.
        states_length: Whether it declares a length at all.
        kind: Its Content-Type.
        redirect: Path -> address that it sends on to.
        status: What it answers with, if not 200.
        retry_after: Text of that field in answers of ``fail``.
        reason: The words beside the code in answers of ``fail``.
        more: Further fields of an answer.
        hold: Seconds that it holds its tongue after the last byte.
        asked: The fields ``Range`` and ``If-Range`` of each request.
    """

    content: bytes = b""
    etag: str = '"one"'
    modified: str = "Sat, 01 Jan 2022 00:00:00 GMT"
    ranges: bool = True
    minds_if_range: bool = True
    cut: list[int] = field(default_factory=list)
    fail: list[int] = field(default_factory=list)
    declared: int | None = None
    states_length: bool = True
    kind: str = "application/octet-stream"
    redirect: dict[str, str] = field(default_factory=dict)
    status: int = 200
    retry_after: str = ""
    reason: str | None = None
    more: dict[str, str] = field(default_factory=dict)
    hold: float = 0.0
    asked: list[tuple[str | None, str | None]] = field(default_factory=list)
    address: str = ""


class _Answers(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.asked.append((self.headers["Range"], self.headers["If-Range"]))
        if self.path in site.redirect:
            self.send_response(302)
            self.send_header("Location", site.redirect[self.path])
            self.end_headers()
        elif site.fail or site.status != 200:
            self.send_response(site.fail.pop(0) if site.fail else site.status, site.reason)
            if site.retry_after:
                self.send_header("Retry-After", site.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send()

    def _send(self) -> None:
        site, start = self.site, self._start()
        if start is not None and start >= len(site.content):
            self.send_response(416)
            self.end_headers()
            return
        length = len(site.content) if site.declared is None else site.declared
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", site.kind)
        marks = {"ETag": site.etag, "Last-Modified": site.modified}
        for name, text in (marks | site.more).items():
            if text:
                self.send_header(name, text)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{length - 1}/{length}")
        if site.states_length:
            self.send_header("Content-Length", str(length - (start or 0)))
        self.end_headers()
        rest = site.content[start or 0 :]
        self.wfile.write(rest[: site.cut.pop(0)] if site.cut else rest)
        if site.hold:
            time.sleep(site.hold)
        self.close_connection = True

    def _start(self) -> int | None:
        """Return where to begin, or None to send everything."""
        site = self.site
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if not site.ranges or asked is None:
            return None
        condition = self.headers["If-Range"]
        if site.minds_if_range and condition not in (None, site.etag, site.modified):
            return None
        return int(asked[1])

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve(site: Site, context: ssl.SSLContext | None = None) -> Iterator[Site]:
    """Run the server, with a certificate or without, while the block runs."""
    handler = type("Answers", (_Answers,), {"site": site})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        site.address = f"{scheme}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
