"""Rows of `bench_gpu` about whole networks: training, inference, memory, switches, a profile.

Not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu_report import Found, Line, Place, Row, goal_line
from torch import Tensor

from kinegraph.backbones import body, stgcn
from kinegraph.benchmarking.memory import peak_bytes
from kinegraph.benchmarking.random_store import SPLIT, RandomStore
from kinegraph.benchmarking.timing import rounds_of, seconds_of, synchronise
from kinegraph.benchmarking.work import count_work
from kinegraph.benchmarking.workbench import Workbench, set_up
from kinegraph.kernels import dispatch
from kinegraph.nn.persons import Rows, fold
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe, load_recipe

LONG = {"stgcn": 300}  # frames; of all others 64
PREPARED_FRAMES = {"stgcn": 300, "aimclr": 50}  # of all recordings; of others 30 to 150
# Systems that are measured besides the two networks: what they change in CTR-GCN's recipe.
SYSTEMS: dict[str, dict[str, str]] = {
    "infogcn": {"backbone": "{name: infogcn}", "objective": "{name: bottleneck}"},
    "frhead": {"objective": "{name: refine}"},
    "aagcn": {"backbone": "{name: aagcn}"},
    "tcagcn": {"backbone": "{name: tcagcn}"},
    "lst": {"objective": "{name: language, texts: ntu120}"},
}
ALONE = 0.8
MIXED = "one person in 80 % of the clips"
WARM_UP, ROUNDS, SECONDS = 8, 5, 2.0
MIXED_WARM_UP = 60  # shapes differ with the number of people, and each is recorded by itself
TOP = 20  # operations of a profile
PLAIN = {"kernels": "plain", "compile": "off", "cuda_graphs": "off"}


def recipe_for(place: Place, network: str, batch: int, **training: str) -> Recipe:
    """Return a recipe like the one that the original programs were measured with."""
    if place.device == "cpu":  # what a CPU cannot do, or not in a test's time
        training = training | PLAIN
    length = str(place.size(LONG.get(network, 64), 8))
    overrides = SYSTEMS.get(network, {}) | {
        "data.split": SPLIT,
        "data.persons": "2",
        "training.batch_size": str(batch),
        "transforms.train.1.length": length,
        "transforms.train.1.minimum": "8",
        "transforms.test.1.length": length,
        "backbone.width": str(place.size(64, 8)),
        **{f"training.{name}": value for name, value in training.items()},
    }
    return load_recipe("ctrgcn" if network in SYSTEMS else network, list(overrides.items()))


def store_for(place: Place, network: str, batch: int, alone: float = 0.0) -> Path:
    """Return random recordings: 25 joints, two people, 60 classes; made once and kept."""
    folder = place.folder / f"{network}-{batch}-{alone}"
    if not folder.exists():
        prepared = PREPARED_FRAMES.get(network)
        frames = (prepared, prepared) if prepared else (30, 150)
        frames = (10, 12) if place.smoke else frames
        store = RandomStore(
            "ntu25", train=4 * batch, test=2 * batch, frames=frames, persons=2, alone=alone
        )
        store.write(folder)
    return folder


def precise() -> None:
    """Let float32 be float32: no TF32 anywhere."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def network_bench(
    place: Place, network: str, batch: int, alone: float = 0.0, **training: str
) -> Iterator[Workbench]:
    """Yield a network set up for training, by default in bf16 and otherwise as ``auto`` decides."""
    precise()
    recipe = recipe_for(place, network, batch, **{"precision": "bf16", **training})
    with set_up(recipe, store_for(place, network, batch, alone), torch.device(place.device)) as it:
        yield it


def train(bench: Workbench, place: Place, warm_up: int = WARM_UP) -> Found:
    """Return clips a second of whole steps, and what explains them."""
    device, steps = bench.device, place.size(warm_up, 1)
    waited: list[float] = []

    def first_steps() -> None:
        waited.append(seconds_of(bench.step, device))
        waited.append(steps * seconds_of(bench.step, device, steps))

    # A recorded step's memory is allocated while it is recorded: a replay allocates nothing.
    peak = peak_bytes(first_steps, device)
    first, rest = waited
    times = rounds_of(
        bench.step, device, rounds=place.size(ROUNDS, 1), seconds=place.size(1, 0) * SECONDS
    )
    details: dict[str, Any] = {
        "execution": bench.execution.describe(),
        "first_step_seconds": first,
        "warm_up_seconds": rest,
        "peak_gib": None if peak is None else peak / 2**30,
        "notes": bench.notes,
    }
    if bench.stepper.graphs is not None:
        details["graphs"] = bench.stepper.graphs.recorded
    return Found([bench.clips_per_step / seconds for seconds in times], details)


