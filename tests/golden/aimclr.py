"""Checks of SkeletonCLR, AimCLR and CrosSCLR, as the recipes build them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinegraph.backbones import STGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.nn.persons import rows_of
from kinegraph.objectives import OBJECTIVES, build_objective
from kinegraph.objectives.aimclr import AimCLR
from kinegraph.objectives.attention_drop import attention_drop, energy, masks
from kinegraph.objectives.crossclr import CrosSCLR
from kinegraph.objectives.encoders import CLIPS, Encoder, projection
from kinegraph.objectives.momentum_contrast import MomentumContrast, own_key_loss
from kinegraph.recipe import OptimConfig
from kinegraph.skeleton import load_layout
from kinegraph.training.optim import build_optimizer
from kinegraph.transforms.streams import make_stream

from .fill import fill, skeleton_input
from .goldens import Comparison, Golden, stated_numbers
from .networks import LAYOUTS, present

EXACT = 2e-5  # the rules allow 1e-4
STREAMS = {"joint": "joint", "motion": "joint-motion", "bone": "bone"}
SHAPE = (4, 3, 16, 25, 2)  # where the file only says it in words


def backbone_of(made: dict[str, Any]) -> nn.Module:
    """Build the backbone that the arguments of an original model describe."""
    config = STGCNConfig(
        width=made["hidden_channels"],
        last_width=made["hidden_dim"],
        strategy=made["graph_args"]["strategy"],
        edge_importance=made["edge_importance_weighting"],
        dropout=made["dropout"],
    )
    skeleton = load_layout(LAYOUTS[made["graph_args"]["layout"]])
    return build_backbone(config, skeleton, in_channels=made["in_channels"], original=True)


def build(golden: Golden, **settings: Any) -> MomentumContrast:
    """Build the objective that a file describes, with quirks: original and its weights."""
    made = golden.meta["args"]
    name = golden.path.name.split("_")[0].rstrip("23")
    family = golden.path.name.split("_")[0].replace("clr2", "clr-2").replace("clr3", "clr-3")
    config = OBJECTIVES[name].config.model_validate(
        {
            "name": name,
            "queue": made["queue_size"],
            "momentum": made["momentum"],
            "temperature": made["Temperature"],
            "width": made["feature_dim"],
            **settings,
        }
    )
    objective = build_objective(
        config,
        lambda: backbone_of(made),
        num_classes=made["num_class"],
        skeleton=load_layout(LAYOUTS[made["graph_args"]["layout"]]),
        original=True,
    )
    assert isinstance(objective, MomentumContrast)
    fresh = to_original(family, objective.state_dict())
    if golden.meta.get("keys"):
        theirs = {row[0]: list(row[1]) for row in golden.meta["keys"]}
        assert {name: list(tensor.shape) for name, tensor in fresh.items()} == theirs
    filled = fill(fresh, seed=golden.meta["seed"], keep=golden.meta["kept"])
    for name in filled:
        if name.startswith("queue") and filled[name].ndim == 2:
            filled[name] = functional.normalize(filled[name], dim=0)
    load_state(objective, family, filled)
    return objective.eval()


def batch_of(x: Tensor) -> Batch:
    """Return a batch whose empty second people are known."""
    n = len(x)
    return Batch(x, torch.zeros(n, dtype=torch.int64), torch.arange(n), present(x))


def views(golden: Golden, seeds: Sequence[int], stream: str = "joint") -> list[Batch]:
    """Make the clips of a file, one batch for each seed."""
    made = []
    for seed in seeds:
        shape = golden.meta.get("shape", SHAPE)
        x = 100 * skeleton_input(*shape, golden.meta["seed"] + seed)
        joints = make_stream(x.permute(0, 4, 2, 3, 1).contiguous(), load_layout("ntu25"), stream)
        made.append(batch_of(joints.permute(0, 4, 2, 3, 1)))
    return made


def queue_in_training(objective: MomentumContrast) -> None:
    """Let queues take keys, as the original's do in eval mode too, while norms stay."""
    objective.training = True


def first(found: Any, golden: Golden, name: str) -> Any:
    """Return as many rows as the file has: the small copy has fewer."""
    return found[: len(golden.expected(name))] if golden.expected(name).ndim else found


