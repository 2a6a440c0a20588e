"""Checks of NTU from raw files: bodies, every way of cleaning, order of rows; PKU-MMD's files."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.data.cleaning.aligned import clean_and_align
from kinegraph.data.cleaning.bodies import Sightings, follow_bodies, motion
from kinegraph.data.cleaning.denoised import denoise
from kinegraph.data.cleaning.first_two import first_two
from kinegraph.data.cleaning.pyskl import clean_as_pyskl
from kinegraph.data.clip import Clip, Track
from kinegraph.data.formats import Options, open_recordings
from kinegraph.data.formats.members import open_members
from kinegraph.data.formats.ntu_text import read_skeleton
from kinegraph.data.formats.processed import NTU_NAME, numbers_of
from kinegraph.data.row_order import original_rows
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import create_store
from kinegraph.skeleton import load_layout

from .goldens import Comparison, Golden
from .stores import CLASSES, config, reader_of, run

NTU = load_layout("ntu25")
EXACT = 1e-12  # the very same float32 numbers
SPLITS = {"CS": "xsub", "CV": "xview", "CSub": "xsub", "CSet": "xset"}


def check_denoised(golden: Golden) -> Iterator[Comparison]:
    """Bodies with their motion, then what is left of them before they are moved."""
    names, offsets = golden.meta["names"], golden["offsets"]
    raw = _raw_files(golden)
    stated = golden.expected("denoised")
    for row, name in _present(names, raw):
        sightings = raw[name]
        bodies = [
            [motion(body.joints), body.start, body.end, len(body)]
            for body in follow_bodies(sightings)
        ]
        theirs = [body[1:] for body in golden.meta["bodies"][row]]
        if len(bodies) == 1:  # the original computes no motion then
            bodies[0][0] = theirs[0][0] = 0
        assert [body.id for body in follow_bodies(sightings)] == [
            int(body[0]) for body in golden.meta["bodies"][row]
        ]
        yield Comparison(f"bodies of {name}", bodies, EXACT, theirs)
        people = denoise(sightings)
        yield Comparison(
            f"{name} people", len(people), 1e-9, golden.meta["denoised_num_bodies"][row]
        )
        frames = stated[offsets[row] : offsets[row + 1]]
        yield Comparison("denoised", _as_rows(people, len(frames)), EXACT, frames)


def check_translated(golden: Golden) -> Iterator[Comparison]:
    """What an import yields, and in which order the original keeps it."""
    yield from _check_clips(golden, "denoised", EXACT)
    names = golden.meta["names"]
    labels = [int(found[5]) - 1 for name in names if (found := NTU_NAME.fullmatch(name))]
    yield Comparison("y", labels, 1e-9)
    for name in golden.arrays:
        part, _, split = name.partition("_")
        if split in SPLITS:
            rows = _rows_in_order(names, SPLITS[split])[part == "test"]
            yield Comparison(name, rows, 1e-9)


def check_aligned(golden: Golden) -> Iterator[Comparison]:
    """What an import yields whose people are turned."""
    raw = _raw_files(golden)
    stated = golden.expected("x")
    for row, name in _present(golden.meta["names"], raw):
        people = _doubled(clean_and_align(raw[name]), golden)
        yield Comparison("x", _as_rows(people, stated.shape[1]), 1e-6, stated[row])
    yield from _check_clips(golden, "aligned", 1e-6)
    if "y" in golden.arrays:
        labels = [int(name[-3:]) - 1 for name in golden.meta["names"]]
        yield Comparison("y", labels, 1e-9)


def check_pyskl(golden: Golden) -> Iterator[Comparison]:
    """The keypoints of PYSKL's annotation files."""
    raw, stated, begin = _raw_files(golden), golden.expected("keypoint"), 0
    for row, (name, shape) in enumerate(
        zip(golden.meta["names"], golden.meta["shapes"], strict=True)
    ):
        size = int(np.prod(shape))
        theirs = stated[begin : begin + size].reshape(shape)
        begin += size
        if name in raw:
            people = clean_as_pyskl(raw[name]).astype(np.float16)
            yield Comparison(f"keypoint {row}", people, EXACT, theirs)
    golden["keypoint"]


def check_readers(golden: Golden) -> Iterator[Comparison]:
    """ST-GCN's reader of NTU's text; AimCLR's of PKU-MMD's, and where it cuts long clips."""
    people = first_two(read_skeleton(golden["ntu_text"].item().encode(), "golden"))
    stated = golden.expected("ntu")
    assert len(people) == stated.shape[-1]
    yield Comparison("ntu", people.transpose(3, 1, 2, 0), EXACT, stated.astype(np.float32))
    clip = _pku_clip(golden["pku_text"].item())
    yield Comparison("pku", _dense(clip, clip.frames), 1e-6)
    numbers = np.arange(307, dtype=np.float32)
    joints = np.broadcast_to(numbers[:, None, None], (307, 25, 3))
    long = reader_of([Clip("long", (Track(joints),), 307, label=0)], NTU, 2, count_nonzero=False)
    kept = run(long, [config("window", length=golden.meta["pku_long_shape"][1], random=False)])
    assert list(kept.shape[1:]) == golden.meta["pku_long_shape"]
    yield Comparison("pku_long_first_last", kept[0, 0, [0, -1], 0, 0], EXACT)


