"""Checks of PYSKL's pipeline: aligned bodies, streams, chosen frames, augmentation, 2D joints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.skeleton import load_layout
from kinegraph.transforms.pipeline import Draws
from kinegraph.transforms.sampling import UniformFrames

from .goldens import POSITIONS, Comparison, Golden, tolerance_of
from .stores import clip_of, config, reader_of, run

NTU = load_layout("ntu25")
STREAMS = {"b": "bone", "jm": "joint-motion", "bm": "bone-motion"}
TEST_SEED = 255  # PYSKL's for every clip


def check_features(golden: Golden) -> Iterator[Comparison]:
    """PYSKL's pipeline on made recordings that its own preparation has read."""
    for case in golden.meta["cases"]:
        name = case["name"]
        yield from _bodies(golden, name, _prepared(golden, name))
        yield from _frames(golden, name, case["in_shape"][1])
    yield from _augmented(golden)
    yield from _flat(golden)


def _prepared(features: Golden, name: str) -> NDArray[Any]:
    """Return (M, T, V, C) of one recording, in float16; a small copy has it in the same file."""
    if f"{name}_input" in features.arrays:
        return features[f"{name}_input"]
    golden = Golden.open(features.companion("pyskl_ntu_preproc"))
    at = golden.meta["names"].index(name)
    sizes = [int(np.prod(shape)) for shape in golden.meta["shapes"]]
    begin = sum(sizes[:at])
    block = golden["keypoint"][begin : begin + sizes[at]]
    return block.reshape(golden.meta["shapes"][at])


def _made(people: NDArray[Any], stream: str = "joint", *configs: Any, **options: Any) -> Any:
    """Return (M, T, V, C) that a pipeline makes of (M, T, V, C) without choosing frames."""
    layout = options.pop("layout", NTU)
    dense = people.transpose(3, 1, 2, 0).astype(np.float32)  # (C, T, V, M)
    reader = reader_of([clip_of("clip", dense)], layout, len(people), count_nonzero=False)
    every = config("pick_frames", length=people.shape[1])
    before = [each for each in configs if each.name in ("align_body", "fit_image")]
    after = [each for each in configs if each not in before]
    replay = options.pop("replay", None)
    if replay is not None:
        replay = [None] * (len(before) + 1) + [replay]
    made = run(reader, [*before, every, *after], stream=stream, replay=replay)
    return made[0].permute(3, 1, 2, 0).numpy()  # (C, T, V, M) -> (M, T, V, C)


def _bodies(golden: Golden, name: str, people: NDArray[Any]) -> Iterator[Comparison]:
    aligned = f"{name}_prenorm"
    if aligned in golden.arrays:
        made = _made(people, "joint", config("align_body"))
        yield Comparison(aligned, made, POSITIONS)
    for short, stream in STREAMS.items():
        if f"{name}_{short}" in golden.arrays:
            made = _made(people, stream, config("align_body"))
            frames = golden.expected(f"{name}_{short}").shape[1]
            yield Comparison(f"{name}_{short}", made[:, :frames], tolerance_of(stream))
    if f"{name}_jb_shape" in golden.arrays:
        pair = [_made(people, stream, config("align_body")) for stream in ("joint", "bone")]
        yield Comparison(f"{name}_jb_shape", np.concatenate(pair, -1).shape, 1e-9)
    if f"{name}_format" in golden.arrays:
        yield Comparison(f"{name}_format", _chosen(golden, name, people), POSITIONS)


def _chosen(golden: Golden, name: str, people: NDArray[Any]) -> NDArray[Any]:
    """Return (clips, 2, T, V, C): two drawn choices of ten frames, two places for people."""
    dense = people.transpose(3, 1, 2, 0).astype(np.float32)
    reader = reader_of([clip_of("clip", dense)], NTU, 2, count_nonzero=False)
    random = np.random.RandomState(golden.meta["seed"] + 9)
    sampling = config("uniform_frames", length=10, random=True, proportion=(0.5, 1.0))
    made = []
    for _ in range(2):
        draws = _drawn(random, people.shape[1], 10, (0.5, 1.0))
        replay: list[Draws | None] = [None, draws]
        made.append(run(reader, [config("align_body"), sampling], replay=replay)[0])
    return torch.stack(made).permute(0, 4, 2, 3, 1).numpy()  # (N, C, T, V, M) -> (N, M, T, V, C)


