"""Made ``.skeleton`` files in the size of real ones: 80 frames on average, a fifth with two bodies.

Bodies are random points: what matters is how long the text of a number is, which `%.7g` makes as
the sensor's program does.
"""

from __future__ import annotations

import os
from itertools import islice, product
from pathlib import Path

import numpy as np

from kinegraph.data.formats.ntu import missing_recordings

FRAMES = 80
TWO_BODIES = 0.2
DIFFERENT = 200  # files; more names are links to them, as only their number matters then
FIRST_ID = 72057594037930937


def names(amount: int) -> list[str]:
    """Return names of recordings of NTU RGB+D 120 that are not missing, in order."""
    missing = missing_recordings()
    every = (
        f"S{setup:03}C{camera:03}P{performer:03}R{again:03}A{action:03}"
        for setup, camera, performer, again in product(
            range(1, 33), range(1, 4), range(1, 107), range(1, 3)
        )
        for action in range(1, 121)
    )
    return list(islice((name for name in every if name not in missing), amount))


def text(seed: int) -> str:
    """Make one file."""
    random = np.random.default_rng(seed)
    frames = int(np.clip(random.normal(FRAMES, 25), 30, 300))
    bodies = 1 + (seed % round(1 / TWO_BODIES) == 0)
    pose = random.uniform(-0.3, 0.3, (bodies, 25, 3)) * [1, 3, 1] + [0.1, 0.2, 3.2]
    moves = np.cumsum(random.normal(0, 0.01, (frames, bodies, 25, 3)), axis=0)
    joints = pose + moves + np.arange(bodies)[:, None, None] * [0.8, 0, 0]
    rest = random.uniform(100, 900, (frames, bodies, 25, 4))
    turns = random.uniform(-1, 1, (frames, bodies, 25, 4))
    lines = [str(frames)]
    for frame in range(frames):
        lines.append(str(bodies))
        for body in range(bodies):
            lines += [f"{FIRST_ID + body} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            rows = np.concatenate((joints[frame, body], rest[frame, body], turns[frame, body]), 1)
            lines += [" ".join([*(f"{number:.7g}" for number in row), "2"]) for row in rows]
    return "\r\n".join(lines) + "\r\n"


def make_folder(folder: Path, amount: int) -> float:
    """Write files, or links to the first of them; return their mean size in bytes."""
    folder.mkdir(parents=True)
    first = names(amount)
    for number, name in enumerate(first):
        file = folder / f"{name}.skeleton"
        if number < DIFFERENT:
            file.write_bytes(text(number).encode())
        else:
            os.link(folder / f"{first[number % DIFFERENT]}.skeleton", file)
    sizes = [(folder / f"{name}.skeleton").stat().st_size for name in first]
    return sum(sizes) / len(sizes)