def _raw_files(golden: Golden) -> dict[str, Sightings]:
    """Read the recordings that lie beside a golden file: all of them, or those of a small copy."""
    with open_members(_source(golden), ".skeleton") as members:
        return {each.stem: read_skeleton(each.read(), each.path) for each in members}


def _source(golden: Golden) -> Path:
    """Return the folder of raw files beside a golden file, unpacked where it is a small copy."""
    folder = golden.path.parent
    name = "ntu_raw_mini" if (folder / "ntu_raw_mini").is_dir() else "ntu_raw_mini.zip"
    golden.companions.add(name)
    return folder / name if name == "ntu_raw_mini" else Path(_unpacked(folder / name).name)


@cache
def _unpacked(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Unpack an archive, which is packed more tightly than those that users download."""
    folder = tempfile.TemporaryDirectory()
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder.name)
    return folder


def _present(names: Sequence[str], raw: dict[str, Any]) -> list[tuple[int, str]]:
    found = [(row, name) for row, name in enumerate(names) if name in raw]
    assert found, "none of the raw files is there"
    return found


def _check_clips(golden: Golden, cleaning: str, tolerance: float) -> Iterator[Comparison]:
    """Compare every row with the clip that an import yields, the format's options included."""
    names, stated = golden.meta["names"], golden.expected("x")
    format_name = "ntu120" if "NTU120" in golden.path.name else "ntu60"
    with open_recordings(
        _source(golden), format_name=format_name, options=Options(cleaning=cleaning)
    ) as recordings:
        clips = {item.name: item for item in recordings.items}
        for row, name in _present(names, clips):
            clip = clips[name].read()
            theirs = stated[row].reshape(-1, 2, 25, 3).transpose(3, 0, 2, 1)
            ours = _dense(clip, len(theirs[0]))
            if "NTU120" in golden.path.name and len(clip.tracks) == 1 and not clip.extras:
                ours[..., 1] = ours[..., 0]
            yield Comparison("x", ours, tolerance, theirs)


def _dense(clip: Clip, frames: int) -> NDArray[Any]:
    """Return (C, T, V, M) of a clip, padded with zeros."""
    dense = np.zeros((3, frames, 25, 2), dtype=np.float32)
    for track in clip.tracks:
        place = slice(track.first, track.first + len(track.joints))
        dense[:, place, :, track.person] = track.joints.transpose(2, 0, 1)
    return dense


def _doubled(people: NDArray[Any], golden: Golden) -> NDArray[Any]:
    """Repeat the only person, as files of NTU RGB+D 120 do."""
    alone = "NTU120" in golden.path.name and len(people) == 1
    return np.concatenate((people, people)) if alone else people


def _as_rows(people: NDArray[Any], frames: int) -> NDArray[Any]:
    """Turn (M, T, V, C) into (frames, 150), zero where nobody is."""
    rows = np.zeros((frames, 2, 25, 3), dtype=people.dtype)
    rows[: people.shape[1], : len(people)] = people.transpose(1, 0, 2, 3)
    return rows.reshape(frames, -1)


def _rows_in_order(names: Sequence[str], split: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows of training and test clips as the original's files have them."""
    joints = np.ones((1, 25, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        with create_store(Path(folder) / "store", NTU, CLASSES, source="names") as writer:
            for name in names:
                numbers = numbers_of(name)._asdict()
                writer.add(Clip(name, (Track(joints),), 1, label=0, **numbers))
        return original_rows(open_store(Path(folder) / "store"), split)


def _pku_clip(text: str) -> Clip:
    """Read a clip that AimCLR has written, as the line of numbers per frame that it was made of."""
    lines = iter(text.split("\n"))
    frames = []
    for _ in range(int(next(lines))):
        bodies = int(next(lines))
        next(lines), next(lines)
        rows = [next(lines).split() for _ in range(25 * bodies)]
        frames.append([word for row in rows for word in row] + ["0"] * 75 * (2 - bodies))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "skeletons").mkdir()
        (folder / "labels").mkdir()
        (folder / "skeletons" / "0002-L.txt").write_text("\n".join(map(" ".join, frames)) + "\n")
        (folder / "labels" / "0002-L.txt").write_text(f"1,1,{len(frames)},2\n")
        options = Options(labels=folder / "labels")
        with open_recordings(
            folder / "skeletons", format_name="pku-mmd", options=options
        ) as recordings:
            return recordings.items[0].read()
