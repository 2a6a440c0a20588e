"""Train on arrays of your own: x, label and subject in one .npz, and the name of a layout.

    python examples/own_arrays.py FOLDER

Here the arrays are made up: people in coco17, the keypoints of most 2D pose estimators, who wave,
march or squat. Put your own in their place and keep the rest. Each step names its command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from kinegraph.data.formats import read_file
from kinegraph.data.importing import import_data
from kinegraph.evaluation.metrics import summarise
from kinegraph.evaluation.testing import save_test, score_run
from kinegraph.inference.predictor import Predictor
from kinegraph.recipe import load_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.run import start
from kinegraph.training.run_folder import RunFolder

LAYOUT = "coco17"
LABELS = ("wave", "march", "squat")
REST = {  # x and y of the joints in pixels, y grows downwards; limbs have a left and a right side
    "nose": (0, -60), "eye": (4, -64), "ear": (8, -60), "shoulder": (18, -40), "elbow": (22, -15),
    "wrist": (24, 10), "hip": (11, 15), "knee": (12, 55), "ankle": (12, 95),
}  # fmt: skip


def move(label: str, random: np.random.Generator, frames: int) -> np.ndarray:
    """Return one person's joints (T, V, C): x, y and the estimator's score."""
    names = load_layout(LAYOUT).joints
    sides = np.array([-1 if name.startswith("right") else 1 for name in names])
    place = np.array([REST[name.split()[-1]] for name in names], dtype=float)
    place[:, 0] *= sides
    joints = np.repeat(place[None], frames, axis=0)
    phase = np.sin(np.linspace(0, random.uniform(4, 7) * np.pi, frames))  # (T,)
    for row, name in enumerate(names):
        if label == "wave" and name == "right wrist":
            joints[:, row] = np.stack([30 * phase - 25, np.full(frames, -75)], axis=1)
        elif label == "march" and name.endswith(("knee", "ankle")):
            joints[:, row, 1] -= 50 * np.maximum(sides[row] * phase, 0)
        elif label == "squat" and not name.endswith("ankle"):
            joints[:, row, 1] += 30 * (1 + phase)
    joints *= random.uniform(0.9, 1.1)  # how far away the person stands
    joints += random.normal(0, 1, joints.shape) + random.uniform(100, 500, 2)
    return np.concatenate([joints, random.uniform(0.6, 1, (*joints.shape[:2], 1))], axis=2)


def write_arrays(path: Path, clips: int, seed: int) -> None:
    """Write N clips of up to T frames; what is beyond the end of a shorter clip is zero."""
    random = np.random.default_rng(seed)
    x = np.zeros((clips, 60, 17, 3), dtype=np.float32)  # (N, T, V, C); (N, C, T, V, M) works too
    label = np.array([LABELS[row % 3] for row in range(clips)])
    for row in range(clips):
        frames = random.integers(30, 61)
        x[row, :frames] = move(label[row], random, frames)
    subject = np.arange(clips) // 3 % 8 + 1
    np.savez(path, x=x, label=label, subject=subject)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "mine.npz", clips=144, seed=0)

    # kinegraph data import arrays mine.npz --layout coco17 --out store
    source, store = folder / "mine.npz", folder / "store"
    report = import_data("arrays", source, store, layout=LAYOUT, force=True)
    print(f"{report.clips} clips in {store}")

    # kinegraph train ctrgcn --data.store store --data.split subjects --backbone.width 8 ...
    changes = {
        "data.store": store, "data.split": "subjects", "backbone.width": 8,
        "training.epochs": 8, "training.repeat": 2, "schedule.warmup": 1,
        "transforms.train.1.length": 16, "transforms.test.1.length": 16,
    }  # fmt: skip
    recipe = load_recipe("ctrgcn", [(key, str(value)) for key, value in changes.items()])
    run = RunFolder(folder / "run")
    start(recipe, run, device="cpu", force=True)

    # kinegraph test run
    tested = score_run(run.path, device="cpu")
    accuracy = summarise(tested.scores.logits, tested.scores.labels).top1
    print(f"top-1 {accuracy:.1%} on {len(tested.scores)} clips of people who did not train")
    print(f"report: {save_test(tested)}")

    # kinegraph predict run new.npz --layout coco17
    write_arrays(folder / "new.npz", clips=1, seed=1)
    clip, skeleton = read_file(folder / "new.npz", layout=LAYOUT)
    (answer,) = Predictor.from_run(run.path).predict([clip], skeleton)
    print(f"new.npz: {answer.labels[0]} ({answer.probabilities[0]:.0%})")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-arrays"))