def rows_and(golden: Golden, ours: dict[str, Any], tolerance: float) -> Iterator[Comparison]:
    """Compare every array of a file."""
    for name in golden.arrays:
        yield Comparison(name, first(ours[name], golden, name), tolerance)


@torch.no_grad()
def check_drop(golden: Golden) -> Iterator[Comparison]:
    """The attention drop of maps of persons, its attention and its masks."""
    x = torch.from_numpy(golden["input"])[:, None]  # (n, c, t, v) -> (n, 1, c, t, v)
    keep = golden.meta["args"]["keep_prob"]
    kept = masks(x, keep)
    yield Comparison("att_map_joint", energy(x).mean((2, 3))[:, 0], EXACT)
    yield Comparison("joint_mask", kept.joints[:, 0, 0, 0], EXACT)
    yield Comparison("elem_mask_mean", kept.places[:, 0].mean(1), EXACT)
    yield Comparison("output", attention_drop(x, keep, whole_batch=True)[:, 0], EXACT)


@torch.no_grad()
def check_encoder(golden: Golden) -> Iterator[Comparison]:
    """ST-GCN with a last block of its own width, plain and after the attention drop."""
    made = golden.meta["args"]
    head = projection(made["hidden_dim"], made["num_class"])
    encoder: Any = Encoder(backbone_of(made), head, count_absent=True)
    skeleton = load_layout(LAYOUTS[made["graph_args"]["layout"]])
    settings = {"queue": 1, "width": 1, "original": True}
    objective = AimCLR({CLIPS: encoder}, skeleton, **settings)  # type: ignore[arg-type]
    fresh = _encoder_state("", encoder)
    assert {n: list(t.shape) for n, t in fresh.items()} == {k[0]: k[1] for k in golden.meta["keys"]}
    count = sum(p.numel() for p in encoder.parameters())
    yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    _fill_encoder(golden, "", encoder)
    yield Comparison("A", encoder.backbone.adjacency, 1e-7)
    x = skeleton_input(*stated_numbers(golden.meta["input"])[:6])
    yield Comparison("input_shape", x.shape)
    encoder.eval()
    for scale, ending in ((1, ""), (100, "_x100")):
        rows = rows_of(scale * x, present(x), count_absent=True)
        found = encoder.backbone(scale * x, rows, stages=("final",))
        yield Comparison(f"out{ending}", encoder.head(found.pooled), EXACT)
        if f"out_drop{ending}" in golden.arrays:
            dropped = encoder.head(objective.pool_dropped(found, rows))
            yield Comparison(f"out_drop{ending}", dropped, EXACT)


def plain_names(backbone: nn.Module) -> dict[str, Tensor]:
    """Return the state of an encoder's network by its original names."""
    named = {f"query.clips.{n}": t for n, t in backbone.state_dict(prefix="backbone.").items()}
    return {
        name.removeprefix("encoder_q."): tensor
        for name, tensor in to_original("skeletonclr", named).items()
    }


def _encoder_state(theirs: str, encoder: Encoder) -> dict[str, Tensor]:
    """Return the state of an encoder with a head of one layer, by its original names."""
    plain = plain_names(encoder.backbone)
    linear: Any = encoder.head[0]  # type: ignore[index]
    plain |= {"fc.weight": linear.weight, "fc.bias": linear.bias}
    return {f"{theirs}{name}": tensor for name, tensor in plain.items()}


@torch.no_grad()
def _fill_encoder(golden: Golden, theirs: str, encoder: Encoder) -> None:
    state = _encoder_state(theirs, encoder)
    for name, tensor in fill(state, seed=golden.meta["seed"], keep=golden.meta["kept"]).items():
        state[name].copy_(tensor)


@torch.no_grad()
def check_linear(golden: Golden) -> Iterator[Comparison]:
    """A linear head on each stream's pooled feature, and the mean of their logits."""
    made = golden.meta["args"]
    skeleton = load_layout("ntu25")
    endings = {"joint": ""}
    if "all" in golden.arrays:
        endings |= {"joint-motion": "_motion", "bone": "_bone"}
    encoders = {}
    for stream, ending in endings.items():
        head = projection(made["hidden_dim"], made["num_class"])
        encoders[stream] = Encoder(backbone_of(made), head, count_absent=True)  # type: ignore[arg-type]
        _fill_encoder(golden, f"encoder_q{ending}.", encoders[stream])
    objective = CrosSCLR(encoders, skeleton, queue=1, width=1, original=True).eval()
    (batch,) = views(golden, [200])
    logits = {
        name: objective.query[stream].head(objective.embed_stream(stream, batch.x, batch.people))
        for name, stream in STREAMS.items()
        if stream in endings
    }
    ours = logits | {"all": sum(logits.values()) / len(logits), "logits": logits["joint"]}
    yield from rows_and(golden, ours, EXACT)


