"""One request over HTTP for the rest of a file, and why it failed, in words.

Only ``http`` and ``https`` are spoken, also by redirections, and what is secure stays secure. What
passes by itself (a cut connection, a busy server) raises `Cut`, so that the caller asks again;
everything else raises FetchError.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from kinegraph import __version__
from kinegraph.errors import FetchError, printable

CHUNK = 1 << 18
PAGE_READ = 1 << 16
PASSING = {408, 429, 500, 502, 503, 504}  # answers that another try may mend
LENGTH = re.compile(r"[0-9]{1,18}")  # as much as a file can have
CONTENT_RANGE = re.compile(rf"bytes ({LENGTH.pattern})-{LENGTH.pattern}/({LENGTH.pattern}|\*)")
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
SPOKEN = ("http", "https")


class Cut(Exception):
    """The connection ended early, or the server is busy: ask again.

    Attributes:
        wait: Seconds that the server asks to wait.
        reached: Whether the server answered at all.
    """

    def __init__(self, why: str, *, wait: float = 0.0, reached: bool = True) -> None:
        super().__init__(printable(why))  # some of it may be the server's words
        self.wait, self.reached = wait, reached


class Changed(Exception):
    """The rest that is offered belongs to another file than the beginning: start over."""


@dataclass(frozen=True)
class Version:
    """What tells one version of the file at an address from another.

    Attributes:
        url: The address that was asked.
        length: Bytes of the whole file, None if the server does not say.
        etag: The server's name for this version, or empty.
        modified: When it was changed last, or empty.
    """

    url: str
    length: int | None = None
    etag: str = ""
    modified: str = ""

    @property
    def known(self) -> bool:
        """Whether a later answer can be recognised as the same version."""
        return bool(self.etag or self.modified)

    def same(self, other: Version) -> bool:
        """Whether ``other`` is this version; without any mark of a version the answer is no."""
        return self.known and self == other


@dataclass(frozen=True)
class Answer:
    """A file, or the rest of one, that is about to arrive.

    Attributes:
        version: Which version of the file it is.
        start: The byte that comes first: 0 if the server sends all of it.
        body: What arrives.
    """

    version: Version
    start: int
    body: IO[bytes]


def check_address(url: str) -> str:
    """Return an address with its unusual characters escaped.

    Raises:
        FetchError: It is no address of the web.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SPOKEN and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable:
        raise FetchError(f"'{url}' is no address that can be fetched: expected http(s)://HOST/...")
    return quote(url, safe="%/:=&?~#+!$,;'@()*[]")


class _Redirections(HTTPRedirectHandler):
    """Follows redirections within the web, but not from a secure place to an open one."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> Request | None:
        try:
            to = check_address(newurl)
            if req.type == "https" and urlsplit(to).scheme != "https":
                raise FetchError(
                    f"'{req.full_url}' leads to '{newurl}', which is not secure (https): not"
                    " followed"
                )
        except FetchError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, to)


def _opener() -> OpenerDirector:
    """Return what speaks HTTP and nothing else: the usual one reads local files as well."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(), HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(), _Redirections(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


