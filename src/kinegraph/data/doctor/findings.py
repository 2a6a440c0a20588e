"""What the doctor writes down: findings, the kinds there are, and the ledger that keeps them.

Every check speaks through a `Ledger`. Nothing here knows clips or arrays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Severity = Literal["note", "warning", "fault"]
SEVERITIES: tuple[Severity, ...] = ("fault", "warning", "note")  # the worst first
KEPT = 5_000  # findings of one kind that are kept in full; all of them are counted
FRAMES_SHOWN = 3


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: ``fault`` if training on it gives wrong numbers, ``warning`` if a person should
            look, ``note`` if sensors do this every day.
        title: What it is, in a few words.
        remedy: What to do about it, in one line.
    """

    severity: Severity
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "unreadable": Kind(
        "fault",
        "recordings that cannot be read",
        "download them again, or leave them out with: kinegraph data import --skip-bad",
    ),
    "not-finite": Kind(
        "fault",
        "coordinates that are NaN or infinite",
        "write zeros where a joint was not seen, or leave the clip out with --skip-bad",
    ),
    "unit": Kind(
        "fault",
        "a unit that is not the one of the layout",
        "scale the coordinates, or give a layout file of your own that names this unit",
    ),
    "up-axis": Kind(
        "fault",
        "an upward axis that is not the one of the layout",
        "exchange or negate axes, or give a layout file of your own with this 'up'",
    ),
    "joint-order": Kind(
        "fault",
        "bone lengths that the layout makes impossible for a body",
        "find out the order of the joints; name another --layout or reorder them",
    ),
    "sides": Kind(
        "fault",
        "left and right exchanged, or the picture mirrored",
        "exchange the left and right joints, or negate the sideways axis",
    ),
    "leakage": Kind(
        "fault",
        "the same recording on both sides of a split",
        "leave one of them out, or report the accuracy without these test clips",
    ),
    "contradiction": Kind(
        "fault",
        "one recording under two names with different labels",
        "watch it (kinegraph show), keep the right label and leave the other out",
    ),
    "one-sided-class": Kind(
        "fault",
        "classes that a split only trains or only tests",
        "take another split, or leave these classes out",
    ),
    "duplicate": Kind(
        "warning",
        "the same recording under two names",
        "keep one of them; with both, a class counts it twice",
    ),
    "near-duplicate": Kind(
        "warning",
        "recordings that are the same but for rounding, place or a cut",
        "keep one of them; with both, a class counts it twice",
    ),
    "clip-sides": Kind(
        "warning",
        "single clips with left and right exchanged, or mirrored",
        "look at them (kinegraph show); exchange the sides or leave them out",
    ),
    "clip-order": Kind(
        "warning",
        "single clips with bones no body has",
        "look at them (kinegraph show); reorder their joints or leave them out",
    ),
    "clip-unit": Kind(
        "warning",
        "single clips of another size than the others",
        "look for another unit or another recorder in these files",
    ),
    "clip-up": Kind(
        "warning",
        "single clips that lie on their side or stand on their head",
        "a person may lie down; if not, these files have other axes",
    ),
    "side-flip": Kind(
        "warning",
        "left and right change places within a clip",
        "exchange the sides of the frames between the flips",
    ),
    "body-jump": Kind(
        "warning",
        "a whole body that moves faster than people can",
        "people changed slots or frames are missing; cut the clip there or match people by poses",
    ),
    "one-frame": Kind(
        "warning",
        "clips of one frame",
        "there is no motion to learn from: leave them out, or keep them to stay comparable",
    ),
    "empty-class": Kind(
        "warning",
        "classes without clips",
        "check the label file, or import all parts of the set",
    ),
    "imbalance": Kind(
        "warning",
        "classes with far fewer or far more clips than the others",
        "compare by mean class accuracy, or draw clips by class",
    ),
    "lone-subject": Kind(
        "warning",
        "classes that one person alone shows",
        "a network may learn the person; record others, or do not trust this class",
    ),
    "empty-frames": Kind(
        "note",
        "frames in which nobody is seen",
        "they are zeros for a network; cut them off if they are many",
    ),
    "zero-joints": Kind(
        "note",
        "joints exactly at the origin",
        "they stand for lost joints; interpolate them if they are many",
    ),
    "frozen": Kind(
        "note",
        "joints that stay in one place to the last digit",
        "they were not tracked; distrust them where they matter",
    ),
    "repeated": Kind(
        "note",
        "frames that repeat the one before",
        "frames were lost or clips padded; import the clips without padding",
    ),
    "joint-jump": Kind(
        "note",
        "joints that move faster than hands and feet can",
        "tracking slipped; smooth these frames if they matter",
    ),
    "stretching": Kind(
        "note",
        "clips in which bones change their length all the time",
        "tracking is poor here; distrust the clip",
    ),
    "overlap": Kind(
        "note",
        "clips that share some frames",
        "they were cut from one recording; keep them on the same side of a split",
    ),
    "shared-subjects": Kind(
        "note",
        "splits with the same people on both sides",
        "good accuracy will not show that new people are recognised",
    ),
    "unlabelled": Kind(
        "note",
        "clips without a label",
        "none tests; only objectives that need no label train on them",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is odd.

    Attributes:
        kind: A key of `KINDS`.
        text: What was found, in a phrase.
        clip: The clip; empty if it concerns the whole set.
        others: Other clips it concerns.
        frames: Frames it concerns, at most a few.
        size: How bad it is among its kind; the larger the worse.
    """

    kind: str
    text: str
    clip: str = ""
    others: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    size: float = 0.0

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return KINDS[self.kind].severity

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return KINDS[self.kind].remedy


class Ledger:
    """All findings: each is counted, and the first `KEPT` of a kind are kept."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
        self.counts: Counter[str] = Counter()
        self._clips: dict[str, set[str]] = {severity: set() for severity in SEVERITIES}

    def add(self, finding: Finding) -> None:
        """Write a finding down."""
        self.counts[finding.kind] += 1
        if self.counts[finding.kind] <= KEPT:
            self._kept[finding.kind].append(finding)
        if finding.clip:
            self._clips[finding.severity].add(finding.clip)

    def __iter__(self) -> Iterator[Finding]:
        """Yield the kept findings: faults first, kinds together, the worst of a kind first."""
        for kind in self.kinds():
            yield from sorted(self._kept[kind], key=_worst_first)

    def kinds(self) -> list[str]:
        """Return the kinds that were found, faults first."""
        found = [kind for kind in KINDS if self.counts[kind]]
        return sorted(found, key=_rank)

    def clips(self, *severities: Severity) -> int:
        """Return how many clips have a finding of one of these severities."""
        return len(set().union(*(self._clips[severity] for severity in severities)))


def frame_list(frames: list[int]) -> str:
    """Word some frames, such as ``frames 3, 4, 5 and 3 more``."""
    if len(frames) == 1:
        return f"frame {frames[0]}"
    shown = ", ".join(str(frame) for frame in frames[:FRAMES_SHOWN])
    more = len(frames) - FRAMES_SHOWN
    return f"frames {shown}" + (f" and {more} more" if more > 0 else "")


def _rank(kind: str) -> int:
    return SEVERITIES.index(KINDS[kind].severity)


def _worst_first(finding: Finding) -> float:
    return -finding.size
