"""Compare the accuracy that the execution switches reach on the demo's set, over several seeds.

.venv/bin/python tools/switches.py --out FOLDER [--device cuda] [--seeds 5] [--epochs 15]

Every run is an ordinary ``kinegraph train`` in FOLDER; finished ones are kept and others go on, so
the same command continues after a stop. The table is printed and written as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from measure import commit, machine  # noqa: E402 - also sets one thread, before torch comes

from kinegraph.data.synthetic import make_synthetic  # noqa: E402
from kinegraph.training.run_folder import RunFolder  # noqa: E402
from kinegraph.training.setup import choose_device  # noqa: E402
from kinegraph.training.side_by_side import Job, run_side_by_side  # noqa: E402

RESULT = ROOT / "benchmarks" / "accuracy" / "switches.json"
PLAIN = {"precision": "fp32", "kernels": "plain", "compile": "off", "cuda_graphs": "off"}
ANYWHERE = {"plain": {}, "bf16": {"precision": "bf16"}, "compiled": {"compile": "on"}}
ON_CUDA = {
    "kernels": {"kernels": "fused"},
    "graphs": {"cuda_graphs": "on"},
    "all": {"precision": "bf16", "kernels": "fused", "cuda_graphs": "on"},
}


def switches_on(device: str) -> dict[str, dict[str, str]]:
    """Return the ways of computing that are compared on a kind of device, by name."""
    chosen = ANYWHERE | (ON_CUDA if device == "cuda" else {})
    return {name: PLAIN | changes for name, changes in chosen.items()}


def is_finished(run: RunFolder, epochs: int) -> bool:
    """Whether a run has been trained to its end."""
    return run.metrics.is_file() and len(run.read_metrics()) >= epochs


def command(
    run: RunFolder, switches: Mapping[str, str], seed: int, arguments: argparse.Namespace
) -> list[str]:
    """Return the words that begin a run, or go on with it."""
    words = [sys.executable, "-m", "kinegraph", "train", "--device", arguments.device]
    if run.last.is_file():
        return [*words, "--resume", str(run.path)]
    words[4:4] = ["demo"]
    words += ["--data.store", str(arguments.out / "data"), "--out", str(run.path), "--force"]
    words += ["--seed", str(seed), "--training.epochs", str(arguments.epochs)]
    for name, value in switches.items():
        words += [f"--training.{name}", value]
    return words


def compare(accuracies: Mapping[str, Sequence[float]], clips: int) -> list[dict[str, Any]]:
    """Set the accuracies of each way of computing beside those of the plain one.

    They agree if their means differ by no more than one seed of the plain way from another: by its
    standard deviation, or by one test clip where that is more. A way that itself varies more does
    not pass more easily.

    Args:
        accuracies: Name -> accuracy of each seed; ``plain`` is among them.
        clips: Test clips.
    """
    plain = accuracies["plain"]
    rows = []
    for name, own in accuracies.items():
        spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in (plain, own)]
        noise = max(spread[0], 1 / clips)
        difference = statistics.fmean(own) - statistics.fmean(plain)
        rows.append(
            {
                "name": name,
                "accuracies": [round(value, 5) for value in own],
                "mean": round(statistics.fmean(own), 5),
                "deviation": round(spread[1], 5),
                "difference": round(difference, 5),
                "noise": round(noise, 5),
                "agrees": abs(difference) <= noise + 1e-9,
            }
        )
    return rows


def train(arguments: argparse.Namespace, ways: Mapping[str, Mapping[str, str]]) -> None:
    """Train what is not finished, some runs beside each other, each with one thread."""
    jobs = []
    for seed in range(arguments.seeds):
        for name, switches in ways.items():
            run = RunFolder(arguments.out / f"{name}-seed{seed}")
            if not is_finished(run, arguments.epochs):
                words = tuple(command(run, switches, seed, arguments))
                jobs.append(Job(run.path.name, words, {"OMP_NUM_THREADS": "1"}))
    told = set()

    def look(_: Any, ended: Sequence[Any]) -> None:
        for child in ended:
            if child.job.name not in told:
                told.add(child.job.name)
                print(f"{len(told)}/{len(jobs)} {child.job.name}: {child.last_words()}", flush=True)

    ended = run_side_by_side(jobs, at_once=arguments.at_once, stopped=lambda: False, look=look)
    if failed := [child.job.name for child in ended if child.code]:
        sys.exit(f"failed: {', '.join(failed)}")


def main(words: Sequence[str] | None = None) -> None:
    """Train, compare, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15, help="as the demo's recipe has it")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--clips-per-class", type=int, default=48, help="as the demo has it")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args(words)
    device = choose_device(arguments.device)
    ways = switches_on(device.type)
    if not (arguments.out / "data").is_dir():
        make_synthetic(arguments.out / "data", clips_per_class=arguments.clips_per_class)
    train(arguments, ways)

    document = describe(arguments, device, ways)
    arguments.result.parent.mkdir(exist_ok=True, parents=True)
    arguments.result.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for row in document["results"]:
        print(
            f"{row['name']:<10} {100 * row['mean']:6.2f} % +- {100 * row['deviation']:.2f}"
            f"  {100 * row['difference']:+.2f}  {'agrees' if row['agrees'] else 'DIFFERS'}"
        )


def describe(
    arguments: argparse.Namespace, device: Any, ways: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """Return the result file: what the runs reached, and where and how they ran."""
    runs = {
        name: [RunFolder(arguments.out / f"{name}-seed{k}") for k in range(arguments.seeds)]
        for name in ways
    }
    rows = {name: [run.read_metrics() for run in found] for name, found in runs.items()}
    accuracies = {name: [row[-1]["test_top1"] for row in found] for name, found in rows.items()}
    results = compare(accuracies, test_clips(arguments.out / "data"))
    for result in results:
        seconds = [row["seconds"] for found in rows[result["name"]] for row in found]
        result["epoch_seconds"] = round(statistics.median(seconds), 2)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
        "device": device_name(device),
        "epochs": arguments.epochs,
        "clips_per_class": arguments.clips_per_class,
        "at_once": arguments.at_once,
        "switches": ways,
        "results": results,
    }


def test_clips(store: Path) -> int:
    """Return how many test clips a store has."""
    from kinegraph.data.splits import split_rows
    from kinegraph.data.store import open_store

    return len(split_rows(open_store(store))[1])


def device_name(device: Any) -> str:
    """Return what a device is called by its maker, or its kind."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


if __name__ == "__main__":
    main()
