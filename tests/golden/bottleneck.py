"""Checks of InfoGCN with its bottleneck, as the recipes build them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import torch

from kinegraph.backbones import InfoGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.objectives import BottleneckConfig, build_objective
from kinegraph.objectives.bottleneck import Bottleneck
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.transforms.streams import make_stream

from .fill import fill, skeleton_input
from .goldens import Comparison, Golden
from .networks import LAYOUTS, present

EXACT = 2e-5  # the rules allow 1e-4


def build(golden: Golden) -> Bottleneck:
    """Build the objective that a file describes, with quirks: original."""
    made = golden.meta["ctor"]
    skeleton = _skeleton(golden)
    objective = build_objective(
        BottleneckConfig(noise=made["noise_ratio"], gain=made["gain"]),
        lambda: build_backbone(
            InfoGCNConfig(heads=made["num_head"]),
            skeleton,
            in_channels=made["in_channels"],
            persons=made["num_person"],
            original=True,
        ),
        num_classes=made["num_class"],
        skeleton=skeleton,
        original=True,
    )
    assert isinstance(objective, Bottleneck)
    theirs = {name: list(shape) for name, shape in golden.meta["state_dict"].items()}
    fresh = to_original("infogcn", objective.state_dict())
    assert {name: list(tensor.shape) for name, tensor in fresh.items()} == theirs
    load_state(objective, "infogcn", fill(fresh, seed=golden.meta["seed"], keep=[]))
    objective.prior.copy_(torch.from_numpy(golden["z_prior"]))
    return objective.eval()


def clips(golden: Golden) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the clips of a file: joints, and what the network sees of them."""
    made, k = golden.meta["input"], golden.meta["ctor"]["k"]
    joints = skeleton_input(*(made[size] for size in "nctvm"), made["seed"])
    if not k:  # which streams refuse, because nothing of the input is left
        return joints, torch.zeros_like(joints)
    by_frame = joints.permute(0, 4, 2, 3, 1)  # (N, C, T, V, M) -> (N, M, T, V, C)
    stream = make_stream(by_frame, _skeleton(golden), f"k-mode-{k}", original=True)
    return joints, stream.permute(0, 4, 2, 3, 1)


def _skeleton(golden: Golden) -> Skeleton:
    return load_layout(LAYOUTS[golden.meta["ctor"]["graph"]])


def check_infogcn(golden: Golden) -> Iterator[Comparison]:
    """Logits, latents, losses, maps and gradients in eval mode."""
    objective = build(golden)
    count = sum(parameter.numel() for parameter in objective.parameters())
    yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    joints, x = clips(golden)
    skeleton, k = _skeleton(golden), golden.meta["ctor"]["k"]
    joint_count = skeleton.joint_count
    operator = skeleton.k_mode(k, original=True) if k else np.zeros((joint_count, joint_count))
    yield Comparison("A_vector", operator, 1e-7)
    people = present(joints)
    everyone = torch.ones_like(people)  # one row for each, as in the original
    batch = Batch(x, torch.from_numpy(golden["labels"]), torch.arange(len(x)), everyone)
    maps: dict[str, torch.Tensor] = {}
    body = objective.backbone.body

    def keep(name: str) -> object:
        return lambda _, given, out: maps.update(
            {name: out.detach(), f"{name} input": given[0].detach()}
        )

    hooks = [body.blocks[i].register_forward_hook(keep(f"l{i + 1}")) for i in range(9)]
    hooks.append(body.blocks[0].spatial.register_forward_hook(keep("agcn1")))
    parts = objective(batch)
    for hook in hooks:
        hook.remove()
    parts["loss"].backward()
    with torch.no_grad():
        mean, log_variance = objective.latent(x, people)
        yield Comparison("logits", objective.logits(x, people), EXACT)
        yield Comparison("z", mean, EXACT)
        yield Comparison("logvar", log_variance, EXACT)
    pairs = {
        "mmd": "conditional", "l2_z_mean": "marginal", "ce": "classification", "total": "loss",
        "cos_z": "cosine", "dis_z": "distance",
    }  # fmt: skip
    for theirs, ours in pairs.items():
        yield Comparison(theirs, parts[ours].detach(), EXACT)
    yield from _maps(golden, objective, maps, mean, batch.label)
    # The log-variance has no part in eval mode; the file says -1 where there is no gradient.
    gradients = {
        name: torch.full_like(p, -1 / math.sqrt(p.numel())) if p.grad is None else p.grad
        for name, p in objective.named_parameters()
    }
    theirs_named = to_original("infogcn", gradients)
    names = json.loads(str(golden["grad_keys"]))
    norms = [float(theirs_named[name].norm()) for name in names]
    signs = [-1 if name.startswith("fc_logvar") else 1 for name in names]
    yield Comparison("grad_norms", np.multiply(norms, signs), 1e-3)


def _maps(
    golden: Golden,
    objective: Bottleneck,
    maps: dict[str, torch.Tensor],
    mean: torch.Tensor,
    label: torch.Tensor,
) -> Iterator[Comparison]:
    """Compare what the blocks pass on: slices, and mean, deviation and largest of each."""
    names = json.loads(str(golden["feat_names"]))
    found = [maps["l1 input"] if name == "data_bn" else maps[name] for name in names]
    stats = [[float(m.mean()), float(m.std()), float(m.abs().max())] for m in found]
    yield Comparison("feat_stats", stats, 1e-4)
    for name in ("l1_first", "agcn1_first", "l9_first"):
        expected = golden.expected(name)
        first = maps[name.removesuffix("_first")][0]
        if expected.ndim == 3:
            channels, frames, _ = expected.shape
            yield Comparison(name, first[:channels, :frames], EXACT)
        else:
            yield Comparison(name, first.mean(2), EXACT)
    conv = objective.backbone.body.blocks[0].spatial.conv
    frames = maps["l1 input"][:1].permute(0, 2, 3, 1).flatten(0, 1)  # (T, V, C)
    with torch.no_grad():
        yield Comparison("attn1_first", conv.attention(frames)[0], EXACT)
    classes = label.unique()
    means = torch.stack([mean[label == one].mean(0) for one in classes])
    yield Comparison("z_mean_valid", means, EXACT)
