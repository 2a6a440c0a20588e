"""Small made sources of every format, from fixed seeds; no file has more than 20 kB.

A source is a few files, given to a reader as they are, in a folder, or packed as a zip archive.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.packed import array_file, pack
from kinegraph.data.cleaning import CLEANINGS
from kinegraph.data.formats import FORMATS, Options

PATHS = ("labels", "splits")  # options that name a file or folder, here inside the source
Files = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Source:
    """Files to be read, and how.

    Attributes:
        format: A key of `FORMATS`.
        form: ``file`` (the first one is named, others lie beside it), ``folder`` or ``zip``.
        files: Paths and contents.
        options: What `Options` gets besides; paths are inside the source.
        packed: The archive itself where it was damaged as one.
        past: The functions that begin with a recording's numbers, as ``module:name``. What enters
            one of them got past the header.
    """

    format: str
    form: str
    files: Files
    past: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    packed: bytes | None = None

    def write(self, place: Path) -> tuple[Path, Options]:
        """Write it into an empty folder; return what the reader is given."""
        shutil.rmtree(place, ignore_errors=True)
        root = place / "in"
        root.mkdir(parents=True)
        given = {
            key: root / value if key in PATHS else value for key, value in self.options.items()
        }
        if self.form == "zip":
            (place / "in.zip").write_bytes(self.packed or pack(list(self.files)))
            for path, content in self.files:
                if any(Path(path).is_relative_to(str(self.options.get(key, "-"))) for key in PATHS):
                    _write(root, path, content)
            return place / "in.zip", Options(**given)
        for path, content in self.files:
            _write(root, path, content)
        first = self.files[0][0] if self.files else "absent"
        return root if self.form == "folder" else root / first, Options(**given)


def _write(root: Path, path: str, content: bytes) -> None:
    """Write a file below ``root``; a path that no file can have, or that leads out, is left out."""
    if path.startswith("/") or ".." in path.split("/"):
        return
    try:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    except (OSError, ValueError):
        return


def joints(*shape: int) -> np.ndarray[Any, Any]:
    """Return made coordinates with four digits."""
    random_ = np.random.default_rng(shape)
    return np.round(random_.normal(0.3, 0.5, shape), 4)


def ucla(_: int = 0) -> Files:
    files = []
    for name, label in (("a01_s01_e00_v01", 1), ("a12_s10_e04_v03", 10)):
        fields = {"file_name": name, "skeletons": joints(4, 20, 3).tolist(), "label": label}
        files.append((f"all_sqe/{name}.json", json.dumps(fields).encode()))
    return tuple(files)


def ntu(bodies: int = 2) -> Files:
    if bodies < 0:
        return (("nturgbd_skeletons_s001_to_s017.zip", pack(list(ntu()))),)
    alone = [(0,)] * 13
    together = [(0, 1)] * 12 if bodies == 2 else [(0, 1)] * 6 + [(2, 0)] * 6
    return (
        ("S001C002P003R002A013.skeleton", _skeleton_text(alone, "%.9f", "\r\n")),
        ("S017C001P001R001A050.skeleton", _skeleton_text(together, "%.1f", "\n")),
    )


def _skeleton_text(frames: list[tuple[int, ...]], form: str, end: str) -> bytes:
    """Return the text that a Kinect's program writes, with short numbers in the ignored fields."""
    lines = [str(len(frames))]
    for number, seen in enumerate(frames):
        lines.append(str(len(seen)))
        for body in seen:
            lines += [f"7205759403793110{body} 0 1 1 1 1 0 0.02 0.05 2", "25"]
            places = joints(25, 3) * (1, 4, 1) + 0.1 * joints(number + 1, body + 1, 3)[-1, -1]
            lines += [" ".join(form % value for value in row) + " 0" * 8 + " 2" for row in places]
    return end.join([*lines, ""]).encode()


def kinetics(_: int = 0) -> Files:
    files, table = [], {}
    for name, label in (("-0byZyStAYQ", 1), ("kkwHdOvpCoc", 0)):
        frames = []
        for frame in range(1, 4):
            pose, score = abs(joints(frame, 36)), abs(joints(frame, 18))
            people = [
                {"pose": (row % 1).round(3).tolist(), "score": (sure % 1).round(3).tolist()}
                for row, sure in zip(pose, score, strict=True)
            ]
            frames.append({"frame_index": frame, "skeleton": people})
        fields = {"data": frames, "label": f"action {label}", "label_index": label}
        files.append((f"kinetics_val/{name}.json", json.dumps(fields).encode()))
        table[name] = {"has_skeleton": True, "label": f"action {label}", "label_index": label}
    table["absent"] = {"has_skeleton": False, "label": "action 1", "label_index": 1}
    return (*files, ("kinetics_val_label.json", json.dumps(table).encode()))