def infer(
    bench: Workbench,
    place: Place,
    batch: int,
    objective: Objective | None = None,
    warm_up: int = WARM_UP,
) -> Found:
    """Return clips a second of scoring batches that lie on the device."""
    score = bench.scoring(batch, objective or bench.objective.freeze())
    peak = peak_bytes(lambda: seconds_of(score, bench.device, place.size(warm_up, 1)), bench.device)
    times = rounds_of(
        score, bench.device, rounds=place.size(ROUNDS, 1), seconds=place.size(1, 0) * SECONDS
    )
    return Found(
        [batch / seconds for seconds in times],
        {"peak_gib": None if peak is None else peak / 2**30},
    )


# Goals.


def train_row(place: Place, network: str) -> list[Found]:
    """Training at batch 256; with CTR-GCN also memory, and the share of making batches."""
    batch = place.size(256, 2)
    with network_bench(place, network, batch) as bench:
        speed = train(bench, place)
        work = count_work(
            bench.objective, bench.loader.batch(torch.from_numpy(bench.data.rows["train"][:1])),
            width=2,
        )["training"]  # fmt: skip
        speed.details |= {"flops_per_clip": work.flops, "bytes_per_clip": work.bytes}
        step = bench.clips_per_step / (sum(speed.rounds) / len(speed.rounds))
        data = [bench.data_seconds() for _ in range(place.size(3, 1))]
        share = Found([100 * seconds / step for seconds in data], {"step_seconds": step})
        memory = Found([speed.details["peak_gib"]] if speed.details["peak_gib"] else [])
        return [speed, memory, share][: 3 if network == "ctrgcn" else 2]


def contrast_row(place: Place) -> list[Found]:
    """AimCLR's published pre-training: three views of a clip, two encoders, the queue."""
    precise()
    batch = place.size(128, 2)
    values = {
        "data.split": SPLIT,
        "training.batch_size": str(batch),
        "training.precision": "bf16",
        "objective.queue": str(place.size(32768, 8)),
    }
    if place.device == "cpu":  # what a CPU cannot do, or not in a test's time
        values |= {f"training.{name}": value for name, value in PLAIN.items()}
    recipe = load_recipe("ntu-aimclr", list(values.items()))
    store = store_for(place, "aimclr", batch)
    with set_up(recipe, store, torch.device(place.device)) as bench:
        speed = train(bench, place)
        # Batches of three views: what augmentation takes, made alone.
        speed.details["data_seconds"] = bench.data_seconds()
        peak = speed.details["peak_gib"]
        return [speed, Found([peak] if peak else [])]


def inference_row(place: Place, network: str, batch: int, precision: str) -> list[Found]:
    """Inference at one batch size."""
    batch = place.size(batch, 2)
    with network_bench(place, network, batch, precision=precision) as bench:
        return [infer(bench, place, batch)]


def mixed_row(place: Place, network: str) -> list[Found]:
    """Training and inference where most clips have one person."""
    batch = place.size(256, 4)
    with network_bench(place, network, batch, ALONE) as bench:
        return [
            train(bench, place, MIXED_WARM_UP),
            infer(bench, place, batch, warm_up=MIXED_WARM_UP),
        ]


# What each switch does.


@contextmanager
def without(kernel: str, device: str) -> Iterator[None]:
    """Let computations of one kernel take the plain path."""
    key = (kernel, str(torch.zeros(1, device=device).device))
    before = dispatch._verdicts.get(key)
    dispatch._verdicts[key] = False
    try:
        yield
    finally:
        dispatch._verdicts.pop(key)
        if before is not None:
            dispatch._verdicts[key] = before


@contextmanager
def channels_first() -> Iterator[None]:
    """Let rows lie as (R, C, T, V) in memory, which plain operations take as well."""

    def contiguous(x: Tensor, rows: Rows) -> Tensor:
        return fold(x, rows).contiguous()

    modules = (body, stgcn)
    for module in modules:
        module.fold = contiguous
    try:
        yield
    finally:
        for module in modules:
            module.fold = fold


def variant_row(
    place: Place,
    network: str,
    batch: int = 256,
    *,
    around: Callable[[Place], Any] | None = None,
    **training: str,
) -> list[Found]:
    """Train with some switches; ``around`` makes a context for it."""
    batch = place.size(batch, 2)
    if around is None:
        with network_bench(place, network, batch, **training) as bench:
            return [train(bench, place)]
    with around(place), network_bench(place, network, batch, **training) as bench:
        return [train(bench, place)]


def started_inference_row(place: Place, network: str, batch: int) -> list[Found]:
    """Inference without a CUDA graph: what starting its kernels one by one costs."""
    batch = place.size(batch, 2)
    with network_bench(place, network, batch, cuda_graphs="off") as bench:
        return [infer(bench, place, batch)]


