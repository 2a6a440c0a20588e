"""Checks of the NW-UCLA pipeline: centring, view changes, scaling, frame choice, streams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kinegraph.data.clip import Clip
from kinegraph.data.formats import read_file
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout
from kinegraph.transforms.pipeline import Draws

from .goldens import POSITIONS, Comparison, Golden, tolerance_of
from .stores import clip_of, config, plain_layout, reader_of, run

UCLA = load_layout("ucla20")
FRAMES = 52
BEFORE = [config("centre", joint=1)]
TEST = [*BEFORE, config("min_max"), config("pick_frames", length=FRAMES)]
TRAIN = [
    *BEFORE,
    config("turn_view"),
    config("min_max"),
    config("pick_frames", length=FRAMES, random=True),
]


def stream_of(name: str) -> str:
    """Return the stream that the original chooses by words in a path."""
    kind = "bone" if "bone" in name else "joint"
    return f"{kind}-motion" if "motion" in name else kind


def train_draws(cases: Sequence[Mapping[str, Any]]) -> list[Draws | None]:
    """Turn stored angles, scales and frames into the draws of the training pipeline."""
    degrees = torch.tensor([[case["agx"], case["agy"]] for case in cases])
    turn = {"degrees": degrees, "scale": torch.tensor([case["s"] for case in cases])}
    frames = {"frame": torch.tensor([case["idx_sorted"] for case in cases])}
    return [None, turn, None, frames]


def check_ucla_feeder(golden: Golden) -> Iterator[Comparison]:
    """The feeder of CTR-GCN on three sequences, with its stored draws."""
    sequences = sorted(name for name in golden.arrays if name.startswith("seq"))
    clips = [
        clip_of(name, golden[name].transpose(2, 0, 1)[..., None]) for name in sequences
    ]  # (T, V, C) -> (C, T, V, M)
    reader = reader_of(clips, UCLA, 1)
    for name in golden.arrays:
        if name.startswith("val_"):
            made = run(reader, TEST, stream=stream_of(name))
            yield Comparison(name, made, tolerance_of(stream_of(name)))
        elif name.startswith("train_"):
            replay = train_draws(golden.meta["draws"][name.removeprefix("train_")])
            made = run(reader, TRAIN, stream=stream_of(name), replay=replay)
            yield Comparison(name, made, tolerance_of(stream_of(name)))
        elif name.startswith("view_out_"):
            yield Comparison(name, _turned(golden, name), POSITIONS)


def _turned(golden: Golden, name: str) -> np.ndarray:
    """Turn a small point set by the two angles and the scale that the array's name states."""
    degrees_x, degrees_y, scale = name.removeprefix("view_out_").split("_")
    points = golden["view_in"]  # (T, V, C)
    clip = clip_of("points", points.transpose(2, 0, 1)[..., None])
    reader = reader_of([clip], plain_layout(points.shape[1]), 1)
    configs: list[Config] = [config("turn_view"), config("pick_frames", length=len(points))]
    degrees = torch.tensor([[int(degrees_x), int(degrees_y)]])
    turn = {"degrees": degrees, "scale": torch.tensor([float(scale)])}
    made = run(reader, configs, replay=[turn, None])  # (1, C, T, V, 1)
    assert math.isclose(np.abs(points).max(), float(reader.joints.abs().max()), rel_tol=1e-6)
    return made[0, ..., 0].permute(1, 2, 0).numpy()


def check_ucla_feeder_from_files(golden: Golden) -> Iterator[Comparison]:
    """The feeder on made JSON files, read by our own importer."""
    mini = golden.companion("nwucla_mini")
    for part, configs in (("test", TEST), ("train", TRAIN)):
        clips: list[Clip] = [
            read_file(mini / f"{name}.json")[0] for name in golden.meta["order"][part]
        ]
        reader = reader_of(clips, UCLA, 1)
        yield Comparison(f"{part}_label", [clip.label for clip in clips], 1e-9)
        replay = None
        if part == "train":
            drawn, frames = golden["train_agx_agy_s"], golden["train_frame_index"]
            replay = train_draws(
                [
                    {"agx": int(x), "agy": int(y), "s": s, "idx_sorted": index.tolist()}
                    for (x, y, s), index in zip(drawn, frames, strict=True)
                ]
            )
        for name in ("joint", "bone", "motion", "bone_motion"):
            if f"{part}_{name}" not in golden.arrays:
                continue
            made = run(reader, configs, stream=stream_of(name), replay=replay)
            yield Comparison(f"{part}_{name}", made, tolerance_of(stream_of(name)))
