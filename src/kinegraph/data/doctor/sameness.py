"""Whether a recording is there twice: exactly, but for rounding, place or a cut; and leakage.

Every clip leaves the hash of its joints and the hashes of about a quarter of its poses, rounded and
relative to the body. Clips with poses in common are read again and compared number by number.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.doctor.body import Body
from kinegraph.data.doctor.case import Case
from kinegraph.data.splits import SPLITS
from kinegraph.errors import ClipError, SourceError

GRID = 0.04  # body heights to which poses are rounded before they are hashed
CLOSE = 0.002  # body heights that equal poses may differ by: 3 mm, more than rounding does
KEEP = 4  # one of so many pose hashes is kept, which one follows from the hash alone
CROWD = 24  # clips with the same pose from which on the pose says nothing, such as a rest position
COMPARED = 20_000  # pairs of clips that are read again at most, those most alike first
SAME_PART = 0.5  # of the shorter clip in common: the same recording; less is an overlap
OVERLAP_PART, OVERLAP_FRAMES = 0.1, 8  # shared frames below which cutters were a little generous


class Sameness:
    """Keeps hashes of all clips, and compares those that look alike."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._digests = array("Q")  # two numbers a clip
        self._hashes, self._rows = array("Q"), array("I")
        self._grid = 0.0

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Keep the hashes of a clip."""
        self._digests.frombytes(_digest(clip))
        for body in bodies:
            if not body.size > 0 or not body.peopled.any():
                continue
            # Cells as large as the first body asks for: all clips need the same ones.
            self._grid = self._grid or GRID * body.size
            hashes = pose_hashes(body, self._grid)[body.peopled]
            chosen = np.flatnonzero(hashes % KEEP == 0)
            if not len(chosen):  # a short clip needs one, too: its smallest
                chosen = np.array([int(hashes.argmin())])
            kept = np.unique(hashes[chosen])
            self._hashes.frombytes(kept.tobytes())
            self._rows.extend([row] * len(kept))

    def finish(self) -> None:
        """Name exact copies, then near ones and overlaps, then those that a split leaks."""
        names = self._case.census.names
        labels = self._case.census.column("label")
        pairs: list[tuple[int, int]] = []
        twins = set()
        for rows in self._copies():
            for other in rows[1:]:
                self._report(rows[0], other, "duplicate", f"the same as {names[rows[0]]}", labels)
                twins.add(other)
            pairs += list(combinations(rows, 2))[:CROWD]
        for first, second in self._candidates(twins):
            found = self._compare(first, second)
            if found is None:
                continue
            kind, text, size = found
            if kind == "overlap":
                self._case.add(kind, text, names[second], others=(names[first],), size=size)
            else:
                self._report(first, second, kind, text, labels, size)
                pairs.append((first, second))
        self._leaks(pairs)

    def _report(
        self, first: int, second: int, kind: str, text: str, labels: NDArray[np.int64],
        size: float = 1.0,
    ) -> None:  # fmt: skip
        names, classes = self._case.census.names, self._case.class_names
        one, two = int(labels[first]), int(labels[second])
        if UNKNOWN not in (one, two) and one != two:
            kind = "contradiction"
            text += f", but one is '{classes[one]}' and the other '{classes[two]}'"
        self._case.add(kind, text, names[second], others=(names[first],), size=size)

    def _copies(self) -> Iterator[list[int]]:
        """Yield the rows of clips that are the same to the last digit, in their order."""
        digests = np.array(self._digests, dtype=np.uint64).reshape(-1, 2)
        order = np.lexsort(digests.T)
        bounds = np.flatnonzero((digests[order[1:]] != digests[order[:-1]]).any(axis=1)) + 1
        for group in sorted(sorted(order[part]) for part in _groups(bounds, len(order))):
            yield [int(row) for row in group]

    def _candidates(self, twins: set[int]) -> Iterator[tuple[int, int]]:
        """Yield pairs of clips that have a pose in common; of exact copies, the first alone."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        rows = np.frombuffer(self._rows, dtype=np.uint32)
        order = np.argsort(hashes, kind="stable")
        bounds = np.flatnonzero(np.diff(hashes[order])) + 1
        common: defaultdict[tuple[int, int], int] = defaultdict(int)
        for group in _groups(bounds, len(order)):
            clips = sorted(set(rows[order[group]].tolist()) - twins)
            if 2 <= len(clips) <= CROWD:
                for pair in combinations(clips, 2):
                    common[pair] += 1
        if len(common) > COMPARED:
            self._case.facts["pairs_not_compared"] = len(common) - COMPARED
        yield from sorted(common, key=lambda pair: (-common[pair], pair))[:COMPARED]

    def _compare(self, first: int, second: int) -> tuple[str, str, float] | None:
        """Read two clips again; return kind, text and share of what they have in common."""
        try:
            clips = [self._case.reread(row) for row in (first, second)]
        except (ClipError, SourceError):
            return None
        best: tuple[int, int, bool] = (0, 0, True)
        for one in self._bodies(clips[0]):
            for two in self._bodies(clips[1]):
                best = max(best, shared_frames(one, two, self._grid))
        frames, shift, moved = best
        share = frames / max(1, min(clip.frames for clip in clips))
        if frames == 0:
            return None
        name = self._case.census.names[first]
        if share >= SAME_PART:
            how = " at another place" if moved else ""
            text = f"{frames} frames the same as {name}{how}"
            if shift:
                text += f", {abs(shift)} frames {'later' if shift > 0 else 'earlier'} there"
            return "near-duplicate", text, share
        if share >= OVERLAP_PART and frames >= OVERLAP_FRAMES:
            return "overlap", f"{frames} frames the same as in {name}", share
        return None

    def _bodies(self, clip: Clip) -> list[Body]:
        bodies = (Body.of(track, self._case.anatomy) for track in clip.tracks)
        return [body for body in bodies if body.size > 0 and body.peopled.any()]

    def _leaks(self, pairs: list[tuple[int, int]]) -> None:
        """Name recordings that train and test in one split."""
        names = self._case.census.names
        for split, sides in split_sides(self._case).items():
            for first, second in pairs:
                if {int(sides[first]), int(sides[second])} == {1, 2}:
                    trains, tests = sorted((first, second), key=lambda row: sides[row])
                    text = f"tests in split '{split}', where {names[trains]}, the same one, trains"
                    self._case.add("leakage", text, names[tests], others=(names[trains],))


