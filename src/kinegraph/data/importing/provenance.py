"""How the clips of a store came to be, as ``meta.json`` records it, and what parts depend on.

The record speaks of the recordings and of how they were read, never of the machine or the day: the
same recordings read in the same way give the same bytes everywhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from kinegraph import __version__
from kinegraph.data.formats import Options, Recordings
from kinegraph.data.importing.listing import Listing, list_source
from kinegraph.data.importing.parts import Job, Span
from kinegraph.data.store_writer import FORMAT_VERSION


def describe_import(job: Job, recordings: Recordings, listing: Listing) -> dict[str, Any]:
    """Return what ``meta.json`` says of an import: format, options, notes and source.

    Files that options name are described by name, number, sizes and digest, as the source is.
    """
    options: dict[str, Any] = {}
    for name, value in _given(job.options):
        if isinstance(value, Path):
            options[name] = list_source(value).to_dict() if value.exists() else value.name
        elif name == "layout" and str(value).endswith(".toml"):
            options[name] = Path(value).name  # the layout itself stands in the store
        else:
            options[name] = value
    return {
        "format": job.format_name,
        "options": options,
        "notes": json.loads(json.dumps(dict(recordings.notes), default=str)),
        "recordings": recordings.count,
        "source": listing.to_dict(),
    }


def fingerprint(job: Job, span: Span, recordings: Recordings, listing: Listing) -> str:
    """Return what tells, on one machine, whether parts that were read earlier are still good."""
    facts = {
        "import": describe_import(job, recordings, listing),
        "source": [str(job.source.absolute()), listing.state],
        "options": [
            list_source(value).state
            for _, value in _given(job.options)
            if isinstance(value, Path) and value.exists()
        ],
        "skeleton": recordings.skeleton.to_dict(),
        "class_names": recordings.class_names,
        "span": span.to_dict(),
        "dtype": job.dtype,
        "versions": [__version__, FORMAT_VERSION],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("ascii")).hexdigest()


def _given(options: Options) -> Iterator[tuple[str, Any]]:
    """Yield the options that say something."""
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None:
            yield field.name, value
