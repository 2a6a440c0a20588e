"""Every golden file that is found, compared with what the classes of the recipes compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import PROPERTY
from .families import FAMILIES, Family, family_of
from .goldens import FURTHER, SMALL_COPY, Golden, golden_files, run_check

FOUND = [(path, family) for path in golden_files() if (family := family_of(path))]


def _label(value: object) -> str:
    if isinstance(value, Path):
        return f"{'small/' if value.parent == SMALL_COPY else ''}{value.stem}"
    return ""


@pytest.mark.parametrize(("path", "family"), FOUND, ids=_label)
def test_equals_the_original(
    path: Path, family: Family, record_property: Callable[[str, object], None]
) -> None:
    golden = Golden.open(path)
    outcome = run_check(golden, family.check)
    used = [str(path), *(str(path.parent / name) for name in golden.companions)]
    record_property(
        PROPERTY,
        {"family": family.name, "arrays": outcome.arrays, "worst": outcome.worst, "used": used},
    )
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.arrays > 0, "nothing was compared"
    assert not outcome.untouched, f"no comparison used {', '.join(outcome.untouched)}"


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_every_implemented_family_is_compared(family: Family) -> None:
    files = [path.name for path, found in FOUND if found is family]
    assert files, f"no golden file of the family '{family.name}' ({family.prefix}*.npz)"


@pytest.mark.skipif(not os.environ.get(FURTHER), reason=f"{FURTHER} names no further folder")
def test_the_further_folder_is_used() -> None:
    folder = Path(os.environ[FURTHER])
    assert folder.is_dir(), f"{FURTHER} names {folder}, which is not a folder"
    assert any(path.parent == folder for path, _ in FOUND), f"nothing in {folder} was compared"
