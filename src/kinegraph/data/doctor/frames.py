"""Checks of single clips, frame by frame: lost, frozen, repeated and jumping joints, side flips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.clip import Clip
from kinegraph.data.doctor.body import Body, Mask
from kinegraph.data.doctor.case import Case
from kinegraph.data.doctor.findings import frame_list
from kinegraph.data.doctor.medians import middle

FROZEN_FRAMES = 10  # a joint that stays in place, to the last digit, for so long was not tracked
FRAME_RATE = 30.0  # of a clip that does not tell; that of all sensors whose sets are read here
# Way between two frames, in body heights a second. Nobody runs faster than 12.5 m/s, no pitcher's
# hand moves faster than about 30 m/s; an adult is taken as 1.7 m tall.
BODY_SPEED, JOINT_SPEED = 12.5 / 1.7, 30.0 / 1.7
HOME = 0.3  # body heights, the longest bone: a joint as near to the origin may have one there
FLIP_GAIN = 0.5  # share of the way that remains when the sides are exchanged back


class Frames:
    """Looks at each clip by itself."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def look(self, row: int, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Look for what is odd in single frames."""
        if clip.frames == 1:
            self._case.add("one-frame", "it has one frame", clip.name)
        self._empty(clip, bodies)
        rate = clip.extras.get("fps", FRAME_RATE)
        rate = rate if np.isfinite(rate) and rate > 0 else FRAME_RATE
        several = len(bodies) > 1
        for body in bodies:
            person = f"person {body.person}: " if several else ""
            self._lost(clip, body, person)
            if len(body.positions) > 1:
                self._still(clip, body, person)
                self._jumps(clip, body, person, rate)
                self._flips(clip, body, person)

    def finish(self) -> None:
        """Nothing is left to say."""

    def _empty(self, clip: Clip, bodies: tuple[Body, ...]) -> None:
        """Name the frames in which no body is seen."""
        peopled = np.zeros(clip.frames, dtype=bool)
        for body in bodies:
            peopled[body.first : body.first + len(body.peopled)] |= body.peopled
        if not peopled.all():
            empty = np.flatnonzero(~peopled)
            self._add("empty-frames", f"nobody in {frame_list(empty.tolist())}", clip, empty)

    def _lost(self, clip: Clip, body: Body, person: str) -> None:
        """Name joints at the origin; an estimator with scores says with zeros what it lost."""
        if body.complete or "score" in body.anatomy.skeleton.coordinates.axes:
            return
        lost = ~body.seen & body.peopled[:, None]  # frames without anybody are named elsewhere
        lost[_at_home(body, lost)] = False
        if lost.any():
            frames = np.flatnonzero(lost.any(axis=1)) + body.first
            joints = self._case.joints(np.flatnonzero(lost.any(axis=0)))
            text = f"{person}{joints} all zero in {frame_list(frames.tolist())}"
            self._add("zero-joints", text, clip, frames, lost.sum())

    def _still(self, clip: Clip, body: Body, person: str) -> None:
        """Name frames that repeat the one before, and joints that froze."""
        equal = (body.positions[1:] == body.positions[:-1]).all(axis=-1)  # (T-1, V)
        repeats = equal.all(axis=1) & body.peopled[1:]
        if repeats.any():
            frames = np.flatnonzero(repeats) + body.first + 1
            text = f"{person}{frame_list(frames.tolist())} repeat the one before"
            if len(frames) == 1:
                text = f"{person}frame {frames[0]} repeats the one before"
            self._add("repeated", text, clip, frames, len(frames) / len(equal))
        frozen = _runs(equal & body.seen[1:], FROZEN_FRAMES - 1)
        if frozen.any():
            joints = self._case.joints(np.flatnonzero(frozen.any(axis=0)))
            frames = np.flatnonzero(frozen.any(axis=1)) + body.first
            text = f"{person}{joints} frozen for {FROZEN_FRAMES} frames, from frame {frames[0]}"
            self._add("frozen", text, clip, frames, frozen.sum())

    def _jumps(self, clip: Clip, body: Body, person: str, rate: float) -> None:
        """Name frames in which the body, or a joint alone, went faster than people can."""
        if body.size <= 0:
            return
        speed = body.travelled * (rate / body.size)  # (T-1, V) body heights a second
        if not np.fmax.reduce(speed, axis=None, initial=0.0) > BODY_SPEED:
            return
        whole = np.nan_to_num(_across(speed))
        jumps = whole > BODY_SPEED
        if jumps.any():
            frames = np.flatnonzero(jumps) + body.first + 1
            metres = float(whole.max()) / rate
            text = f"{person}all joints jump in {frame_list(frames.tolist())}"
            text += f" ({metres:.1f} body heights between two frames)"
            self._add("body-jump", text, clip, frames, whole.max())
        far = (speed > JOINT_SPEED) & ~jumps[:, None]
        if far.any():
            frames = np.flatnonzero(far.any(axis=1)) + body.first + 1
            joints = self._case.joints(np.flatnonzero(far.any(axis=0)))
            text = f"{person}{joints} jump in {frame_list(frames.tolist())}"
            text += f" ({float(speed[far].max()) / rate:.1f} body heights between two frames)"
            self._add("joint-jump", text, clip, frames, speed[far].max())

    def _flips(self, clip: Clip, body: Body, person: str) -> None:
        """Name frames from which on left and right have changed places."""
        left, right = body.anatomy.sides
        if not len(left):
            return
        shown = body.shown
        here, there = np.concatenate([left, right]), np.concatenate([right, left])
        way = _across(body.travelled[:, here])  # (T-1,)
        width = _across(_norm(shown[:, left] - shown[:, right]))  # (T,)
        # Only where joints moved by a good part of their distance can sides have changed.
        late = np.flatnonzero(way > 0.5 * width[1:])
        if not len(late):
            return
        exchanged = _across(_norm(shown[late + 1][:, there] - shown[late][:, here]))
        frames = late[exchanged < FLIP_GAIN * way[late]] + body.first + 1
        if len(frames):
            text = f"{person}left and right change places in {frame_list(frames.tolist())}"
            self._add("side-flip", text, clip, frames, len(frames))

    def _add(
        self, kind: str, text: str, clip: Clip, frames: NDArray[np.int64], size: float | None = None
    ) -> None:
        chosen = tuple(int(frame) for frame in frames[:8])
        self._case.add(
            kind, text, clip.name, frames=chosen, size=float(len(frames) if size is None else size)
        )


def _at_home(body: Body, lost: Mask) -> Mask:
    """Return (T,) whether the one joint at the origin belongs there, as in clips that are centred.

    Then the joints beside it are near the origin, too.
    """
    alone = np.asarray(lost.sum(axis=1) == 1)
    if not alone.any() or body.size <= 0:
        return np.zeros(len(lost), dtype=bool)
    hops = body.anatomy.skeleton.hops
    joint = lost.argmax(axis=1)  # (T,)
    away = np.where(body.seen, _norm(body.positions), np.inf)  # (T, V)
    beside = np.where(hops[joint] == 1, away, np.inf).min(axis=1)  # (T,)
    return np.asarray(alone & (beside < HOME * body.size))


def _runs(still: Mask, steps: int) -> Mask:
    """Return (T', V) whether ``steps`` steps without motion begin at a frame."""
    if len(still) < steps or not still.any():
        return np.zeros((0, still.shape[1]), dtype=bool)
    counts = np.cumsum(np.pad(still, ((1, 0), (0, 0))), axis=0)
    return np.asarray(counts[steps:] - counts[:-steps] == steps)


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((vectors**2).sum(axis=-1)))


def _across(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (T,) the middle one of each row of (T, n)."""
    return middle(values, axis=1)
