"""Draw the learning curve of a run, for docs/results.md.

.venv/bin/python tools/learning_curve.py RUN OUT.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

from kinegraph.training.run_folder import RunFolder

mpl.use("svg")
from matplotlib import pyplot as plt


def draw(run: Path, out: Path) -> None:
    """Draw accuracy on training batches and test clips over epochs, and the loss beside it."""
    rows = RunFolder(run).read_metrics()
    tested = [row for row in rows if "test_top1" in row]
    mpl.rcParams["svg.hashsalt"] = "kinegraph"  # the same run gives the same file
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    epochs = [row["epoch"] for row in rows]
    left.plot(epochs, [100 * row["accuracy"] for row in rows], label="training batches")
    left.plot(
        [row["epoch"] for row in tested],
        [100 * row["test_top1"] for row in tested],
        marker="o",
        markersize=3,
        label="test clips",
    )
    left.set(xlabel="epoch", ylabel="accuracy, %", ylim=(0, 100))
    left.legend(frameon=False)
    right.plot(epochs, [row["loss"] for row in rows])
    right.set(xlabel="epoch", ylabel="training loss")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    figure.savefig(out, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: learning_curve.py RUN OUT.svg")
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
