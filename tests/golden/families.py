"""Which check a golden file goes to. A family is what the summary counts and a test demands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import (
    aimclr,
    aimclr_views,
    bottleneck,
    early,
    frame50,
    kinetics,
    language,
    networks,
    ntu,
    ntu_raw,
    pyskl,
    refine,
    tools,
    ucla,
)
from .goldens import Check, Golden


@dataclass(frozen=True)
class Family:
    """One kind of golden file.

    Attributes:
        name: What the summary calls it.
        prefix: How the names of its files begin.
        check: Yields what our classes make of a file.
        wanted: Whether a file with that beginning is one of them, judged by its ``meta``.
    """

    name: str
    prefix: str
    check: Check
    wanted: Callable[[Golden], bool]


def _every(golden: Golden) -> bool:
    return True


def _stgcn(golden: Golden) -> bool:
    return networks.family_of(golden) == "stgcn" and "optim" not in golden.meta


def _stgcn_training(golden: Golden) -> bool:
    return networks.family_of(golden) == "stgcn" and "optim" in golden.meta


def _ctrgcn(golden: Golden) -> bool:
    return networks.family_of(golden) in ("ctrgcn", "ctrgcn-baseline")


def _aagcn(golden: Golden) -> bool:
    return networks.family_of(golden) == "aagcn"


def _tcagcn(golden: Golden) -> bool:
    return networks.family_of(golden) == "tcagcn"


def _contrast(golden: Golden) -> bool:
    return "RenovateNet" in str(golden.meta.get("cls"))


def _translated(golden: Golden) -> bool:
    return "_translated" in golden.path.name


def _aligned(golden: Golden) -> bool:
    return "_aligned" in golden.path.name


def _alone(golden: Golden) -> bool:
    return "_plain" in golden.path.name


def _crossing(golden: Golden) -> bool:
    return "_cross_" in golden.path.name


def _linear(golden: Golden) -> bool:
    return "_linear" in golden.path.name


FAMILIES = (
    Family("graphs of ST-GCN", "graphs_stgcn", tools.check_stgcn_graphs, _every),
    Family("graphs of the first ST-GCN", "graphs_v1", tools.check_first_graphs, _every),
    Family("graphs of CTR-GCN", "graphs_ctrgcn", tools.check_ctrgcn_graphs, _every),
    Family("first ST-GCN", "stgcn_v1", early.check_first_release, _every),
    Family("two-stream ST-GCN", "stgcn_twostream", early.check_two_stream, _every),
    Family("Temporal Conv", "tcn_", early.check_temporal_conv, _every),
    Family("ST-GCN", "stgcn_", networks.check_stgcn, _stgcn),
    Family("ST-GCN in training", "stgcn_", networks.check_stgcn_training, _stgcn_training),
    Family("CTR-GCN", "ctrgcn_", networks.check_ctrgcn, _ctrgcn),
    Family("CTR-GCN in FR-Head", "frhead_", networks.check_ctrgcn, _ctrgcn),
    Family("AAGCN", "frhead_", networks.check_ctrgcn, _aagcn),
    Family("TCA-GCN", "frhead_", networks.check_ctrgcn, _tcagcn),
    Family("FR-Head in training", "frhead_train", refine.check_training, _every),
    Family("contrast of FR-Head", "frhead_", refine.check_contrast, _contrast),
    Family("InfoGCN", "infogcn_", bottleneck.check_infogcn, _every),
    Family("graphs of LST", "graphs_lst", language.check_graphs, _every),
    Family("LST", "lst_4part", language.check_lst, _every),
    Family("losses of LST", "lst_losses", language.check_losses, _every),
    Family("NTU crop and rotation", "data_crop_rot", ntu.check_crop_and_rotation, _every),
    Family("NTU feeder", "data_ntu_feeder", ntu.check_ntu_feeder, _every),
    Family("NTU feeder from raw", "ntu_feeder_", ntu.check_ntu_feeder_from_raw, _every),
    Family("NTU bodies", "ntu_raw_mini_ntu", ntu_raw.check_denoised, _every),
    Family("NTU cleaned", "ntu_raw_mini_NTU", ntu_raw.check_translated, _translated),
    Family("NTU aligned", "ntu_raw_mini_NTU", ntu_raw.check_aligned, _aligned),
    Family("NTU for PYSKL", "pyskl_ntu_preproc", ntu_raw.check_pyskl, _every),
    Family("readers of text", "readers", ntu_raw.check_readers, _every),
    Family("FR-Head augmentation", "data_frhead_aug", ntu.check_frhead_augmentations, _every),
    Family("NW-UCLA feeder", "data_ucla_feeder", ucla.check_ucla_feeder, _every),
    Family("NW-UCLA from files", "nwucla_feeder_", ucla.check_ucla_feeder_from_files, _every),
    Family("ST-GCN data tools", "feeder_tools_stgcn", tools.check_stgcn_tools, _every),
    Family("Kinetics feeder", "feeder_kinetics", kinetics.check_kinetics_feeder, _every),
    Family("PYSKL pipeline", "pyskl_features", pyskl.check_features, _every),
    Family("50 frames of AimCLR", "preproc_frame50", frame50.check_fifty_frames, _every),
    Family("augmentations of AimCLR", "aug_aimclr.", aimclr_views.check_augmentations, _every),
    Family("feeder of AimCLR", "aug_aimclr_feeder", aimclr_views.check_feeder, _every),
    Family("graphs of AimCLR", "graphs_aimclr", tools.check_stgcn_graphs, _every),
    Family("attention drop of AimCLR", "aimclr_attdrop", aimclr.check_drop, _every),
    Family("encoder of AimCLR", "aimclr_encoder", aimclr.check_encoder, _every),
    Family("AimCLR", "aimclr_forward", aimclr.check_aimclr, _every),
    Family("AimCLR in training", "aimclr_trainsteps", aimclr.check_training, _every),
    Family("AimCLR with a linear head", "aimclr_linear", aimclr.check_linear, _every),
    Family("SkeletonCLR", "skeletonclr", aimclr.check_skeletonclr, _every),
    Family("CrosSCLR", "crossclr", aimclr.check_crossclr, _alone),
    Family("CrosSCLR crossing", "crossclr", aimclr.check_crossing, _crossing),
    Family("CrosSCLR with linear heads", "crossclr", aimclr.check_linear, _linear),
    Family("ensembles", "ensemble", tools.check_ensemble, _every),
)


def family_of(path: Path) -> Family | None:
    """Return the family of a file, or None if nothing in the project is about it."""
    candidates = [family for family in FAMILIES if path.name.startswith(family.prefix)]
    golden = Golden.open(path) if candidates else None
    for family in candidates:
        assert golden is not None
        if family.wanted(golden):
            return family
    return None
