"""Checks of graphs, schedules, ST-GCN's data tools, and the arithmetic of ensembles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.data.pose_matching import match_people
from kinegraph.evaluation.ensemble import build_ensemble
from kinegraph.evaluation.metrics import (
    accuracy_by_class,
    class_metrics,
    confusion_matrix,
    top_k,
)
from kinegraph.evaluation.presets import preset_weights
from kinegraph.evaluation.scores import Scores
from kinegraph.nn.graph import directed, first_release, partition
from kinegraph.recipe import ScheduleConfig
from kinegraph.skeleton import load_layout
from kinegraph.training.optim import learning_rate

from .fill import skeleton_input
from .goldens import Comparison, Golden, stated_numbers
from .networks import LAYOUTS
from .stores import clip_of, config, reader_of, run

# Published schedules: steps, epochs and starting rate; five epochs of warm-up.
SCHEDULES = {
    "lr_ntu": ((35, 55), 65, 0.1),
    "lr_ucla": ((50,), 65, 0.1),
    "lr_lst_ntu": ((90, 100), 110, 0.1),
    "lr_lst_ucla": ((90, 100), 110, 0.2),
}


def check_stgcn_graphs(golden: Golden) -> Iterator[Comparison]:
    """Partitions of every layout, strategy, hop distance and dilation."""
    for name in golden.arrays:
        layout, strategy, hop, dilation = name.split("|")
        skeleton = load_layout(LAYOUTS[layout])
        matrices = partition(
            skeleton,
            strategy,  # type: ignore[arg-type]
            int(hop.removeprefix("hop")),
            int(dilation.removeprefix("dil")),
            original=True,
        )
        yield Comparison(name, matrices, 1e-12)
        if "info" in golden.meta:
            assert skeleton.centre == golden.meta["info"][name]["center"]


def check_first_graphs(golden: Golden) -> Iterator[Comparison]:
    """Graphs of the first release of ST-GCN in all of its modes."""
    for name in golden.arrays:
        layout, mode = name.split("|")
        skeleton = load_layout({"ntu": "ntu25", "kinetics": "openpose18"}[layout])
        matrices = first_release(skeleton, mode)  # type: ignore[arg-type]
        alone = golden.expected(name).ndim == 2  # without an axis for the only one
        yield Comparison(name, matrices[0] if alone else matrices, 1e-12)


def check_ctrgcn_graphs(golden: Golden) -> Iterator[Comparison]:
    """Graphs from trees, and the published learning rates."""
    for name, layout in (("ntu", "ntu25"), ("ucla", "ucla20")):
        skeleton = load_layout(layout)
        yield Comparison(f"{name}_A", directed(skeleton), 1e-7)
        theirs = golden[f"{name}_inward"]
        edges = np.array(sorted(skeleton.edges))
        yield Comparison(f"{name}_inward", edges, 1e-9, theirs[np.argsort(theirs[:, 0])])
    for name, (steps, epochs, base) in SCHEDULES.items():
        schedule = ScheduleConfig(name="multi-step", steps=steps, warmup=5)
        rates = [learning_rate(epoch, epochs, base, schedule) for epoch in range(epochs)]
        yield Comparison(name, rates, 1e-12)


def check_stgcn_tools(golden: Golden) -> Iterator[Comparison]:
    """Padding, windows, moves, shifts, matching of people, and metrics."""
    dense = golden["input"]
    remade = skeleton_input(*stated_numbers(golden.meta["input"])[:6])[0]
    yield Comparison("meta input", remade, 1e-6, dense)
    cases = golden.meta["cases"]
    for name in golden.arrays:
        draws = [drawn[-1] for drawn in cases[name]["draws"]] if name in cases else []
        if name.startswith("random_move"):
            yield Comparison(name, _moved(dense, draws), 1e-6)
        elif name.startswith(("auto_pading", "random_choose")):
            yield Comparison(name, _window(dense, int(name.split("_")[2]), draws), 1e-6)
        elif name.startswith("downsample"):
            step = int(name.split("_")[1])
            yield Comparison(name, _every(dense, step, draws[0]), 1e-6)
    shifted = golden["input_shift"]
    begin, end = _occupied(shifted)
    (offset,) = (drawn[-1] for drawn in cases["random_shift"]["draws"])
    moved = _window(shifted[:, begin:end], shifted.shape[1], [offset])
    yield Comparison("random_shift", moved, 1e-6)
    poses = golden["match_in"].transpose(1, 3, 2, 0)  # (C, T, V, M) -> (T, M, V, C)
    matched = match_people(poses, original=True).transpose(3, 0, 2, 1)
    yield Comparison("match_out", matched, 1e-9)
    yield from _metrics(golden)


def _move_to_front(dense: NDArray[Any]) -> Any:
    return reader_of([clip_of("clip", dense)], load_layout("openpose18"), 2, count_nonzero=False)


def _moved(dense: NDArray[Any], draws: list[Any]) -> torch.Tensor:
    """Replay ``random_move``: the number of segments, then four lists of nodes."""
    segments, *lists = draws
    names = ("angle", "scale", "shift_x", "shift_y")
    nodes = {
        name: torch.tensor([values], dtype=torch.float64)
        for name, values in zip(names, lists, strict=True)
    }
    configs = [
        config("pick_frames", length=dense.shape[1]),
        config("random_move", segments=segments),
    ]
    return run(_move_to_front(dense), configs, replay=[None, nodes])[0]


def _window(dense: NDArray[Any], length: int, draws: list[int]) -> torch.Tensor:
    """Replay padding and windows: the place of the window, or of the clip in a longer one."""
    window = config("window", length=length, random=bool(draws))
    replay = None
    if draws:
        inside = dense.shape[1] >= length
        replay = [{"begin": torch.tensor([draws[0] if inside else -draws[0]])}]
    return run(_move_to_front(dense), [window], replay=replay)[0]


def _every(dense: NDArray[Any], step: int, begin: int) -> torch.Tensor:
    frames = torch.arange(begin, dense.shape[1], step)
    pick = config("pick_frames", length=len(frames))
    return run(_move_to_front(dense), [pick], replay=[{"frame": frames[None]}])[0]


def _occupied(dense: NDArray[Any]) -> tuple[int, int]:
    frames = np.flatnonzero(dense.any((0, 2, 3)))
    return int(frames[0]), int(frames[-1]) + 1


def _metrics(golden: Golden) -> Iterator[Comparison]:
    scores, labels = golden["scores"], golden["labels"]
    for name, value in golden.meta["cases"]["metrics"].items():
        found = top_k(scores, labels, int(name.removeprefix("top")))
        yield Comparison(f"meta {name}", found, 1e-9, value)
    for k in (1, 5):
        found = accuracy_by_class(scores, labels, k, absent=0.0)
        yield Comparison(f"top{k}_by_category", found, 1e-9)
    by_class = class_metrics(confusion_matrix(scores, labels))
    yield Comparison("precision", by_class.precision, 1e-9)
    yield Comparison("recall", by_class.recall, 1e-9)


PROGRAMS = {"CTR-GCN": "ctrgcn", "FR-Head": "frhead", "LST": "lst"}
DATA_SETS = {
    "NW-UCLA": "nw-ucla",
    "ntu/xsub": "ntu60-xsub",
    "ntu/xview": "ntu60-xview",
    "ntu120/xsub": "ntu120-xsub",
    "ntu120/xset": "ntu120-xset",
}
STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


def check_ensemble(golden: Golden) -> Iterator[Comparison]:
    """Sums of published streams with the published weights."""
    for case, result in golden.meta["results"].items():
        if "error" in result:
            continue  # the original program fails there: it has no number to compare with
        program, data_set, streams, *options = case.split("|")
        prefix = data_set.replace("/", "_")
        members = _members(golden[f"{prefix}_scores"], golden[f"{prefix}_labels"])
        if streams == "4":
            preset = f"{PROGRAMS[program]}:{DATA_SETS[data_set]}"
            weights = preset_weights(preset, [member.stream for member in members])
        else:  # joint and bone, the second one weighed by alpha
            members = members[:2]
            alpha = float(options[0].removeprefix("alpha=")) if options else 1.0
            weights = (1.0, alpha)
        combined = build_ensemble(members, weights).combined
        for k, name in ((1, "top1"), (5, "top5")):
            found = 100 * top_k(combined.logits, combined.labels, k)
            yield Comparison(f"{case} {name}", round(found, 4), 1e-9, result[name])


def _members(scores: NDArray[Any], labels: NDArray[Any]) -> list[Scores]:
    names = np.array([f"clip {i}" for i in range(len(labels))])
    classes = tuple(f"class {i}" for i in range(scores.shape[2]))
    return [
        Scores(
            names=names,
            logits=logits.astype(np.float32),
            labels=labels.astype(np.int64),
            classes=classes,
            split="test",
            stream=stream,
            source=stream,
        )
        for stream, logits in zip(STREAMS, scores, strict=True)
    ]
