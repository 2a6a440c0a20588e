"""A comparison that cannot fail is worth nothing: each family is broken on purpose, and notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from kinegraph.backbones import aagcn, ctrgcn, infogcn, stgcn, stgcn_v1, tcagcn, tcn
from kinegraph.backbones.body import Body
from kinegraph.data.cleaning import aligned, denoised, pyskl
from kinegraph.data.export import frame50
from kinegraph.data.formats import kinetics
from kinegraph.nn import graph
from kinegraph.objectives import (
    aimclr,
    attention_drop,
    bottleneck,
    contrast,
    crossclr,
    momentum_contrast,
    two_stream,
)
from kinegraph.objectives import language as objective_language
from kinegraph.objectives.language_parts import part_lists
from kinegraph.skeleton import Skeleton
from kinegraph.transforms import align, augment, contrastive, normalise, sampling
from kinegraph.transforms.tracks import FixedTracks

from . import language, ntu_raw, tools
from .families import FAMILIES, family_of
from .goldens import SMALL_COPY, Golden, run_check

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.slow  # not each of them, but all together


def roll_joints(x: Tensor, *_: Any) -> Tensor:
    return x.roll(1, 3)


def drop_second_person(x: Tensor, *_: Any) -> Tensor:
    x = x.clone()
    x[..., 1:] = 0
    return x


def reverse_time(x: Tensor, *_: Any) -> Tensor:
    return x.flip(2)


def stgcn_input(change: Callable[..., Tensor]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        fold = stgcn.fold
        patch.setattr(stgcn, "fold", lambda x, present: fold(change(x), present))

    return apply


def ctrgcn_input(change: Callable[..., Tensor]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        normalise = Body.normalise

        def changed(self: Body, x: Tensor, present: Tensor | None) -> Tensor:
            return normalise(self, change(x), present)

        patch.setattr(Body, "normalise", changed)

    return apply


def transpose_stgcn(patch: Patch) -> None:
    forward = stgcn.GraphConv.forward

    def changed(self: Any, x: Tensor, adjacency: Tensor) -> Tensor:
        return forward(self, x, adjacency.transpose(1, 2))

    patch.setattr(stgcn.GraphConv, "forward", changed)


def transpose_ctrgcn(patch: Patch) -> None:
    for kind in (ctrgcn.RefinedGraphConv, tcagcn.RoutedGraphConv, aagcn.AdaptiveGraphConv):
        _transpose(kind, patch)


def _transpose(kind: Any, patch: Patch) -> None:
    forward = kind.forward

    def changed(self: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        original = self.adjacency.data
        self.adjacency.data = original.transpose(1, 2).contiguous()
        y: Tensor = forward(self, x, weight)
        self.adjacency.data = original
        return y

    patch.setattr(kind, "forward", changed)


def no_attention(patch: Patch) -> None:
    patch.setattr(aagcn.Attention, "forward", lambda self, y: y)
    patch.setattr(tcagcn.SelfAttention, "forward", lambda self, y, weight: y)


def transpose_first_release(patch: Patch) -> None:
    graphs = stgcn_v1.first_release
    patch.setattr(stgcn_v1, "first_release", lambda *of: graphs(*of).swapaxes(1, 2).copy())


def no_residual(patch: Patch) -> None:
    forward = stgcn_v1.Block.forward

    def changed(self: Any, x: Tensor, weight: Tensor | None) -> Tensor:
        self.bare = True
        return forward(self, x, weight)

    patch.setattr(stgcn_v1.Block, "forward", changed)


def no_motion(patch: Patch) -> None:
    patch.setattr(two_stream, "acceleration", lambda x: x)


def tcn_input(change: Callable[..., Tensor]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        normalise = tcn.normalise_clips
        patch.setattr(tcn, "normalise_clips", lambda n, x, rows: normalise(n, change(x), rows))

    return apply


def no_frame_attention(patch: Patch) -> None:
    conv = infogcn.SelfAttentionGraphConv
    patch.setattr(
        conv,
        "attention",
        lambda self, frames: frames.new_ones(
            len(frames), self.heads, frames.shape[1], frames.shape[1]
        ),
    )


def wrong_places(patch: Patch) -> None:
    terms = bottleneck.Bottleneck.terms

    def changed(self: Any, latent: Tensor, label: Tensor) -> dict[str, Tensor]:
        return terms(self, latent, (label + 1) % len(self.prior))

    patch.setattr(bottleneck.Bottleneck, "terms", changed)


def prototypes_stay(patch: Patch) -> None:
    patch.setattr(contrast, "KEPT", 1.0)


def miss_for_mistake(patch: Patch) -> None:
    hits = contrast.Contrast.hits

    def changed(self: Any, probability: Tensor, label: Tensor) -> contrast.Hits:
        right, missed, mistaken = hits(self, probability, label)
        return contrast.Hits(right, mistaken, missed)

    patch.setattr(contrast.Contrast, "hits", changed)


def detach_prototypes(patch: Patch) -> None:
    """Detach what a batch adds to the prototypes, through which gradients should flow."""
    move = contrast.Contrast._move
    patch.setattr(
        contrast.Contrast, "_move", lambda self, means, there: move(self, means.detach(), there)
    )


def reverse_maps(patch: Patch) -> None:
    forward = contrast.StageHead.forward

    def changed(self: Any, stage: Tensor, counted: Tensor | None = None) -> Tensor:
        return forward(self, stage.flip(3), counted)

    patch.setattr(contrast.StageHead, "forward", changed)


def other_parts(patch: Patch) -> None:
    """Take the lists for bones where those for joints are meant."""
    patch.setattr(language, "part_lists", lambda one, original: part_lists(one, original="bones"))


def exchange_parts(patch: Patch) -> None:
    modules = language.Language.describe

    def changed(self: Any, x: Tensor, present: Tensor | None = None) -> Any:
        logits, (whole, head, hand, hip, foot) = modules(self, x, present)
        return logits, [whole, head, hand, foot, hip]

    patch.setattr(language.Language, "describe", changed)


def exponential_scale(patch: Patch) -> None:
    """Look at similarities as exponents, as CLIP does, where the original takes them raw."""
    contrast = language.Language.contrast

    def changed(self: Any, *inputs: Any) -> Tensor:
        self.language.scale.data.exp_()
        return contrast(self, *inputs)

    patch.setattr(language.Language, "contrast", changed)


def milder_targets(patch: Patch) -> None:
    patch.setattr(objective_language, "SHARPNESS", 5.0)


def true_trees(patch: Patch) -> None:
    k_mode = Skeleton.k_mode
    patch.setattr(Skeleton, "k_mode", lambda self, k, original: k_mode(self, k))


def output(change: Callable[..., Tensor]) -> Callable[[Patch], None]:
    """Change what a pipeline gives, (N, C, T, V, M)."""

    def apply(patch: Patch) -> None:
        dense = FixedTracks.dense
        patch.setattr(FixedTracks, "dense", lambda self: change(dense(self)))

    return apply


def align_corners(patch: Patch) -> None:
    """Resize so that the first and the last frame stay: the other convention of interpolation."""

    def changed(crop: Tensor, length: int) -> tuple[Tensor, Tensor]:
        steps = torch.arange(length) / (length - 1)
        position = steps * (crop[:, None] - 1)
        frame = position.floor().clamp(max=crop[:, None] - 1)
        return frame.to(torch.int64), position - frame

    patch.setattr(sampling, "resize_positions", changed)


def turn_backwards(patch: Patch) -> None:
    matrices = augment.rotation_matrices
    for module in (augment, normalise):
        patch.setattr(module, "rotation_matrices", lambda a: matrices(a).transpose(1, 2))


def transpose_graphs(patch: Patch) -> None:
    for name in ("partition", "directed", "first_release"):
        make = getattr(tools, name)
        patch.setattr(tools, name, lambda *a, make=make, **k: make(*a, **k).swapaxes(1, 2))


def columns_alone(patch: Patch) -> None:
    patch.setattr(graph, "_normalise_both", graph.normalise_columns)


def true_partition(patch: Patch) -> None:
    partition = tools.partition
    patch.setattr(tools, "partition", lambda *a, original: partition(*a, original=False))


def match_nobody(patch: Patch) -> None:
    patch.setattr(tools, "match_people", lambda poses, original: poses)


def do_not_follow(patch: Patch) -> None:
    patch.setattr(kinetics, "match_people", lambda poses: poses)


def read_everybody(patch: Patch) -> None:
    patch.setattr(kinetics, "PEOPLE_READ", 99)


def first_people(patch: Patch) -> None:
    patch.setattr(kinetics, "surest_people", lambda poses, people: poses[:, :people])


def exact_angles(patch: Patch) -> None:
    turn_onto = align.turn_onto
    patch.setattr(align, "turn_onto", lambda v, target, coarse=False: turn_onto(v, target))


def next_frame(patch: Patch) -> None:
    frames_of = sampling.UniformFrames.frames_of
    patch.setattr(
        sampling.UniformFrames,
        "frames_of",
        lambda self, draws, t: (frames_of(self, draws, t) + 1) % t,
    )


def face_anywhere(patch: Patch) -> None:
    patch.setattr(frame50, "turn_about_y", lambda people, body: people)


def stretch_backwards(patch: Patch) -> None:
    stretch = frame50.stretch
    patch.setattr(frame50, "stretch", lambda people, frames: stretch(people[:, ::-1], frames))


def least_motion_first(patch: Patch) -> None:
    people_first, by_motion = denoised._people_first, pyskl._by_motion
    patch.setattr(denoised, "_people_first", lambda bodies: people_first(bodies)[::-1])
    patch.setattr(pyskl, "_by_motion", lambda *given: by_motion(*given)[::-1])


def stay(patch: Patch) -> None:
    patch.setattr(denoised, "move_to_first_frame", lambda people: people)


def do_not_turn(patch: Patch) -> None:
    patch.setattr(aligned, "align", lambda people: people)


def exchange_bodies(patch: Patch) -> None:
    chosen = ntu_raw.first_two
    patch.setattr(ntu_raw, "first_two", lambda sightings: chosen(sightings)[::-1])


def equal_weights(patch: Patch) -> None:
    patch.setattr(tools, "preset_weights", lambda name, streams: (1.0,) * len(streams))


def blur_by_means(patch: Patch) -> None:
    """Divide by the sum of the weights, which the original does not."""
    mixed = contrastive._mixed
    patch.setattr(contrastive, "_mixed", lambda w, points: mixed(w / w.sum(2, True), points))


def drop_by_person(patch: Patch) -> None:
    patch.setattr(attention_drop, "_of_batch", lambda kept, *_: attention_drop._of_people(kept))


def follow_late(patch: Patch) -> None:
    patch.setattr(momentum_contrast.MomentumContrast, "after_step", lambda self: None)


def follow_backwards(patch: Patch) -> None:
    follow = momentum_contrast.follow
    patch.setattr(
        momentum_contrast, "follow", lambda key, query, step: follow(key, query, 1 - step)
    )


def forget_own_key(patch: Patch) -> None:
    positives = aimclr.AimCLR.positives

    def changed(self: Any, cosines: list[Tensor]) -> Tensor:
        return torch.cat((cosines[0][:, :1] * 0, positives(self, cosines)[:, 1:]), dim=1)

    patch.setattr(aimclr.AimCLR, "positives", changed)


def move_target(patch: Patch) -> None:
    patch.setattr(aimclr.AimCLR, "target", staticmethod(lambda logits: logits.softmax(1)))


def heads_of_their_own(patch: Patch) -> None:
    project = momentum_contrast.MomentumContrast.project

    def changed(self: Any, encoders: Any, stream: str, pooled: Tensor) -> Tensor:
        found = project(self, encoders, stream, pooled)  # what lies before the joints' head
        return found[:, : self.queue[stream].keys.shape[0]]

    patch.setattr(crossclr.CrosSCLR, "project", changed)


def all_keys_follow(patch: Patch) -> None:
    patch.setattr(crossclr.CrosSCLR, "after_step", momentum_contrast.MomentumContrast.after_step)


def own_neighbours(patch: Patch) -> None:
    pair = crossclr.CrosSCLR.pair
    patch.setattr(crossclr.CrosSCLR, "pair", lambda self, own, other: pair(self, other, own))


@dataclass(frozen=True)
class Breakage:
    """Something wrong, and the comparisons that must notice."""

    family: str
    how: str
    apply: Callable[[Patch], None]
    noticed_by: tuple[str, ...]


STGCN = ("logits_x100", "feature_sub_x100", "intensity_x100", "ef_output_sub")
CTRGCN = ("l1_mean_tv", "l10_mean_tv", "logits", "logits_T13", "logits_kept")
CLIP = "S001C001P001R001A001"
PYSKL = (f"{CLIP}_prenorm", f"{CLIP}_bm", f"{CLIP}_format")
TRIPLE = "triple_123456_seed0"
BREAKAGES = [
    Breakage("graphs of ST-GCN", "transposed", transpose_graphs, ("ntu-rgb+d|spatial|hop1|dil1",)),
    Breakage(
        "graphs of ST-GCN", "true distances", true_partition, ("openpose|spatial|hop1|dil1",)
    ),
    Breakage(
        "graphs of the first ST-GCN", "transposed", transpose_graphs,
        ("ntu|uniform", "ntu|distance*", "kinetics|distance", "kinetics|spatial"),
    ),
    Breakage(
        "graphs of the first ST-GCN", "columns alone", columns_alone, ("ntu|DAD", "kinetics|DLD")
    ),
    Breakage("graphs of CTR-GCN", "transposed", transpose_graphs, ("ntu_A", "ucla_A")),
    Breakage("ST-GCN", "graph transposed", transpose_stgcn, STGCN),
    Breakage("ST-GCN", "second person dropped", stgcn_input(drop_second_person), STGCN),
    Breakage("ST-GCN", "joints rolled", stgcn_input(roll_joints), STGCN),
    Breakage("ST-GCN", "time reversed", stgcn_input(reverse_time), STGCN),
    Breakage("ST-GCN in training", "graph transposed", transpose_stgcn, ("losses", "grad_norms")),
    Breakage(
        "ST-GCN in training", "joints rolled", stgcn_input(roll_joints), ("data_bn_running_mean",)
    ),
    Breakage("first ST-GCN", "graph transposed", transpose_first_release, ("logits_x100",)),
    Breakage("first ST-GCN", "no residual", no_residual, ("logits_x100",)),
    Breakage("two-stream ST-GCN", "joints again", no_motion, ("logits_x100",)),
    Breakage("two-stream ST-GCN", "joints rolled", stgcn_input(roll_joints), ("logits_origin",)),
    Breakage("Temporal Conv", "joints rolled", tcn_input(roll_joints), ("logits_x100",)),
    Breakage("Temporal Conv", "time reversed", tcn_input(reverse_time), ("logits_x100",)),
    Breakage("CTR-GCN", "graph transposed", transpose_ctrgcn, CTRGCN[:4]),
    Breakage("CTR-GCN", "second person dropped", ctrgcn_input(drop_second_person), CTRGCN),
    Breakage("CTR-GCN", "joints rolled", ctrgcn_input(roll_joints), CTRGCN),
    Breakage("CTR-GCN", "time reversed", ctrgcn_input(reverse_time), CTRGCN[1:]),
    Breakage("CTR-GCN in FR-Head", "joints rolled", ctrgcn_input(roll_joints), CTRGCN),
    Breakage("AAGCN", "graph transposed", transpose_ctrgcn, CTRGCN[:4]),
    Breakage("AAGCN", "no attention", no_attention, CTRGCN),
    Breakage("AAGCN", "joints rolled", ctrgcn_input(roll_joints), CTRGCN),
    Breakage("TCA-GCN", "graph transposed", transpose_ctrgcn, CTRGCN[:4]),
    Breakage("TCA-GCN", "no attention", no_attention, CTRGCN),
    Breakage("TCA-GCN", "time reversed", ctrgcn_input(reverse_time), CTRGCN[1:]),
    Breakage("InfoGCN", "no attention", no_frame_attention, ("logits", "z", "mmd", "grad_norms")),
    Breakage("InfoGCN", "wrong place", wrong_places, ("mmd", "total")),
    Breakage("InfoGCN", "joints rolled", ctrgcn_input(roll_joints), ("logits", "z", "l1_first")),
    Breakage(
        "FR-Head in training", "prototypes stay", prototypes_stay,
        ("s1_loss_ren_low", "s1_avgf_ren_low.spatio_cl_net", "s1_total"),
    ),
    Breakage(
        "FR-Head in training", "second person dropped", ctrgcn_input(drop_second_person),
        ("s0_logits", "s0_loss_ren_fin", "s1_grad_ren_low.spatio_squeeze.1.weight"),
    ),
    Breakage(
        "FR-Head in training", "time reversed", reverse_maps,
        ("s0_loss_ren_low.tempor_cl_net", "s0_cl"),
    ),
    Breakage(
        "contrast of FR-Head", "missed for mistaken", miss_for_mistake,
        ("V0_pm1_th0.0_loss0", "V1_pm1_th0.0_loss0", "V2_pm1_th0.0_loss1", "mask_fn", "has_fp"),
    ),
    Breakage(
        "contrast of FR-Head", "detached", detach_prototypes, ("V0_pm1_th0.0_gradfeat1",)
    ),
    Breakage(
        "graphs of LST", "true trees", true_trees,
        ("ntu_A_outward_binary", "ntu_I_minus_Ak_1", "ucla_I_minus_Ak_1", "ucla_I_minus_Ak_6"),
    ),
    Breakage(
        "LST", "joints rolled", ctrgcn_input(roll_joints), ("logits", "logits_kept", "part_head")
    ),
    Breakage("LST", "graph transposed", transpose_ctrgcn, ("logits_kept", "logits")),
    Breakage("LST", "parts of bones", other_parts, ("part_head", "part_hand", "part_foot")),
    Breakage("LST", "parts exchanged", exchange_parts, ("part_hip", "part_foot")),
    Breakage("losses of LST", "scale exponential", exponential_scale, ("te", "total_alpha08")),
    Breakage(
        "losses of LST", "milder targets", milder_targets,
        ("kl_image", "kl_text", "te", "grad_img_part3"),
    ),
    Breakage("NTU crop and rotation", "corners aligned", align_corners, ("out0", "out2", "out6")),
    Breakage("NTU crop and rotation", "joints rolled", output(roll_joints), ("out1", "out3")),
    Breakage("NTU feeder", "corners aligned", align_corners, ("out_test", "out_train")),
    Breakage("NTU feeder", "turned backwards", turn_backwards, ("out_train_rot_bone_vel",)),
    Breakage("NTU feeder", "second person dropped", output(drop_second_person), ("out_test",)),
    Breakage("NTU feeder from raw", "joints rolled", output(roll_joints), ("train_joint_rot",)),
    Breakage("NTU feeder from raw", "turned backwards", turn_backwards, ("rot_only",)),
    Breakage(
        "FR-Head augmentation", "joints rolled", output(roll_joints),
        ("out_random_scale", "out_random_mask", "out_random_rot", "batch_bonevel"),
    ),
    Breakage("NTU bodies", "least motion first", least_motion_first, ("denoised",)),
    Breakage("NTU cleaned", "not moved", stay, ("x",)),
    Breakage("NTU cleaned", "least motion first", least_motion_first, ("x",)),
    Breakage("NTU aligned", "not turned", do_not_turn, ("x",)),
    Breakage("NTU for PYSKL", "least motion first", least_motion_first, ("keypoint 0",)),
    Breakage("readers of text", "bodies exchanged", exchange_bodies, ("ntu",)),
    Breakage("NW-UCLA feeder", "turned backwards", turn_backwards, ("train_joint",)),
    Breakage("NW-UCLA feeder", "joints rolled", output(roll_joints), ("val_joint",)),
    Breakage("NW-UCLA from files", "time reversed", output(reverse_time), ("test_joint",)),
    Breakage("ST-GCN data tools", "people unmatched", match_nobody, ("match_out",)),
    Breakage("ST-GCN data tools", "joints rolled", output(roll_joints), ("random_move_mt3",)),
    Breakage("Kinetics feeder", "not followed", do_not_follow, ("match_vidA.json",)),
    Breakage("Kinetics feeder", "all read", read_everybody, ("in5out5_vidA.json",)),
    Breakage("Kinetics feeder", "unsorted", first_people, ("default_vidA.json",)),
    Breakage("PYSKL pipeline", "joints rolled", output(roll_joints), (*PYSKL, "coco_bm", "noise")),
    Breakage("PYSKL pipeline", "exact angles", exact_angles, PYSKL[:1]),
    Breakage("PYSKL pipeline", "next frame", next_frame, (PYSKL[2], f"{CLIP}_inds_test_1x16")),
    Breakage("50 frames of AimCLR", "not turned", face_anywhere, ("position0",)),
    Breakage("50 frames of AimCLR", "reversed", stretch_backwards, ("position0", "motion0")),
    Breakage("augmentations of AimCLR", "turned backwards", turn_backwards, ("rotate_main1",)),
    Breakage("augmentations of AimCLR", "blurred by means", blur_by_means, ("gaus_filter",)),
    Breakage(
        "augmentations of AimCLR", "joints rolled", output(roll_joints),
        ("shear_r0.5", "spatial_flip", "time_flip", "gaus_noise", "axis_mask_2"),
    ),
    Breakage("feeder of AimCLR", "blurred by means", blur_by_means, (f"{TRIPLE}_strong",)),
    Breakage(
        "feeder of AimCLR", "time reversed", output(reverse_time),
        ("temperal_crop_start0", "temperal_crop_start6", f"{TRIPLE}_normal1", f"{TRIPLE}_normal2"),
    ),
    Breakage("graphs of AimCLR", "transposed", transpose_graphs, ("nw-ucla|spatial|hop1|dil1",)),
    Breakage("attention drop of AimCLR", "ratio of each person", drop_by_person, ("output",)),
    Breakage(
        "encoder of AimCLR", "ratio of each person", drop_by_person,
        ("out_drop", "out_drop_x100"),
    ),
    Breakage("encoder of AimCLR", "joints rolled", stgcn_input(roll_joints), ("out_x100",)),
    Breakage("AimCLR", "ratio of each person", drop_by_person, ("p_extreme_drop",)),
    Breakage("AimCLR", "key stays", follow_late, ("key_fc2_bias_after", "queue_after")),
    Breakage("AimCLR", "momentum exchanged", follow_backwards, ("key_fc2_bias_after", "logits")),
    Breakage("AimCLR", "own key forgotten", forget_own_key, ("target", "losses")),
    Breakage("AimCLR in training", "target moves", move_target, ("q_fc2_bias_after",)),
    Breakage("AimCLR in training", "own key forgotten", forget_own_key, ("losses", "grad_norms")),
    Breakage("AimCLR with a linear head", "joints rolled", stgcn_input(roll_joints), ("logits",)),
    Breakage("SkeletonCLR", "key stays", follow_late, ("key_fc2_bias_after", "queue_after")),
    Breakage("SkeletonCLR", "joints rolled", stgcn_input(roll_joints), ("logits", "loss")),
    Breakage(
        "CrosSCLR", "heads of their own", heads_of_their_own, ("logits_motion", "logits_bone")
    ),
    Breakage(
        "CrosSCLR crossing", "all keys follow", all_keys_follow, ("key_bone_fc0_bias_after",)
    ),
    Breakage("CrosSCLR crossing", "own neighbours", own_neighbours, ("logits_jm", "losses6")),
    Breakage(
        "CrosSCLR with linear heads", "joints rolled", stgcn_input(roll_joints), ("bone", "all")
    ),
    Breakage("ensembles", "equal weights", equal_weights, ("FR-Head|ntu/xsub|4 top1",)),
]  # fmt: skip


@pytest.mark.parametrize(
    "breakage", BREAKAGES, ids=[f"{broken.family}, {broken.how}" for broken in BREAKAGES]
)
def test_a_broken_part_is_noticed(breakage: Breakage, monkeypatch: Patch) -> None:
    family = next(family for family in FAMILIES if family.name == breakage.family)
    paths = [path for path in sorted(SMALL_COPY.glob("*.npz")) if family_of(path) is family]
    # Of the networks, the file with two people whose graph is not only identities.
    path = next((path for path in paths if path.name.startswith("ctrgcn_ntu")), paths[0])
    breakage.apply(monkeypatch)
    outcome = run_check(Golden.open(path), family.check)
    noticed = {line.split(": ")[0] for line in outcome.failures}
    missed = [name for name in breakage.noticed_by if name not in noticed]
    assert not missed, f"{missed} did not notice; {sorted(noticed)} did"


def test_every_family_is_broken_once() -> None:
    assert {broken.family for broken in BREAKAGES} == {family.name for family in FAMILIES}