def split_sides(case: Case) -> dict[str, NDArray[np.int64]]:
    """Return (clips,) 0 none, 1 train or 2 test, for the splits that this set is used with.

    Those are the one of publications and those that the source brings; without any, the rule for
    sets with subjects.
    """
    census = case.census
    sides = {
        name: np.array([parts.get(clip, 0) for clip in census.names], dtype=np.int64)
        for name, parts in case.stored_splits.items()
    }
    default = case.default_split
    wanted = [default] if default in SPLITS else []
    if not sides and not wanted:
        wanted = ["subjects"]
    labels = census.column("label")
    for name in wanted:
        if name in sides:
            continue
        rule = SPLITS[name]
        values = census.column(rule.needs) if rule.needs else labels
        trains = rule.part(values, labels, 0)
        tests = ~trains if rule.test_values is None else np.isin(values, rule.test_values)
        known = (values != UNKNOWN) & (labels != UNKNOWN)
        part = np.where(trains, 1, np.where(tests, 2, 0)) * known
        if {1, 2} <= set(part.tolist()):
            sides[name] = part
    return sides


def pose_hashes(body: Body, grid: float) -> NDArray[np.uint64]:
    """Return (T,) hashes of the poses of a body: joints relative to the first, rounded to cells."""
    poses = body.positions - body.positions[:, :1]
    cells = np.floor(poses / grid + 0.37).astype(np.int64)  # the shift keeps zero inside a cell
    flat = cells.reshape(len(cells), -1).view(np.uint64)  # (T, V * C)
    factors = np.random.default_rng(2).integers(1, 1 << 62, flat.shape[1], dtype=np.uint64) | 1
    mixed = (flat * factors).sum(axis=1, dtype=np.uint64)
    # The middle bits of a sum of products are mixed best; the low ones decide who is kept.
    return np.asarray((mixed >> np.uint64(17)) ^ mixed)


def shared_frames(one: Body, two: Body, grid: float) -> tuple[int, int, bool]:
    """Return how many frames two bodies share, by how many they are shifted, and whether moved.

    The shift is the one that most equal hashes ask for; poses at that shift are then compared.
    """
    first, second = pose_hashes(one, grid), pose_hashes(two, grid)
    equal = (first[:, None] == second[None]) & one.peopled[:, None] & two.peopled  # (T1, T2)
    if not equal.any():
        return 0, 0, False
    at = np.argwhere(equal)
    shifts, counts = np.unique(at[:, 0] - at[:, 1], return_counts=True)
    shift = int(shifts[counts.argmax()])
    begin = max(shift, 0)
    length = min(len(first) - begin, len(second) - (begin - shift))
    ours = one.positions[begin : begin + length]
    theirs = two.positions[begin - shift : begin - shift + length]
    near = CLOSE * max(one.size, two.size)
    gap = ours[:, 0] - theirs[:, 0]  # (T', C)
    same = np.abs((ours - ours[:, :1]) - (theirs - theirs[:, :1])).max(axis=(1, 2)) < near
    same &= one.peopled[begin : begin + length]
    moved = bool(same.any() and np.abs(gap[same]).max() > near)
    return int(same.sum()), shift + one.first - two.first, moved


def _digest(clip: Clip) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for track in clip.tracks:
        digest.update(f"{track.first}:{track.joints.shape};".encode())
        digest.update(np.ascontiguousarray(track.joints, dtype=np.float32).tobytes())
    return digest.digest()


def _groups(bounds: NDArray[np.int64], count: int) -> Iterator[slice]:
    """Yield slices of more than one element between bounds."""
    edges = np.concatenate([[0], bounds, [count]])
    for index in np.flatnonzero(np.diff(edges) > 1):
        yield slice(int(edges[index]), int(edges[index + 1]))