@torch.no_grad()
def check_skeletonclr(golden: Golden) -> Iterator[Comparison]:
    """Logits, loss, and what the queue and the key encoder are afterwards."""
    objective = build(golden)
    queue_in_training(objective)
    yield from _forward(golden, objective, views(golden, (200, 300)))


@torch.no_grad()
def check_aimclr(golden: Golden) -> Iterator[Comparison]:
    """A pass: logits, mined positives, distributions, losses, queue and key encoder."""
    call = golden.meta["call"]
    objective = build(golden, top_k=call.get("topk", 1))
    count = sum(parameter.numel() for parameter in objective.parameters())
    yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    objective.begin_epoch(150 if call["nnm"] else 149)
    queue_in_training(objective)
    stream = STREAMS[golden.meta["stream"]]
    yield from _forward(golden, objective, views(golden, (100, 200, 300), stream))


def _forward(
    golden: Golden, objective: MomentumContrast, batches: list[Batch]
) -> Iterator[Comparison]:
    from kinegraph.objectives import aimclr, momentum_contrast

    seen: dict[str, list[Any]] = {"own": [], "positives": [], "divergence": []}
    own, positives, divergence = (
        momentum_contrast.own_key_loss, aimclr.positives_loss, aimclr.divergence
    )  # fmt: skip

    def watch(kind: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            seen[kind].append(given)
            return function(*given)

        return call

    momentum_contrast.own_key_loss = watch("own", own)
    aimclr.positives_loss = watch("positives", positives)
    aimclr.divergence = watch("divergence", divergence)
    try:
        # The original's keys follow before each pass; ours do after each step.
        objective.after_step()
        parts = objective(*batches)
    finally:
        momentum_contrast.own_key_loss = own
        aimclr.positives_loss, aimclr.divergence = positives, divergence
    theirs = to_original(golden.path.name.split("_")[0], objective.state_dict())
    logits, *mask = (seen["own"] or seen["positives"])[0]
    zeros = torch.zeros(len(logits))
    ours = {
        "logits": logits,
        "target": mask[0] if mask and golden.expected("target").ndim == 2 else zeros,
        "loss": parts["loss"],
        "queue_after": theirs["queue"][:, :8],
        "queue_ptr": theirs["queue_ptr"],
        "key_fc2_bias_after": theirs["encoder_k.fc.2.bias"],
        "key_fc0_weight_row0_after": theirs["encoder_k.fc.0.weight"][0],
        "key_bn_mean_after": theirs["encoder_k.data_bn.running_mean"],
    }
    if seen["divergence"]:
        pairs = seen["divergence"]
        ours["p_normal"] = pairs[0][0]
        ours["p_extreme"], ours["p_extreme_drop"] = (pair[1].softmax(1) for pair in pairs)
        names = ("contrast", "extreme", "dropped", "loss")
        ours["losses"] = torch.stack([parts[name] for name in names])
    yield from rows_and(golden, ours, EXACT)


def check_training(golden: Golden) -> Iterator[Comparison]:
    """Four steps, the last two with mined positives."""
    objective = build(golden).train()
    optimizer = build_optimizer(
        objective.parameters(),
        OptimConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4),
    )
    batches = views(golden, (100, 200, 300))
    objective.after_step()  # the original's keys follow before each pass
    losses = []
    for step in range(4):
        objective.begin_epoch(150 if step >= 2 else 149)
        optimizer.zero_grad()
        parts = objective(*batches)
        parts["loss"].backward()
        if step == 0:
            gradients = {n: p.grad for n, p in objective.named_parameters() if p.grad is not None}
            theirs = to_original("aimclr", gradients)
            norms = [float(theirs[name].norm()) for name in golden.meta["grad_names"]]
        losses.append([parts[n].item() for n in ("contrast", "extreme", "dropped", "loss")])
        optimizer.step()
        if step < 3:
            objective.after_step()
    after = to_original("aimclr", objective.state_dict())
    ours = {
        "losses": torch.tensor(losses),
        "queue_ptr": after["queue_ptr"],
        "queue_after": after["queue"][:, :20],
        "key_bn_mean_after": after["encoder_k.data_bn.running_mean"],
        "key_bn_var_after": after["encoder_k.data_bn.running_var"],
        "q_fc2_bias_after": after["encoder_q.fc.2.bias"],
        "k_fc2_bias_after": after["encoder_k.fc.2.bias"],
    }
    yield Comparison("grad_norms", norms, 5e-2)
    for name, found in ours.items():
        yield Comparison(name, first(found, golden, name), 5e-3)


