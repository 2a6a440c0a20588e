"""What unit tests share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[SimpleNamespace]:
    """The modules of the fuzzer: small whole sources of every format, and ways to damage them."""
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        names = ("damage", "lines", "plain", "reading", "seeds")
        modules: dict[str, ModuleType] = {
            name: importlib.import_module(f"fuzzing.{name}") for name in names
        }
        yield SimpleNamespace(**modules, script=importlib.import_module("fuzz_readers"))
    os.environ.clear()
    os.environ.update(before)
