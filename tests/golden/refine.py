"""Checks of FR-Head: its contrast alone, the head of one stage, and training with all four."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kinegraph.backbones import BACKBONES, build_backbone
from kinegraph.batch import Batch
from kinegraph.compat.rules import FR_HEAD_STAGES, UNUSED
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.objectives import RefineConfig, build_objective
from kinegraph.objectives.contrast import Contrast, StageHead
from kinegraph.objectives.refine import Refine
from kinegraph.skeleton import load_layout

from .fill import fill, skeleton_input
from .goldens import Comparison, Golden
from .networks import FAMILIES, LAYOUTS, present

EXACT = 2e-5  # the rules allow 1e-4
GRADIENT = 1e-3  # the rules allow 5e-2
THROUGH = 5e-2  # of gradients through the whole network, which differ so much between threads
VERSIONS = {"NOFN": "NO FN", "NOFP": "NO FP", "NOFN+FP": "NO FN & FP"}
KINDS = {"spatio": "joints", "tempor": "frames"}
PLACES = [f"ren_{level}.{kind}_cl_net" for level in FR_HEAD_STAGES for kind in KINDS]


def check_contrast(golden: Golden) -> Iterator[Comparison]:
    """The contrast alone, or the head of one stage with its two."""
    whole_head = golden.meta["cls"].endswith("ST_RenovateNet")
    yield from (check_stage_head if whole_head else check_head)(golden)


def check_head(golden: Golden) -> Iterator[Comparison]:
    """Losses, gradients, prototypes, masks and scores of every version on two batches."""
    cases = sorted({name.rpartition("_loss")[0] for name in golden.arrays if "_pm" in name} - {""})
    for case in cases:
        version, by_probability, threshold = case.split("_")
        yield from _check_version(
            golden,
            case,
            Contrast(
                1,
                golden.meta["ctor"]["n_class"],
                golden.meta["ctor"]["h_channel"],
                version=VERSIONS.get(version, version),  # type: ignore[arg-type]
                threshold=float(threshold.removeprefix("th")),
                weigh_by_probability=by_probability == "pm1",
            ),
        )
    contrast, project = _single(golden)
    logits, label = torch.from_numpy(golden["logits0"]), torch.from_numpy(golden["labels0"])
    hits = contrast.hits(logits.softmax(1), label)
    for name, mask in (("tp", hits.right), ("fn", hits.missed), ("fp", hits.mistaken)):
        yield Comparison(f"mask_{name}", mask, 1e-7)
    for name, mask in (("fn", hits.missed), ("fp", hits.mistaken)):
        yield Comparison(f"has_{name}", mask.any(0)[:, None], 1e-7)
    for case in ("allright", "allwrong"):
        contrast, project = _single(golden)
        features = project(torch.from_numpy(golden["feature0"]))[None]
        label = torch.from_numpy(golden[f"V0_{case}_labels"])
        yield Comparison(f"V0_{case}_loss", contrast(features, logits, label)[0].detach(), EXACT)
        yield Comparison(f"V0_{case}_avgf", contrast.prototypes[0].T, EXACT)


def _single(golden: Golden, contrast: Contrast | None = None) -> tuple[Contrast, torch.nn.Linear]:
    """Fill a contrast of one place, and the projection before it."""
    made, seed = golden.meta["ctor"], golden.meta["seed"]
    contrast = contrast or Contrast(1, made["n_class"], made["h_channel"])
    project = torch.nn.Linear(made["n_channel"], made["h_channel"])
    filled = fill(
        {
            "cl_fc.weight": project.weight.data,
            "cl_fc.bias": project.bias.data,
            "avg_f": contrast.prototypes[0].T,
        },
        seed=seed,
    )
    project.load_state_dict({k: filled[f"cl_fc.{k}"] for k in ("weight", "bias")})
    contrast.prototypes[0].copy_(filled["avg_f"].T)
    return contrast.train(), project


def _check_version(golden: Golden, case: str, contrast: Contrast) -> Iterator[Comparison]:
    _, project = _single(golden, contrast)
    for batch in (0, 1):
        feature = torch.from_numpy(golden[f"feature{batch}"]).requires_grad_()
        logits = torch.from_numpy(golden[f"logits{batch}"])
        label = torch.from_numpy(golden[f"labels{batch}"])
        loss = contrast(project(feature)[None], logits, label)[0]
        (gradient,) = torch.autograd.grad(loss, feature)
        yield Comparison(f"{case}_loss{batch}", loss.detach(), EXACT)
        if f"{case}_gradfeat{batch}" in golden.arrays:  # of some versions, in the small copy
            yield Comparison(f"{case}_gradfeat{batch}", gradient, GRADIENT)
        if f"{case}_avgf{batch}" in golden.arrays:
            yield Comparison(f"{case}_avgf{batch}", contrast.prototypes[0].T.clone(), EXACT)
    if f"{case}_score_fn_KxN" in golden.arrays:
        with torch.no_grad():
            features = project(torch.from_numpy(golden["feature0"]))[None]
            logits, label = torch.from_numpy(golden["logits0"]), torch.from_numpy(golden["labels0"])
            scores = contrast.scores(features, logits, label)
        for name, found in zip(("fn", "fp"), scores, strict=True):
            yield Comparison(f"{case}_score_{name}_KxN", found[0].T, EXACT)


def check_stage_head(golden: Golden) -> Iterator[Comparison]:
    """What the head of one stage squeezes a map to, and its losses."""
    made, seed = golden.meta["ctor"], golden.meta["seed"]
    raw = torch.from_numpy(golden["raw"])
    people = made["n_person"]
    stage = raw.view(len(raw) // people, people, *raw.shape[1:])  # (N, M, C, T, V)
    head = StageHead(made["n_channel"], made["n_frame"], made["n_joint"], made["h_channel"])
    head.train()
    theirs = {}
    for name, (shape, kind) in golden.meta["keys"].items():
        theirs[name] = torch.zeros(shape, dtype=getattr(torch, kind))
    theirs = fill(theirs, seed=seed)
    squeezed = {}
    contrast = Contrast(2, made["n_class"], made["h_channel"]).train()
    for place, (kind, positions) in enumerate(KINDS.items()):
        part = head.get_submodule(f"over_{positions}")
        part.load_state_dict(_part_state(theirs, kind))
        part.norm.register_forward_hook(  # type: ignore[union-attr]
            lambda _, given, out, kind=kind: squeezed.update({kind: out.detach()})
        )
        name = f"{kind}_cl_net.avg_f"
        prototypes = fill({name: contrast.prototypes[place].T}, seed=seed)[name]
        contrast.prototypes[place].copy_(prototypes.T)
    logits, label = torch.from_numpy(golden["logits"]), torch.from_numpy(golden["labels"])
    losses = contrast(head(stage), logits, label).detach()
    yield Comparison("spatio_squeezed", squeezed["spatio"][:, :, None], EXACT)
    yield Comparison("tempor_squeezed", squeezed["tempor"][..., None], EXACT)
    yield Comparison("loss_spatio", losses[0], EXACT)
    yield Comparison("loss_tempor", losses[1], EXACT)
    yield Comparison("loss", losses.sum(), EXACT)


def _part_state(theirs: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Rename the tensors of one half of a stage's head."""
    ours = {}
    for name, tensor in theirs.items():
        module, _, entry = name.rpartition(".")
        if module == f"{kind}_squeeze.0":
            ours[f"squeeze.{entry}"] = tensor.flatten(1) if tensor.ndim > 1 else tensor
        elif module == f"{kind}_squeeze.1":
            ours[f"norm.{entry}"] = tensor
        elif module == f"{kind}_cl_net.cl_fc":
            ours[f"project.{entry}"] = tensor
    return ours


