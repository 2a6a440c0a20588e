"""Checks of the networks: ST-GCN, CTR-GCN and its baseline, as the recipes build them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kinegraph.backbones import BACKBONES, STGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.compat.rules import UNUSED
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.objectives import ClassifyConfig, build_objective
from kinegraph.objectives.classify import Classify
from kinegraph.recipe import OptimConfig
from kinegraph.registry import Config
from kinegraph.skeleton import load_layout
from kinegraph.training.optim import build_optimizer

from .fill import fill, skeleton_input
from .goldens import Comparison, Golden, stated_numbers

LAYOUTS = {
    "openpose": "openpose18",
    "ntu-rgb+d": "ntu25",
    "ntu_edge": "ntu_edge",
    "nw-ucla": "ucla20",
    "graph.ntu_rgb_d.Graph": "ntu25",
    "graph.ucla.Graph": "ucla20",
}
# The class of the original program -> our backbone.
FAMILIES = {
    "net.st_gcn.Model": "stgcn",
    "model.ctrgcn.Model": "ctrgcn",
    "model.baseline.Model": "ctrgcn-baseline",
    "model.stgcn.Model": "ctrgcn-baseline",
    "model.aagcn.Model": "aagcn",
    "model.aagcn_no_attn.Model": "aagcn",
    "model.tcagcn.Model": "tcagcn",
}
TRAINING_HEAD = ("ren_",)  # FR-Head's own head, which its test phase never calls
EXACT = 1e-5  # the rules allow 1e-4; these networks agree much better


def family_of(golden: Golden) -> str | None:
    """Return the backbone that a file is about, or None."""
    if golden.meta.get("mode", "eval") != "eval":
        return None
    return FAMILIES.get(str(golden.meta.get("model", golden.meta.get("cls"))))


def build(golden: Golden) -> tuple[str, Classify]:
    """Build the objective that a file describes, with quirks: original."""
    meta = golden.meta
    family = family_of(golden)
    assert family is not None
    arguments = meta["args"] if family == "stgcn" else meta["ctor"]
    if family == "stgcn":
        graph = arguments["graph_args"]
        layout = graph["layout"]
        config: Config = STGCNConfig(
            strategy=graph["strategy"],
            max_hop=graph.get("max_hop", 1),
            dilation=graph.get("dilation", 1),
            edge_importance=arguments["edge_importance_weighting"],
            dropout=arguments.get("dropout", 0.0),
        )
    else:
        layout = arguments["graph"]
        settings = {"attention": arguments.get("attention", True)} if family == "aagcn" else {}
        config = BACKBONES[family].config.model_validate({"name": family, **settings})
    skeleton = load_layout(LAYOUTS[layout])

    def make_backbone() -> nn.Module:
        return build_backbone(
            config,
            skeleton,
            in_channels=arguments.get("in_channels", 3),
            persons=arguments.get("num_person", 2),
            original=True,
        )

    objective = build_objective(
        ClassifyConfig(),
        make_backbone,
        num_classes=arguments["num_class"],
        skeleton=skeleton,
        original=True,
    )
    assert isinstance(objective, Classify)
    return family, objective


def load_filled(golden: Golden, family: str, objective: Classify, keep: list[str]) -> None:
    """Give the objective the weights that the file was made with."""
    fresh = to_original(family, objective.state_dict())
    gain = golden.meta.get("gain", 1.0)
    load_state(objective, family, fill(fresh, seed=golden.meta["seed"], keep=keep, gain=gain))


def names_and_shapes(golden: Golden, family: str, objective: Classify) -> Iterator[Comparison]:
    """Compare names, shapes and number of the original parameters with the converted ones."""
    keys = golden.meta.get("keys")
    if keys is None:
        return
    theirs = {k: v[0] for k, v in keys.items()} if isinstance(keys, dict) else {}
    theirs = theirs or {row[0]: row[1] for row in keys}
    head = [name for name in theirs if name.startswith(TRAINING_HEAD)]
    unused = [name for name in theirs if name.endswith(UNUSED.get(family, ()))]
    carried = sum(math.prod(theirs[name]) for name in unused)  # parameters that we leave out
    theirs = {n: list(shape) for n, shape in theirs.items() if n not in (*head, *unused)}
    ours = to_original(family, objective.state_dict())
    assert {name: list(tensor.shape) for name, tensor in ours.items()} == theirs
    if not head:
        count = sum(parameter.numel() for parameter in objective.parameters())
        yield Comparison("meta n_params", count + carried, 1e-12, golden.meta["n_params"])


def present(x: Tensor) -> Tensor:
    """Return (N, M) who is there; with quirks: original it must not matter."""
    return x.abs().sum((1, 2, 3)) > 0


@torch.no_grad()
def check_stgcn(golden: Golden) -> Iterator[Comparison]:
    """Logits, features and attention of ST-GCN in eval mode."""
    family, objective = build(golden)
    yield from names_and_shapes(golden, family, objective)
    load_filled(golden, family, objective, golden.meta["kept"])
    objective.eval()
    kept = to_original(family, objective.state_dict())["A"]
    yield Comparison("A", kept, 1e-7)
    x = torch.from_numpy(golden["input"])
    remade = skeleton_input(*(int(size) for size in golden["input_shape"]), golden.meta["seed"])
    yield Comparison("meta input", remade, 1e-7, x)
    for scale, ending in ((1, ""), (100, "_x100")):
        logits = objective.logits(scale * x, present(x))
        yield Comparison(f"logits{ending}", logits, EXACT)
        final = objective.backbone(scale * x, stages=("final",)).stages["final"]
        feature = final.permute(0, 2, 3, 4, 1)  # (N, M, C, T, V) -> (N, C, T, V, M)
        step = feature.shape[1] // golden.expected(f"feature_sub{ending}").shape[1]
        yield Comparison(f"feature_sub{ending}", feature[:, ::step], EXACT)
        yield Comparison(f"intensity{ending}", feature.square().sum(1).sqrt(), EXACT)
        if not ending:
            yield Comparison("feature_shape", feature.shape)
            output = torch.einsum("nctvm,kc->nktvm", feature, objective.head.weight)
            output = output + objective.head.bias[:, None, None, None]
            yield Comparison("ef_output_mean", output.mean((2, 3)), EXACT)
            step = output.shape[1] // golden.expected("ef_output_sub").shape[1]
            yield Comparison("ef_output_sub", output[:, ::step], EXACT)


def check_stgcn_training(golden: Golden) -> Iterator[Comparison]:
    """Three steps of stochastic gradient descent on one batch."""
    family, objective = build(golden)
    load_filled(golden, family, objective, golden.meta["kept"])
    x = skeleton_input(*stated_numbers(golden.meta["input"])[:5], golden.meta["seed"])
    label = torch.tensor(golden.meta["labels"])
    batch = Batch(x=x, label=label, index=torch.arange(len(x)), present=present(x))
    optimizer = build_optimizer(
        objective.parameters(),
        OptimConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    )
    objective.train()
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        loss = objective(batch)["loss"]
        loss.backward()
        if step == 0:
            gradients = {name: p.grad for name, p in objective.named_parameters()}
            theirs = to_original(family, gradients)
            norms = [float(theirs[name].norm()) for name in golden.meta["grad_names"]]
        optimizer.step()
        losses.append(loss.item())
    objective.eval()
    after = to_original(family, objective.state_dict())
    yield Comparison("losses", losses, 5e-3)
    yield Comparison("grad_norms", norms, 5e-2)
    yield Comparison("data_bn_running_mean", after["data_bn.running_mean"], 5e-3)
    yield Comparison("edge_importance_9", after["edge_importance.9"], 5e-3)
    with torch.no_grad():
        yield Comparison("logits_after", objective.logits(x, present(x)), 5e-3)


@torch.no_grad()
def check_ctrgcn(golden: Golden) -> Iterator[Comparison]:
    """Logits and the mean of every block of CTR-GCN or its baseline in eval mode."""
    family, objective = build(golden)
    yield from names_and_shapes(golden, family, objective)
    fresh = objective.state_dict()
    fresh = {name: tensor.clone() for name, tensor in fresh.items()}
    load_filled(golden, family, objective, golden.meta["kept_for_logits"])
    objective.eval()
    x = torch.from_numpy(golden["input"])
    made = dict(golden.meta["input"])
    sizes = [made[size] for size in "nctvm"]
    yield Comparison("meta input", skeleton_input(*sizes, made["seed"]), 1e-7, x)
    with BlockOutputs(objective.backbone) as outputs:
        yield Comparison("logits", objective.logits(x, present(x)), EXACT)
    yield Comparison("after_data_bn", outputs.maps[0], EXACT)
    for number, block in enumerate(outputs.maps[1:], start=1):
        yield Comparison(f"l{number}_mean_tv", block.mean((2, 3)), EXACT)
    if length := golden.meta["extra_T"]:
        sizes[2] = length
        odd = skeleton_input(*sizes, made["seed"])
        yield Comparison(f"logits_T{length}", objective.logits(odd, present(odd)), EXACT)
    objective.load_state_dict(fresh)
    load_filled(golden, family, objective, golden.meta["kept_for_logits_kept"])
    yield Comparison("logits_kept", objective.logits(x, present(x)), EXACT)


class BlockOutputs:
    """Records what enters the first block and what leaves every block."""

    def __init__(self, backbone: nn.Module) -> None:
        self.maps: list[Tensor] = []
        self._blocks: Any = backbone.body.blocks
        self._hooks: list[Any] = []

    def __enter__(self) -> BlockOutputs:
        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self.maps.append(arguments[0])

        def after(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            self.maps.append(output)

        self._hooks = [self._blocks[0].register_forward_pre_hook(before)]
        self._hooks += [block.register_forward_hook(after) for block in self._blocks]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
