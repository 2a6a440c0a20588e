"""What people point `predict` and `show` at: a store, or recordings in any form that is known.

Both come out as `Recordings`, read one at a time. Knows no model and no drawing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kinegraph.data.clip import Clip, check_clip
from kinegraph.data.formats import Lazy, Options, Recording, Recordings, open_recordings
from kinegraph.data.store import Store, open_store
from kinegraph.errors import ClipError, SourceError, nearest, unknown
from kinegraph.skeleton import Skeleton

META = "meta.json"  # what makes a folder a store


@contextmanager
def open_source(
    path: Path, *, layout: str | None = None, cleaning: str | None = None
) -> Iterator[Recordings]:
    """Open a store, or a file, folder or archive of recordings.

    Args:
        path: Where it is.
        layout: Layout of the recordings, for formats that do not tell it; a store knows its own.
        cleaning: How the bodies of a sensor become people, for formats that ask; a store has
            people already.

    Raises:
        SourceError: It looks like nothing that can be read, or knows no cleaning.
        StoreError: It is a damaged store.
        LayoutError: No layout is known, or it does not fit.
    """
    if (path / META).is_file():
        if cleaning is not None:
            raise SourceError(
                f"--cleaning means nothing to store '{path}': it holds people already"
            )
        yield _of_store(open_store(path))
    else:
        options = Options(layout=layout, cleaning=cleaning)
        with open_recordings(path, options=options) as recordings:
            yield recordings


def _of_store(store: Store) -> Recordings:
    return Recordings(
        skeleton=store.skeleton,
        class_names=store.class_names,
        items=Lazy(
            len(store),
            lambda row: Recording(str(store.clips["name"][row]), partial(store.clip, row)),
        ),
        labelled=False,
    )


def pick(
    path: Path,
    *,
    name: str | None = None,
    index: int | None = None,
    class_name: str | None = None,
    layout: str | None = None,
) -> tuple[Clip, Skeleton, tuple[str, ...]]:
    """Read one recording of a source, its layout, and the names of the classes.

    Args:
        path: A store, or a file, folder or archive of recordings.
        name: The clip of this name.
        index: The clip of this number, from 0; negative numbers count from the end.
        class_name: The first clip of this class. Without any of the three: the first clip.
        layout: Layout of the recordings, for formats that do not tell it.

    Raises:
        ClipError: There is no such clip, or it cannot be used.
        KinegraphError: The source cannot be read.
    """
    with open_source(path, layout=layout) as source:
        label = None if class_name is None else _label(class_name, source.class_names, path)
        number = _number(index, source.count, path)
        names = []
        for position, recording in enumerate(source.items):
            if name is not None:
                names.append(recording.name)
            if name not in (None, recording.name) or number not in (None, position):
                continue
            clip = recording.read()
            if label in (None, clip.label):
                check_clip(clip, source.skeleton)
                return clip, source.skeleton, source.class_names
    if name is not None:
        raise ClipError(f"'{path}' has no clip '{name}'{nearest(name, names)}")
    raise ClipError(f"'{path}' has no clip of class '{class_name}'")


def _label(class_name: str, class_names: tuple[str, ...], path: Path) -> int:
    if class_name in class_names:
        return class_names.index(class_name)
    if class_name.isdecimal() and int(class_name) < len(class_names):
        return int(class_name)
    raise ClipError(f"'{path}': {unknown('class', class_name, class_names)}")


def _number(index: int | None, count: int, path: Path) -> int | None:
    if index is None or -count <= index < count:
        return index if index is None else index % count
    raise ClipError(f"'{path}' has no clip {index}: it holds {count}, numbered from 0")
