"""How many clips per second each way from a store to batches makes, for the recipes' transforms.

- ``host``: on the host, several small batches at once, from the memory map.
- ``host, batch by batch``: the same, each batch on its own: what the others are compared with.
- ``host, thread``: made ahead by a thread. Beside nothing else to do it gains nothing; what it
  costs is seen here, what it hides only beside a network.
- ``resident``: from recordings that have been centred and copied once, as they lie on a device.
- ``resident float16``: the same in half of the memory.

Where there is a CUDA device, the ways that end there are measured too: they must be so quick that
batches take at most a twentieth of the time of a step at 12,000 clips per second.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_transforms import NTU, UCLA, Pattern, make_store
from measure import Case, load_average, measure, report

from kinegraph.data.loader import MAX_TURNS, ClipLoader
from kinegraph.data.reader import TrackReader
from kinegraph.data.resident import make_resident
from kinegraph.data.store import Store
from kinegraph.recipe import Recipe, load_recipe
from kinegraph.training.setup import build_pipelines

ROUNDS = 7
CUDA_GOAL = 12_000 * 20  # clips/s: a twentieth of a step
AHEAD = 2


@dataclass(frozen=True)
class Work:
    """A recipe and recordings that it is made for.

    Attributes:
        recipe: Name of the recipe; its training transforms, stream and batch size are used.
        pattern: Recordings, see `bench_transforms`.
    """

    recipe: str
    pattern: Pattern

    @property
    def name(self) -> str:
        return f"{self.recipe} on {self.pattern.name}"


WORKS = (
    Work("ctrgcn", NTU),
    Work("stgcn", NTU),
    Work("nw-ucla-ctrgcn", replace(UCLA, clips=1024)),
)


def loader_for(
    store: Store, recipe: Recipe, device: torch.device, *, resident: bool, ahead: int = 0
) -> ClipLoader:
    """Return the loader that a run of a recipe would use."""
    pipelines = build_pipelines(recipe, store.skeleton)
    reader = TrackReader(store, min(store.max_persons, 2), count_nonzero=recipe.original)
    if resident:
        reader = make_resident(reader, list(pipelines.values()), device)
    return ClipLoader(
        reader, store.clips["label"], np.arange(len(store)), pipelines, views=("train",),
        batch_size=recipe.training.batch_size, shuffle=True, device=device, ahead=ahead,
        count_absent=recipe.original,
    )  # fmt: skip


def cases_of(work: Work, folder: Path) -> Iterator[Case]:
    """Check that all ways give the same batches, and yield each of them."""
    store = make_store(folder / work.recipe, work.pattern)
    recipe = load_recipe(work.recipe)
    half = load_recipe(work.recipe, [("data.precision", "float16")])
    cpu = torch.device("cpu")
    alone = loader_for(store, recipe, cpu, resident=False)
    slow = f"{work.name}: host, batch by batch"
    ways = {
        "host": loader_for(store, recipe, cpu, resident=False),
        "host, thread": loader_for(store, recipe, cpu, resident=False, ahead=AHEAD),
        "resident": loader_for(store, recipe, cpu, resident=True),
    }
    for name, loader in ways.items():
        check(alone, loader, f"{work.name}: {name}")
    ways["resident float16"] = loader_for(store, half, cpu, resident=True)
    yield Case(slow, partial(batch_by_batch, alone), len(store))
    for name, loader in ways.items():
        yield Case(f"{work.name}: {name}", partial(run_epoch, loader), len(store), slow)
    if torch.cuda.is_available():
        yield from cuda_cases(work, store, recipe, half, slow)


def cuda_cases(work: Work, store: Store, recipe: Recipe, half: Recipe, slow: str) -> Iterator[Case]:
    """Yield the ways that end on a CUDA device. Not yet run on a GPU."""
    cuda = torch.device("cuda")
    ways = {
        "cuda, from the host": loader_for(store, recipe, cuda, resident=False, ahead=AHEAD),
        "cuda, resident": loader_for(store, recipe, cuda, resident=True),
        "cuda, resident float16": loader_for(store, half, cuda, resident=True),
    }
    for name, loader in ways.items():
        goal = CUDA_GOAL if "resident" in name else None
        yield Case(f"{work.name}: {name}", partial(run_epoch, loader), len(store), slow, goal)


def check(first: ClipLoader, second: ClipLoader, name: str) -> None:
    """Stop unless two loaders give the same bits."""
    for (one,), (two,), _ in zip(first.epoch(1), second.epoch(1), range(8), strict=False):
        if not torch.equal(one.x, two.x) or not torch.equal(one.label, two.label):
            raise SystemExit(f"{name}: other batches than those made on the host")


def batch_by_batch(loader: ClipLoader) -> None:
    for part in loader.parts(1):
        loader.batch(torch.from_numpy(part.rows), MAX_TURNS + torch.from_numpy(part.turns))


def run_epoch(loader: ClipLoader) -> None:
    for _ in loader.epoch(1):
        pass
    if loader.device.type == "cuda":
        torch.cuda.synchronize(loader.device)


def main() -> None:
    load = load_average()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = [case for work in WORKS for case in cases_of(work, Path(folder))]
        results = measure(cases, ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "what": "one shuffled epoch of random clips, store to batches with labels and rows",
        "agreement": "all float32 ways give the same bits: checked before timing",
        "batch_sizes": {w.recipe: load_recipe(w.recipe).training.batch_size for w in WORKS},
        "clips": {w.recipe: w.pattern.clips for w in WORKS},
    }
    report("data", settings, results, load=load)


if __name__ == "__main__":
    main()
