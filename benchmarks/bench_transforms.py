"""How many clips per second are sampled, augmented and turned into a stream, on one core.

NTU-shaped clips (64 frames, crop, resize, rotation) and the pipeline of NW-UCLA, each beside the
usual per-clip loop of `per_clip`. Both must give the same numbers before anything is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import per_clip
import torch
from measure import Case, load_average, measure, report
from numpy.typing import NDArray

from kinegraph.data.clip import Clip, Track
from kinegraph.data.loader import ClipLoader, TrackReader
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.random import ClipRandom

ROUNDS = 9
GOAL = 20_000  # clips/s of NTU shape
TOLERANCE = 1e-5
NTU = {
    "clips": 1024, "loop_clips": 256, "batch": 64, "length": 64, "frames": [30, 150],
    "one_person": 0.8, "padded_to": 300, "layout": "ntu25",
    "transforms": [
        {"name": "crop_resize", "length": 64, "proportion": [0.5, 1.0]}, {"name": "rotate"},
    ],
}  # fmt: skip
UCLA = {
    "clips": 1024, "loop_clips": 256, "batch": 64, "length": 52, "frames": [10, 70],
    "one_person": 1.0, "layout": "ucla20",
    "transforms": [
        {"name": "centre", "joint": 1}, {"name": "turn_view"}, {"name": "min_max"},
        {"name": "pick_frames", "length": 52, "random": True},
    ],
}  # fmt: skip
STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


def make_store(folder: Path, settings: dict[str, object]) -> Store:
    """Make a store of random walks."""
    random = np.random.default_rng(0)
    skeleton = load_layout(str(settings["layout"]))
    low, high = settings["frames"]  # type: ignore[misc]
    with create_store(folder, skeleton, ["any"], source="random") as writer:
        for number in range(int(settings["clips"])):  # type: ignore[call-overload]
            frames = int(random.integers(low, high + 1))
            people = 1 if random.random() < float(settings["one_person"]) else 2  # type: ignore[arg-type]
            tracks = []
            for person in range(people):
                late = person * int(random.integers(0, 10))
                steps = random.normal(0, 0.02, (frames - late, skeleton.joint_count, 3))
                start = random.normal(0, 0.5, (skeleton.joint_count, 3))
                tracks.append(Track((start + steps.cumsum(0)).astype(np.float32), late, person))
            writer.add(Clip(f"clip {number}", tuple(tracks), frames, label=0))
    return open_store(folder)


def padded(store: Store, frames: int) -> NDArray[np.float32]:
    """Return (N, C, T, V, M), zeros where nobody is: a view of (N, T, M, V, C) as files hold it."""
    clips = np.zeros((len(store), frames, 2, 25, 3), dtype=np.float32)
    for row in range(len(store)):
        for track in store.clip(row).tracks:
            end = track.first + len(track.joints)
            clips[row, track.first : end, track.person] = track.joints
    return clips.transpose(0, 4, 1, 3, 2)


class Loop:
    """The per-clip loop over padded clips of one data set: draw, transform, stack to batches."""

    def __init__(self, kind: str, clips: Sequence[NDArray[np.float32]], batch: int, length: int):
        self.one = per_clip.ntu_clip if kind == "ntu" else per_clip.ucla_clip
        self.clips, self.batch, self.length = clips, batch, length

    def run(self, stream: str) -> None:
        random = np.random.default_rng(0)
        for begin in range(0, len(self.clips), self.batch):
            part = self.clips[begin : begin + self.batch]
            made = [self.one(clip, stream, self.length, random) for clip in part]
            torch.from_numpy(np.stack(made))

    def with_draws(self, stream: str, draws: Sequence[object]) -> torch.Tensor:
        pairs = zip(self.clips, draws, strict=False)
        return torch.from_numpy(
            np.stack([self.one(clip, stream, self.length, drawn) for clip, drawn in pairs])  # type: ignore[arg-type]
        )


def recipe_of(settings: dict[str, object]) -> Recipe:
    return parse_recipe({"transforms": {"train": settings["transforms"]}})


def our_draws(kind: str, pipeline: Pipeline, reader: TrackReader, rows: torch.Tensor) -> list[object]:
    """Return what our pipeline draws for these clips, in the words of the per-clip loop."""
    tracks, drawn = reader.read(rows), {}
    for position, transform in enumerate(pipeline.transforms):
        random = ClipRandom(0, 0, rows, purpose=position)
        drawn |= transform.draw(random, tracks)
    values = {name: value.numpy() for name, value in drawn.items()}
    if kind == "ntu":
        columns = zip(values["begin"], values["crop"], values["angles"], strict=True)
        return [per_clip.NTUDraws(int(b), int(c), a.astype(np.float64)) for b, c, a in columns]
    columns = zip(values["degrees"], values["scale"], values["frame"], strict=True)
    return [per_clip.UCLADraws((int(d[0]), int(d[1])), float(s), f) for d, s, f in columns]


def cases_of(kind: str, settings: dict[str, object], folder: Path) -> Iterator[Case]:
    """Check that both ways agree, and yield them for every stream."""
    store = make_store(folder / kind, settings)
    reader = TrackReader(store, 2 if kind == "ntu" else 1)
    rows = np.arange(len(store))
    batch, length = int(settings["batch"]), int(settings["length"])  # type: ignore[call-overload]
    count = int(settings["loop_clips"])  # type: ignore[call-overload]
    clips = (
        list(padded(store, int(settings["padded_to"]))[:count])  # type: ignore[call-overload]
        if kind == "ntu"
        else [np.array(store.clip(row).tracks[0].joints) for row in range(count)]
    )
    loop = Loop(kind, clips, batch, length)
    transforms = recipe_of(settings).transforms["train"]
    for stream in STREAMS:
        pipeline = Pipeline(transforms, stream, store.skeleton)
        loader = ClipLoader(
            reader, store.clips["label"], rows, {"train": pipeline}, views=("train",),
            batch_size=batch, shuffle=True,
        )  # fmt: skip
        first = torch.arange(count)
        (made,) = loader.batch(first)
        expected = loop.with_draws(stream, our_draws(kind, pipeline, reader, first))
        difference = float((made.x - expected).abs().max())
        if difference > TOLERANCE:
            raise SystemExit(f"{kind} {stream}: the two ways differ by {difference:.2g}")
        slow = f"{kind} {stream}, per-clip loop"
        yield Case(
            f"{kind} {stream}", partial(run_epoch, loader), len(store), slow,
            GOAL if kind == "ntu" else None,
        )  # fmt: skip
        yield Case(slow, partial(loop.run, stream), count)


def run_epoch(loader: ClipLoader) -> None:
    for _ in loader.epoch(1):
        pass


def main() -> None:
    load = load_average()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = list(cases_of("ntu", NTU, Path(folder)))
        cases += cases_of("ucla", UCLA, Path(folder))
        results = measure(cases, ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "device": "cpu",
        "what": "random clips of a store to whole batches (N, C, T, V, M), in shuffled epochs",
        "agreement": f"largest difference of the two ways below {TOLERANCE:g}, checked first",
        "ntu": NTU,
        "ucla": UCLA,
    }
    report("transforms", settings, results, load=load)


if __name__ == "__main__":
    main()
