"""Checks of the NTU pipeline: crop and resize, rotation, streams, FR-Head's augmentations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinegraph.data.clip import Clip
from kinegraph.data.reader import TrackReader
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.transforms.augment import rotation_matrices
from kinegraph.transforms.pipeline import Draws
from kinegraph.transforms.sampling import CropResize

from .fill import skeleton_input
from .goldens import POSITIONS, Comparison, Golden, tolerance_of
from .stores import clip_of, config, plain_layout, reader_of, run

NTU = load_layout("ntu25")


def people(rows: NDArray[Any]) -> NDArray[Any]:
    """Turn (N, T, 150), person by person and joint by joint, into (N, C, T, V, M)."""
    clips, frames, _ = rows.shape
    return rows.reshape(clips, frames, 2, 25, 3).transpose(0, 4, 1, 3, 2)


def crop(window: int, proportion: Sequence[float]) -> Config:
    """Return the sampling of the original feeder."""
    interval = proportion[0] if len(proportion) == 1 else tuple(proportion)
    return config("crop_resize", length=window, proportion=interval)


def part(sampling: Config, uniform: float, start: int, valid: int) -> Draws:
    """Turn the draws of the original feeder into the part of one clip, by our formula."""
    sampler = CropResize(sampling.length, sampling.proportion, sampling.minimum)  # type: ignore[attr-defined]
    frames, drawn = torch.tensor([valid]), torch.tensor([uniform], dtype=torch.float64)
    length = sampler.part(drawn, torch.zeros(1), frames)["crop"]
    return sampler.part(drawn, (start + 0.5) / (frames - length + 1), frames)


def together(draws: Sequence[Draws]) -> Draws:
    """Put the draws of single clips into one batch."""
    return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}


def check_crop_and_rotation(golden: Golden) -> Iterator[Comparison]:
    """Crops of given lengths and intervals, and rotation matrices."""
    crops = [case for case in golden.meta["cases"] if "T" in case]
    for number, case in enumerate(crops):
        dense = golden[f"in{number}"][:, : case["valid"]]
        clip = clip_of("clip", dense)
        reader = reader_of([clip], plain_layout(dense.shape[2]), 1, count_nonzero=False)
        sampling = crop(case["window"], case["p_interval"])
        if len(case["p_interval"]) == 2:
            sampling = sampling.model_copy(update={"minimum": 64})
            draws = part(sampling, case["u"], case["start"], case["valid"])
            yield Comparison(f"cropped {number}", draws["crop"], 1e-9, [case["cropped"]])
            yield Comparison(f"start {number}", draws["begin"], 1e-9, [case["start"]])
            made = run(reader, [sampling], replay=[draws])
        else:
            made = run(reader, [sampling])
        yield Comparison(f"out{number}", made[0], 1e-6)
    turns = [case["rot"] for case in golden.meta["cases"] if "rot" in case]
    for number, matrix in enumerate(rotation_matrices(torch.tensor(turns))):
        yield Comparison(f"rotmat{number}", matrix, 1e-6)


STREAM_WORDS = {
    (False, False): "joint",
    (True, False): "bone",
    (False, True): "joint-motion",
    (True, True): "bone-motion",
}


def check_ntu_feeder(golden: Golden) -> Iterator[Comparison]:
    """The feeder of CTR-GCN on made clips, with its stored draws."""
    source = Golden.open(golden.companion("data_ntu_input"))
    clips = [clip_of(f"clip {i}", dense) for i, dense in enumerate(people(source["x"]))]
    reader = reader_of(clips, NTU, 2)
    assert len(golden["labels"]) == len(clips)
    valid = reader.read(torch.arange(len(clips))).frames
    yield Comparison("valid_frames", valid, 1e-9)
    for name, variant in golden.meta["variants"].items():
        draws = golden.meta["draws"][name]
        rows = [draw["sample"] for draw in draws]
        configs = [crop(golden.meta["window"], variant["p_interval"])]
        replay: list[Draws | None] = [None]
        if len(variant["p_interval"]) == 2:
            parts = [
                part(configs[0], draw["u"], draw["start"], int(valid[row]))
                for draw, row in zip(draws, rows, strict=True)
            ]
            replay = [together(parts)]
        if variant.get("random_rot"):
            configs.append(config("rotate"))
            replay.append({"angles": torch.tensor([d["rot_angles_xyz"] for d in draws])})
        stream = STREAM_WORDS[variant.get("bone", False), variant.get("vel", False)]
        made = run(reader, configs, stream=stream, rows=rows, replay=replay)
        yield Comparison(f"out_{name}", made, tolerance_of(stream))


def check_ntu_feeder_from_raw(golden: Golden) -> Iterator[Comparison]:
    """The feeder on prepared recordings, its draws re-made from the seeds."""
    meta, seed = golden.meta, int(golden.meta["seed"])
    test = crop(meta["window"], meta["p_interval_test"])
    train = crop(meta["window"], meta["p_interval_train"])
    reader = _test_clips(golden, "translated")
    for name in golden.arrays:
        if name.startswith("test_"):
            stream = name.removeprefix("test_").replace("_", "-")
            stream = "joint-motion" if stream == "motion" else stream
            made = run(reader, [test], stream=stream)
            made = made[: len(golden.expected(name))]
            yield Comparison(name, made, tolerance_of(stream))
    if "train_joint_rot" in golden.arrays:
        frames = reader.read(torch.arange(len(reader))).frames.tolist()
        seeds = [seed + row for row in meta["rows"]]
        parts = [_drawn_part(train, s, valid) for s, valid in zip(seeds, frames, strict=True)]
        angles = torch.stack([_drawn_angles(s) for s in seeds])
        replay = [together(parts), {"angles": angles}]
        made = run(reader, [train, config("rotate")], replay=replay)
        step = made.shape[2] // golden.expected("train_joint_rot").shape[2]
        yield Comparison("train_joint_rot", made[:, :, ::step], POSITIONS)
    if "infogcn_test_vel" in golden.arrays:
        made = run(_test_clips(golden, "aligned"), [test], stream="joint-motion", rows=[0])
        yield Comparison("infogcn_test_vel", made, tolerance_of("joint-motion"))
    yield from _long_clips(golden, seed)


def _test_clips(golden: Golden, preparation: str) -> TrackReader:
    """Return a reader of some test clips of NTU 60 xsub, in the order of the original file."""
    order = Golden.open(golden.companion("ntu_raw_mini_NTU60_translated"))["test_CS"]
    made = Golden.open(golden.companion(f"ntu_raw_mini_NTU60_{preparation}"))["x"]
    dense = people(made[order[golden.meta["rows"]]])
    clips = [clip_of(f"clip {i}", joints) for i, joints in enumerate(dense)]
    return reader_of(clips, NTU, 2)


def _drawn_part(sampling: Config, seed: int, valid: int) -> Draws:
    """Draw as the original does: a proportion, then a start among those that fit."""
    random = np.random.RandomState(seed)
    uniform = float(random.rand(1)[0])
    low, high = sampling.proportion  # type: ignore[attr-defined]
    length = min(max(int(np.floor(valid * (uniform * (high - low) + low))), 64), valid)
    return part(sampling, uniform, int(random.randint(0, valid - length + 1)), valid)


def _drawn_angles(seed: int) -> Tensor:
    return torch.zeros(3).uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(seed))


def _long_clips(golden: Golden, seed: int) -> Iterator[Comparison]:
    """Crop and resize two longer clips, and rotate one that is not resampled."""
    meta = golden.meta
    dense = skeleton_input(2, 3, 120, 25, 2, seed).numpy()
    test = crop(meta["window"], meta["p_interval_test"])
    train = crop(meta["window"], meta["p_interval_train"])
    cut = golden["crop_train_p_len_bias"]
    for number, valid in enumerate((120, 97)):
        clip = clip_of("clip", dense[number][:, :valid])
        reader = reader_of([clip], NTU, 2, count_nonzero=False)
        made = run(reader, [test])[0]
        step = made.shape[1] // golden.expected(f"crop_test_{number}").shape[1]
        yield Comparison(f"crop_test_{number}", made[:, ::step, ::3], POSITIONS)
        draws = _drawn_part(train, seed + 50 + number, valid)
        found = [float(draws["crop"]), float(draws["begin"])]
        yield Comparison(f"length and start {number}", found, 1e-9, cut[number][1:])
        made = run(reader, [train], replay=[draws])[0]
        yield Comparison(f"crop_train_{number}", made[:, ::step, ::3], POSITIONS)
    angles = _drawn_angles(seed + 60)
    yield Comparison("rot_angles", angles, 1e-6)
    whole = [config("pick_frames", length=120), config("rotate")]
    reader = reader_of([clip_of("clip", dense[0])], NTU, 2)
    made = run(reader, whole, replay=[None, {"angles": angles[None]}])[0]
    frames = golden.expected("rot_only").shape[1]
    yield Comparison("rot_only", made[:, :frames], POSITIONS)


def check_frhead_augmentations(golden: Golden) -> Iterator[Comparison]:
    """Bone scaling, frame masking, rotation, and the streams that FR-Head makes of batches."""
    dense = golden["in"]
    rooted = NTU.rooted_at(0)
    operators = _bone_operators(rooted, golden.expected("pose2vec"))
    for name, operator in operators.items():
        yield Comparison(name, operator, 1e-6)
    bones = [int(child) for child in golden.expected("pose2vec").argmax(1)]
    factor = torch.ones(1, 25)
    factor[0, bones] = torch.from_numpy(golden["scale_draw_24"])
    frames = dense.shape[1]
    everything = config("pick_frames", length=frames)
    reader = reader_of([clip_of("clip", dense)], NTU, 2)
    cases: dict[str, tuple[Config, Mapping[str, Tensor]]] = {
        "out_random_scale": (config("scale_bones"), {"factor": factor}),
        "out_random_mask": (
            config("mask_frames"), {"frame": torch.from_numpy(golden["mask_frames"])[None]}
        ),
        "out_random_rot": (
            config("rotate"), {"angles": torch.from_numpy(golden["rot_angles"])[None]}
        ),
    }  # fmt: skip
    for name, (transform, draws) in cases.items():
        made = run(reader, [everything, transform], replay=[None, dict(draws)])[0]
        yield Comparison(name, made, 1e-6)
    batch = golden["batch"]
    clips: list[Clip] = [clip_of(f"clip {i}", clip) for i, clip in enumerate(batch)]
    reader = reader_of(clips, NTU, 2)
    everything = config("pick_frames", length=batch.shape[2])
    for name, stream in {
        "bone": "bone", "vel": "joint-motion", "bonevel": "bone-motion"
    }.items():  # fmt: skip
        made = run(reader, [everything], stream=stream)
        yield Comparison(f"batch_{name}", made, 1e-6)


def _bone_operators(skeleton: Skeleton, order: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return our tree and mirror as matrices, with the bones in the order of ``order``'s rows."""
    joints = skeleton.joint_count
    children = [int(child) for child in order.argmax(1)]
    to_bones = np.zeros((joints - 1, joints))
    from_bones = np.zeros((joints, joints - 1))
    symmetric = np.zeros((joints - 1, joints - 1))
    for bone, child in enumerate(children):
        to_bones[bone, child], to_bones[bone, skeleton.parents[child]] = 1, -1
        symmetric[bone, bone] += 0.5
        symmetric[bone, children.index(skeleton.mirror[child])] += 0.5
    for joint in range(joints):
        ancestor = joint
        while ancestor != skeleton.root:
            from_bones[joint, children.index(ancestor)] = 1
            ancestor = skeleton.parents[ancestor]
    return {"pose2vec": to_bones, "vec2pose": from_bones, "sym": symmetric}
