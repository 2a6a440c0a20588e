"""What the options of the original programs are called here, as tables.

Names are written with underscores, whichever a program has. ``translate`` reads the tables; what an
option means beyond its value is said there.
"""

from __future__ import annotations

from dataclasses import dataclass

PROGRAMS = ("infogcn", "frhead", "lst", "ctrgcn", "stgcn", "aimclr")


@dataclass(frozen=True)
class Data:
    """Recordings that the original programs know.

    Attributes:
        name: Of the data set, as our presets and orders call it.
        group: ``ntu``, ``ucla``, ``kinetics`` or ``pku``: what decides about transforms and
            schedule.
        split: Our name of the split, or None.
        part: Of PKU-MMD, which of the two.
    """

    name: str
    group: str
    split: str | None
    part: int = 1


# A piece of a settings file's path, in lower case -> the recordings; the first that occurs.
DATA = {
    "nturgbd120-cross-subject": Data("ntu120", "ntu", "xsub"),
    "nturgbd120-cross-set": Data("ntu120", "ntu", "xset"),
    "nturgbd-cross-subject": Data("ntu60", "ntu", "xsub"),
    "nturgbd-cross-view": Data("ntu60", "ntu", "xview"),
    "ntu-xsub": Data("ntu60", "ntu", "xsub"),
    "ntu-xview": Data("ntu60", "ntu", "xview"),
    "ucla": Data("nw-ucla", "ucla", "view3"),
    "kinetics": Data("kinetics", "kinetics", None),
}
# --dataset of InfoGCN and of the ensembles, in lower case -> likewise; --datacase may follow.
DATA_SETS = {
    "ntu120/xset": DATA["nturgbd120-cross-set"],
    "ntu120/xsub": DATA["nturgbd120-cross-subject"],
    "ntu120": DATA["nturgbd120-cross-subject"],
    "ntu/xview": DATA["nturgbd-cross-view"],
    "ntu/xsub": DATA["nturgbd-cross-subject"],
    "ntu": DATA["nturgbd-cross-subject"],
    "nw-ucla": DATA["ucla"],
}

# Options of our recipes that take the value as it is.
KEYS = {
    "batch_size": "training.batch_size",
    "test_batch_size": "evaluation.batch_size",
    "base_lr": "optim.lr",
    "step": "schedule.steps",
    "num_epoch": "training.epochs",
    "weight_decay": "optim.weight_decay",
    "nesterov": "optim.nesterov",
    "optimizer": "optim.name",
    "warm_up_epoch": "schedule.warmup",
    "lr_decay_rate": "schedule.factor",
    "seed": "seed",
    "eval_interval": "evaluation.every",
}
OWN_KEYS = {
    "infogcn": {
        "n_heads": "backbone.heads",
        "lambda_1": "objective.marginal",
        "lambda_2": "objective.conditional",
        "z_prior_gain": "objective.gain",
        "noise_ratio": "objective.noise",
        "balanced_sampling": "training.balanced",
    },
    "frhead": {
        "w_cl_loss": "objective.weight",
        "w_multi_cl_loss": "objective.level_weights",
        "cl_version": "objective.version",
        "pred_threshold": "objective.threshold",
        "use_p_map": "objective.weigh_by_probability",
    },
    "lst": {"loss_alpha": "objective.weight"},
    "aimclr": {"mining_epoch": "objective.mining_epoch", "topk": "objective.top_k"},
    "crossclr": {
        "cross_epoch": "objective.cross_epoch",
        "topk": "objective.top_k",
        "context": "objective.context",
    },
}
# What the first word of AimCLR's and CrosSCLR's commands trains -> our objective.
PRETRAINING = {
    "pretrain_aimclr": "aimclr",
    "pretrain_skeletonclr": "skeletonclr",
    "pretrain_crossclr": "crossclr",
}
LISTS = ("schedule.steps", "objective.level_weights")
# Options that only settings files have -> key of our recipes.
FILE_KEYS = {
    "model_args.hidden_channels": "backbone.width",
    "model_args.hidden_dim": "backbone.last_width",
    "model_args.dropout": "backbone.dropout",
    "model_args.edge_importance_weighting": "backbone.edge_importance",
    "model_args.graph_args.strategy": "backbone.strategy",
    "model_args.graph_args.max_hop": "backbone.max_hop",
    "model_args.feature_dim": "objective.width",
    "model_args.queue_size": "objective.queue",
    "model_args.momentum": "objective.momentum",
    "model_args.Temperature": "objective.temperature",
    "train_feeder_args.repeat": "training.repeat",
}
# Options for what becomes of training clips, in settings files -> our transforms, and their key.
TRANSFORM_KEYS = {
    "shear_amplitude": (("shear",), "amplitude"),
    "temperal_padding_ratio": (("mirror_crop",), "ratio"),
    "p_interval": (("crop_resize",), "proportion"),
    "window_size": (("crop_resize", "window", "pick_frames"), "length"),
}
# Those that switch something on -> our transform, and its key that is set then, if it has one.
SWITCHES = {
    "random_rot": ("rotate", ""),
    "random_choose": ("window", "random"),
    "random_move": ("random_move", ""),
    "random_shift": ("random_shift", ""),
}
# What settings files say besides, and what is so here: other values are not taken over.
FILE_USUAL = {
    "model_args.mlp": True,
    "model_args.adaptive": True,
    "model_args.graph_args.labeling_mode": "spatial",
    "train_feeder_args.aug_method": "12345",
    "train_feeder_args.normalization": False,
    "train_feeder_args.debug": False,
    "debug": False,
}
# Sections and options of settings files that are read by others, or that say where files are.
FILE_PLACES = (
    "model", "train_feeder_args.data_path", "train_feeder_args.label_path",
    "train_feeder_args.mmap", "train_feeder_args.split", "train_feeder_args.bone",
    "train_feeder_args.vel", "train_feeder_args.num_frame_path", "train_feeder_args.mode",
    "model_args.num_class", "model_args.num_point", "model_args.num_person",
    "model_args.in_channels", "model_args.graph", "model_args.graph_args.layout",
    "model_args.base_encoder", "model_args.pretrain", "model_args.k", "feeder", "train_feeder",
    "test_feeder", "pavi_log", "model_saved_name",
)  # fmt: skip

