"""``kinegraph data fetch``: download a data set, or say how one comes by it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.data.fetching import fetch_file
from kinegraph.data.fetching.sources import DataSource, find_source, load_sources
from kinegraph.errors import FetchError


class Arguments(BaseModel):
    """Download a data set, or say where to ask for it; without a name, list them all.

    An interrupted download goes on where it stopped. The checksum of a file is recorded beside it
    when it is first fetched, and must be met from then on.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Data set, such as nw-ucla; by default all are listed."""

    out: Path | None = None
    """Folder for the downloaded files; by default downloads/NAME."""

    url: str | None = None
    """Another address of the file: a mirror, or the link that you were given on request."""

    sha256: str | None = None
    """Checksum that the file must have."""

    force: bool = False
    """Download anew what is there, and record its checksum anew."""


def run(arguments: Arguments) -> int:
    """List the data sets, download one, or say how to ask for it.

    Raises:
        FetchError: It cannot be downloaded.
        OutputError: It cannot be written.
    """
    if arguments.name is None:
        if arguments.url or arguments.sha256 or arguments.force:
            raise FetchError("name a data set; kinegraph data fetch lists them")
        show_all()
        return 0
    source = find_source(arguments.name)
    folder = Path("downloads", source.name) if arguments.out is None else arguments.out
    if arguments.url is None and not source.direct:
        if arguments.sha256 or arguments.force:
            raise FetchError(f"'{source.name}' must be asked for on {source.page}; or give --url")
        explain(source, folder)
        return 0
    download(source, folder, arguments)
    return 0


def show_all() -> None:
    """Print every data set and what it takes to get it."""
    sources = load_sources()
    width = max(map(len, sources)) + 2
    for title, direct in (
        ("fetched by kinegraph data fetch NAME", True),
        ("to be asked for; kinegraph data fetch NAME says how", False),
    ):
        say(title)
        for name, source in sources.items():
            if source.direct == direct:
                say(f"  {name:<{width}}{source.title}")
                say(f"  {'':<{width}}terms: {source.terms}")
        if direct:
            say("")


def explain(source: DataSource, folder: Path) -> None:
    """Print where a data set is to be asked for, and what to do with it."""
    say(source.title)
    say(f"page: {source.page}")
    say(f"terms: {source.terms}")
    say(f"do: {source.ask}")
    say(f"files: {', '.join(file.name for file in source.files)}")
    say(f"then: {source.next_command(folder)}")
    say(f"with a link of your own: kinegraph data fetch {source.name} --url LINK")


def download(source: DataSource, folder: Path, arguments: Arguments) -> None:
    """Download the files of a data set, or the one that ``--url`` leads to."""
    files = source.files if arguments.url is None else (source.at(arguments.url),)
    remark(f"terms: {source.terms} ({source.page})")
    for file in files:
        path = folder / file.name
        try:
            fetched = fetch_file(file.url, path, sha256=arguments.sha256, force=arguments.force)
        except KeyboardInterrupt:
            remark(f"what has come of {file.name} is kept: the same command goes on from there")
            raise
        done = "fetched" if fetched.new else "is there, unchanged"
        say(f"{path} {done}: {fetched.size / 1e6:.1f} MB, sha256 {fetched.sha256}")
    if missing := [each.name for each in source.files if not (folder / each.name).exists()]:
        say(f"still to come: {', '.join(missing)}")
    say(f"next: {source.next_command(folder)}")
