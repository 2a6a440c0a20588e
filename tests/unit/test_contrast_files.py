"""Files of AimCLR, SkeletonCLR and CrosSCLR: what may be missing, what is wrong, what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.backbones import STGCNConfig, build_backbone
from kinegraph.compat import load_original
from kinegraph.compat.contrast_files import CONTRAST
from kinegraph.compat.converted_recipe import Wishes
from kinegraph.compat.converting import Conversion, convert, revert, systems_of
from kinegraph.compat.original_settings import settings_in_name
from kinegraph.compat.rules import CLASSIFIERS
from kinegraph.compat.state_dicts import to_original
from kinegraph.errors import CheckpointError
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint, load_weights, make_objective

State = dict[str, Tensor]
WIDTH, LAST, QUEUE, KEY = 4, 12, 6, 5
CLASSES = tuple(f"class {i}" for i in range(7))


def pretrained(system: str = "aimclr", streams: int = 3) -> State:
    """Return a narrow pre-trained state dict with random weights."""
    skeleton = load_layout("ntu25")
    settings: dict[str, Any] = {"queue": QUEUE, "width": KEY}
    if system == "crossclr":
        settings["streams"] = ("joint", "joint-motion", "bone")[:streams]
    objective = build_objective(
        OBJECTIVES[system].config.model_validate(settings),
        lambda: build_backbone(STGCNConfig(width=WIDTH, last_width=LAST), skeleton, original=True),
        num_classes=1,
        skeleton=skeleton,
        original=True,
    )
    family = f"crossclr-{streams}" if system == "crossclr" else system
    state = to_original(family, objective.state_dict())
    return {n: torch.rand_like(t) if t.is_floating_point() else t for n, t in state.items()}


def classifiers(system: str = "aimclr") -> State:
    """Return what linear evaluation leaves of it: encoders of queries, each with a classifier."""
    state = {n: t for n, t in pretrained(system).items() if n.startswith("encoder_q")}
    state = {n: t for n, t in state.items() if ".fc." not in n}
    for encoder in CLASSIFIERS:
        if f"{encoder}.A" in state:
            state[f"{encoder}.fc.weight"] = torch.rand(len(CLASSES), LAST)
            state[f"{encoder}.fc.bias"] = torch.rand(len(CLASSES))
    return state


def same(left: State, right: State) -> bool:
    return list(left) == list(right) and all(torch.equal(left[n], right[n]) for n in left)


def values(done: Conversion) -> dict[str, Any]:
    return done.checkpoint.recipe.model_dump()


Part = Callable[[str], bool]
PARTS: dict[str, tuple[Part, str, int]] = {
    # What is left of a file -> what the remarks say, and how many tensors begin anew.
    "no queue": (lambda n: not n.startswith("queue"), "no queue: only", 0),
    "no keys": (lambda n: not n.startswith("encoder_k"), "no encoder of keys: only", 0),
    "queries": (lambda n: n.startswith("encoder_q"), "no encoder of keys and no queue: only", 0),
    "no head": (lambda n: n.startswith("encoder_q") and ".fc." not in n, "and no queue", 4),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_file_is_enough(part: str) -> None:
    """What was not saved is said, and does not come back."""
    left, remark, anew = PARTS[part]
    state = {name: tensor for name, tensor in pretrained().items() if left(name)}
    done = convert("aimclr", state, Wishes())
    assert any(remark in text for text in done.remarks)
    assert len(done.missing) == anew
    assert set(done.used) == set(state)
    assert same(revert(done.checkpoint), state)
    x = torch.randn(2, 3, 10, 25, 2)
    whole = convert("aimclr", pretrained() | state, Wishes())
    assert torch.equal(done.checkpoint.build().embed(x), whole.checkpoint.build().embed(x))


@pytest.mark.parametrize("system", CONTRAST)
def test_what_shapes_tell(system: str) -> None:
    done = convert(system, pretrained(system), Wishes())
    found = values(done)
    assert (found["backbone"]["width"], found["backbone"]["last_width"]) == (WIDTH, LAST)
    assert found["backbone"]["strategy"] == "spatial"
    assert found["objective"]["name"] == system
    assert (found["objective"]["queue"], found["objective"]["width"]) == (QUEUE, KEY)
    assert found["quirks"] == "original"
    assert len(done.checkpoint.class_names) == 60
    assert done.unlabelled
    assert not any("no queue" in text for text in done.remarks)
    names = {view: [t["name"] for t in steps] for view, steps in found["transforms"].items()}
    assert names["test"] == ["window"]
    assert names["query"] == names["key"] == ["window", "mirror_crop", "shear"]
    assert ("extreme" in names) == (system == "aimclr")


def test_training_can_go_on_with_every_tensor() -> None:
    """The objective of a converted file, with keys and queue, takes its weights strictly."""
    for system in CONTRAST:
        checkpoint = convert(system, pretrained(system), Wishes()).checkpoint
        objective = make_objective(checkpoint.recipe, checkpoint.skeleton, 60, persons=2)
        load_weights(objective, checkpoint.group("model"))


def test_names_that_two_programs_save() -> None:
    done = convert(None, pretrained("skeletonclr"), Wishes())
    assert done.checkpoint.recipe.objective.name == "aimclr"  # type: ignore[attr-defined]
    assert any("--system skeletonclr" in text for text in done.remarks)
    named = convert("skeletonclr", pretrained("skeletonclr"), Wishes())
    assert named.checkpoint.recipe.objective.name == "skeletonclr"  # type: ignore[attr-defined]
    assert not any("--system" in text for text in named.remarks)


def test_a_module_of_an_encoder_may_not_be_missing() -> None:
    for start in ("encoder_q.data_bn.", "encoder_k.st_gcn_networks.3.tcn.2.", "encoder_q.fc.2."):
        state = {n: t for n, t in pretrained().items() if not n.startswith(start)}
        with pytest.raises(CheckpointError, match=f"lacks '{start}"):
            convert("aimclr", state, Wishes())


@pytest.mark.parametrize(
    ("system", "changes", "reason"),
    [
        ("aimclr", {"encoder_q.more": (2,)}, "'encoder_q.more', which this network does not know"),
        ("aimclr", {"queue": (KEY + 1, QUEUE)}, "'encoder_q.fc.2.weight' .* shape"),
        ("aimclr", {"queue": (KEY,)}, "'queue' .* has shape"),
        ("aimclr", {"encoder_k.fc.weight": (KEY, LAST)}, "heads of one layer"),
        ("crossclr", {"queue_bone": (KEY, QUEUE + 1)}, "'queue_bone' .* shape"),
        ("crossclr", {"encoder_q_bone.fc.2.0.weight": (3, 3)}, "shapes that do not fit"),
    ],
)
def test_what_is_wrong_is_named(system: str, changes: dict[str, Any], reason: str) -> None:
    state = pretrained(system) | {name: torch.rand(shape) for name, shape in changes.items()}
    with pytest.raises(CheckpointError, match=reason):
        convert(system, state, Wishes())


def test_systems_are_not_mixed_up() -> None:
    for system, state, hint in (
        ("aimclr", pretrained("crossclr"), "crossclr"),
        ("skeletonclr", pretrained("crossclr"), "crossclr"),
        ("crossclr", pretrained("aimclr"), "aimclr"),
        ("stgcn", pretrained("aimclr"), "aimclr"),
    ):
        with pytest.raises(CheckpointError, match=f"its names are those of '{hint}'"):
            convert(system, state, Wishes())


def test_streams_that_crossclr_has_not() -> None:
    state = pretrained("crossclr")
    with pytest.raises(CheckpointError, match="leave out --stream bone"):
        convert("crossclr", state, Wishes(stream="bone"))
    with pytest.raises(CheckpointError, match="none of 'bone-motion'"):
        convert("crossclr", classifiers("crossclr"), Wishes(stream="bone-motion", classes=CLASSES))
    few = {n: t for n, t in state.items() if "_motion" not in n}
    with pytest.raises(CheckpointError, match="has encoders of joint, bone; CrosSCLR's are"):
        convert("crossclr", few, Wishes())


def test_crossclr_of_two_streams() -> None:
    state = pretrained("crossclr", 2)
    done = convert(None, state, Wishes())
    assert done.streams == ("joint", "joint-motion")
    assert same(revert(done.checkpoint), state)


@pytest.mark.parametrize("stream", CLASSIFIERS.values())
def test_one_of_several_classifiers(stream: str) -> None:
    state = classifiers("crossclr")
    done = convert(None, state, Wishes(stream=stream, classes=CLASSES))
    assert done.checkpoint.recipe.stream == stream
    assert done.checkpoint.recipe.objective.name == "classify"  # type: ignore[attr-defined]
    assert any(f"the classifier of stream {stream}" in text for text in done.remarks)
    assert same(revert(done.checkpoint), state)
    x = torch.randn(2, 3, 10, 25, 2)
    logits = done.checkpoint.build().logits(x)
    encoder = next(name for name, own in CLASSIFIERS.items() if own == stream)
    alone = {
        name.replace(f"{encoder}.", "encoder_q."): tensor
        for name, tensor in state.items()
        if name.startswith(f"{encoder}.")
    }
    network = load_original("aimclr", alone, skeleton="ntu25", num_classes=7)
    assert torch.equal(network(x), logits)


def test_absent_people_count_as_they_did() -> None:
    """The mean over people has empty ones in it: with one of two away, a clip has other logits."""
    build = convert("aimclr", classifiers(), Wishes(classes=CLASSES)).checkpoint.build()
    x = torch.randn(1, 3, 10, 25, 2)
    x[..., 1] = 0
    network = load_original("aimclr", classifiers(), skeleton="ntu25", num_classes=7)
    assert network.objective.count_absent  # type: ignore[union-attr]
    torch.testing.assert_close(build.logits(x), build.logits(x, torch.tensor([[True, False]])))


@pytest.mark.parametrize("system", CONTRAST)
def test_what_is_trained_here_goes_to_the_original(system: str) -> None:
    recipe = parse_recipe(
        {
            "backbone": {"name": "stgcn", "width": WIDTH, "last_width": LAST},
            "objective": {"name": system, "queue": QUEUE, "width": KEY},
            "quirks": "original",
        }
    )
    skeleton = load_layout("ntu25")
    trained = make_objective(recipe, skeleton, 7, persons=2)
    tensors = {f"model/{name}": tensor for name, tensor in trained.state_dict().items()}
    theirs = revert(Checkpoint(recipe, skeleton, CLASSES, 2, epoch=1, tensors=tensors))
    assert theirs.keys() == pretrained(system).keys()
    again = convert(system, theirs, Wishes()).checkpoint.group("model")
    assert again.keys() == trained.state_dict().keys()
    assert all(torch.equal(again[n], t) for n, t in trained.state_dict().items())


@pytest.mark.parametrize("system", CONTRAST)
def test_an_average_is_one_of_queries_alone(system: str) -> None:
    """Averaged keys in a queue are no unit vectors: theirs are the queue and encoder of keys."""
    recipe = parse_recipe(
        {
            "backbone": {"name": "stgcn", "width": WIDTH, "last_width": LAST},
            "objective": {"name": system, "queue": QUEUE, "width": KEY},
            "quirks": "original",
            "training": {"ema": 0.9},
        }
    )
    skeleton = load_layout("ntu25")
    last, average = (
        make_objective(recipe, skeleton, 7, persons=2).state_dict() for _ in ("last", "average")
    )
    tensors = {f"model/{name}": tensor for name, tensor in last.items()}
    tensors |= {f"ema/{name}": tensor for name, tensor in average.items()}
    checkpoint = Checkpoint(recipe, skeleton, CLASSES, 2, epoch=1, tensors=tensors)
    assert systems_of(checkpoint) == (system,)
    again = convert(system, revert(checkpoint), Wishes()).checkpoint.group("model")
    for name, tensor in again.items():
        source = last if name.startswith(("key.", "queue.")) else average
        assert torch.equal(tensor, source[name])


def test_a_linear_classifier_of_ours_goes_to_the_original() -> None:
    done = convert("aimclr", classifiers(), Wishes(classes=CLASSES)).checkpoint
    theirs = revert(replace(done, progress={}))
    assert theirs.keys() == classifiers().keys()
    assert systems_of(done) == ("aimclr", "skeletonclr")


def test_heads_that_the_original_lacks_are_refused() -> None:
    recipe = parse_recipe({"backbone": {"name": "stgcn"}, "objective": {"name": "crossclr"}})
    checkpoint = Checkpoint(recipe, load_layout("ntu25"), CLASSES, 2, epoch=1)
    with pytest.raises(CheckpointError, match="only with quirks: original"):
        revert(checkpoint)
    other = parse_recipe({"backbone": {"name": "ctrgcn"}, "objective": {"name": "aimclr"}})
    with pytest.raises(CheckpointError, match="no original program has the network 'ctrgcn'"):
        revert(replace(checkpoint, recipe=other))


def test_encoders_of_other_layouts_need_no_classes() -> None:
    state = pretrained()
    for name, tensor in state.items():
        if tensor.ndim == 3:  # graphs
            state[name] = tensor[:, :18, :18]
        elif tensor.shape == (75,):
            state[name] = tensor[:54]
    done = convert("aimclr", state, Wishes())
    assert done.checkpoint.class_names == ()
    assert done.checkpoint.build().embed(torch.zeros(1, 3, 50, 18, 2)).shape[0] == 1
    done = convert("aimclr", state, Wishes(classes=CLASSES))
    assert done.checkpoint.class_names == CLASSES


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ntu60_xview_motion", ("joint-motion", "xview", "ntu60")),
        ("ntu60_xsub_joint", ("joint", "xsub", "ntu60")),
        ("pkup1cs_bone", ("bone", "xsub", "pku-mmd")),
        ("epoch300_model", (None, None, None)),
        ("my_ntu60_xsub_joint", (None, None, None)),
    ],
)
def test_names_of_published_files(name: str, expected: tuple[str | None, ...]) -> None:
    found = settings_in_name(name)
    assert (found.stream, found.split, found.classes) == expected
