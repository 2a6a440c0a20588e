"""Where data sets come from: a list of addresses, terms and commands, read from ``sources.toml``.

What can be fetched by a program has an address; the rest is to be asked for on a page.
"""

from __future__ import annotations

import shlex
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from kinegraph.errors import FetchError, unknown


class SourceFile(BaseModel):
    """One file of a data set.

    Attributes:
        name: What the file is called.
        url: Where it can be fetched from; empty if it must be asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    url: str = ""


class DataSource(BaseModel):
    """A data set and how one comes by it.

    Attributes:
        name: What ``kinegraph data fetch`` calls it.
        title: One line about it.
        page: The page of its authors.
        terms: What may be done with it, in a sentence.
        ask: What to do on the page; empty if the files can be fetched.
        command: The command that imports it, with ``{folder}`` and ``{file}``.
        files: Its files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str
    title: str
    page: str
    terms: str
    ask: str = ""
    command: str = Field(alias="import")
    files: tuple[SourceFile, ...] = Field(min_length=1)

    @property
    def direct(self) -> bool:
        """Whether every file can be fetched by a program."""
        return all(file.url for file in self.files)

    def next_command(self, folder: Path) -> str:
        """Return the command that imports what lies in a folder."""
        first = shlex.quote(str(folder / self.files[0].name))
        return self.command.format(folder=shlex.quote(str(folder)), file=first)

    def at(self, url: str) -> SourceFile:
        """Return the file that an address of the user's leads to.

        Raises:
            FetchError: The set has several files, and the address ends in none of their names.
        """
        ending = PurePosixPath(unquote(urlsplit(url).path)).name
        for file in self.files:
            if len(self.files) == 1 or file.name == ending:
                return SourceFile(name=file.name, url=url)
        names = ", ".join(file.name for file in self.files)
        raise FetchError(f"'{url}' ends in none of the files of '{self.name}': {names}")


@cache
def load_sources() -> dict[str, DataSource]:
    """Return every known data set by name, in the order of the list."""
    text = files("kinegraph.data.fetching").joinpath("sources.toml").read_text("utf-8")
    return {name: DataSource(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def find_source(name: str) -> DataSource:
    """Return a data set by name.

    Raises:
        FetchError: There is none of this name.
    """
    sources = load_sources()
    if name not in sources:
        raise FetchError(unknown("data set", name, sources))
    return sources[name]
