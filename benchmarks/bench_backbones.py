"""What every backbone costs on a CPU, on one thread.

Inference: the frozen form, as `predict` and `test` use it, beside the plain network in eval mode,
where everybody is there and where the second slot is zero and counts, as with `quirks: original`.
Training: one step of each, beside CTR-GCN's. All of a kind take turns in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from bench_cpu import TOLERANCE, Step, compare
from measure import Case, Result, load_average, measure, report

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.backbones.base import Backbone
from kinegraph.memory import keep_memory
from kinegraph.nn.persons import rows_of
from kinegraph.skeleton import load_layout

ROUNDS = 5
CLIPS, FRAMES = 4, 64
FIRST = "ctrgcn"  # what the training of others is compared with


def make(name: str) -> Backbone:
    """Return a network whose statistics are those of random clips."""
    torch.manual_seed(0)
    config = BACKBONES[name].config.model_validate({"name": name})
    network = build_backbone(config, load_layout("ntu25"), persons=2)
    with torch.no_grad():
        network.train()(clips())
    return network


def clips() -> torch.Tensor:
    """Return random clips, (N, C, T, V, M)."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(CLIPS, 3, FRAMES, 25, 2, generator=random)


def inference_cases(name: str, persons: int) -> Iterator[Case]:
    """Yield both forms of a network, which answer the same."""
    network, x = make(name).eval(), clips()
    frozen = network.freeze()
    present = torch.arange(x.shape[4]).expand(CLIPS, -1) < persons
    x = x * present[:, None, None, None, :]
    rows = rows_of(x, present, count_absent=True)

    def answer(chosen: Backbone) -> torch.Tensor:
        with torch.inference_mode():
            return chosen(x, rows).pooled

    what = f"{name}, {'inference' if persons == x.shape[4] else 'one person'}"
    compare(what, answer(frozen), answer(network))
    yield Case(f"{what}, frozen", partial(answer, frozen), baseline=f"{what}, plain")
    yield Case(f"{what}, plain", partial(answer, network))


def training_case(name: str) -> Case:
    """Return a step of training."""
    network, x = make(name), clips()
    step: Callable[[], object] = Step(network, network.out_channels, lambda: network(x).pooled)
    baseline = None if name == FIRST else f"{FIRST}, training step"
    return Case(f"{name}, training step", step, baseline=baseline)


def main() -> None:
    load = load_average()
    torch.set_num_threads(1)
    keep_memory()
    results: list[Result] = []
    for persons in (2, 1):
        cases = [case for name in BACKBONES for case in inference_cases(name, persons)]
        results += measure(cases, ROUNDS)
    results += measure([training_case(name) for name in BACKBONES], ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "device": "cpu",
        "what": f"seconds for {CLIPS} clips of two people, {FRAMES} frames of 25 joints, width 64",
        "baselines": "of a frozen form the plain network in eval mode, of a training step"
        " CTR-GCN's; in turns, in the same process",
        "one person": "the second slot is zero and counts; plain networks compute it once a batch,"
        " frozen ones once",
        "agreement": f"both forms differ by less than {TOLERANCE:g} of the largest number",
        "tcn": "has no frozen form: both rows are the plain network",
    }
    report("backbones", settings, results, load=load)


if __name__ == "__main__":
    main()
