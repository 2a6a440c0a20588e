"""A plug-in: a small backbone of your own, in one file. `kinegraph train ... --plugin` imports it.

Each layer averages every joint with its neighbours, then mixes channels and five frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from kinegraph.backbones import BACKBONES
from kinegraph.backbones.base import Backbone, Features
from kinegraph.nn.persons import fold, pool
from kinegraph.registry import Component, Config
from kinegraph.skeleton import Skeleton


class TinyConfig(Config):
    """Neighbours' mean and a convolution over time, three times."""

    name: Literal["tiny"] = "tiny"
    width: int = 32
    """Channels of every layer."""


class Tiny(Backbone):
    def __init__(self, skeleton: Skeleton, in_channels: int, width: int) -> None:
        super().__init__()
        near = torch.from_numpy(skeleton.hops <= 1).float()  # (V, V): a joint and its neighbours
        self.register_buffer("near", near / near.sum(0))
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, (5, 1), padding=(2, 0)), nn.BatchNorm2d(width), nn.ReLU()
            )
            for channels in (in_channels, width, width)
        )
        self.out_channels = width
        self.stage_channels, self.stage_strides = {"final": width}, {"final": 1}

    def forward(
        self, x: Tensor, present: Tensor | None = None, stages: Sequence[str] = ()
    ) -> Features:
        self.check_stages(stages)
        x, rows = fold(x, present)  # (N, C, T, V, M) -> (R, C, T, V), one row for each person
        for layer in self.layers:
            x = layer(x @ self.near)
        return Features(pool(x, rows), {stage: rows.unfold(x) for stage in stages})


def build(config: TinyConfig, skeleton: Skeleton, channels: int, *_: object) -> Tiny:
    return Tiny(skeleton, channels, config.width)  # persons and quirks change nothing here


BACKBONES["tiny"] = Component("A small example from a plug-in.", TinyConfig, build)
