"""Checks of LST: the matrices of its streams, its five features, and its losses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from kinegraph.backbones import CTRGCNConfig, build_backbone
from kinegraph.batch import Batch
from kinegraph.compat.state_dicts import load_state, to_original
from kinegraph.objectives.classify import score
from kinegraph.objectives.language import Language, soft_target, unit
from kinegraph.objectives.language_parts import part_lists
from kinegraph.objectives.language_texts import TableTexts
from kinegraph.skeleton import load_layout
from kinegraph.text.table import PARTS, TextTable
from kinegraph.transforms.streams import make_stream

from .fill import fill, skeleton_input
from .goldens import Comparison, Golden
from .networks import EXACT, LAYOUTS, BlockOutputs, present

PLAIN = 1_446_672, 1_426_892  # parameters of CTR-GCN for NTU RGB+D 60 and for NW-UCLA


def some_table(classes: int, width: int, part_width: int = 512) -> TextTable:
    """Return a table of made-up features."""
    random = np.random.default_rng(5)
    return TextTable(
        names=random.standard_normal((2 * classes, width)).astype(np.float16),
        counts=np.full(classes, 2),
        parts=random.standard_normal((len(PARTS), classes, part_width)).astype(np.float16),
        classes=tuple(f"class {k}" for k in range(classes)),
        encoder="made up",
        encoder_hash="",
        texts_hash="",
    )


def check_graphs(golden: Golden) -> Iterator[Comparison]:
    """The matrices that make streams of joints."""
    for name in golden.arrays:
        data_set, _, rest = name.partition("_")
        skeleton = load_layout({"ntu": "ntu25", "ucla": "ucla20"}[data_set])
        if rest == "A_outward_binary":
            ours = np.eye(skeleton.joint_count) - skeleton.k_mode(1, original=True)
        else:
            ours = skeleton.k_mode(int(rest.rpartition("_")[2]), original=True)
        yield Comparison(name, ours, 1e-7)


def build(golden: Golden) -> tuple[str, Language]:
    """Build the objective that a file describes, with quirks: original."""
    made = golden.meta["ctor"]
    skeleton = load_layout(LAYOUTS[made["graph"]])
    (encoder,) = made["head"]
    width = 768 if encoder == "ViT-L/14" else 512
    objective = Language(
        build_backbone(CTRGCNConfig(), skeleton, persons=made["num_person"], original=True),
        made["num_class"],
        texts=TableTexts(some_table(made["num_class"], width)),
        joints=part_lists(
            skeleton, original="bones" if "_bone" in golden.meta["cls"] else "joints"
        ),
        joint_count=skeleton.joint_count,
        count_absent=True,
    )
    return "lst" if encoder == "ViT-B/32" else f"lst {encoder}", objective


@torch.no_grad()
def check_lst(golden: Golden) -> Iterator[Comparison]:
    """Logits, blocks and the five features in eval mode."""
    family, objective = build(golden)
    fresh = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    theirs = {name: list(shape) for name, (shape, _) in golden.meta["keys"].items()}
    original = to_original(family, fresh)
    assert {name: list(tensor.shape) for name, tensor in original.items()} == theirs
    count = sum(parameter.numel() for parameter in objective.parameters())
    yield Comparison("meta n_params", count, 1e-12, golden.meta["n_params"])
    bare = sum(parameter.numel() for parameter in objective.bare().parameters())
    yield Comparison("plain CTR-GCN", bare, 1e-12, PLAIN[golden.meta["ctor"]["num_class"] == 10])

    def load(keep: list[str]) -> None:
        filled = fill(original, seed=golden.meta["seed"], keep=keep, gain=golden.meta["gain"])
        load_state(objective, family, filled)

    load(golden.meta["kept_for_logits"])
    objective.eval()
    made, k = golden.meta["input"], golden.meta["ctor"]["k"]
    joints = skeleton_input(*(made[size] for size in "nctvm"), made["seed"])
    if "input" in golden.arrays:
        yield Comparison("input", joints, 1e-7)
    skeleton = load_layout(LAYOUTS[golden.meta["ctor"]["graph"]])
    yield Comparison("A_vector", skeleton.k_mode(k, original=True), 1e-7)
    by_frame = joints.permute(0, 4, 2, 3, 1)  # (N, C, T, V, M) -> (N, M, T, V, C)
    stream = make_stream(by_frame, skeleton, f"k-mode-{k}", original=True)
    x = stream.permute(0, 4, 2, 3, 1)
    with BlockOutputs(objective.backbone) as outputs:
        logits, features = objective.describe(x, present(x))
    yield Comparison("logits", logits, EXACT)
    maps = {f"l{i}_mean_tv": block.mean((2, 3)) for i, block in enumerate(outputs.maps)}
    maps["after_data_bn"] = outputs.maps[0]
    for name in golden.arrays:  # the small copy lacks some of them
        if name in maps:
            yield Comparison(name, maps[name], EXACT)
    encoder = golden.meta["ctor"]["head"][0].replace("/", "-")
    names = (f"feat_{encoder}", *(f"part_{part}" for part in PARTS))
    for name, feature in zip(names, features, strict=True):
        width = golden.expected(name).shape[1]  # in the small copy, the first few
        yield Comparison(name, feature[:, :width], EXACT)
    yield Comparison("logit_scale", objective.language.scale.detach(), EXACT)
    frozen = objective.freeze()
    yield Comparison("frozen", frozen.logits(x, present(x)), 1e-4, golden["logits"])
    objective.load_state_dict(fresh)
    load(golden.meta["kept_for_logits_kept"])
    yield Comparison("logits_kept", objective.logits(x, present(x)), EXACT)


def check_losses(golden: Golden) -> Iterator[Comparison]:
    """Similarities, soft targets, both divergences, totals and gradients."""
    label = torch.from_numpy(golden["labels"])
    features = [torch.from_numpy(f).requires_grad_() for f in golden["image_features"]]
    texts = [torch.from_numpy(f) for f in golden["text_features"]]
    skeleton = load_layout("ucla20")
    objective = Language(
        build_backbone(CTRGCNConfig(width=4), skeleton, persons=1),
        10,
        texts=TableTexts(some_table(10, 512)),
        joints=part_lists(skeleton),
        joint_count=skeleton.joint_count,
    )
    with torch.no_grad():
        objective.language.scale.copy_(torch.from_numpy(golden["logit_scale"]))
    target = soft_target(label, label)
    yield Comparison("ground_truth", (label[:, None] == label).float(), 1e-7)
    clips, words = unit(features[0]).detach(), unit(texts[0])
    scale = objective.language.scale[0].detach()
    yield Comparison("logits_per_image_0", scale[0] * clips @ words.T, EXACT)
    yield Comparison("logits_per_text_0", scale[0] * words @ clips.T, EXACT)
    kl_image, kl_text = [], []
    for j, (feature, text) in enumerate(zip(features, texts, strict=True)):
        similarity = scale[j] * unit(feature).detach() @ unit(text).T
        for rows, kept in ((similarity, kl_image), (similarity.T, kl_text)):
            kept.append(functional.kl_div(rows.log_softmax(1), target, reduction="batchmean"))
    yield Comparison("kl_image", torch.stack(kl_image), EXACT)
    yield Comparison("kl_text", torch.stack(kl_text), EXACT)
    terms = objective.contrast(features, texts, label)
    yield Comparison("te", terms.detach(), EXACT)
    classification = score(torch.from_numpy(golden["logits"]), label, 0.0)["loss"]
    yield Comparison("ce", classification, EXACT)
    for name, weight in (("total_alpha08", 0.8), ("total_alpha10", 1.0)):
        objective.weight = weight
        objective.describe = lambda *_: (torch.from_numpy(golden["logits"]), features)  # type: ignore[method-assign]
        objective.language.texts.forward = lambda label: texts  # type: ignore[method-assign]
        nothing = torch.zeros(len(label), 1)
        batch = Batch(nothing, label, torch.arange(len(label)), nothing > 0)
        total = objective(batch)["loss"]
        yield Comparison(name, total.detach(), EXACT)
        if name == "total_alpha08":
            total.backward()
            assert objective.language.scale.grad is not None
            yield Comparison("grad_logit_scale", objective.language.scale.grad, 1e-4)
            norms = [float(feature.grad.norm()) for feature in features if feature.grad is not None]
            yield Comparison("grad_img_norms", norms, 1e-4)
            assert features[3].grad is not None
            yield Comparison("grad_img_part3", features[3].grad, 1e-4)
