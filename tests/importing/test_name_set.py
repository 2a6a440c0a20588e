"""Names that have occurred: as a set of them, whatever their number."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from kinegraph.data.name_set import FIRST_SLOTS, NameSet


@given(st.lists(st.text(max_size=3), max_size=60))
def test_it_knows_what_a_set_knows(names: list[str]) -> None:
    known, expected = NameSet(), set[str]()
    for name in names:
        assert (name in known) == (name in expected)
        assert known.add(name) == (name not in expected)
        expected.add(name)
    assert len(known) == len(expected)


def test_it_grows_and_forgets_nothing() -> None:
    known, count = NameSet(), 5 * FIRST_SLOTS
    names = [f"clip {number}" for number in range(count)]
    assert all(known.add(name) for name in names)
    assert len(known) == count
    assert not any(known.add(name) for name in names)
    assert not any(f"other {number}" in known for number in range(count))


def test_a_name_takes_few_bytes() -> None:
    tracemalloc.start()
    try:
        known, count = NameSet(), 50_000
        for number in range(count):
            known.add(f"a name of some length, as clips have it {number}")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 48 * count
