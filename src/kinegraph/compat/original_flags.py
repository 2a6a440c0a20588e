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
        group: ``ntu``, ``ucla`` or ``kinetics``: what decides about transforms and schedule.
        split: Our name of the split, or None.
    """

    name: str
    group: str
    split: str | None


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
DATA_CASES = {"CS": "xsub", "CV": "xview", "CSub": "xsub", "CSet": "xset"}

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
    "aimclr": {
        "mining_epoch": "objective.mining_epoch",
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
# Options that `translate` looks at itself.
HANDLED = (
    "config", "work_dir", "phase", "weights", "device", "model", "dataset", "datasets", "datacase",
    "half", "modal_idx", "k", "use_vel", "cl_mode", "start_cl_epoch", "joint_dir", "bone_dir",
    "joint_motion_dir", "bone_motion_dir", "position_ckpts", "motion_ckpts", "alpha", "data_path",
    "help",
)  # fmt: skip
OWN_HANDLED = {"aimclr": ("stream", "view")}
SHORT = {"-c": "config", "-h": "help", "-w": "work_dir"}

# --model, its last part -> our backbone.
MODELS = {
    "SAGCN": "infogcn",
    "infogcn.InfoGCN": "infogcn",
    "ctrgcn.Model": "ctrgcn",
    "baseline.Model": "ctrgcn-baseline",
    "stgcn.Model": "ctrgcn-baseline",
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
