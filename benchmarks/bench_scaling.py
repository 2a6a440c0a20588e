"""How the cost of a network grows: with frames, joints, people, batch, width and size of the store.

CTR-GCN, full (64 channels) and narrow (16), one training step and one pass of inference, and
epochs of making batches, on one core of a CPU. Joints are those of the layouts that there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measure import Case, load_average, measure, report

from kinegraph.benchmarking.random_store import SPLIT, RandomStore

ROUNDS = 3
WIDTHS = {"narrow": 16, "full": 64}
LAYOUT_OF = {15: "sbu15", 20: "ucla20", 25: "ntu25"}
AXES: dict[str, tuple[int, ...]] = {
    "frames": (16, 32, 64, 128),
    "joints": (15, 20, 25),
    "people": (1, 2),
    "batch": (1, 2, 4, 8),
}
STORE_SIZES = (64, 256, 1024, 4096)


@dataclass(frozen=True)
class Point:
    """Sizes of everything; what is not varied is as small as still tells something."""

    frames: int = 32
    joints: int = 25
    people: int = 1
    batch: int = 4


def bench_at(folder: Path, point: Point, width: int) -> Any:
    """Return a network set up at a point, see `kinegraph.benchmarking.workbench`."""
    import torch

    from kinegraph.benchmarking.workbench import Workbench
    from kinegraph.recipe import load_recipe

    layout = LAYOUT_OF[point.joints]
    store = folder / f"{layout}-{point.people}-{point.batch}"
    if not store.exists():
        RandomStore(
            layout, train=4 * point.batch, test=2 * point.batch, persons=point.people
        ).write(store)
    overrides = {
        "data.split": SPLIT,
        "data.persons": point.people,
        "training.batch_size": point.batch,
        "backbone.width": width,
        "transforms.train.1.length": point.frames,
        "transforms.test.1.length": point.frames,
    }
    recipe = load_recipe("ctrgcn", [(key, str(value)) for key, value in overrides.items()])
    return Workbench(recipe, store, torch.device("cpu"))


def network_cases(
    folder: Path, axes: dict[str, tuple[int, ...]], widths: dict[str, int]
) -> Iterator[Case]:
    """Yield training and inference at all points that differ in one size from the usual one."""
    for name, width in widths.items():
        for axis, values in axes.items():
            for value in values:
                bench = bench_at(folder, replace(Point(), **{axis: value}), width)
                score = bench.scoring(bench.recipe.training.batch_size, bench.objective.freeze())
                clips = bench.clips_per_step
                yield Case(f"{name}, training, {axis}, {value}", bench.step, clips)
                yield Case(f"{name}, inference, {axis}, {value}", score, clips)


def data_cases(folder: Path, sizes: Sequence[int]) -> Iterator[Case]:
    """Yield epochs of making batches from stores of several sizes."""
    import torch

    from kinegraph.recipe import load_recipe
    from kinegraph.training.setup import open_data

    for size in sizes:
        store = RandomStore("ntu25", train=size, test=2, persons=1).write(folder / f"clips-{size}")
        recipe = load_recipe("ctrgcn", [("data.split", SPLIT)])
        loader = open_data(recipe, store).training_loader(("train",), torch.device("cpu"))
        yield Case(f"data, batches, clips, {size}", epoch_of(loader), size)


def epoch_of(loader: Any) -> Callable[[], None]:
    """Return what makes all batches of an epoch."""

    def run() -> None:
        with closing(loader.epoch()) as batches:
            for _ in batches:
                pass

    return run


def main() -> None:
    load = load_average()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = [*network_cases(folder, AXES, WIDTHS), *data_cases(folder, STORE_SIZES)]
        results = measure(cases, ROUNDS)
    usual = Point()
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "what": "CTR-GCN, fp32: training steps with their batches; inference on batches made",
        "usual": vars(usual),
        "widths": WIDTHS,
        "axes": AXES | {"clips": STORE_SIZES},
    }
    report("scaling", settings, results, load=load)


if __name__ == "__main__":
    main()
