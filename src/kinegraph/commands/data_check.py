"""``kinegraph data check``: whether a store or recordings are whole, and what is odd about them."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import progress, remark, say
from kinegraph.data.clip import check_clip
from kinegraph.data.formats import open_recordings
from kinegraph.data.inspection import doubts
from kinegraph.data.store import Store, open_store
from kinegraph.errors import ClipError

DOUBTS_SHOWN = 20


class Arguments(BaseModel):
    """Read everything and list doubtful clips; damage ends with exit code 2."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: tyro.conf.Positional[Path]
    """A store, or recordings as `data import` and `predict` read them."""

    layout: str | None = None
    """Skeleton layout of recordings that do not name it."""

    all: bool = False
    """List every doubtful clip, not only the first ones."""


def run(arguments: Arguments) -> int:
    """Verify a store or recordings and list what is doubtful."""
    if arguments.path.is_dir() and (arguments.path / "meta.json").exists():
        count, odd = _check_store(open_store(arguments.path))
    else:
        count, odd = _check_recordings(arguments.path, arguments.layout)
    shown = odd if arguments.all else odd[:DOUBTS_SHOWN]
    for name, doubt in shown:
        say(f"doubtful {name}: {doubt}")
    if len(odd) > len(shown):
        say(f"... and {len(odd) - len(shown)} more; --all lists them")
    clips = "1 clip" if count == 1 else f"{count} clips"
    doubtful = len({name for name, _ in odd})
    say(f"{arguments.path} is whole: {clips}, {doubtful or 'none'} doubtful")
    return 0


def _check_store(store: Store) -> tuple[int, list[tuple[str, str]]]:
    """Compare checksums, then look at every clip.

    Raises:
        StoreError: The store is damaged.
        ClipError: A clip in it is not what a store may hold.
    """
    store.verify()
    odd = []
    for row in progress(range(len(store)), "checking", len(store)):
        clip = store.clip(row)
        check_clip(clip, store.skeleton, store.num_classes)
        odd += [(clip.name, doubt) for doubt in doubts(clip, store.skeleton)]
    return len(store), odd


def _check_recordings(path: Path, layout: str | None) -> tuple[int, list[tuple[str, str]]]:
    """Read recordings without storing them.

    Raises:
        ClipError: Some cannot be used.
    """
    odd, bad = [], []
    with open_recordings(path, layout=layout) as recordings:
        classes = len(recordings.class_names)
        for item in progress(recordings.items, "checking", recordings.count):
            try:
                clip = item.read()
                check_clip(clip, recordings.skeleton, classes or None)
            except ClipError as error:
                bad.append(str(error))
                continue
            odd += [(clip.name, doubt) for doubt in doubts(clip, recordings.skeleton)]
        if bad:
            for reason in bad[1:]:
                remark(reason)
            verb = "is" if len(bad) == 1 else "are"
            raise ClipError(f"{len(bad)} of {recordings.count} recordings {verb} bad: {bad[0]}")
        return recordings.count, odd
