"""``kinegraph data import``: downloaded recordings, or a user's own arrays, become a store."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import meter, remark, say
from kinegraph.data.formats import FORMATS, Options
from kinegraph.data.formats.recordings import ABSENT
from kinegraph.data.importing import import_data
from kinegraph.data.importing.parts import work_folder
from kinegraph.data.inspection import describe_store
from kinegraph.data.store import open_store
from kinegraph.errors import SourceError

SHARD = re.compile(r"(\d{1,9})/(\d{1,9})")
NAMED_AT_ONCE = 10  # recordings that were left out; meta.json lists all of them
VARYING = re.compile(r"'[^']*'|\d+")  # what differs between reasons of one kind


def _known_to(option: str, text: str) -> str:
    """Return the help of an option that only some formats know: what it means, and to which."""
    knowing = []
    for name, format_ in FORMATS.items():
        if option in format_.choices:
            values = ", ".join(format_.choices[option])
            knowing.append(f"{name} ({values})" if values else name)
    return f"{text} Known to: {', '.join(knowing) or 'no format'}."


class Arguments(BaseModel):
    """Turn downloaded recordings, or your own arrays, into a store.

    Recordings that cannot be used are named and nothing is written; --skip-bad leaves them out. A
    large import that was interrupted goes on where it stopped when the command is given again.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    format: tyro.conf.Positional[str]
    """Form of the recordings, such as nw-ucla or arrays (see `kinegraph list datasets`)."""

    source: tyro.conf.Positional[Path]
    """File, folder or zip archive that holds them."""

    out: Path
    """Folder to be made."""

    layout: str | None = None
    """Skeleton layout, or a .toml file of your own; for sources that do not name it."""

    cleaning: str | None = Field(
        None, description=_known_to("cleaning", "How the bodies of a sensor become people.")
    )
    labels: Path | None = Field(
        None, description=_known_to("labels", "File or folder that says what a clip shows.")
    )
    splits: Path | None = Field(
        None, description=_known_to("splits", "File or folder of published splits.")
    )
    people: int | None = Field(
        None, description=_known_to("people", "How many people of a clip are kept.")
    )
    matching: bool = Field(
        False, description=_known_to("matching", "Whether people are followed by their poses.")
    )
    part: str | None = Field(
        None, description=_known_to("part", "Which portion of a data set the source is.")
    )

    dtype: Literal["float32", "float16"] = "float32"
    """Type of the coordinates in the store."""

    workers: int | None = None
    """Processes that read; by default one for each core where it is worth it."""

    shard: str | None = None
    """Read only share i of n, as in 2/8; `kinegraph data merge` makes one store of all shares."""

    skip_bad: bool = False
    """Leave out recordings that cannot be used and list them in meta.json."""

    force: bool = False
    """Replace a store that is there already."""


class _Terminated(BaseException):
    """SIGTERM came."""


def run(arguments: Arguments) -> int:
    """Import a data set and say what was read."""
    if arguments.workers is not None and arguments.workers < 1:
        raise SourceError(f"--workers is {arguments.workers}, expected 1 or more")
    shard = _shard(arguments.shard)
    try:
        with _sigterm_is_told():
            _import(arguments, shard)
    except (KeyboardInterrupt, _Terminated) as stop:
        kept = work_folder(arguments.out).exists()
        goes_on = "the same command goes on with what has been read" if kept else (
            "nothing was written"
        )  # fmt: skip
        remark(f"kinegraph data import: interrupted; {goes_on}")
        return 143 if isinstance(stop, _Terminated) else 130
    return 0


def _import(arguments: Arguments, shard: tuple[int, int] | None) -> None:
    report = import_data(
        arguments.format,
        arguments.source,
        arguments.out,
        options=_options(arguments),
        skip_bad=arguments.skip_bad,
        force=arguments.force,
        dtype=arguments.dtype,
        workers=arguments.workers,
        shard=shard,
        progress=meter,
    )
    store = open_store(report.store)
    _tell_left_out(report.left_out)
    if report.missing:
        remark(f"{report.missing} recordings are on the published list of those to leave out")
    absent = store.meta["provenance"]["notes"].get(ABSENT, 0)
    if absent and not shard:
        remark(f"recordings that the label file names but '{arguments.source}' lacks: {absent}")
    if report.empty_classes:
        remark(f"no clip shows: {_some(report.empty_classes)}")
    which = f" (shard {arguments.shard})" if shard else ""
    say(
        f"{report.clips} clip{'s' * (report.clips != 1)} of {store.num_classes} classes,"
        f" layout {store.skeleton.name},"
        f" in {report.store}{which} ({report.seconds:.1f} s)"
    )
    if store.default_split:
        sizes = describe_store(store)["splits"].get(store.default_split)
        if sizes:
            say(f"split {store.default_split}: {sizes['train']} train, {sizes['test']} test")


def _shard(text: str | None) -> tuple[int, int] | None:
    """Read ``i/n``.

    Raises:
        SourceError: It is something else.
    """
    if text is None:
        return None
    found = SHARD.fullmatch(text)
    if found is None:
        raise SourceError(f"--shard is '{text}', expected i/n with i from 1 to n, such as 2/8")
    return int(found[1]), int(found[2])


def _tell_left_out(left_out: Sequence[tuple[str, str]]) -> None:
    """Name what was left out: one by one, or by kinds of reasons where there are many."""
    if len(left_out) <= NAMED_AT_ONCE:
        for name, reason in left_out:
            remark(f"left out {name}: {reason}")
        return
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, reason in left_out:
        kinds.setdefault(VARYING.sub("", reason), []).append((name, reason))
    remark(f"left out {len(left_out)} recordings, all of them listed in meta.json:")
    for alike in sorted(kinds.values(), key=len, reverse=True)[:NAMED_AT_ONCE]:
        name, reason = alike[0]
        more = f" ({len(alike) - 1} more like it)" if len(alike) > 1 else ""
        remark(f"left out {name}: {reason}{more}")
    if len(kinds) > NAMED_AT_ONCE:
        remark(f"... and recordings with {len(kinds) - NAMED_AT_ONCE} other kinds of reasons")


@contextmanager
def _sigterm_is_told() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that what is at work ends as it does after Ctrl-C."""

    def stop(number: int, frame: Any) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _options(arguments: Arguments) -> Options:
    return Options(
        layout=arguments.layout,
        cleaning=arguments.cleaning,
        labels=arguments.labels,
        splits=arguments.splits,
        people=arguments.people,
        matching=arguments.matching or None,
        part=arguments.part,
    )


def _some(names: Sequence[str], shown: int = 8) -> str:
    """Name the first few of a list, and say how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
