"""Small files as the original programs write them, for the tests of formats and of exports."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = (
    "S001C001P001R001A001", "S001C001P003R002A051", "S002C002P007R001A010", "S003C002P013R001A055",
)  # fmt: skip
LABELS = (0, 50, 9, 54)
LENGTHS = (4, 6, 5, 3)


def people(number: int, frames: int, *, second: bool) -> NDArray[np.float32]:
    """Return (M=2, T=frames, 25, 3), the second person from frame 1 on or absent."""
    random = np.random.default_rng(number)
    joints = random.normal(size=(2, frames, 25, 3)).astype(np.float32)
    joints[1, : 1 if second else None] = 0
    return joints


def clips(*, copies: bool = False) -> list[NDArray[np.float32]]:
    """Return four clips; the odd ones have two people, ``copies`` repeats a single one."""
    made = [people(i, frames, second=i % 2 == 1) for i, frames in enumerate(LENGTHS)]
    if copies:
        for joints in made[::2]:
            joints[1] = joints[0]
    return made


def padded(joints: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Return (M, frames, V, C) with zeros behind."""
    return np.pad(joints, ((0, 0), (0, frames - joints.shape[1]), (0, 0), (0, 0)))


def write_npz(
    file: Path, *, classes: int = 60, packed: bool = False, **changes: Any
) -> dict[str, NDArray[Any]]:
    """Write four clips as CTR-GCN does, three train and one tests; None leaves an array out."""
    rows = np.stack([padded(joints, 8) for joints in clips(copies=classes == 120)])
    rows = rows.transpose(0, 2, 1, 3, 4).reshape(4, 8, 150)  # (N, M, T, V, C) -> (N, T, M*V*C)
    one_hot = np.eye(classes)[list(LABELS)]
    arrays: dict[str, Any] = {
        "x_train": rows[:3],
        "y_train": one_hot[:3],
        "x_test": rows[3:],
        "y_test": one_hot[3:],
    }
    arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    save: Any = np.savez_compressed if packed else np.savez
    save(file, **arrays)
    return arrays


def write_stgcn(folder: Path, *, frames: int = 10) -> None:
    """Write four clips as ST-GCN does, three to train and one to validate."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.stack([padded(joints, frames) for joints in clips()]).transpose(0, 4, 2, 3, 1)
    for part, begin, end in (("train", 0, 3), ("val", 3, 4)):
        np.save(folder / f"{part}_data.npy", data[begin:end])
        names, labels = [f"{name}.skeleton" for name in NAMES[begin:end]], LABELS[begin:end]
        (folder / f"{part}_label.pkl").write_bytes(pickle.dumps((names, list(labels)), 2))


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    """Return a clip as PYSKL annotates it in 3D; None leaves a field out."""
    joints = clips()[number][: 1 + number % 2].astype(np.float16)
    fields = {
        "frame_dir": NAMES[number],
        "label": LABELS[number],
        "total_frames": LENGTHS[number],
        "keypoint": joints,
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def flat_annotation(number: int, **changes: Any) -> dict[str, Any]:
    """Return a clip as PYSKL annotates it in 2D."""
    random = np.random.default_rng(number)
    return {
        "frame_dir": f"v_Archery_g{number:02}",
        "label": number,
        "total_frames": 5,
        "img_shape": (240, 320),
        "original_shape": (480, 640),
        "keypoint": (random.uniform(1, 200, (2, 5, 17, 2))).astype(np.float16),
        "keypoint_score": random.uniform(0.1, 1, (2, 5, 17)).astype(np.float16),
        **changes,
    }


def write_pickle(file: Path, content: Any, protocol: int = 4) -> Path:
    """Write a pickle."""
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def write_pyskl(file: Path, **changes: Any) -> Path:
    """Write four annotations in 3D with two splits."""
    content = {
        "split": {
            "xsub_train": list(NAMES[:3]), "xsub_val": list(NAMES[3:]),
            "xview_train": list(NAMES[2:]), "xview_val": list(NAMES[:2]),
        },
        "annotations": [annotation(number) for number in range(4)],
        **changes,
    }  # fmt: skip
    return write_pickle(file, content)
