"""Writes the doctor's page: what a set is, what was found, and pictures of the worst clips.

The page is one file that loads nothing; its template escapes every text. Pictures are cut around
the frames that a finding names.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from kinegraph.data.clip import Clip, Track
from kinegraph.data.doctor.examination import Diagnosis
from kinegraph.data.doctor.findings import KINDS, Finding
from kinegraph.errors import ClipError, SourceError
from kinegraph.files import refuse_existing, write_text

PICTURES = 16  # clips that are drawn
OF_A_KIND = 2  # pictures of the same kind of finding
LISTED = 40  # findings of a kind in the page's list
AROUND = 4  # frames that are drawn before and after the first one that a finding names
STRIP = 8  # frames of a picture
DPI = 70


@dataclass(frozen=True)
class Picture:
    """A drawn clip: what is odd about it, and a PNG as a ``data:`` address."""

    finding: Finding
    strips: tuple[tuple[str, str], ...]


def write_page(path: Path, diagnosis: Diagnosis, *, title: str, force: bool = False) -> Path:
    """Write a self-contained page about an examination.

    Args:
        path: The HTML file.
        diagnosis: What was found.
        title: Heading of the page.
        force: Whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        OutputError: The file exists and may not be replaced, or the disk refuses.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    path = Path(path)
    refuse_existing(path, force=force)
    folders = "kinegraph.data.doctor", "kinegraph.evaluation"
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(folder, "") for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(
        title=title,
        facts=_facts(diagnosis),
        headline=_headline(diagnosis),
        groups=_groups(diagnosis),
        pictures=list(_pictures(diagnosis)),
        version=metadata.version("kinegraph"),
    )
    write_text(path, html)
    return path


def _headline(diagnosis: Diagnosis) -> dict[str, str]:
    ledger, census = diagnosis.case.ledger, diagnosis.case.census
    found: Counter[str] = Counter()
    for kind in ledger.kinds():
        found[KINDS[kind].severity] += ledger.counts[kind]
    return {
        "Clips": f"{len(census):,}",
        "Frames": f"{int(census.column('frames').sum()):,}",
        "Faults": f"{found['fault']:,}",
        "Warnings": f"{found['warning']:,}",
        "Notes": f"{found['note']:,}",
    }


def _facts(diagnosis: Diagnosis) -> dict[str, str]:
    """Return the facts of the set in words."""
    return {name.replace("_", " "): _words(fact) for name, fact in diagnosis.facts().items()}


def _words(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{key}: {_words(value)}" for key, value in fact.items())
    if isinstance(fact, float):
        return f"{fact:.3g}" if abs(fact) < 1000 else f"{fact:.0f}"
    return str(fact)


def _groups(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return each kind that was found, with the worst of its findings."""
    findings = diagnosis.findings
    groups = []
    for kind in diagnosis.case.ledger.kinds():
        listed = [finding for finding in findings if finding.kind == kind][:LISTED]
        count = diagnosis.case.ledger.counts[kind]
        groups.append(
            {"name": kind, "kind": KINDS[kind], "count": count, "listed": listed,
             "more": count - len(listed)}
        )  # fmt: skip
    return groups


def _pictures(diagnosis: Diagnosis) -> Iterator[Picture]:
    """Draw the worst clips, each once, a few of each kind."""
    rows = {name: row for row, name in enumerate(diagnosis.case.census.names)}
    drawn: set[str] = set()
    kinds: Counter[str] = Counter()
    for finding in diagnosis.findings:
        fresh = finding.clip in rows and finding.clip not in drawn
        if not fresh or kinds[finding.kind] == OF_A_KIND:
            continue
        try:
            strips = tuple(
                (name, _strip(diagnosis, rows[name], finding))
                for name in (finding.clip, *finding.others[:1])
            )
        except (ClipError, SourceError):  # what could be read once may be gone now
            continue
        kinds[finding.kind] += 1
        drawn.add(finding.clip)
        yield Picture(finding, strips)
        if len(drawn) == PICTURES:
            return


def _strip(diagnosis: Diagnosis, row: int, finding: Finding) -> str:
    """Draw frames of a clip, around those that a finding names; return a ``data:`` address."""
    from kinegraph.inference.draw import draw_strip

    clip = diagnosis.case.reread(row)
    if finding.frames and not finding.others:
        clip, first = cut(clip, finding.frames[0] - AROUND, finding.frames[0] + AROUND)
    else:
        first = 0
    title = f"{clip.name}; frame 0 here is frame {first}" if first else clip.name
    figure = draw_strip(clip, diagnosis.case.anatomy.skeleton, STRIP, turn=20, title=title)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def cut(clip: Clip, begin: int, end: int) -> tuple[Clip, int]:
    """Return frames ``begin`` to ``end`` of a clip, and the frame that is now the first one.

    A part without anybody is returned whole: there would be nothing to draw.
    """
    begin, end = max(begin, 0), min(end, clip.frames)
    tracks = []
    for track in clip.tracks:
        first, last = max(begin, track.first), min(end, track.first + len(track.joints))
        if first < last:
            joints = track.joints[first - track.first : last - track.first]
            tracks.append(Track(joints, first - begin, track.person))
    if not tracks:
        return clip, 0
    return replace(clip, tracks=tuple(tracks), frames=end - begin), begin
