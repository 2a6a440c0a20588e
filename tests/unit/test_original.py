"""`kinegraph.compat.load_original`, and what the shapes of original weights tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.compat import load_original
from kinegraph.compat.contrast_files import CONTRAST
from kinegraph.compat.converted_recipe import Wishes
from kinegraph.compat.converting import convert, revert, systems_of
from kinegraph.compat.rules import RULES
from kinegraph.compat.state_dicts import to_original
from kinegraph.compat.systems import GRAPHS, SYSTEMS, recognise
from kinegraph.errors import CheckpointError
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.recipe import parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.checkpoint import Checkpoint, make_objective

CLASSES = tuple(f"class {i}" for i in range(7))


def weights(system: str, layout: str = "ucla20", **options: object) -> dict[str, Tensor]:
    """Return the narrow state dict of an original network, with random weights."""
    family = SYSTEMS[system].families[0]
    name = "stgcn" if family.startswith("stgcn-two") or system in CONTRAST else family
    config = BACKBONES[name].config.model_validate({"width": 8, **options})
    skeleton = load_layout(layout)
    settings = {"queue": 6, "width": 5} if system in CONTRAST else {}
    objective = build_objective(
        OBJECTIVES[SYSTEMS[system].objective].config.model_validate(settings),
        lambda: build_backbone(config, skeleton, persons=1, original=True),
        num_classes=len(CLASSES),
        skeleton=skeleton,
        original=True,
    )
    state = to_original(family, objective.state_dict())
    return {n: torch.rand_like(t) if t.is_floating_point() else t for n, t in state.items()}


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_known_by_its_names(system: str) -> None:
    state = weights(system)
    carried = {f"{beginning}x": torch.zeros(1) for beginning in SYSTEMS[system].carried}
    assert recognise(state | carried) == CONTRAST.get(system, system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_wrong_system_is_told_the_right_one(system: str) -> None:
    state = weights(system)
    right = recognise(state)
    for other, table in SYSTEMS.items():
        if right in table.families or right == CONTRAST.get(other):
            continue
        with pytest.raises(CheckpointError, match=f"--system {right}"):
            load_original(other, state, skeleton="ucla20", num_classes=7)


@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "uniform"},
        {"strategy": "distance"},
        {"strategy": "spatial", "max_hop": 2},
        {"strategy": "distance", "max_hop": 3, "edge_importance": False},
    ],
)
def test_graphs_of_stgcn_are_those_of_the_file(options: dict[str, object]) -> None:
    state = weights("stgcn", **options)
    network = load_original("stgcn", state, skeleton="ucla20", num_classes=7, persons=1)
    backbone = network.objective.backbone
    assert torch.equal(backbone.adjacency, state["A"])
    assert network(torch.randn(2, 3, 9, 20, 1)).shape == (2, 7)


def test_the_representation_is_made_inside_only_if_k_is_given() -> None:
    state = weights("infogcn")
    inside = load_original("infogcn", state, skeleton="ucla20", num_classes=7, k=1)
    outside = load_original("infogcn", state, skeleton="ucla20", num_classes=7)
    x = torch.randn(2, 3, 8, 20, 1)
    operator = torch.from_numpy(load_layout("ucla20").k_mode(1, original=True))
    made = torch.einsum("uv,nctvm->nctum", operator, x)
    torch.testing.assert_close(inside(x), outside(made))
    assert not torch.allclose(inside(x), outside(x))
    nothing = load_original("infogcn", state, skeleton="ucla20", num_classes=7, k=0)
    torch.testing.assert_close(nothing(x), outside(torch.zeros_like(x)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"skeleton": "ntu25"}, r"made for 20 joints and 1 people, not for layout 'ntu25'"),
        ({"persons": 2}, "and 2 people"),
        ({"num_classes": 60}, "has 7 classes, expected 60"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, object], reason: str) -> None:
    arguments = {"skeleton": "ucla20", "num_classes": 7, **options}
    with pytest.raises(CheckpointError, match=reason):
        load_original("ctrgcn", weights("ctrgcn"), **arguments)


def test_people_of_the_baseline_without_joints() -> None:
    state = weights("tcn")
    done = convert("tcn", state, Wishes(layout="ucla20", classes=CLASSES))
    assert done.checkpoint.persons == 1
    with pytest.raises(CheckpointError, match="layout 'ntu25' has 25 joints"):
        convert("tcn", state, Wishes(layout="ntu25", classes=CLASSES))


def test_classes_that_nobody_names_are_asked_for() -> None:
    with pytest.raises(CheckpointError, match="7 classes on layout 'ucla20', whose names"):
        convert("ctrgcn", weights("ctrgcn"), Wishes())


def test_numbers_that_our_tensors_cannot_hold_are_kept_apart() -> None:
    """A counter that differs between the branches of one module is one number here."""
    state = weights("ctrgcn")
    name = "l4.tcn1.branches.2.1.num_batches_tracked"
    state[name] = state[name] + 5
    back = revert(convert("ctrgcn", state, Wishes(classes=CLASSES)).checkpoint)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_rows_that_moved_from_one_subset_to_another_are_noticed() -> None:
    state = weights("ctrgcn")
    first, second = (f"l2.gcn1.convs.{k}.conv3.weight" for k in (0, 1))
    state[second] = torch.cat((state[first][-1:], state[second]))
    state[first] = state[first][:-1]
    with pytest.raises(CheckpointError, match=f"'{first}', '{second}'.*do not fit"):
        convert("ctrgcn", state, Wishes(classes=CLASSES))


@pytest.mark.parametrize(
    "system", ["ctrgcn", "infogcn", "stgcn", "tcn", "stgcn-v1", "aimclr", "crossclr"]
)
def test_damaged_shapes_are_errors_of_ours(system: str) -> None:
    """Tensors of any shape under the right names: a typed error, never a crash."""
    random = np.random.default_rng(0)
    state = weights(system)
    names = [name for name in state if not name.endswith("num_batches_tracked")]  # kept as it is
    for name in names[:: max(1, len(names) // 25)]:
        shape = tuple(int(size) for size in random.integers(0, 4, size=random.integers(0, 4)))
        with pytest.raises(CheckpointError):
            convert(system, {**state, name: torch.ones((*shape, 3))}, Wishes(classes=CLASSES))


def test_reversing_what_no_original_has_is_refused() -> None:
    done = convert("infogcn", weights("infogcn"), Wishes(classes=CLASSES)).checkpoint
    recipe = parse_recipe({"backbone": {"name": "infogcn"}})
    with pytest.raises(CheckpointError, match="no original program has the network 'infogcn'"):
        revert(replace(done, recipe=recipe, progress={}))


@pytest.mark.parametrize(
    ("system", "options", "count", "needed"),
    [
        ("stgcn-v1", {"strategy": "distance"}, 2, "backbone.strategy spatial"),
        ("stgcn-v1", {"strategy": "DAD"}, 1, "backbone.strategy spatial"),
        ("infogcn", {"heads": 2}, 2, "backbone.heads 3"),
    ],
)
def test_another_number_of_graphs_is_refused_both_ways(
    system: str, options: dict[str, object], count: int, needed: str
) -> None:
    state = weights(system)
    first, _, _ = GRAPHS[system]
    few = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(tuple(f"{first}{k}" for k in range(count, 3)))
    }
    with pytest.raises(CheckpointError, match=rf"made for {count} graphs .*{needed}"):
        convert(system, few, Wishes(classes=CLASSES))
    done = convert(system, state, Wishes(classes=CLASSES)).checkpoint
    backbone = done.recipe.backbone.model_copy(update=options)
    recipe = done.recipe.model_copy(update={"backbone": backbone})
    with pytest.raises(CheckpointError, match=f"only networks with {needed.split()[1]} are"):
        revert(replace(done, recipe=recipe, progress={}))


def test_reversing_damaged_tensors_is_an_error_of_ours() -> None:
    done = convert("ctrgcn", weights("ctrgcn"), Wishes(classes=CLASSES)).checkpoint
    for name in [name for name in done.tensors if "query" in name][::3]:
        tensors = {**done.tensors, name: torch.ones(())}
        with pytest.raises(CheckpointError, match="cannot be made"):
            revert(replace(done, tensors=tensors))


def test_the_systems_follow_rules_that_exist() -> None:
    assert {family for system in SYSTEMS.values() for family in system.families} <= set(RULES)


@pytest.mark.parametrize(
    ("system", "backbone", "objective"),
    [
        ("frhead", "ctrgcn", {"name": "refine", "frames": 16}),
        ("frhead", "aagcn", {"name": "refine", "frames": 16}),
        ("lst", "ctrgcn", {"name": "language", "texts": "nw-ucla"}),
        ("stgcn-two-stream", "stgcn", {"name": "two-stream"}),
        ("infogcn", "infogcn", {"name": "bottleneck"}),
    ],
)
def test_what_is_trained_here_goes_to_the_original_and_comes_back(
    system: str, backbone: str, objective: dict[str, object]
) -> None:
    recipe = parse_recipe(
        {
            "backbone": {"name": backbone, "width": 8},
            "objective": objective,
            "quirks": "original",
            "transforms": {"test": [{"name": "pick_frames", "length": 16}]},
        }
    )
    skeleton = load_layout("ucla20")
    trained = make_objective(recipe, skeleton, len(CLASSES), persons=1).eval()
    tensors = {f"model/{name}": tensor for name, tensor in trained.state_dict().items()}
    checkpoint = Checkpoint(recipe, skeleton, CLASSES, 1, epoch=1, tensors=tensors)
    theirs = revert(checkpoint)
    assert recognise(theirs) == system
    assert systems_of(checkpoint) == (system,)
    network = load_original(system, theirs, skeleton=skeleton, num_classes=7, persons=1)
    x = torch.randn(2, 3, 16, 20, 1)
    torch.testing.assert_close(network(x), trained.logits(x))
