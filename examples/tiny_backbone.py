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
from kinegraph.nn.norm import BatchNorm
from kinegraph.nn.persons import Rows, fold, pool, rows_of
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
        sizes = (in_channels, width, width)
        self.convs = nn.ModuleList(nn.Conv2d(c, width, (5, 1), padding=(2, 0)) for c in sizes)
        self.norms = nn.ModuleList(BatchNorm(width) for _ in sizes)
        self.out_channels = width
        self.stage_channels, self.stage_strides = {"final": width}, {"final": 1}

    def forward(
        self, x: Tensor, present: Tensor | Rows | None = None, stages: Sequence[str] = ()
    ) -> Features:
        self.check_stages(stages)
        rows = rows_of(x, present)  # one for each person; they may count differently
        x = fold(x, rows)  # (N, C, T, V, M) -> (R, C, T, V)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x @ self.near), rows.weight, relu=True)
        return Features(pool(x, rows), {stage: rows.unfold(x) for stage in stages})


def build(config: TinyConfig, skeleton: Skeleton, channels: int, *_: object) -> Tiny:
    return Tiny(skeleton, channels, config.width)  # persons and quirks change nothing here


BACKBONES["tiny"] = Component("A small example from a plug-in.", TinyConfig, build)
