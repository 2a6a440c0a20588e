from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file

from kinegraph.backbones import BACKBONES, STGCNConfig
from kinegraph.errors import CheckpointError, OutputError
from kinegraph.recipe import parse_recipe
from kinegraph.registry import Component
from kinegraph.skeleton import load_layout
from kinegraph.training import checkpoint
from kinegraph.training.checkpoint import (
    HEADER,
    Checkpoint,
    load_checkpoint,
    make_objective,
    save_checkpoint,
)
from kinegraph.training.distributed import World
from kinegraph.training.shared_checkpoint import load_shared


@pytest.fixture
def saved(tmp_path: Path, tiny_recipe: Callable[..., dict[str, Any]]) -> Path:
    recipe = parse_recipe(tiny_recipe())
    skeleton = load_layout("coco17")
    objective = make_objective(recipe, skeleton, 2, persons=1)
    tensors = {f"model/{name}": value for name, value in objective.state_dict().items()}
    progress = {"best": 0.5}
    path = tmp_path / "checkpoint.safetensors"
    names = ("fall & <b>", "wave")
    save_checkpoint(
        path, Checkpoint(recipe, skeleton, names, 1, 3, progress=progress, tensors=tensors)
    )
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON header of a checkpoint."""
    loaded = load_checkpoint(path)
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    header = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"][HEADER])
    change(header)
    save_file(dict(loaded.tensors), path, metadata={HEADER: json.dumps(header)})


def test_round_trip(saved: Path) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.class_names == ("fall & <b>", "wave")
    assert (loaded.persons, loaded.epoch, loaded.step) == (1, 3, 0)
    assert loaded.skeleton == load_layout("coco17")
    assert loaded.progress == {"best": 0.5}
    assert loaded.recipe.backbone == STGCNConfig(width=4)
    assert {"kinegraph", "torch", "numpy", "python"} <= loaded.versions.keys()
    built = loaded.build()
    assert not built.training
    for name, value in built.state_dict().items():
        assert torch.equal(value, loaded.tensors[f"model/{name}"])


def test_tensors_that_share_memory_are_kept_apart(saved: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"model/a": whole, "model/b": whole, "model/row": whole[1], "model/turned": whole.T}
    save_checkpoint(saved, replace(load_checkpoint(saved), tensors=tensors))
    for name, value in load_checkpoint(saved).tensors.items():
        assert torch.equal(value, tensors[name]), name


def test_a_file_cut_short_anywhere_is_an_error(saved: Path) -> None:
    whole = saved.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    cuts = [*range(10), header - 1, header, header + 1, *range(11, len(whole), 997), len(whole) - 1]
    for length in cuts:
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is not a readable checkpoint") as error:
            load_checkpoint(saved)
        assert "\n" not in str(error.value)
        with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
            load_checkpoint(saved, weights=False)
    saved.write_bytes(whole)
    load_checkpoint(saved)


def test_what_is_known_of_a_checkpoint_is_read_without_its_weights(
    saved: Path, broken_tensors: Callable[[], None]
) -> None:
    whole = load_checkpoint(saved)
    broken_tensors()
    known = load_checkpoint(saved, weights=False)
    assert known == replace(whole, tensors={})
    with pytest.raises(CheckpointError, match="is not a readable checkpoint: broken"):
        load_checkpoint(saved)


def test_processes_tell_what_one_tells_of_a_file_that_cannot_be_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(CheckpointError, match="nothing' does not exist"):
        load_shared(saved.with_name("nothing"), World(0, 2))
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(CheckpointError, match="is not a readable checkpoint: Permission denied"):
        load_shared(saved, World(0, 2))


@pytest.mark.parametrize("length", [2**63, 2**40, 10**8 + 1, 2**32])
def test_huge_declared_headers_are_refused(saved: Path, length: int) -> None:
    saved.write_bytes(struct.pack("<Q", length) + saved.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04}.", b"PK\x03\x04" * 9, b"{}", bytes(64)], ids=repr
)
def test_other_files_are_refused(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a readable checkpoint"):
        load_checkpoint(saved)


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    save_file({"weight": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="is a safetensors file, but not a kinegraph"):
        load_checkpoint(file)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 1),
        ("format_version", None),
        ("recipe", []),
        ("recipe", None),
        ("recipe", {"seed": -1}),
        ("skeleton", {}),
        ("skeleton", "coco17"),
        ("class_names", "ab"),
        ("class_names", [1, 2]),
        ("class_names", []),
        ("persons", 0),
        ("persons", 10**9),
        ("persons", True),
        ("epoch", -1),
        ("epoch", "3"),
        ("step", 10**30),
        ("step", 1.5),
        ("progress", []),
        ("versions", None),
    ],
)
def test_damaged_headers_are_one_line(saved: Path, key: str, value: object) -> None:
    rewrite(saved, lambda header: header.update({key: value}))
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors") as error:
        load_checkpoint(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["format_version", "recipe", "skeleton", "persons", "progress"])
def test_missing_header_fields(saved: Path, key: str) -> None:
    rewrite(saved, lambda header: header.pop(key))
    with pytest.raises(CheckpointError, match=f"damaged header: .*{key}"):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000])
def test_header_that_is_no_mapping(saved: Path, text: str) -> None:
    save_file({"model/a": torch.zeros(1)}, saved, metadata={HEADER: text})
    with pytest.raises(CheckpointError, match="damaged header"):
        load_checkpoint(saved)


def test_other_recipe_than_its_weights(saved: Path) -> None:
    rewrite(saved, lambda header: header["recipe"]["backbone"].update(width=8))
    with pytest.raises(CheckpointError, match=r"does not fit its recipe's network \(.* expected"):
        load_checkpoint(saved).build()
    rewrite(saved, lambda header: header["recipe"].update(backbone={"name": "ctrgcn", "width": 4}))
    with pytest.raises(CheckpointError, match="missing backbone") as error:
        load_checkpoint(saved).build()
    assert len(str(error.value)) < 600


def test_missing_plugin_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnConfig(STGCNConfig):
        name: Literal["own"] = "own"  # type: ignore[assignment]

    rewrite(saved, lambda header: header["recipe"]["backbone"].update(name="own"))
    with pytest.raises(CheckpointError, match=r"unknown name 'own'.*need --plugin FILE\.py"):
        load_checkpoint(saved)
    own = Component("A test's.", OwnConfig, BACKBONES["stgcn"].build)
    monkeypatch.setitem(BACKBONES, "own", own)
    assert load_checkpoint(saved).build() is not None


@pytest.mark.parametrize("kind", ["system", "safetensors"])
def test_full_disk_leaves_the_old_file(
    saved: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    loaded, before = load_checkpoint(saved), saved.read_bytes()
    error: Exception = OSError(28, "No space left on device")
    if kind == "safetensors":
        error = checkpoint.SafetensorError("I/O error: No space left on device (os error 28)")

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", save)
    with pytest.raises(OutputError, match=r"cannot write '.*No space left on device"):
        save_checkpoint(saved, loaded)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