@torch.no_grad()
def check_crossclr(golden: Golden) -> Iterator[Comparison]:
    """Logits and losses of each stream alone."""
    objective, cosines, parts = _cross(golden, 149)
    ours = {"losses": torch.stack([parts[name] for name in objective.query])}
    for name, stream in STREAMS.items():
        if stream in objective.query:
            ending = "" if name == "joint" else f"_{name}"
            ours[f"logits{ending}"] = cosines[stream] / objective.temperature
    ours["losses"] = torch.stack([parts[stream] for stream in objective.query])
    plain = torch.stack([own_key_loss(each / objective.temperature) for each in cosines.values()])
    torch.testing.assert_close(plain, ours["losses"])
    yield from rows_and(golden, ours, EXACT)


@torch.no_grad()
def check_crossing(golden: Golden) -> Iterator[Comparison]:
    """Logits, positives and losses of streams that take over neighbours, and who followed."""
    plain = Golden.open(golden.companion(golden.path.name.split("_")[0] + "_plain"))
    objective, cosines, parts = _cross(plain, 150, top_k=golden.meta["call"]["topk"])
    names = {stream: name for name, stream in STREAMS.items()}
    pairs = {
        names[a][0] + names[b][0]: (own, other)
        for a, own in cosines.items()
        for b, other in cosines.items()
        if a != b
    }
    logits = {pair: objective.pair(*given) for pair, given in pairs.items()}
    losses = {pair: objective.cross(*given) for pair, given in pairs.items()}
    order = golden.meta.get("order", "jm,mj").split(",")
    for stream, part in parts.items():
        if stream != "loss":
            own = [loss for pair, loss in losses.items() if pair[0] == names[stream][0]]
            torch.testing.assert_close(part, torch.stack(own).mean())
    family = golden.path.name.split("_")[0].replace("clr2", "clr-2").replace("clr3", "clr-3")
    after = to_original(family, objective.state_dict())
    in_order = torch.stack([losses[pair] for pair in order])
    nonzero = torch.stack([logits[pair][1].sum(1) for pair in order])
    ours = {
        "logits": logits["jm"][0], "logits_motion": logits["mj"][0], "logits_jm": logits["jm"][0],
        "mask": logits["jm"][1], "mask_motion": logits["mj"][1],
        "masks_nonzero": nonzero, "losses": in_order, "losses6": in_order,
        "key_fc0_bias_after": after["encoder_k.fc.0.bias"],
        "key_motion_fc0_bias_after": after["encoder_k_motion.fc.0.bias"],
        "key_bone_fc0_bias_after": after.get("encoder_k_bone.fc.0.bias"),
    }  # fmt: skip
    yield from rows_and(golden, ours, EXACT)


def _cross(
    golden: Golden, epoch: int, **settings: Any
) -> tuple[CrosSCLR, dict[str, Tensor], dict[str, Tensor]]:
    """Make a pass of an epoch; return the objective, each stream's cosines, and the losses."""
    from kinegraph.objectives import crossclr

    streams = [s for name, s in STREAMS.items() if name != "bone" or "clr3" in golden.path.name]
    objective = build(golden, streams=streams, **settings)
    assert isinstance(objective, CrosSCLR)
    objective.begin_epoch(epoch)
    objective.after_step()  # the original's keys follow before each pass
    compared: list[Tensor] = []
    compare = crossclr.compare

    def watched(*given: Tensor) -> Tensor:
        compared.append(compare(*given))
        return compared[-1]

    crossclr.compare = watched  # type: ignore[assignment]
    try:
        parts = objective(*views(golden, (200, 300)))
    finally:
        crossclr.compare = compare
    return objective, dict(zip(objective.query, compared, strict=True)), parts
