"""What tests on a GPU share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def precise() -> Iterator[None]:
    """Compute float32 as such, and the same each time."""
    settings = (
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "deterministic", True),
    )
    before = [getattr(place, name) for place, name, _ in settings]
    for place, name, value in settings:
        setattr(place, name, value)
    yield
    for (place, name, _), value in zip(settings, before, strict=True):
        setattr(place, name, value)
