"""Plug-ins that documents name add parts; they are taken out again after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kinegraph.backbones import BACKBONES
from kinegraph.objectives import OBJECTIVES
from kinegraph.transforms import TRANSFORMS


@pytest.fixture
def registries() -> Iterator[None]:
    """Let a test load plug-ins."""
    before = [(registry, dict(registry)) for registry in (BACKBONES, OBJECTIVES, TRANSFORMS)]
    yield
    for registry, entries in before:
        registry.clear()
        registry.update(entries)