# Options that say what is always so here, or what is needed nowhere: why they are left out.
NEEDLESS = {
    "num_worker": "recordings lie in memory, there are no worker processes",
    "num_class": "the store tells the number of classes",
    "save_score": "scores are always saved",
    "save_result": "scores are always saved",
    "ignore_weights": "heads, keys and queues are left out, the encoder is taken over",
    "save_epoch": "the last and the selected epoch are always saved",
    "save_interval": "the last and the selected epoch are always saved",
    "save_model": "the last and the selected epoch are always saved",
    "save_z": "the places of the classes are saved with the weights",
    "log_interval": "progress is always shown",
    "print_log": "progress is always shown",
    "show_topk": "top-1, top-5 and the mean over classes are always shown",
    "use_tensorboard": "a log for TensorBoard is always written",
    "start_epoch": "kinegraph train --resume RUN goes on where a run stopped",
    "te_lr_ratio": "it has no effect in the original",
    "use_gpu": "a GPU is used if there is one",
    "topk": "top-1, top-5 and the mean over classes are always shown",
}
# Options that `translate` looks at itself: of all programs, and of those that are not AimCLR's kin.
HANDLED = ("config", "work_dir", "phase", "weights", "device", "model", "half", "help")
RECORDINGS = ("dataset", "datasets", "datacase")
# Those that stand alone as well.
ALONE = ("half", "use_vel", "help")
CONTRAST = ("aimclr", "skeletonclr", "crossclr")
OWN_HANDLED = {
    **dict.fromkeys(CONTRAST, ("stream", "view")),
    "infogcn": ("modal_idx", "k", "use_vel"),
    "frhead": ("cl_mode", "start_cl_epoch"),
    "lst": ("k",),
}
# Those of the ensembles, instead of the above.
ENSEMBLE = (
    "joint_dir", "bone_dir", "joint_motion_dir", "bone_motion_dir", "position_ckpts",
    "motion_ckpts", "alpha",
)  # fmt: skip
SHORT = {"-c": "config", "-h": "help", "-w": "work_dir"}

# --model, its last part -> our backbone.
MODELS = {
    "SAGCN": "infogcn",
    "infogcn.InfoGCN": "infogcn",
    "ctrgcn.Model": "ctrgcn",
    "baseline.Model": "ctrgcn-baseline",
    "stgcn.Model": "ctrgcn-baseline",
    "st_gcn.Model": "stgcn",  # of ST-GCN's own program
    "aagcn.Model": "aagcn",
    "tcagcn.Model": "tcagcn",
    "ctrgcn.Model_lst_4part": "ctrgcn",
    "ctrgcn.Model_lst_4part_bone": "ctrgcn",
    "ctrgcn.Model_lst_4part_ucla": "ctrgcn",
    "ctrgcn.Model_lst_4part_bone_ucla": "ctrgcn",
}

# (program, group of recordings) -> the recipe of its published run.
RECIPES = {
    ("infogcn", "ntu"): "ntu-infogcn",
    ("infogcn", "ucla"): "nw-ucla-infogcn",
    ("frhead", "ntu"): "ntu-frhead",
    ("frhead", "ucla"): "nw-ucla-frhead",
    ("ctrgcn", "ntu"): "ntu-ctrgcn",
    ("ctrgcn", "ucla"): "nw-ucla-ctrgcn",
    ("lst", "ntu"): "ntu-lst",
    ("lst", "ucla"): "nw-ucla-lst",
    ("stgcn", "ntu"): "ntu-stgcn",
    ("stgcn", "kinetics"): "kinetics-stgcn",
}
# Program -> what it does where a line leaves an option out, other than its published run.
DEFAULTS = {"infogcn": {"training.batch_size": "64"}}