def pku(part: int = 1) -> Files:
    names = ("0002-L", "0003-M") if part == 1 else ("A01N02-L", "A26N13-R")
    files = []
    for number, name in enumerate(names):
        rows = joints(10, 150)
        rows[: 4 + number, 75:] = 0
        text = "\n".join(" ".join(f"{value:g}" for value in row) for row in rows)
        files.append((f"skeleton/{name}.txt", text.encode()))
        files.append((f"label/{name}.txt", b"1,1,4,2\n51,3,9,1\n"))
    split = f"Training videos:\n{names[0]},\nValidation videos:\n{names[1]},\n"
    return (*files, ("split/cross-subject.txt", split.encode()))


def utd(packed: int = 1) -> Files:
    from scipy.io import savemat

    files = []
    for name in ("a1_s1_t1", "a27_s8_t4"):
        file = io.BytesIO()
        savemat(file, {"d_skel": joints(20, 3, 4)}, do_compression=bool(packed))
        files.append((f"Skeleton/{name}_skeleton.mat", file.getvalue()))
    return tuple(files)


def sbu(variant: int = 0) -> Files:
    if variant < 0:
        return (("s01s02.zip", pack(list(sbu()))),)
    files = []
    for place in ("s01s02/01/001", "s06s04/08/002"):
        rows = abs(joints(8, 90)) % 1
        lines = [",".join([str(n), *(f"{v:.4f}" for v in row)]) for n, row in enumerate(rows, 1)]
        files.append((f"{place}/skeleton_pos.txt", "\n".join(lines).encode()))
    return tuple(files)


def _npz(file: str, /, **arrays: Any) -> Files:
    return ((file, pack([(f"{key}.npy", array_file(np.asarray(a))) for key, a in arrays.items()])),)


def ctrgcn(names: int = 0) -> Files:
    x = joints(3, 5, 150).astype(np.float32)
    x[0, 3:], x[1, :, 75:], x[2, :, 75:] = 0, x[1, :, :75], 0
    y = np.eye(60)[[0, 49, 59]]
    more: dict[str, Any] = {}
    if names:
        more = {"name_train": np.array(["S001C001P001R001A001", "b", "c"]),
                "class_names": np.array([f"class {number}" for number in range(60)])}  # fmt: skip
    return _npz("NTU60_CS.npz", x_train=x, y_train=y, x_test=x[:2, ::-1], y_test=y[:2], **more)


def _dense(frames: int) -> bytes:
    x = joints(2, 3, frames, 25, 2).astype(np.float32)
    x[0, :, 3:], x[1, ..., 1] = 0, 0
    return array_file(x)


def stgcn(_: int = 0) -> Files:
    names = (["S001C001P001R001A001.skeleton", "S001C001P001R001A002.skeleton"], [0, 1])
    others = (["S001C002P003R001A060.skeleton", "S001C003P003R001A060.skeleton"], [59, 59])
    return (
        ("train_data.npy", _dense(6)),
        ("train_label.pkl", pickle.dumps(names)),
        ("val_data.npy", _dense(5)),
        ("val_label.pkl", pickle.dumps(others, protocol=2)),
    )


def aimclr(pickled: int = 0) -> Files:
    labels = array_file(np.array([[0], [5]]))
    kind = ".npy"
    if pickled:
        kind, labels = ".pkl", pickle.dumps((["a", "b"], [0, 5]))
    return (
        ("train_position.npy", _dense(6)),
        (f"train_label{kind}", labels),
        ("val_position.npy", _dense(6)),
        ("val_label.npy", array_file(np.array([1, 2]))),
    )


def pyskl(dimensions: int = 3) -> Files:
    annotations = []
    for number, people in enumerate((1, 2)):
        shape = (people, 4, 25, 3) if dimensions == 3 else (people, 4, 17, 2)
        each: dict[str, Any] = {
            "frame_dir": f"S001C00{number + 1}P001R001A00{number + 1}", "label": number,
            "total_frames": 4, "keypoint": joints(*shape).astype(np.float16),
        }  # fmt: skip
        if dimensions == 2:
            each["keypoint_score"] = (abs(joints(people, 4, 17)) % 1).astype(np.float16)
            each["img_shape"] = each["original_shape"] = (1080, 1920)
        annotations.append(each)
    names = [each["frame_dir"] for each in annotations]
    split = {"xsub_train": names[:1], "xsub_val": names[1:], "xview_train": names, "xview_val": []}
    content = {"split": split, "annotations": annotations}
    return (("ntu60.pkl", pickle.dumps(content, protocol=5 if dimensions == 3 else 2)),)


