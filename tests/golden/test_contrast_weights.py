"""Files of AimCLR, SkeletonCLR and CrosSCLR: to our checkpoint, what it computes, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kinegraph.compat import load_original
from kinegraph.compat.converted_recipe import Wishes
from kinegraph.compat.converting import convert, revert
from kinegraph.compat.rules import CROSSCLR
from kinegraph.objectives.momentum_contrast import MomentumContrast
from kinegraph.training.checkpoint import (
    load_checkpoint,
    load_weights,
    make_objective,
    save_checkpoint,
)

from . import aimclr
from .aimclr import STREAMS, backbone_of, views
from .fill import fill
from .goldens import Golden, difference, golden_files

TOLERANCE = 2e-5  # the rules allow 1e-4


def found(*beginnings: str) -> list[Any]:
    """Return the golden files whose names begin so, as parameters of a test."""
    return [
        pytest.param(path, id=f"{path.parent.name}-{path.stem}")
        for path in golden_files()
        if path.name.startswith(beginnings)
    ]


PRETRAINED = ("aimclr_forward", "skeletonclr_", "crossclr2_plain", "crossclr3_plain")
pretrained = pytest.mark.parametrize("path", found(*PRETRAINED))
classifiers = pytest.mark.parametrize("path", found("aimclr_linear", "crossclr3_linear"))


def shapes_of(golden: Golden) -> dict[str, tuple[list[int], torch.dtype]]:
    """Return what the file lists, or, of a copy without, what it must have listed."""
    if golden.meta.get("keys"):
        return {n: (s, getattr(torch, t.removeprefix("torch."))) for n, s, t in golden.meta["keys"]}
    made, name = golden.meta["args"], golden.path.name
    endings = list(CROSSCLR.values()) if name.startswith("crossclr") else [""]
    shapes: dict[str, tuple[list[int], torch.dtype]] = {}

    def add(name: str, *shape: int, kind: torch.dtype = torch.float32) -> None:
        shapes[name] = (list(shape), kind)

    width, classes = made["hidden_dim"], made["num_class"]
    heads: dict[str, tuple[int, ...]] = {"fc": (classes, width)}
    if "linear" not in name:
        heads = {"fc.0": (width, width), "fc.2": (made["feature_dim"], width)}
        add("queue", made["feature_dim"], made["queue_size"])
        add("queue_ptr", 1, kind=torch.int64)
    for ending in endings:
        for kind in "q" if "linear" in name else "qk":
            encoder = f"encoder_{kind}{ending}."
            for own, tensor in aimclr.plain_names(backbone_of(made)).items():
                add(encoder + own, *tensor.shape, kind=tensor.dtype)
            for head, shape in heads.items():
                add(f"{encoder}{head}.weight", *shape)
                add(f"{encoder}{head}.bias", shape[0])
    return shapes


def state_of(golden: Golden) -> dict[str, Tensor]:
    """Return the state dict of the original network with the weights of a golden file."""
    from kinegraph.nn.graph import partition
    from kinegraph.skeleton import load_layout

    meta = golden.meta
    fresh = {name: torch.zeros(s, dtype=kind) for name, (s, kind) in shapes_of(golden).items()}
    state = fill(fresh, seed=meta["seed"], keep=meta["kept"])
    for name in meta["kept"]:
        graph = partition(load_layout("ntu25"), "spatial", original=True)
        state[name] = torch.as_tensor(graph).float()
    for name, tensor in state.items():
        if name.startswith("queue") and tensor.ndim == 2:
            state[name] = functional.normalize(tensor, dim=0)
    return state


def there_and_back(state: dict[str, Tensor], system: str, wishes: Wishes, file: Path) -> Any:
    """Convert through a file, check the way back, and return the conversion."""
    done = convert(system, state, wishes)
    save_checkpoint(file, done.checkpoint)
    back = revert(load_checkpoint(file))
    assert list(back) == list(state)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    return done


@pretrained
@torch.no_grad()
def test_pretrained_files(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objective of a converted file makes the original's passes, key encoder and queue too."""
    golden = Golden.open(path)
    system = path.name.split("_")[0].rstrip("23")
    stream = STREAMS[golden.meta.get("stream", "joint")]
    done = there_and_back(
        state_of(golden), system, Wishes(stream=stream), tmp_path / "converted.safetensors"
    )
    assert not done.missing
    recipe = done.checkpoint.recipe
    made = golden.meta["args"]
    assert recipe.original
    assert recipe.objective.name == system
    assert (recipe.objective.queue, recipe.objective.width) == (made["queue_size"], 128)
    assert (recipe.backbone.width, recipe.backbone.last_width) == (16, 256)

    def converted(golden: Golden, **settings: Any) -> MomentumContrast:
        values = recipe.objective.model_copy(
            update={name: value for name, value in settings.items() if name == "top_k"}
        )
        own = recipe.model_copy(update={"objective": values})
        checkpoint = done.checkpoint
        objective = make_objective(
            own, checkpoint.skeleton, len(checkpoint.class_names), persons=checkpoint.persons
        )
        load_weights(objective, checkpoint.group("model"))
        assert isinstance(objective, MomentumContrast)
        return objective.eval()

    monkeypatch.setattr(aimclr, "build", converted)
    checks = {"aimclr": aimclr.check_aimclr, "skeletonclr": aimclr.check_skeletonclr}
    compared = list(checks.get(system, aimclr.check_crossclr)(golden))
    assert len(compared) == len(golden.arrays) + (system == "aimclr")  # and a count
    for item in compared:
        theirs = golden.expected(item.name) if item.theirs is None else item.theirs
        assert difference(item.ours, theirs) < TOLERANCE, item.name


@classifiers
@torch.no_grad()
def test_classifiers(path: Path, tmp_path: Path) -> None:
    """Each stream's logits are the original's, and their mean is what the original adds up."""
    golden = Golden.open(path)
    state = state_of(golden)
    system = path.name.split("_")[0].rstrip("23")
    streams = STREAMS if system == "crossclr" else {"logits": "joint"}
    logits = []
    for name, stream in streams.items():
        file = tmp_path / f"{name}.safetensors"
        done = there_and_back(state, system, Wishes(stream=stream), file)
        assert len(done.used) == 179
        assert len(done.carried) == len(state) - 179
        (batch,) = views(golden, [200], stream)
        made = load_checkpoint(file).build().logits(batch.x, batch.people)
        logits.append(made[: len(golden.expected(name))])
        assert difference(logits[-1], golden.expected(name)) < TOLERANCE
        direct = load_original(system, state, skeleton="ntu25", num_classes=60, stream=stream)
        assert torch.equal(direct(batch.x), made)
    if len(streams) > 1:
        assert difference(torch.stack(logits).mean(0), golden.expected("all")) < TOLERANCE


@torch.no_grad()
def test_features_are_those_in_front_of_the_head() -> None:
    """What probe judges, through the head that the file brings, is the original's projection."""
    golden = Golden.open(found("skeletonclr_")[0].values[0])
    state = state_of(golden)
    network: Any = load_original("skeletonclr", state, skeleton="ntu25")
    (query,) = views(golden, [200])
    features = network(query.x)
    assert features.shape == (4, 256)
    hidden = (features @ state["encoder_q.fc.0.weight"].T + state["encoder_q.fc.0.bias"]).relu()
    projected = hidden @ state["encoder_q.fc.2.weight"].T + state["encoder_q.fc.2.bias"]
    cosines = functional.normalize(projected, dim=1) @ state["queue"]
    expected = golden.expected("logits")
    assert difference(cosines[: len(expected)] / 0.07, expected[:, 1:]) < TOLERANCE