def build(golden: Golden) -> tuple[str, Refine]:
    """Build the objective that a file describes, with quirks: original and its weights."""
    made = golden.meta["ctor"]
    backbone = FAMILIES[golden.meta["cls"]]
    skeleton = load_layout(LAYOUTS[made["graph"]])
    objective = build_objective(
        RefineConfig(
            version=golden.meta["version"],
            frames=made["num_frame"],
            level_weights=tuple(made["multi_cl_weights"]),
            weight=golden.meta["w_cl_loss"],
        ),
        lambda: build_backbone(
            BACKBONES[backbone].config(), skeleton, persons=made["num_person"], original=True
        ),
        num_classes=made["num_class"],
        skeleton=skeleton,
        original=True,
    )
    assert isinstance(objective, Refine)
    family = f"frhead-{backbone}"
    fresh = to_original(family, objective.state_dict())
    theirs = {name: shape for name, (shape, _) in golden.meta["keys"].items()}
    theirs = {n: shape for n, shape in theirs.items() if not n.endswith(UNUSED.get(family, ()))}
    assert {name: list(tensor.shape) for name, tensor in fresh.items()} == theirs
    load_state(objective, family, fill(fresh, seed=golden.meta["seed"]))
    prototypes = objective.contrast.prototypes
    for place, name in enumerate(PLACES):
        key = f"{name}.avg_f"
        prototypes[place].copy_(fill({key: prototypes[place].T}, seed=golden.meta["seed"])[key].T)
    return family, objective.train()


