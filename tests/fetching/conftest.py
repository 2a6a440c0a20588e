"""A file to be fetched, and the server that offers it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest

from .site import Site, serve


def archive(seed: int = 0, size: int = 60_000) -> bytes:
    """Return a zip archive of about ``size`` bytes that cannot be packed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("clip.json", np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A well-behaved server with one archive; tests make it misbehave."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(Site(content=archive())) as running:
        yield running
