"""The stream weights that were published, by system and data set.

Place in the flow: ``ensemble --preset`` looks them up. They belong to raw scores of the named
streams; a tuned weight of one training run need not suit another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinegraph.errors import ScoreError, unknown

DATA_SETS = ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset", "nw-ucla", "pku-mmd")
FOUR_STREAMS = ("joint", "bone", "joint motion", "bone motion")
THREE_STREAMS = ("joint", "bone", "joint motion")
POSITION_AND_MOTION = ("position", "motion")


@dataclass(frozen=True)
class Preset:
    """Published weights.

    Attributes:
        streams: The streams they belong to, in the published order. `POSITION_AND_MOTION` stands
            for any number of streams: those of motion, and all others.
        weights: One per stream.
        source: Who published them.
    """

    streams: tuple[str, ...]
    weights: tuple[float, ...]
    source: str


def _four(weights: tuple[float, float, float, float], source: str) -> Preset:
    return Preset(FOUR_STREAMS, weights, source)


# A name without a data set holds for all of them.
PRESETS: dict[str, Preset] = {
    "infogcn": Preset(POSITION_AND_MOTION, (1.5, 1.0), "InfoGCN"),
    "ctrgcn": _four((0.6, 0.6, 0.4, 0.4), "CTR-GCN"),
    "frhead:ntu60-xsub": _four((2.0, 2.0, 1.0, 1.0), "FR-Head, NTU 60 xsub"),
    "frhead:ntu60-xview": _four((0.6, 0.6, 0.4, 0.4), "FR-Head, NTU 60 xview"),
    "frhead:ntu120-xsub": _four((0.6, 0.75, 0.3, 0.15), "FR-Head, NTU 120"),
    "frhead:ntu120-xset": _four((0.6, 0.75, 0.3, 0.15), "FR-Head, NTU 120"),
    "frhead:nw-ucla": _four((0.6, 0.6, 0.4, 0.4), "FR-Head, NW-UCLA"),
    "lst": _four((0.8, 0.8, 0.2, 0.2), "LST"),
    "aimclr": Preset(THREE_STREAMS, (0.6, 0.6, 0.4), "AimCLR"),
    "crossclr": Preset(THREE_STREAMS, (1.0, 1.0, 1.0), "CrosSCLR"),
}


def find_preset(name: str) -> Preset:
    """Return the preset ``system`` or ``system:data-set``.

    Raises:
        ScoreError: There is none of that name.
    """
    system, _, data_set = name.partition(":")
    if name in PRESETS:
        return PRESETS[name]
    if system in PRESETS and data_set in DATA_SETS:
        return PRESETS[system]
    if system in PRESETS:
        raise ScoreError(f"preset '{name}': {unknown('data set', data_set, DATA_SETS)}")
    raise ScoreError(unknown("preset", name, PRESETS))


def preset_weights(name: str, streams: Sequence[str]) -> tuple[float, ...]:
    """Return the published weight of each member.

    Args:
        name: The preset.
        streams: The members' streams. If they are unknown (empty), the members must be as many as
            the preset's streams and stand in its order.

    Raises:
        ScoreError: There is no such preset, or it does not cover exactly these streams.
    """
    preset = find_preset(name)
    known = [_plain(stream) for stream in streams]
    expected = f"preset '{name}' weighs {', '.join(preset.streams)}"
    if not all(known):
        if any(known) or preset.streams == POSITION_AND_MOTION:
            raise ScoreError(f"{expected}; name the stream of every score file with --streams")
        if len(known) != len(preset.streams):
            raise ScoreError(
                f"{expected}, in this order; found {len(known)} score files of unknown stream"
            )
        return preset.weights
    if preset.streams == POSITION_AND_MOTION:
        position, motion = preset.weights
        return tuple(motion if stream.endswith("motion") else position for stream in known)
    if sorted(known) != sorted(preset.streams):
        raise ScoreError(f"{expected}; found {', '.join(known)}")
    weight_of = dict(zip(preset.streams, preset.weights, strict=True))
    return tuple(weight_of[stream] for stream in known)


def assumed_streams(name: str, streams: Sequence[str]) -> tuple[str, ...]:
    """Return the streams that `preset_weights` takes members of unknown stream for.

    Returns:
        The published order, or nothing where nothing is assumed: a stream is known, or the preset
        cannot weigh so many members without their streams.

    Raises:
        ScoreError: There is no such preset.
    """
    published = find_preset(name).streams
    nothing = any(streams) or len(streams) != len(published) or published == POSITION_AND_MOTION
    return () if nothing else published


def _plain(stream: str) -> str:
    words = stream.replace("-", " ").replace("_", " ").lower()
    return "joint motion" if words == "motion" else words