def own(axes: int = 5) -> Files:
    x = joints(4, 3, 5, 17, 2) if axes == 5 else joints(4, 5, 17, 3)
    x[0, ..., -1:, :, :] = 0
    return _npz(
        "mine.npz", x=x.astype(np.float32), label=np.array([0, 1, 1, 0]),
        subject=np.array([1, 2, 3, 4], np.int32), layout=np.array("coco17"),
        **({"name": np.array(["a", "b", "c", "d"]), "frames": np.array([5, 5, 4, 3]),
            "class_names": np.array(["x", "y"]), "split": np.array([1, 2, 1, 0])}
           if axes == 4 else {}),
    )  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Where the seeds of a format come from.

    Attributes:
        make: Makes the files; its argument is a variant.
        variants: Those variants; one below zero is a folder of archives.
        forms: In which forms the files are read.
        past: See `Source`.
        modules: The reader: the modules whose lines are counted.
        options: Options of each variant.
    """

    make: Callable[[int], Files]
    variants: tuple[int, ...]
    forms: tuple[str, ...]
    past: tuple[str, ...]
    modules: tuple[str, ...]
    options: tuple[Mapping[str, Any], ...] = ({},)


F = "kinegraph.data.formats"
MEMBERS = (f"{F}.members", "kinegraph.data.archives")
DENSE = (f"{F}.processed", f"{F}.dense_rows", f"{F}.seen_people", "kinegraph.data.arrays")
PICKLES = ("kinegraph.pickles", "kinegraph.pickled_arrays")
C = "kinegraph.data.cleaning"
NTU = (
    f"{F}.ntu", f"{F}.ntu_text", f"{F}.ntu_numbers", *MEMBERS,
    *(f"{C}.{name}" for name in ("bodies", "denoised", "aligned", "pyskl")),
    f"{C}.as_recorded", f"{C}.first_two",
)  # fmt: skip
PAST_NTU = (f"{F}.ntu_numbers:parse_decimals", f"{F}.ntu_text:_Lines.coordinates")
ALL = ("file", "folder", "zip")
KINDS: dict[str, Kind] = {
    "nw-ucla": Kind(ucla, (0,), ALL, (f"{F}.nw_ucla:_joints",), (f"{F}.nw_ucla", *MEMBERS)),
    "ntu60": Kind(
        ntu, (2, 3, -1), ALL, PAST_NTU, NTU,
        ({}, {"cleaning": "aligned"}, {"cleaning": "pyskl"}),
    ),
    "ntu120": Kind(
        ntu, (3,), ("folder", "zip"), PAST_NTU, NTU,
        tuple({"cleaning": name} for name in CLEANINGS),
    ),
    "kinetics": Kind(
        kinetics, (0,), ALL, (f"{F}.kinetics:read_people",),
        (f"{F}.kinetics", f"{F}.kinetics_labels", *MEMBERS),
        ({}, {"people": 1, "matching": True}, {"part": "val", "labels": "kinetics_val_label.json"}),
    ),
    "pku-mmd": Kind(
        pku, (1, 2), ("folder", "zip", "file"), (f"{F}.pku_mmd:LastRead.frames",),
        (f"{F}.pku_mmd", f"{F}.pku_mmd_splits", f"{F}.number_table", *MEMBERS),
        ({}, {"labels": "label", "splits": "split"}),
    ),
    "utd-mhad": Kind(
        utd, (1, 0), ALL, (f"{F}.mat_reader:MatReader.read",),
        (f"{F}.utd_mhad", f"{F}.mat_reader", *MEMBERS),
    ),
    "sbu": Kind(
        sbu, (0, -1), ("folder", "zip"), (f"{F}.number_table:read_table",),
        (f"{F}.sbu", f"{F}.number_table", *MEMBERS),
    ),
    "ctrgcn-npz": Kind(
        ctrgcn, (0, 1), ("file",), (f"{F}.dense_rows:DenseRows.__getitem__",),
        (f"{F}.ctrgcn_npz", *DENSE),
    ),
    "stgcn-npy": Kind(
        stgcn, (0,), ("folder", "file"), (f"{F}.dense_rows:DenseRows.__getitem__",),
        (f"{F}.part_files", *DENSE, *PICKLES),
    ),
    "aimclr-npy": Kind(
        aimclr, (0, 1), ("folder", "file"), (f"{F}.dense_rows:DenseRows.__getitem__",),
        (f"{F}.part_files", *DENSE, *PICKLES),
    ),
    "pyskl": Kind(
        pyskl, (3, 2), ("file",), (f"{F}.pyskl:_clip",), (f"{F}.pyskl", f"{F}.processed", *PICKLES)
    ),
    "arrays": Kind(
        own, (5, 4), ("file",), (f"{F}.own_arrays:_Rows.__getitem__",),
        (f"{F}.own_arrays", "kinegraph.data.arrays", "kinegraph.data.archives"),
    ),
}  # fmt: skip


@cache
def seeds_of(name: str) -> tuple[Source, ...]:
    """Return the whole sources of a format, each in every form and with every option."""
    kind = KINDS[name]
    return tuple(
        Source(name, form, kind.make(variant), kind.past, options)
        for variant in kind.variants
        for form in (kind.forms if variant >= 0 else ("folder",))
        for options in kind.options
    )


def missing_kinds() -> list[str]:
    """Return the formats that no seed is made for."""
    return sorted(set(FORMATS) - set(KINDS))
