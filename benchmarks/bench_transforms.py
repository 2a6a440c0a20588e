"""How many clips per second are sampled, augmented and turned into a stream, on one core.

NTU-shaped clips (64 frames, crop, resize, rotation), the pipeline of NW-UCLA, and the normal and
extreme views of AimCLR, each beside the usual per-clip loop of `per_clip` and `per_clip_views`.
Both must give the same numbers before anything is timed.
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
import per_clip_views
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
        streams: Streams that are timed.
        original: Whether ``quirks: original`` is set.
        padded_to: Frames of a clip in the arrays of the usual programs.
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
    streams: tuple[str, ...] = STREAMS
    original: bool = False
    padded_to: int = 300


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
NORMAL_VIEW = ({"name": "pick_frames", "length": 50}, {"name": "mirror_crop"}, {"name": "shear"})
EXTREME_VIEW = (
    *NORMAL_VIEW, {"name": "mirror", "exchange_only": True}, {"name": "rotate_about_axis"},
    {"name": "noise", "probability": 0.5}, {"name": "blur"}, {"name": "mask_axis"},
)  # fmt: skip
VIEWS = tuple(
    Pattern(
        name, "ntu25", transforms, length=50, frames=(50, 50), one_person=0.8,
        streams=("joint",), original=True, padded_to=50,
    )
    for name, transforms in (("aimclr normal", NORMAL_VIEW), ("aimclr extreme", EXTREME_VIEW))
)  # fmt: skip
LOOPS = {
    "ntu": per_clip.ntu_clip,
    "ucla": per_clip.ucla_clip,
    "aimclr normal": partial(per_clip_views.view_clip, extreme=False),
    "aimclr extreme": partial(per_clip_views.view_clip, extreme=True),
}


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

    NTU and AimCLR: (C, T, V, M), padded with zeros, a view of the (T, M, V, C) of the files.
    NW-UCLA: (T, V, C), unpadded.
    """
    if pattern.name == "ucla":
        return [np.array(store.clip(row).tracks[0].joints) for row in range(pattern.loop_clips)]
    clips = np.zeros((pattern.loop_clips, pattern.padded_to, 2, 25, 3), dtype=np.float32)
    for row in range(pattern.loop_clips):
        for track in store.clip(row).tracks:
            end = track.first + len(track.joints)
            clips[row, track.first : end, track.person] = track.joints
    return list(clips.transpose(0, 4, 1, 3, 2))


class Loop:
    """The per-clip loop over some clips: draw, transform, stack to batches."""

    def __init__(self, clips: list[NDArray[np.float32]], pattern: Pattern, stream: str) -> None:
        self.clips, self.batch = clips, pattern.batch
        self.one = partial(LOOPS[pattern.name], stream=stream, length=pattern.length)

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
    tracks: Any = reader.read(rows)
    by_name, values = {}, {}
    for position, (name, transform) in enumerate(
        zip(pipeline.names, pipeline.transforms, strict=True)
    ):
        drawn = transform.draw(ClipRandom(0, 0, rows, purpose=position), tracks)
        if transform.stage == "sample":
            tracks = transform.apply(tracks, drawn)
        by_name[name] = {word: value.numpy() for word, value in drawn.items()}
        values |= by_name[name]
    if "shear" in by_name:
        return [view_draws(by_name, row) for row in range(len(rows))]
    if "angles" in values:
        columns = zip(values["begin"], values["crop"], values["angles"], strict=True)
        return [per_clip.NTUDraws(int(b), int(c), a.astype(np.float64)) for b, c, a in columns]
    columns = zip(values["degrees"], values["scale"], values["frame"], strict=True)
    return [per_clip.UCLADraws((int(d[0]), int(d[1])), float(s), f) for d, s, f in columns]


def view_draws(drawn: dict[str, dict[str, NDArray[Any]]], row: int) -> per_clip_views.Draws:
    """Return what is drawn for the views of one clip, in the words of the per-clip loop."""
    own = {name: {word: v[row] for word, v in values.items()} for name, values in drawn.items()}
    normal = per_clip_views.NormalDraws(int(own["mirror_crop"]["begin"]), own["shear"]["shares"])
    if "blur" not in own:
        return normal, None
    noise = own["noise"]["noise"].reshape(2, 50, 25, 3).transpose(3, 1, 2, 0) * 0.01
    blur, mask = own["blur"], own["mask_axis"]
    return normal, per_clip_views.ExtremeDraws(
        exchange=bool(own["mirror"]["swap"]),
        angles=own["rotate_about_axis"]["angles"].astype(np.float64),
        noise=noise if noise.any() else None,
        sigma=float(blur["sigma"]) if blur["on"] else None,
        axis=int(mask["axis"]) if mask["on"] else None,
    )


def cases_of(pattern: Pattern, folder: Path) -> Iterator[Case]:
    """Check that both ways agree, and yield both for every stream."""
    store = make_store(folder / pattern.name, pattern)
    reader = TrackReader(store, 1 if pattern.one_person == 1 else 2)
    clips = loop_clips(store, pattern)
    transforms = parse_recipe({"transforms": {"train": pattern.transforms}}).transforms["train"]
    for stream in pattern.streams:
        pipeline = Pipeline(transforms, stream, store.skeleton, original=pattern.original)
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
        patterns = (NTU, UCLA, *VIEWS)
        cases = [case for pattern in patterns for case in cases_of(pattern, Path(folder))]
        results = measure(cases, ROUNDS)
    settings = {
        "rounds": ROUNDS,
        "threads": 1,
        "device": "cpu",
        "what": "random clips of a store to whole batches (N, C, T, V, M), in shuffled epochs",
        "agreement": f"the two ways differ by less than {TOLERANCE:g}: checked before timing",
        **{pattern.name: asdict(pattern) for pattern in patterns},
    }
    report("transforms", settings, results, load=load)


if __name__ == "__main__":
    main()