def check_training(golden: Golden) -> Iterator[Comparison]:
    """Two passes forward and backward in training, prototypes going on from one to the other."""
    family, objective = build(golden)
    carried = [
        math.prod(shape)
        for name, (shape, _) in golden.meta["keys"].items()
        if name.endswith(UNUSED.get(family, ()))
    ]
    count = sum(parameter.numel() for parameter in objective.parameters()) + sum(carried)
    yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    seen: dict[str, Any] = {}
    objective.contrast.register_forward_hook(
        lambda _, given, out: seen.update(logits=given[1].detach(), losses=out.detach())
    )
    for step, made in enumerate(golden.meta["inputs"]):
        x = skeleton_input(*(made[size] for size in "nctvm"), made["seed"])
        label = torch.from_numpy(golden[f"s{step}_labels"])
        objective.zero_grad()
        parts = objective(Batch(x, label, torch.arange(len(x)), present(x)))
        parts["loss"].backward()
        gradients = {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}
        ours = _numbers(parts, seen, label, to_original(family, gradients), objective)
        for name in golden.arrays:
            if name.startswith(f"s{step}_") and not name.endswith("labels"):
                number = name.removeprefix(f"s{step}_")
                found = ours[number]
                if number.startswith("avgf"):  # the small copy has the first rows of (F, K)
                    found = found[: len(golden.expected(name))]
                yield Comparison(name, found, _tolerance(number))
    mean = to_original(family, objective.state_dict())["data_bn.running_mean"]
    yield Comparison("running_mean_data_bn", mean, EXACT)


def _tolerance(name: str) -> float:
    kind, _, tensor = name.partition("_")
    if kind not in ("grad", "gradnorm"):
        return EXACT
    return GRADIENT if tensor.startswith(("ren_", "fc.")) else THROUGH


def _numbers(
    parts: dict[str, Tensor],
    seen: dict[str, Any],
    label: Tensor,
    gradients: dict[str, Tensor],
    objective: Refine,
) -> dict[str, Any]:
    """Name what a pass gave as the files do."""
    ours: dict[str, Any] = {
        "logits": seen["logits"],
        "ce": torch.nn.functional.cross_entropy(seen["logits"], label, reduction="none"),
        "cl": parts["contrast"].detach(),
        "total": parts["loss"].detach(),
    }
    for place, name in enumerate(PLACES):
        ours[f"loss_{name}"] = seen["losses"][place]
        ours[f"avgf_{name}"] = objective.contrast.prototypes[place].T.clone()
    for number, level in enumerate(FR_HEAD_STAGES):
        ours[f"loss_ren_{level}"] = seen["losses"][2 * number : 2 * number + 2].sum()
    for name, gradient in gradients.items():
        ours[f"grad_{name}"] = gradient.clone()
        ours[f"gradnorm_{name}"] = gradient.norm()
    return ours
