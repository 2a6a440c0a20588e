"""State dicts of the original programs and ours."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.compat.rules import CLASSIFIERS, OWN, RULES, UNUSED
from kinegraph.compat.state_dicts import from_original, load_state, to_original
from kinegraph.errors import CheckpointError
from kinegraph.objectives import (
    OBJECTIVES,
    BottleneckConfig,
    ClassifyConfig,
    LanguageConfig,
    RefineConfig,
    TwoStreamConfig,
    build_objective,
)
from kinegraph.objectives.base import Objective
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout

OBJECTIVES_OF = {"infogcn": BottleneckConfig, "stgcn-two-stream": TwoStreamConfig}
OBJECTIVES_OF |= {name: LanguageConfig for name in RULES if name.startswith("lst")}
OBJECTIVES_OF |= {name: RefineConfig for name in RULES if name.startswith("frhead-")}
STREAMS = {"crossclr-2": ("joint", "joint-motion"), "crossclr-3": ("joint", "joint-motion", "bone")}
UNLABELLED = ("skeletonclr", "aimclr", *STREAMS)
every_family = pytest.mark.parametrize("family", RULES)


def objective_of(family: str, classes: int) -> Config:
    if family not in UNLABELLED:
        return OBJECTIVES_OF.get(family, ClassifyConfig)()
    streams = {"streams": STREAMS[family]} if family in STREAMS else {}
    name = family.rpartition("-")[0] or family
    sizes = {"name": name, "queue": 8, "width": classes}
    return OBJECTIVES[name].config.model_validate(sizes | streams)


def network(family: str, classes: int = 10, layout: str = "ucla20", **options: object) -> Objective:
    """Build a narrow network with random weights."""
    skeleton = load_layout(layout)
    backbone = "stgcn" if family == "stgcn-two-stream" else family.removeprefix("frhead-")
    backbone = "ctrgcn" if family.startswith("lst") else backbone
    backbone = "stgcn" if family in (*UNLABELLED, *CLASSIFIERS) else backbone
    config = BACKBONES[backbone].config.model_validate({"width": 8, **options})
    objective = build_objective(
        objective_of(family, classes),
        lambda: build_backbone(config, skeleton, persons=1),
        num_classes=classes,
        skeleton=skeleton,
        original=family in STREAMS,  # whose heads are otherwise not those of the original
    )
    with torch.no_grad():
        for name, tensor in objective.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.2)
    return objective


def saved(family: str, objective: Objective) -> dict[str, Tensor]:
    """Return the state of an objective but for what the original never saved."""
    own = OWN.get(family, ())
    return {name: t for name, t in objective.state_dict().items() if name not in own}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@every_family
def test_there_and_back(family: str) -> None:
    ours = saved(family, network(family))
    theirs = to_original(family, ours)
    assert equal(from_original(family, theirs), ours)
    assert equal(to_original(family, from_original(family, theirs)), theirs)


@every_family
def test_loading_gives_the_same_network(family: str) -> None:
    source, target = network(family), network(family)
    own = {name: target.state_dict()[name].clone() for name in OWN.get(family, ())}
    x = torch.randn(2, 3, 8, 20, 1)
    load_state(target, family, to_original(family, source.state_dict()))
    answers = []
    for network_of in (source.eval(), target.eval()):
        answer = network_of.logits if network_of.classifies else network_of.embed
        answers.append(answer(x))
    assert answers[0].isfinite().all()
    assert torch.equal(*answers)
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in own.items())


@every_family
def test_every_tensor_of_ours_has_one_rule(family: str) -> None:
    ours = [rule.ours for rule in RULES[family]]
    theirs = [name for rule in RULES[family] for name in rule.theirs]
    assert len(set(ours)) == len(ours)
    assert len(set(theirs)) == len(theirs)
    assert set(saved(family, network(family))) <= set(ours)


@every_family
def test_prefixes_of_parallel_training_are_removed(family: str) -> None:
    objective = network(family)
    theirs = to_original(family, objective.state_dict())
    wrapped = {f"model.module.{name}": tensor for name, tensor in theirs.items()}
    assert equal(from_original(family, wrapped), saved(family, objective))


@every_family
def test_old_files_without_batch_counters(family: str) -> None:
    theirs = to_original(family, network(family).state_dict())
    old = {name: t for name, t in theirs.items() if not name.endswith("num_batches_tracked")}
    converted = from_original(family, old)
    assert converted.keys() == saved(family, network(family)).keys()
    counters = [t for name, t in converted.items() if name.endswith("num_batches_tracked")]
    assert counters
    assert all(counter == 0 and counter.dtype == torch.int64 for counter in counters)


@every_family
def test_a_missing_tensor_is_named(family: str) -> None:
    objective = network(family)
    theirs = to_original(family, objective.state_dict())
    names = [name for name in theirs if not name.endswith("num_batches_tracked")]
    for name in names[:: max(5, len(names) // 40)]:
        short = {other: tensor for other, tensor in theirs.items() if other != name}
        with pytest.raises(CheckpointError, match=f"lacks '{name}'"):
            load_state(objective, family, short)


@every_family
def test_an_extra_tensor_is_named(family: str) -> None:
    objective = network(family)
    theirs = to_original(family, objective.state_dict())
    more = {**theirs, "more_low.weight": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"has 'more_low.weight', which this network"):
        from_original(family, more)


def test_parts_that_this_configuration_lacks_are_named() -> None:
    theirs = to_original("stgcn", network("stgcn").state_dict())
    plain = network("stgcn", edge_importance=False)
    with pytest.raises(CheckpointError, match=r"has 'edge_importance.0', .* and 6 more, which"):
        load_state(plain, "stgcn", theirs)
    without = to_original("stgcn", plain.state_dict())
    with pytest.raises(CheckpointError, match=r"lacks 'edge_importance.0'"):
        load_state(network("stgcn"), "stgcn", without)


@every_family
def test_another_number_of_classes_or_layout_is_named(family: str) -> None:
    theirs = to_original(family, network(family).state_dict())
    heads = {"stgcn-two-stream": "origin_stream.fcn", "infogcn": "decoder"}
    heads |= dict.fromkeys(("stgcn", "stgcn-v1", "tcn"), "fcn")
    heads |= {encoder: f"{encoder}.fc" for encoder in CLASSIFIERS}
    head = "queue" if family in UNLABELLED else f"{heads.get(family, 'fc')}.weight"
    with pytest.raises(CheckpointError, match=rf"'{head}' .* shape \(10, .* \(12, "):
        load_state(network(family, classes=12), family, theirs)
    with pytest.raises(CheckpointError, match="another layout, width or number of classes"):
        load_state(network(family, layout="ntu25"), family, theirs)


def test_subsets_of_different_shapes_are_named() -> None:
    theirs = to_original("ctrgcn", network("ctrgcn").state_dict())
    theirs["l2.gcn1.convs.1.conv3.weight"] = torch.zeros(8, 9, 1, 1)
    with pytest.raises(CheckpointError, match=r"'l2.gcn1.convs.0.conv3.weight'.*do not fit"):
        from_original("ctrgcn", theirs)


def test_unknown_families_and_names_are_refused() -> None:
    with pytest.raises(CheckpointError, match="unknown original network 'ctr-gcn'; nearest"):
        from_original("ctr-gcn", {})
    with pytest.raises(CheckpointError, match=r"'backbone.more' have no place"):
        to_original("stgcn", {"backbone.more": torch.zeros(1)})


def test_subsets_keep_their_order() -> None:
    theirs = to_original("ctrgcn", network("ctrgcn").state_dict())
    ours = from_original("ctrgcn", theirs)
    stacked = ours["backbone.body.blocks.4.spatial.conv.value.weight"]
    for k in range(3):
        part = theirs[f"l5.gcn1.convs.{k}.conv3.weight"]
        assert torch.equal(stacked[k * len(part) : (k + 1) * len(part)], part)


def test_blocks_of_the_first_infogcn_are_counted_anew() -> None:
    objective = network("infogcn")
    theirs = to_original("infogcn", objective.state_dict())
    old = {}
    for name, tensor in theirs.items():
        block, dot, rest = name.partition(".")
        number = int(block[1:]) + 1 if block[0] == "l" and block[1:].isdigit() else None
        old[name if number is None else f"l{number}{dot}{rest}"] = tensor
    assert "l10.agcn.bn.weight" in old
    assert equal(from_original("infogcn", old), saved("infogcn", objective))


@pytest.mark.parametrize("family", UNUSED)
def test_what_originals_never_use_is_left_out(family: str) -> None:
    objective = network(family)
    theirs = to_original(family, objective.state_dict())
    carried = {f"somewhere{ending}": torch.zeros(1) for ending in UNUSED[family]}
    assert equal(from_original(family, theirs | carried), saved(family, objective))


@pytest.mark.parametrize("family", [name for name in RULES if name.startswith("frhead-")])
def test_the_network_in_front_of_fr_heads_heads(family: str) -> None:
    objective = network(family)
    theirs = to_original(family, objective.state_dict())
    plain = network(family.removeprefix("frhead-"))
    without = {name: tensor for name, tensor in theirs.items() if not name.startswith("ren_")}
    load_state(plain, family.removeprefix("frhead-"), without)
    x = torch.randn(2, 3, 8, 20, 1)
    assert torch.equal(plain.eval().logits(x), objective.eval().logits(x))
    assert sum(name.startswith("ren_") for name in theirs) == 4 * 2 * (2 + 5 + 2)
