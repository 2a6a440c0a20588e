"""What unit tests share."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from safetensors import safe_open

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def broken_tensors(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function after which checkpoints have headers that can be read, and no tensors."""

    def broken(file: object, name: str) -> None:
        raise RuntimeError("broken")

    @contextmanager
    def opened(path: Path, **options: Any) -> Iterator[SimpleNamespace]:
        with safe_open(path, **options) as file:
            yield SimpleNamespace(
                metadata=file.metadata, keys=file.keys, get_tensor=partial(broken, file)
            )

    return lambda: monkeypatch.setattr("kinegraph.training.checkpoint.safe_open", opened)


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
