"""``kinegraph data check``: the doctor looks at a store or at recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import progress, remark, say, to_json
from kinegraph.data.doctor import KINDS, Diagnosis, Finding, examine_recordings, examine_store
from kinegraph.data.formats import Options, open_recordings
from kinegraph.data.store import open_store
from kinegraph.errors import ClipError, SourceError
from kinegraph.files import refuse_existing

SHOWN = 20  # findings that are listed without --all
OF_A_KIND = 3  # findings of one kind among them


class Arguments(BaseModel):
    """Read everything, say what is odd and what to do about it; damage ends with exit code 2."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    path: tyro.conf.Positional[Path]
    """A store, or recordings as `data import` and `predict` read them."""

    format: str | None = None
    """Form of the recordings, if it cannot be told from the files."""

    layout: str | None = None
    """Skeleton layout of recordings that do not name it."""

    cleaning: str | None = None
    """How the bodies of a sensor become people, as in `data import`."""

    labels: Path | None = None
    """File or folder that says what recordings show, as in `data import`."""

    splits: Path | None = None
    """File or folder of published splits, as in `data import`."""

    people: int | None = None
    """How many people of a recording are kept, as in `data import`."""

    matching: bool = False
    """Whether people are followed by their poses, as in `data import`."""

    part: str | None = None
    """Which portion of a data set the recordings are, as in `data import`."""

    all: bool = False
    """List every finding, not only the worst ones."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON: facts, findings, and one row for each clip."""

    html: Path | None = None
    """Also write a page with pictures of the worst clips."""

    strict: bool = False
    """End with exit code 1 if there are warnings or faults."""

    force: bool = False
    """Replace a page that is there already."""


def run(arguments: Arguments) -> int:
    """Examine a store or recordings, and say what is odd.

    Raises:
        StoreError: The store is damaged.
        SourceError: Something is said of recordings, and there is a store.
        ClipError: Some recordings cannot be used.
        OutputError: The page exists already or cannot be written.
    """
    if arguments.html is not None:
        refuse_existing(arguments.html, force=arguments.force)
    said = {each.name: getattr(arguments, each.name) for each in fields(Options)}
    said["matching"] = arguments.matching or None
    if arguments.path.is_dir() and (arguments.path / "meta.json").exists():
        for name, value in {"format": arguments.format, **said}.items():
            if value is not None:
                raise SourceError(
                    f"--{name} means nothing to store '{arguments.path}': it says how recordings"
                    " are read"
                )
        store = open_store(arguments.path)
        store.verify()
        return _report(arguments, examine_store(store, _progress))
    source = open_recordings(arguments.path, format_name=arguments.format, options=Options(**said))
    with source as recordings:
        return _report(arguments, examine_recordings(recordings, _progress))


def _progress(rows: Iterable[int], description: str, total: int) -> Iterator[int]:
    return progress(rows, description, total)


def _report(arguments: Arguments, diagnosis: Diagnosis) -> int:
    """Show a diagnosis in the ways that were asked for, and return the exit code.

    Raises:
        ClipError: Some recordings cannot be used.
    """
    if arguments.as_json:
        say(to_json(_plain(arguments.path, diagnosis)))
    else:
        _show(arguments, diagnosis)
    if arguments.html is not None:
        from kinegraph.data.doctor.page import write_page

        name = arguments.path.resolve().name
        write_page(arguments.html, diagnosis, title=name, force=arguments.force)
        remark(f"page: {arguments.html}")
    if diagnosis.bad:
        for reason in diagnosis.bad[1:]:
            remark(reason)
        verb = "is" if len(diagnosis.bad) == 1 else "are"
        raise ClipError(
            f"{len(diagnosis.bad)} of {diagnosis.count} recordings {verb} bad: {diagnosis.bad[0]}"
        )
    ledger = diagnosis.case.ledger
    serious = any(KINDS[kind].severity != "note" for kind in ledger.kinds())
    return int(arguments.strict and serious)


def _show(arguments: Arguments, diagnosis: Diagnosis) -> None:
    """Print findings, then each kind with its remedy, then the verdict."""
    ledger = diagnosis.case.ledger
    listed = list(ledger) if arguments.all else _worst(diagnosis)
    for finding in listed:
        about = f" {finding.clip}" if finding.clip else ""
        say(f"{finding.severity}{about}: {finding.text}")
    total = sum(ledger.counts.values())
    if total > len(listed):
        say(f"... and {total - len(listed)} more; --all lists them")
    width = max((len(kind) for kind in ledger.kinds()), default=0)
    for kind in ledger.kinds():
        about = f"{KINDS[kind].title}: {KINDS[kind].remedy}"
        say(f"{ledger.counts[kind]:>7} {kind:<{width}}  {about}")
    if not diagnosis.bad:
        say(_verdict(arguments.path, diagnosis))


def _worst(diagnosis: Diagnosis) -> list[Finding]:
    """Return the worst findings, a few of each kind."""
    chosen: list[Finding] = []
    kinds: Counter[str] = Counter()
    for finding in diagnosis.case.ledger:
        kinds[finding.kind] += 1
        if kinds[finding.kind] <= OF_A_KIND:
            chosen.append(finding)
    return chosen[:SHOWN]


def _verdict(path: Path, diagnosis: Diagnosis) -> str:
    """Word what was looked at, what the bodies are like, and how many clips are doubtful."""
    ledger, facts = diagnosis.case.ledger, diagnosis.facts()
    clips = "1 clip" if diagnosis.count == 1 else f"{diagnosis.count} clips"
    people = "/".join(facts["clips_by_persons"])
    words = [f"{facts['frames']} frames of {people} {'person' if people == '1' else 'people'}"]
    if "body_size" in facts:
        words.append(f"bodies of {facts['body_size']:.4g} ({facts['probable_unit']})")
    if "probable_up" in facts:
        words.append(f"{facts['probable_up']} up")
    if "bone_variation" in facts:
        words.append(f"bones vary by {100 * facts['bone_variation']:.0f} %")
    doubtful = ledger.clips("fault", "warning")
    noted = ledger.clips("fault", "warning", "note") - doubtful
    notes = f", {noted} with notes" if noted else ""
    return (
        f"{path}: {', '.join(words)}\n"
        f"{path} is whole: {clips}, {doubtful or 'none'} doubtful{notes}"
    )


def _plain(path: Path, diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as plain data, ready for JSON."""
    return {
        "path": str(path),
        "facts": diagnosis.facts(),
        "kinds": {
            kind: {
                "severity": KINDS[kind].severity,
                "count": diagnosis.case.ledger.counts[kind],
                "title": KINDS[kind].title,
                "remedy": KINDS[kind].remedy,
            }
            for kind in diagnosis.case.ledger.kinds()
        },
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "clip": finding.clip,
                "others": list(finding.others),
                "frames": list(finding.frames),
                "text": finding.text,
                "remedy": finding.remedy,
            }
            for finding in diagnosis.findings
        ],
        "clips": list(diagnosis.clips()),
    }