def compiled_inference_row(place: Place, network: str, batch: int) -> list[Found]:
    """Inference by the plain network, compiled."""
    batch = place.size(batch, 2)
    with network_bench(place, network, batch, kernels="plain") as bench:
        still = bench.objective.eval()
        if bench.device.type == "cuda":
            still.logits = torch.compile(still.logits, dynamic=False)  # type: ignore[method-assign]
        return [infer(bench, place, batch, still)]


def testing_row(place: Place, network: str) -> list[Found]:
    """Scores of all test clips from store to logits, as `kinegraph test` makes them."""
    from kinegraph.evaluation.scoring import score_clips

    batch = place.size(256, 2)
    with network_bench(place, network, batch) as bench:
        still = bench.objective.freeze()
        loader = bench.data.testing_loader("test", batch, bench.device)
        run = partial(score_clips, still, loader, autocast=bench.execution.autocast)
        run()
        times = rounds_of(run, bench.device, rounds=place.size(ROUNDS, 1), seconds=0)
        return [Found([len(loader.rows) / seconds for seconds in times])]


# Correct first.


def gradients(
    objective: Objective, batches: Sequence[Any], kernels: dispatch.Choice
) -> list[Tensor]:
    """Return the loss and its gradients."""
    dispatch.set_kernels(kernels)
    objective.zero_grad(set_to_none=True)
    loss = objective(*batches)["loss"]
    torch.autograd.backward(loss)
    return [loss.detach(), *(p.grad for p in objective.parameters() if p.grad is not None)]


def agreement_row(place: Place, network: str) -> list[Found]:
    """How far loss and gradients with kernels are from plain ones in float64."""
    with network_bench(place, network, 4, precision="fp32") as bench:
        group = bench.group()[0]
        for module in bench.objective.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # both ways are to compute the same
        exact = bench.objective.to(torch.float64)
        batches = tuple(replace(batch, x=batch.x.double()) for batch in group)
        wanted = gradients(exact, batches, "plain")
        kernels: dispatch.Choice = "fused" if bench.device.type == "cuda" else "plain"
        found = gradients(exact.float(), group, kernels)
        synchronise(bench.device)
        names = ["loss", *(n for n, p in exact.named_parameters() if p.grad is not None)]
        # Of all gradients together: those that are all but zero say nothing by themselves.
        far = sum(float((a - b).square().sum()) for a, b in zip(found, wanted, strict=True))
        size = sum(float(b.square().sum()) for b in wanted)
        parts = {
            name: float((a - b).norm() / b.norm().clamp(min=1e-12))
            for name, a, b in zip(names, found, wanted, strict=True)
        }
        worst = dict(sorted(parts.items(), key=lambda part: -part[1])[:5])
        return [Found([(far / size) ** 0.5], {"worst": worst, "kernels": kernels})]


# Why.


def profile_row(place: Place, network: str) -> list[Found]:
    """The operations that a training step spends its time on, and how busy the device is."""
    from torch.profiler import ProfilerActivity, profile

    batch = place.size(256, 2)
    with network_bench(place, network, batch, cuda_graphs="off") as bench:
        seconds_of(bench.step, bench.device, place.size(WARM_UP, 1))
        phases = bench.split(place.size(10, 1))
        on_device = bench.device.type == "cuda"
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_device
        with profile(activities=kinds) as profiled:
            wall = seconds_of(bench.step, bench.device)
        name = "self_device_time_total" if on_device else "self_cpu_time_total"
        # Kernels alone: the operations that start them are told the same time again.
        kind = torch.autograd.DeviceType.CUDA if on_device else torch.autograd.DeviceType.CPU
        rows = [
            (event.key, event.count, getattr(event, name) / 1e3)
            for event in profiled.key_averages()
            if event.device_type == kind and not event.is_user_annotation
        ]
        rows = sorted((row for row in rows if row[2] > 0), key=lambda row: -row[2])
        top = [{"name": key[:90], "calls": n, "ms": round(ms, 4)} for key, n, ms in rows[:TOP]]
        details = {"top": top, "phases_seconds": phases, "step_seconds": wall}
        return [Found([100 * sum(ms for *_, ms in rows) / 1e3 / wall], details)]


def rows() -> list[Row]:
    """Return the rows."""
    names = {"ctrgcn": "CTR-GCN", "stgcn": "ST-GCN"}
    checks = [
        Row(
            "correct",
            (Line(f"{title}, loss and gradients, fp32 with kernels, from float64", "relative",
                  must=1e-4),),
            partial(agreement_row, network=network),
            90,
        )
        for network, title in names.items()
    ]  # fmt: skip
    return [*checks, *_goal_rows(), *_variant_rows(names), *_explaining_rows(names)]