def _frames(golden: Golden, name: str, frames: int) -> Iterator[Comparison]:
    """The frames that are chosen, with the draws of NumPy's generator re-made."""
    for array in golden.arrays:
        if not array.startswith(f"{name}_inds_"):
            continue
        kind, _, size = array.removeprefix(f"{name}_inds_").partition("_")
        proportion = (0.5, 1.0) if size == "p" else (1.0, 1.0)
        clips, length = (2, 10) if size == "p" else map(int, size.split("x"))
        seed = golden.meta["seed"] + (9 if size == "p" else 7)
        random = np.random.RandomState(TEST_SEED if kind == "test" else seed)
        found = [
            _indices(random, frames, length, proportion, (clip, clips) if kind == "test" else None)
            for clip in range(clips)
        ]
        yield Comparison(array, np.concatenate(found), 1e-9)


def _indices(
    random: np.random.RandomState,
    frames: int,
    length: int,
    proportion: tuple[float, float],
    clip: tuple[int, int] | None,
) -> NDArray[Any]:
    draws = _drawn(random, frames, length, proportion, clip)
    sampler = UniformFrames(length, random=True, proportion=proportion)
    return sampler.frames_of(draws, torch.tensor([frames]))[0].numpy()


def _drawn(
    random: np.random.RandomState,
    frames: int,
    length: int,
    proportion: tuple[float, float],
    clip: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """Turn the draws of the original for one choice of frames into ours.

    Clip i of n in a test begins at frame i, or is spread evenly, where there are too few frames.
    """
    low, high = proportion
    count = int((random.rand() * (high - low) + low) * frames)
    begin = int(random.randint(frames - count + 1))
    ticket = np.ones(length + 1)
    if count < length:
        start = random.randint(count) if clip is None else _begin(*clip, count)
        ticket[0] = (start + 0.5) / count
    elif count < 2 * length:
        ticket[random.choice(length + 1, count - length, replace=False)] = 0
    else:
        edges = np.arange(length + 1) * count // length
        size = np.diff(edges)
        ticket[:-1] = (random.randint(size) + 0.5) / size
    return {
        "begin": torch.tensor([begin]),
        "count": torch.tensor([count]),
        "ticket": torch.tensor(ticket)[None],
    }


def _begin(clip: int, clips: int, count: int) -> int:
    return clip if count < clips else clip * count // clips


def _augmented(golden: Golden) -> Iterator[Comparison]:
    """Rotation, scaling and noise of the first aligned recording, in double precision there."""
    name = golden.meta["cases"][0]["name"]
    people = golden.expected(f"{name}_prenorm")
    seed = golden.meta["seed"]
    cases = {
        "rot": ("rotate", {}, {"angles": np.random.RandomState(seed).uniform(-0.3, 0.3, 3)}),
        "scale": (
            "scale_axes", {}, {"factor": 1 + np.random.RandomState(seed).uniform(-0.1, 0.1, 3)}
        ),
        "noise": ("noise", {"of_extent": True}, {"noise": _directed(people.shape, seed)}),
    }  # fmt: skip
    for array, (transform, values, draws) in cases.items():
        if array in golden.arrays:
            replay = {key: torch.from_numpy(value)[None].float() for key, value in draws.items()}
            made = _made(people, "joint", config(transform, **values), replay=replay)
            frames = golden.expected(array).shape[1]
            yield Comparison(array, made[:, :frames], POSITIONS)


def _directed(shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """Return normal lengths in random directions, as the original draws them: axis by axis."""
    random = np.random.RandomState(seed)
    length = random.randn(*shape[:3])
    axes = np.stack([random.uniform(-1, 1, shape[:3]) for _ in range(shape[3])], axis=-1)
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return (length[..., None] * axes).reshape(-1)


def _flat(golden: Golden) -> Iterator[Comparison]:
    """COCO keypoints in pixels, from the generator that ``meta`` names."""
    random = np.random.default_rng([5, golden.meta["seed"]])
    points = random.uniform(0, 1, (2, 12, 17, 2)) * [1900, 1070]
    score = random.uniform(0, 1, (2, 12, 17))
    score[:, :2, 3] = 0.005
    people = np.concatenate((points, score[..., None]), axis=-1).astype(np.float16)
    layout = load_layout("coco17_nose")
    for array, stream in {
        "coco_j": "joint",
        **{f"coco_{k}": v for k, v in STREAMS.items()},
    }.items():
        if array in golden.arrays:
            made = _made(people, stream, config("fit_image"), layout=layout)
            yield Comparison(array, made, tolerance_of(stream))
