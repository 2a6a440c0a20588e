"""What the guides say that a network costs is what its code has: parameters and multiply-adds.

A row that begins with a backbone and an objective in backticks goes on with parameters in training
and in tests for NTU RGB+D 60, the same two for NW-UCLA, and the multiply-adds of a clip of NTU.
"""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.base import Objective
from kinegraph.objectives.refine import Refine
from kinegraph.skeleton import load_layout

from .documents import ROOT

GUIDES, RESULTS = ROOT / "docs" / "guides", ROOT / "benchmarks" / "results"
ROW = re.compile(r"^\| `([\w-]+)` \| `([\w-]+)` \| (.+) \|$", re.MULTILINE)
SETTINGS = {"NTU": ("ntu25", 2, 64, 60, "ntu120"), "NW-UCLA": ("ucla20", 1, 52, 10, "nw-ucla")}
ROWS = [
    pytest.param(*match.groups(), id=f"{page.stem}-{match[1]}-{match[2]}")
    for page in sorted(GUIDES.glob("*.md"))
    for match in ROW.finditer(page.read_text("utf-8"))
    if match[1] in BACKBONES
]


def build(network: str, objective: str, setting: str, *, bare: bool = False) -> Objective:
    layout, persons, frames, classes, texts = SETTINGS[setting]
    choices = {"refine": {"frames": frames}, "language": {"texts": texts}}.get(objective, {})
    skeleton = load_layout(layout)
    return build_objective(
        OBJECTIVES[objective].config(**choices),
        lambda: build_backbone(BACKBONES[network].config(), skeleton, persons=persons),
        num_classes=classes,
        skeleton=skeleton,
        bare=bare,
    )


def in_tests(bare: Objective) -> torch.nn.Module:
    """Return what is left of an objective when training is over."""
    return bare.classifier if isinstance(bare, Refine) else bare


def count(module: torch.nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"


@cache
def costs(network: str, objective: str) -> tuple[str, ...]:
    """Return what the cells of a row have to say."""
    cells = []
    for setting in SETTINGS:
        built = build(network, objective, setting)
        cells += [count(built), count(in_tests(build(network, objective, setting, bare=True)))]
        if setting == "NTU":
            x = torch.randn(1, 3, 64, 25, 2)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                (built.logits if built.eval().classifies else built.embed)(x)
            billions = counter.get_total_flops() / 2e9
    return (*cells, f"{billions:.2f} G")


@pytest.mark.slow
@pytest.mark.parametrize(("network", "objective", "rest"), ROWS)
def test_costs_are_those_of_the_code(network: str, objective: str, rest: str) -> None:
    assert tuple(rest.split(" | "))[:5] == costs(network, objective)


def test_times_are_those_of_the_benchmarks() -> None:
    table = (GUIDES / "which-one.md").read_text("utf-8").split("| a clip on one core")[1]
    told = [int(number) for number in re.findall(r"\| (\d+) ms \|", table)]
    cpu, scaling = (
        {entry["name"]: entry for entry in json.loads(file.read_bytes())["results"]}
        for file in (RESULTS / "cpu.json", RESULTS / "scaling.json")
    )
    names = "ctrgcn, 1 clip", "ctrgcn, 1 clip, one person", "ctrgcn-baseline, 1 clip"
    measured = [1000 * cpu[name]["median"] for name in (*names, "stgcn, 1 clip")]
    measured.append(1000 / scaling["narrow, inference, batch, 1"]["processor_median"])
    assert told == [round(number) for number in measured]


def test_own_results_are_those_of_the_page_of_results() -> None:
    text = (GUIDES / "which-one.md").read_text("utf-8")
    table = re.search(r"own results: begin -->(.*)<!-- own results: end", text, re.DOTALL)
    assert table is not None
    results = (ROOT / "docs" / "results.md").read_text("utf-8")
    figures = re.findall(r"\d+\.\d+", table[1])
    assert [figure for figure in figures if figure not in results] == []


def test_every_backbone_and_objective_has_its_costs() -> None:
    pairs = {tuple(param.values[:2]) for param in ROWS}
    for registry, named in zip((BACKBONES, OBJECTIVES), zip(*pairs, strict=True), strict=True):
        own = {k for k, part in registry.items() if part.build.__module__.startswith("kinegraph.")}
        assert own == set(named)
