"""The templates of pages and pictures: every text in them is escaped."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

# XML has no way to write these, not even escaped.
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def environment() -> Environment:
    """Return where templates are found, with the filters that they use."""
    found = Environment(
        loader=PackageLoader("kinegraph.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    found.filters["percent"] = percent
    return found


def percent(value: float | None, digits: int = 2) -> str:
    """Write a fraction in percent with a thin space; a missing one as a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u202f%"


def _readable(value: object) -> object:
    return NO_TEXT.sub("\ufffd", value) if type(value) is str else value
