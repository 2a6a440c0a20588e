"""Every original network: names -> our network -> the original's logits -> the same names again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinegraph.compat import load_original
from kinegraph.compat.contrast_files import CONTRAST
from kinegraph.compat.converted_recipe import Wishes
from kinegraph.compat.converting import convert, revert
from kinegraph.compat.systems import SYSTEMS
from kinegraph.training.checkpoint import load_checkpoint, save_checkpoint

from .goldens import difference
from .originals import Original, files, read

TOLERANCE = 2e-5  # the rules allow 1e-4
every_file = pytest.mark.parametrize("path", files())


def wishes(original: Original) -> Wishes:
    rows = next(len(t) for n, t in reversed(original.state.items()) if n.endswith(HEADS))
    return Wishes(
        layout=original.layout,
        classes=tuple(f"class {i}" for i in range(rows)),
        persons=original.x.shape[4],
        stream=f"k-mode-{original.k}" if original.k else "joint",
    )


HEADS = ("fcn.weight", "fc.weight", "decoder.weight")


@every_file
@torch.no_grad()
def test_logits_are_the_original_ones(path: Path) -> None:
    original = read(path)
    network = load_original(
        original.system,
        {f"module.{name}": tensor for name, tensor in original.state.items()},
        skeleton=original.layout,
        num_classes=original.logits.shape[1],
        persons=original.x.shape[4],
        k=original.k,
    )
    assert difference(network(original.x), original.logits) < TOLERANCE


@every_file
@torch.no_grad()
def test_a_checkpoint_and_back(path: Path, tmp_path: Path) -> None:
    original = read(path)
    file = tmp_path / "converted.safetensors"
    done = convert(original.system, original.state, wishes(original))
    assert {*done.used, *done.carried} == set(original.state)
    save_checkpoint(file, done.checkpoint)
    checkpoint = load_checkpoint(file)
    if original.k is None:  # a k-mode is made by the loader of clips
        assert difference(checkpoint.build().logits(original.x), original.logits) < TOLERANCE
    back = revert(checkpoint)
    assert list(back) == list(original.state)
    for name, tensor in original.state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


def test_every_system_has_a_golden_file() -> None:
    found = {read(item.values[0]).system for item in files()}  # type: ignore[arg-type]
    found |= CONTRAST.keys()  # of which test_contrast_weights reads them
    assert set(SYSTEMS) - found <= {"ctrgcn-baseline", "aagcn", "tcagcn", "lst"}
