"""Checks of the augmentations of AimCLR, one by one and as its feeder chains them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.data.few_labels import labelled_part
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout
from kinegraph.transforms.pipeline import Draws

from .goldens import POSITIONS, Comparison, Golden
from .stores import clip_of, config, reader_of, run

NTU = load_layout("ntu25")
Step = tuple[Config, Draws]
DEVIATION = 0.01  # of the noise


class Drawn:
    """What the original drew, to be taken in the order of its calls."""

    def __init__(self, draws: Sequence[Sequence[Any]]) -> None:
        self._draws = iter(draws)

    def take(self, function: str, *limits: float) -> float:
        """Return the next draw, which this function made with these arguments."""
        name, arguments, value = next(self._draws)
        assert (name, arguments) == (function, list(limits)), f"{name} {arguments}"
        return float(value)

    def is_on(self) -> bool:
        """Take a number and return whether it is below one half."""
        return self.take("random.random") < 0.5

    def skip(self, function: str) -> None:
        """Pass over a draw that is in an array of its own."""
        assert next(self._draws)[0] == function

    def all_taken(self) -> bool:
        """Whether nothing is left."""
        return next(self._draws, None) is None


def crop(drawn: Drawn, frames: int) -> Step:
    begin = drawn.take("np.random.randint", 0, 2 * (frames // 6) + 1)
    return config("mirror_crop"), {"begin": torch.tensor([int(begin)])}


def shear(drawn: Drawn, amplitude: float = 0.5) -> Step:
    shares = [drawn.take("random.uniform", -amplitude, amplitude) for _ in range(6)]
    return config("shear", amplitude=amplitude), {"shares": torch.tensor([shares])}


def exchange(drawn: Drawn) -> Step:
    return config("mirror", exchange_only=True), {"swap": torch.tensor([drawn.is_on()])}


def rotation(drawn: Drawn) -> Step:
    main = drawn.take("random.randint", 0, 2)
    degrees = [drawn.take("random.uniform", 0, 30 if axis == main else 1) for axis in range(3)]
    angles = torch.tensor([degrees]) * (math.pi / 180)
    return config("rotate_about_axis"), {"angles": angles}


def noise(drawn: Drawn, added: NDArray[Any]) -> Step:
    """Take (C, T, V, M) noise that was added, if any was."""
    ours = torch.zeros(added.size)[None]
    if drawn.is_on():
        drawn.skip("np.random.normal")
        rows = added.transpose(3, 1, 2, 0) / DEVIATION  # (M, T, V, C)
        ours = torch.from_numpy(rows.reshape(1, -1)).float()
    return config("noise", deviation=DEVIATION, probability=0.5), {"noise": ours}


def blur(drawn: Drawn) -> Step:
    sigma = torch.tensor([drawn.take("random.uniform", 0.1, 2)])
    return config("blur"), {
        "sigma": sigma, "on": torch.tensor([drawn.take("np.random.random_sample") < 0.5])
    }  # fmt: skip


def mask(drawn: Drawn) -> Step:
    on = drawn.is_on()
    axis = int(drawn.take("random.randint", 0, 2)) if on else 0
    return config("mask_axis"), {"axis": torch.tensor([axis]), "on": torch.tensor([on])}


def reverse(drawn: Drawn) -> Step:
    return config("reverse_time"), {"on": torch.tensor([drawn.is_on()])}


def made(dense: NDArray[Any], steps: Sequence[Step]) -> torch.Tensor:
    """Return (C, T, V, M) that our transforms make of it."""
    reader = reader_of([clip_of("clip", dense)], NTU, dense.shape[3], count_nonzero=False)
    every = config("pick_frames", length=dense.shape[1])
    configs, draws = zip(*steps, strict=True)
    return run(reader, [every, *configs], replay=[None, *draws])[0]


def check_augmentations(golden: Golden) -> Iterator[Comparison]:
    """Each augmentation alone."""
    dense = golden["input"]
    single = {
        "spatial_flip": exchange,
        "rotate": rotation,
        "gaus_filter": blur,
        "axis_mask": mask,
        "time_flip": reverse,
    }
    for name, case in golden.meta["cases"].items():
        drawn = Drawn(case["draws"])
        if name.startswith("shear"):
            step = shear(drawn, float(name.removeprefix("shear_r")))
        elif name == "gaus_noise":
            step = noise(drawn, golden["gaus_noise_noise0"])
        else:
            step = next(make for word, make in single.items() if name.startswith(word))(drawn)
        assert drawn.all_taken(), name
        yield Comparison(name, made(dense, [step]), POSITIONS)


def check_feeder(golden: Golden) -> Iterator[Comparison]:
    """Temporal crops, the three views that the feeder makes of a clip, and its few labels."""
    few = golden.meta["semi"]
    labels = np.array(few["labels"])
    for share, result in few["result"].items():  # drawn by Python's generator, seed 0
        rows = labelled_part(np.arange(len(labels)), labels, float(share), original=True)
        wanted = [int(name.removeprefix("s")) for name in result["names"]]
        yield Comparison(f"semi_{share}", rows, 1e-9, theirs=np.array(wanted))
    dense = golden["input"]
    frames = dense.shape[1]
    for name, case in golden.meta["cases"].items():
        drawn = Drawn(case["draws"])
        if name.startswith("temperal_crop"):
            yield Comparison(name, made(dense, [crop(drawn, frames)]), POSITIONS)
            continue
        strong = [crop(drawn, frames), shear(drawn), exchange(drawn), rotation(drawn)]
        strong += [noise(drawn, golden[f"{name}_noise0"]), blur(drawn), mask(drawn)]
        if "6" in name:
            strong.append(reverse(drawn))
        yield Comparison(f"{name}_strong", made(dense, strong), POSITIONS)
        for view in ("normal1", "normal2"):
            normal = [crop(drawn, frames), shear(drawn)]
            yield Comparison(f"{name}_{view}", made(dense, normal), POSITIONS)
        assert drawn.all_taken(), name