@contextmanager
def ask(url: str, *, start: int = 0, known: Version, timeout: float = 30.0) -> Iterator[Answer]:
    """Ask for a file, or for the rest of one.

    Args:
        url: The address.
        start: How many bytes are there already.
        known: The version they are of.
        timeout: Seconds without a word after which the connection counts as cut.

    Yields:
        The answer; it begins at 0 where the server cannot or will not go on.

    Raises:
        Cut: The connection broke or the server is busy.
        Changed: What is offered does not continue what is there.
        FetchError: The address cannot be fetched.
    """
    headers = {"User-Agent": f"kinegraph/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        # A weak tag may not be asked with; then the answer's own tag is compared, below.
        strong = known.etag if not known.etag.startswith("W/") else ""
        if strong or known.modified:
            headers["If-Range"] = strong or known.modified
    try:
        response = _opener().open(Request(check_address(url), headers=headers), timeout=timeout)  # noqa: S310
    except HTTPError as error:
        with error:
            raise _refused(url, error, start) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreached(url, error) from error
    with response:
        answer = _understand(url, response, start)
        if answer.start and not known.same(answer.version):
            raise Changed
        _refuse_page(url, response)
        yield answer


def receive(answer: Answer, write: Callable[[bytes], Any]) -> None:
    """Hand on what arrives, piece by piece.

    Raises:
        Cut: The connection ended before all had come.
        FetchError: A web page comes instead of a file.
    """
    done = answer.start
    while piece := _piece(answer.body):
        if done == 0 and piece.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
            raise _page(answer.version.url, piece)
        write(piece)
        done += len(piece)
    length = answer.version.length
    if length is not None and done != length:
        raise Cut(f"the connection ended after {done} of {length} bytes")


def _piece(body: IO[bytes]) -> bytes:
    try:
        # What is there, without waiting for a full chunk.
        return body.read1(CHUNK)  # type: ignore[attr-defined, no-any-return]
    except (OSError, http.client.HTTPException) as error:
        raise Cut(f"the connection broke ({_why(error)})") from error


def _understand(url: str, response: Any, start: int) -> Answer:
    """Return what the head of a response says."""
    headers, status = response.headers, response.status
    marks = {"etag": headers.get("ETag", ""), "modified": headers.get("Last-Modified", "")}
    if headers.get("Content-Encoding", "identity") != "identity":
        # Lengths and positions would be those of the packed form.
        raise FetchError(f"'{url}' is sent packed ({headers['Content-Encoding']}), unasked")
    if status == 200:
        length = LENGTH.fullmatch(headers.get("Content-Length", ""))
        return Answer(Version(url, int(length[0]) if length else None, **marks), 0, response)
    found = CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if status != 206 or not start or found is None or int(found[1]) != start:
        raise FetchError(f"'{url}' answers oddly: status {status}, asked from byte {start}")
    total = None if found[2] == "*" else int(found[2])
    return Answer(Version(url, total, **marks), start, response)


def _refuse_page(url: str, response: Any) -> None:
    """Raise FetchError if a web page comes, such as a warning or a login."""
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        try:
            raise _page(url, response.read(PAGE_READ))
        except (OSError, http.client.HTTPException):
            raise _page(url, b"") from None


def _page(url: str, beginning: bytes) -> FetchError:
    found = TITLE.search(beginning)
    title = " ".join(unescape(found[1].decode("utf-8", "replace")).split())[:80] if found else ""
    called = f" ('{title}')" if title else ""
    return FetchError(
        f"'{url}' answers with a web page{called}, not with a file: open it in a browser and save"
        " the file from there, or give another address with --url"
    )


def _refused(url: str, error: HTTPError, start: int) -> Exception:
    """Return what an answer other than success means."""
    code = error.code
    if code in PASSING:
        return Cut(f"the server answers {code} ({error.reason})", wait=_wait(error.headers))
    if code == 416 and start:
        return Changed()
    if code in (404, 410):
        return FetchError(f"'{url}' is not there ({code}): it may have moved")
    if code in (401, 403, 407):
        return FetchError(f"'{url}' may not be fetched ({code} {error.reason})")
    if 300 <= code < 400:
        return FetchError(f"'{url}' leads astray: {' '.join(str(error.reason).split())}")
    return FetchError(f"'{url}' cannot be fetched: the server answers {code} ({error.reason})")


def _wait(headers: Any) -> float:
    """Return how long the server asks to wait, in seconds."""
    text = (headers.get("Retry-After") or "") if headers is not None else ""
    return float(text) if text.isdecimal() else 0.0


def _unreached(url: str, error: Exception) -> Exception:
    """Return why no answer came."""
    cause = error.reason if isinstance(error, URLError) else error
    connected = not isinstance(error, URLError)  # it wraps what fails before anything was sent
    host = urlsplit(url).hostname
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(
            f"'{host}' cannot be trusted: {cause.verify_message or cause}; is the clock right, or"
            " does a proxy stand between? Else fetch it by a browser"
        )
    if isinstance(cause, socket.gaierror):
        why = f"the name '{host}' cannot be resolved ({cause.strerror})"
        return Cut(f"{why}: is there a network?", reached=False)
    if isinstance(cause, ValueError | http.client.InvalidURL):
        return FetchError(f"'{url}' is no address that can be fetched: {cause}")
    if connected or isinstance(cause, ConnectionResetError):
        return Cut(f"'{host}' does not answer ({_why(cause)})")
    return Cut(f"'{host}' cannot be reached ({_why(cause)})", reached=False)


def _why(cause: object) -> str:
    strerror = getattr(cause, "strerror", None)
    return str(strerror or cause) or type(cause).__name__
