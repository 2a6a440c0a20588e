"""How many clips per second are sampled, augmented and turned into a stream, on one core.

NTU-shaped clips (64 frames, crop, resize, rotation) and the pipeline of NW-UCLA, each beside the
usual per-clip loop of `per_clip`. Both must give the same numbers before anything is timed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import per_clip
import torch
from measure import Case, load_average, measure, report
from numpy.typing import NDArray

from kinegraph.data.clip import Clip, Track
from kinegraph.data.loader import ClipLoader
from kinegraph.data.reader import TrackReader
from kinegraph.data.store import Store, create_store, open_store
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.transforms.pipeline import Pipeline
from kinegraph.transforms.random import ClipRandom

ROUNDS = 9
TOLERANCE = 1e-5
STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


@dataclass(frozen=True)
class Pattern:
    """Clips and what is done to them.

    Attributes:
        name: First word of the results' names.
        layout: Layout of the joints.
        transforms: As in a recipe.
        length: T, frames after sampling.
        frames: Shortest and longest clip.
        one_person: Share of the clips with one person; the others have two.
        goal: Clips per second that are aimed for.
        clips: Clips in the store.
        loop_clips: Clips that the per-clip loop gets.
        batch: N.
    """

    name: str
    layout: str
    transforms: tuple[dict[str, Any], ...]
    length: int
    frames: tuple[int, int]
    one_person: float
    goal: int | None = None
    clips: int = 2048
    loop_clips: int = 256
    batch: int = 64


NTU = Pattern(
    "ntu", "ntu25",
    ({"name": "crop_resize", "length": 64, "proportion": [0.5, 1.0]}, {"name": "rotate"}),
    length=64, frames=(30, 150), one_person=0.8, goal=20_000,
)  # fmt: skip
UCLA = Pattern(
    "ucla", "ucla20",
    (
        {"name": "centre", "joint": 1}, {"name": "turn_view"}, {"name": "min_max"},
        {"name": "pick_frames", "length": 52, "random": True},
    ),
    length=52, frames=(10, 70), one_person=1.0,
)  # fmt: skip
PADDED_TO = 300  # frames of a clip of NTU in the arrays of the usual programs


def make_store(folder: Path, pattern: Pattern) -> Store:
    """Make a store of random walks; second people come some frames late."""
    random = np.random.default_rng(0)
    skeleton = load_layout(pattern.layout)
    with create_store(folder, skeleton, ["any"], source="random") as writer:
        for number in range(pattern.clips):
            frames = int(random.integers(pattern.frames[0], pattern.frames[1] + 1))
            people = 1 if random.random() < pattern.one_person else 2
            tracks = []
            for person in range(people):
                late = person * int(random.integers(0, 10))
                steps = random.normal(0, 0.02, (frames - late, skeleton.joint_count, 3))
                start = random.normal(0, 0.5, (skeleton.joint_count, 3))
                tracks.append(Track((start + steps.cumsum(0)).astype(np.float32), late, person))
            writer.add(Clip(f"clip {number}", tuple(tracks), frames, label=0))
    return open_store(folder)


def loop_clips(store: Store, pattern: Pattern) -> list[NDArray[np.float32]]:
    """Return the first clips as the usual programs hold them.

    NTU: (C, T, V, M), padded with zeros, a view of the (T, M, V, C) of the files. NW-UCLA:
    (T, V, C), unpadded.
    """
    if pattern.name == "ucla":
        return [np.array(store.clip(row).tracks[0].joints) for row in range(pattern.loop_clips)]
    clips = np.zeros((pattern.loop_clips, PADDED_TO, 2, 25, 3), dtype=np.float32)
    for row in range(pattern.loop_clips):
        for track in store.clip(row).tracks:
            end = track.first + len(track.joints)
            clips[row, track.first : end, track.person] = track.joints
    return list(clips.transpose(0, 4, 1, 3, 2))


class Loop:
    """The per-clip loop over some clips: draw, transform, stack to batches."""

    def __init__(self, clips: list[NDArray[np.float32]], pattern: Pattern, stream: str) -> None:
        self.clips, self.batch = clips, pattern.batch
        one = per_clip.ucla_clip if pattern.name == "ucla" else per_clip.ntu_clip
        self.one = partial(one, stream=stream, length=pattern.length)

    def run(self) -> None:
        random = np.random.default_rng(0)
        for begin in range(0, len(self.clips), self.batch):
            part = self.clips[begin : begin + self.batch]
            torch.from_numpy(np.stack([self.one(clip, draws=random) for clip in part]))

    def with_draws(self, draws: list[Any]) -> torch.Tensor:
        pairs = zip(self.clips, draws, strict=True)
        return torch.from_numpy(np.stack([self.one(clip, draws=drawn) for clip, drawn in pairs]))


def our_draws(pipeline: Pipeline, reader: TrackReader, rows: torch.Tensor) -> list[Any]:
    """Return what our pipeline draws for these clips, in the words of the per-clip loop."""
    tracks, drawn = reader.read(rows), {}
    for position, transform in enumerate(pipeline.transforms):
        drawn |= transform.draw(ClipRandom(0, 0, rows, purpose=position), tracks)
    values = {name: value.numpy() for name, value in drawn.items()}
    if "angles" in values:
        columns = zip(values["begin"], values["crop"], values["angles"], strict=True)
        return [per_clip.NTUDraws(int(b), int(c), a.astype(np.float64)) for b, c, a in columns]
    columns = zip(values["degrees"], values["scale"], values["frame"], strict=True)
    return [per_clip.UCLADraws((int(d[0]), int(d[1])), float(s), f) for d, s, f in columns]


def cases_of(pattern: Pattern, folder: Path) -> Iterator[Case]:
    """Check that both ways agree, and yield both for every stream."""
    store = make_store(folder / pattern.name, pattern)
    reader = TrackReader(store, 1 if pattern.one_person == 1 else 2)
    clips = loop_clips(store, pattern)
    transforms = parse_recipe({"transforms": {"train": pattern.transforms}}).transforms["train"]
    for stream in STREAMS:
        pipeline = Pipeline(transforms, stream, store.skeleton)
        loader = ClipLoader(
            reader, store.clips["label"], np.arange(len(store)), {"train": pipeline},
            views=("train",), batch_size=pattern.batch, shuffle=True,
        )  # fmt: skip
        loop = Loop(clips, pattern, stream)
        rows = torch.arange(len(clips))
        expected = loop.with_draws(our_draws(pipeline, reader, rows))
        difference = float((loader.batch(rows)[0].x - expected).abs().max())
        if not difference <= TOLERANCE:
            raise SystemExit(f"{pattern.name} {stream}: the two ways differ by {difference:.2g}")
        name = f"{pattern.name} {stream}"
        slow = f"{name}, per-clip loop"
        yield Case(name, partial(run_epoch, loader), len(store), slow, pattern.goal)
        yield Case(slow, loop.run, len(clips))


def run_epoch(loader: ClipLoader) -> None:
    for _ in loader.epoch(1):
        pass


def main() -> None:
    load = load_average()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        cases = [*cases_of(NTU, Path(folder)), *cases_of(UCLA, Path(folder))]
        results = measure(cases, ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "device": "cpu",
        "what": "random clips of a store to whole batches (N, C, T, V, M), in shuffled epochs",
        "agreement": f"the two ways differ by less than {TOLERANCE:g}: checked before timing",
        "ntu": asdict(NTU) | {"padded_to": PADDED_TO},
        "ucla": asdict(UCLA),
    }
    report("transforms", settings, results, load=load)


if __name__ == "__main__":
    main()