def _goal_rows() -> Iterator[Row]:
    memory = Line("ST-GCN, training, bf16, batch 256: peak memory", "GiB", original=85.4)
    for network, lines in (
        ("ctrgcn", ("ctrgcn-train", "ctrgcn-memory", "data")),
        ("stgcn", ("stgcn-train",)),
    ):
        found = tuple(map(goal_line, lines))
        found = found if network == "ctrgcn" else (*found, memory)
        yield Row("goals", found, partial(train_row, network=network), 120)
    for network in SYSTEMS:
        peak = Line(f"{goal_line(f'{network}-train').name}: peak memory", "GiB")
        lines = (goal_line(f"{network}-train"), peak)
        yield Row("goals", lines, partial(train_row, network=network), 60)
        run = partial(inference_row, network=network, batch=256, precision="bf16")
        yield Row("goals", (goal_line(f"{network}-infer"),), run, 45)
    pretraining = goal_line("aimclr-train")
    peak = Line(f"{pretraining.name}: peak memory", "GiB")
    yield Row("goals", (pretraining, peak), contrast_row, 60)
    for network in ("ctrgcn", "stgcn"):
        for key, batch, precision in (
            (f"{network}-infer-64", 64, "bf16"),
            (f"{network}-infer-256", 256, "bf16"),
            (f"{network}-infer-fp32", 64, "fp32"),
        ):
            run = partial(inference_row, network=network, batch=batch, precision=precision)
            yield Row("goals", (goal_line(key),), run, 60)


def _variant_rows(names: dict[str, str]) -> Iterator[Row]:
    yield Row(
        MIXED,
        (
            Line("CTR-GCN, training, bf16, batch 256", "clips/s"),
            Line("CTR-GCN, inference, bf16, batch 256", "clips/s"),
        ),
        partial(mixed_row, network="ctrgcn"),
    )
    first = {"around": lambda place: channels_first()}
    switches: list[tuple[str, dict[str, Any]]] = [
        ("plain, channels first", PLAIN | first),
        ("plain, channels last", dict(PLAIN)),
        ("plain, channels last, compiled", PLAIN | {"compile": "on"}),
        ("plain, channels first, compiled", PLAIN | {"compile": "on"} | first),
        ("plain, channels last, CUDA graph", PLAIN | {"cuda_graphs": "on"}),
        ("kernels, no CUDA graph", {"cuda_graphs": "off", "compile": "off"}),
        ("kernels, CUDA graph", {"cuda_graphs": "on", "compile": "off"}),
        ("kernels, compiled, CUDA graph", {"cuda_graphs": "on", "compile": "on"}),
        ("kernels, CUDA graph, fp32", {"cuda_graphs": "on", "precision": "fp32"}),
    ]
    for network in ("ctrgcn", "stgcn"):
        for title, options in switches if network == "ctrgcn" else switches[1:3] + switches[5:7]:
            name = f"{names[network]}, training, batch 256: {title}"
            run = partial(variant_row, network=network, **options)
            group = "compiled" if options.get("compile") == "on" else "switches"
            yield Row(group, (Line(name, "clips/s"),), run, 75)
    for kernel in ("aggregation", "batch norm", "temporal branches"):
        name = f"CTR-GCN, training, batch 256: without the {kernel} kernel"
        around = partial(_without_kernel, kernel)
        run = partial(variant_row, network="ctrgcn", around=around, cuda_graphs="on")
        yield Row("switches", (Line(name, "clips/s"),), run, 60)


def _without_kernel(kernel: str, place: Place) -> Any:
    return without(kernel, place.device)


def _explaining_rows(names: dict[str, str]) -> Iterator[Row]:
    for network in ("ctrgcn", "stgcn"):
        line = Line(f"{names[network]}: share of a training step that the device is busy", "%")
        yield Row("profile", (line,), partial(profile_row, network=network))
    for network in ("ctrgcn", "stgcn"):
        for group, title, function in (
            ("switches", "frozen, no CUDA graph", started_inference_row),
            ("compiled", "plain, compiled", compiled_inference_row),
        ):
            name = f"{names[network]}, inference, bf16, batch 64: {title}"
            run = partial(function, network=network, batch=64)
            yield Row(group, (Line(name, "clips/s"),), run, 75)
    line = Line("CTR-GCN, all test clips from store to scores, bf16, batch 256", "clips/s")
    yield Row("sizes", (line,), partial(testing_row, network="ctrgcn"))
    for batch in (16, 64, 1024):
        line = Line(f"CTR-GCN, training, bf16, batch {batch}", "clips/s")
        yield Row("sizes", (line,), partial(variant_row, network="ctrgcn", batch=batch))
    line = Line("CTR-GCN, inference, bf16, batch 1", "clips/s")
    run = partial(inference_row, network="ctrgcn", batch=1, precision="bf16")
    yield Row("sizes", (line,), run)
