"""How the tensors of the original programs and ours correspond, one readable table per network.

Each table lists pairs of module names (theirs, ours); the entries of a module keep their names.
Nothing here touches a tensor: ``state_dicts`` applies the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

CONVOLUTION = ("weight", "bias")
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BLOCKS = 10
SUBSETS = 3

Join = Literal["same", "squeeze", "squeeze-1d", "rows", "columns", "stack", "shared"]


@dataclass(frozen=True)
class Rule:
    """One of our tensors and the original ones it is made of.

    Attributes:
        theirs: Original names; several where we keep the subsets of a graph in one tensor.
        ours: Our name.
        join: ``same`` takes the tensor as it is, ``squeeze`` a 1x1 convolution as a matrix, and
            ``squeeze-1d`` one over time alone;
            ``rows`` and ``columns`` concatenate along axis 0 and 1, ``stack`` makes a new axis 0;
            ``shared`` is one tensor that all of them have (were they to differ: the last one, which
            is what PyTorch leaves of a module that is saved under several names).
        part: The module it belongs to; a part is there as a whole or not at all.
    """

    theirs: tuple[str, ...]
    ours: str
    join: Join
    part: str


def _module(theirs: str, ours: str, entries: Sequence[str], join: Join = "same") -> list[Rule]:
    """Rules for a module: ``{k}`` in ``theirs`` stands for each of the subsets of a graph."""
    names = [theirs.format(k=k) for k in range(SUBSETS)] if "{k}" in theirs else [theirs]
    return [
        Rule(tuple(f"{name}.{entry}" for name in names), f"{ours}.{entry}", join, theirs)
        for entry in entries
    ]


def _modules(theirs: Sequence[str], ours: str, entries: Sequence[str]) -> list[Rule]:
    """Rules for several modules that are one of ours, their channels one after the other."""
    return [
        Rule(
            tuple(f"{name}.{entry}" for name in theirs),
            f"{ours}.{entry}",
            "shared" if entry == "num_batches_tracked" else "rows",
            theirs[0],
        )
        for entry in entries
    ]


def _tensor(theirs: str, ours: str) -> list[Rule]:
    return [Rule((theirs,), ours, "same", theirs)]


def _stgcn() -> list[Rule]:
    """Yan et al., ST-GCN: the class ``net.st_gcn.Model``."""
    rules = _tensor("A", "backbone.adjacency")
    rules += _module("data_bn", "backbone.input_norm", NORM)
    for b in range(BLOCKS):
        theirs, ours = f"st_gcn_networks.{b}", f"backbone.blocks.{b}"
        rules += _module(f"{theirs}.gcn.conv", f"{ours}.spatial.conv", CONVOLUTION)
        rules += _module(f"{theirs}.tcn.0", f"{ours}.spatial_norm", NORM)
        rules += _module(f"{theirs}.tcn.2", f"{ours}.temporal.conv", CONVOLUTION)
        rules += _module(f"{theirs}.tcn.3", f"{ours}.temporal.norm", NORM)
        rules += _module(f"{theirs}.residual.0", f"{ours}.residual.conv", CONVOLUTION)
        rules += _module(f"{theirs}.residual.1", f"{ours}.residual.norm", NORM)
    for b in range(BLOCKS):
        rules += _tensor(f"edge_importance.{b}", f"backbone.edge_importance.{b}")
    rules += _module("fcn", "head", ("weight",), "squeeze")
    rules += _module("fcn", "head", ("bias",))
    return rules


def _two_stream() -> list[Rule]:
    """The class ``net.st_gcn_twostream.Model``, in the objective `two-stream`."""
    return [
        Rule(
            tuple(f"{name}_stream.{theirs}" for theirs in rule.theirs),
            f"{name}.{rule.ours}",
            rule.join,
            f"{name}_stream.{rule.part}",
        )
        for name in ("origin", "motion")
        for rule in _stgcn()
    ]


def _stgcn_v1() -> list[Rule]:
    """The class ``ST_GCN`` of the first release of ST-GCN."""
    rules = _module("data_bn", "backbone.input_norm", NORM)
    for b in range(BLOCKS):
        graph, time = (
            (f"backbone.{b - 1}.gcn1", f"backbone.{b - 1}.tcn1") if b else ("gcn0", "tcn0")
        )
        ours = f"backbone.blocks.{b}"
        rules += _tensor(f"{graph}.mask", f"{ours}.spatial.mask")
        rules += _module(f"{graph}.conv_list.{{k}}", f"{ours}.spatial.conv", ("weight",), "rows")
        rules += _module(f"{graph}.conv_list.{{k}}", f"{ours}.spatial", ("bias",), "stack")
        rules += _module(f"{graph}.bn", f"{ours}.spatial.norm", NORM)
        rules += _module(f"{time}.conv", f"{ours}.temporal.conv", CONVOLUTION)
        rules += _module(f"{time}.bn", f"{ours}.temporal.norm", NORM)
        residual = f"backbone.{b - 1}.down1"
        rules += _module(f"{residual}.conv", f"{ours}.residual.conv", CONVOLUTION)
        rules += _module(f"{residual}.bn", f"{ours}.residual.norm", NORM)
    rules += _module("fcn", "head", ("weight",), "squeeze-1d")
    return rules + _module("fcn", "head", ("bias",))


def _tcn() -> list[Rule]:
    """The class ``TCN`` of the first release of ST-GCN."""
    rules = _module("data_bn", "backbone.input_norm", NORM)
    rules += _module("conv0", "backbone.opening", CONVOLUTION)
    for b in range(9):
        for theirs, ours in (("unit1_1", "main"), ("down1", "residual")):
            unit, own = f"unit{b + 1}.{theirs}", f"backbone.units.{b}.{ours}"
            rules += _module(f"{unit}.bn", f"{own}.norm", NORM)
            rules += _module(f"{unit}.conv", f"{own}.conv", CONVOLUTION)
    rules += _module("bn", "backbone.norm", NORM)
    rules += _module("fcn", "head", ("weight",), "squeeze-1d")
    return rules + _module("fcn", "head", ("bias",))


def _ctrgcn_block(theirs: str, ours: str) -> list[Rule]:
    """What the blocks of CTR-GCN and of its baseline have in common."""
    return [
        *_tensor(f"{theirs}.gcn1.PA", f"{ours}.spatial.conv.adjacency"),
        *_module(f"{theirs}.gcn1.bn", f"{ours}.spatial.norm", NORM),
        *_module(f"{theirs}.gcn1.down.0", f"{ours}.spatial.residual.conv", CONVOLUTION),
        *_module(f"{theirs}.gcn1.down.1", f"{ours}.spatial.residual.norm", NORM),
        *_module(f"{theirs}.residual.conv", f"{ours}.residual.conv", CONVOLUTION),
        *_module(f"{theirs}.residual.bn", f"{ours}.residual.norm", NORM),
    ]


def _ctrgcn_ends() -> list[Rule]:
    return [
        *_module("data_bn", "backbone.body.input_norm", NORM),
        *_module("fc", "head", CONVOLUTION),
    ]


def _branches(theirs: str, ours: str) -> list[Rule]:
    """A multi-scale temporal convolution: four modules there, one for what they share here."""
    reduce = [f"{theirs}.{i}.0" for i in range(4)]
    ends = [f"{theirs}.0.3.bn", f"{theirs}.1.3.bn", f"{theirs}.2.4", f"{theirs}.3.1"]
    rules = _modules(reduce, f"{ours}.reduce", CONVOLUTION)
    rules += _modules([f"{theirs}.{i}.1" for i in (0, 1, 2)], f"{ours}.reduce_norm", NORM)
    rules += _modules(ends, f"{ours}.norm", NORM)
    for i in (0, 1):
        rules += _module(f"{theirs}.{i}.3.conv", f"{ours}.dilated.{i}", CONVOLUTION)
    return rules


def _relation(theirs: str, ours: str) -> list[Rule]:
    """What refines the topology in CTR-GCN and TCA-GCN."""
    rules = _tensor(f"{theirs}.alpha", f"{ours}.alpha")
    for number, name in ((1, "query"), (2, "key"), (4, "expand")):
        rules += _module(
            f"{theirs}.convs.{{k}}.conv{number}", f"{ours}.{name}", CONVOLUTION, "rows"
        )
    return rules


def _ctrgcn() -> list[Rule]:
    """Chen et al., CTR-GCN: the class ``model.ctrgcn.Model``, also in FR-Head and LST."""
    rules = _ctrgcn_ends()
    for b in range(BLOCKS):
        theirs, ours = f"l{b + 1}", f"backbone.body.blocks.{b}"
        rules += _ctrgcn_block(theirs, ours)
        graph, conv = f"{theirs}.gcn1", f"{ours}.spatial.conv"
        rules += _relation(graph, conv)
        rules += _module(f"{graph}.convs.{{k}}.conv3", f"{conv}.value", CONVOLUTION, "rows")
        rules += _branches(f"{theirs}.tcn1.branches", f"{ours}.temporal")
    return rules


def _ctrgcn_baseline() -> list[Rule]:
    """The class ``model.baseline.Model`` of CTR-GCN, which is ``model.stgcn.Model`` in FR-Head."""
    rules = _ctrgcn_ends()
    for b in range(BLOCKS):
        theirs, ours = f"l{b + 1}", f"backbone.body.blocks.{b}"
        rules += _ctrgcn_block(theirs, ours)
        graph, conv = f"{theirs}.gcn1.conv_d.{{k}}", f"{ours}.spatial.conv"
        rules += _module(graph, f"{conv}.conv", ("weight",), "columns")
        rules += _module(graph, conv, ("bias",), "stack")
        rules += _module(f"{theirs}.tcn1.conv", f"{ours}.temporal.conv", CONVOLUTION)
        rules += _module(f"{theirs}.tcn1.bn", f"{ours}.temporal.norm", NORM)
    return rules


def _aagcn() -> list[Rule]:
    """Shi et al., AAGCN, as in FR-Head: the class ``model.aagcn.Model``."""
    rules = _ctrgcn_ends()
    for b in range(BLOCKS):
        theirs, ours = f"l{b + 1}", f"backbone.body.blocks.{b}"
        rules += _ctrgcn_block(theirs, ours)
        graph, conv, weighing = (
            f"{theirs}.gcn1",
            f"{ours}.spatial.conv",
            f"{ours}.spatial.attention",
        )
        rules += _tensor(f"{graph}.alpha", f"{conv}.alpha")
        rules += _module(f"{graph}.conv_a.{{k}}", f"{conv}.query", CONVOLUTION, "rows")
        rules += _module(f"{graph}.conv_b.{{k}}", f"{conv}.key", CONVOLUTION, "rows")
        rules += _module(f"{graph}.conv_d.{{k}}", f"{conv}.value", ("weight",), "rows")
        rules += _module(f"{graph}.conv_d.{{k}}", conv, ("bias",), "stack")
        rules += _module(f"{graph}.conv_sa", f"{weighing}.joints", CONVOLUTION)
        rules += _module(f"{graph}.conv_ta", f"{weighing}.frames", CONVOLUTION)
        rules += _module(f"{graph}.fc1c", f"{weighing}.squeeze", CONVOLUTION)
        rules += _module(f"{graph}.fc2c", f"{weighing}.expand", CONVOLUTION)
        rules += _module(f"{theirs}.tcn1.conv", f"{ours}.temporal.conv", CONVOLUTION)
        rules += _module(f"{theirs}.tcn1.bn", f"{ours}.temporal.norm", NORM)
    return rules


def _tcagcn() -> list[Rule]:
    """Wang et al., TCA-GCN, as in FR-Head: the class ``model.tcagcn.Model``."""
    rules = _ctrgcn_ends()
    for b in range(BLOCKS):
        theirs, ours = f"l{b + 1}", f"backbone.body.blocks.{b}"
        rules += _ctrgcn_block(theirs, ours)
        graph, conv = f"{theirs}.gcn1", f"{ours}.spatial.conv"
        rules += _relation(graph, conv)
        rules += _module(f"{graph}.convs.{{k}}.conv", f"{conv}.value", ("weight",), "rows")
        route = f"{graph}.convs.{{k}}.conv_rf"
        rules += _module(f"{route}.g", f"{conv}.route.whole", CONVOLUTION, "rows")
        rules += _module(f"{route}.a", f"{conv}.route.context", CONVOLUTION, "rows")
        rules += _module(f"{route}.b", f"{conv}.route.expand", ("weight",), "rows")
        norms = [f"{graph}.convs.{k}.conv_rf.bn" for k in range(SUBSETS)]
        rules += _modules(norms, f"{conv}.route.norm", NORM)
        rules += _branches(f"{theirs}.tcn1.branches", f"{ours}.temporal.branches")
        gates, attention = f"{theirs}.tcn1.af", f"{ours}.temporal.attention"
        for name, first in (("local", 0), ("global", 1)):
            gate = f"{gates}.{name}_att"
            own = f"{attention}.{'here' if name == 'local' else 'whole'}"
            rules += _module(f"{gate}.{first}", f"{own}1", CONVOLUTION)
            rules += _module(f"{gate}.{first + 1}", f"{own}1_norm", NORM)
            rules += _module(f"{gate}.{first + 3}", f"{own}2", CONVOLUTION)
            rules += _module(f"{gate}.{first + 4}", f"{own}2_norm", NORM)
    return rules


def _infogcn() -> list[Rule]:
    """Chi et al., InfoGCN: the class ``model.infogcn.InfoGCN``, in the objective `bottleneck`."""
    rules = _tensor("pos_embedding", "backbone.position")
    rules += _module("to_joint_embedding", "backbone.embedding", CONVOLUTION)
    rules += _module("data_bn", "backbone.body.input_norm", NORM)
    for b in range(9):
        theirs, ours = f"l{b + 1}", f"backbone.body.blocks.{b}"
        graph, conv = f"{theirs}.agcn", f"{ours}.spatial.conv"
        rules += _tensor(f"{graph}.shared_topology", f"{conv}.topology")
        rules += _module(f"{graph}.conv_d.{{k}}", f"{conv}.value", ("weight",), "rows")
        rules += _module(f"{graph}.conv_d.{{k}}", conv, ("bias",), "stack")
        rules += _module(f"{graph}.attn.to_qk", f"{conv}.query_key", CONVOLUTION)
        rules += _module(f"{graph}.attn.ln", f"{conv}.norm", CONVOLUTION)
        rules += _module(f"{graph}.bn", f"{ours}.spatial.norm", NORM)
        rules += _module(f"{graph}.down.0", f"{ours}.spatial.residual.conv", CONVOLUTION)
        rules += _module(f"{graph}.down.1", f"{ours}.spatial.residual.norm", NORM)
        rules += _branches(f"{theirs}.tcn.branches", f"{ours}.temporal")
        rules += _module(f"{theirs}.residual.conv", f"{ours}.residual.conv", CONVOLUTION)
        rules += _module(f"{theirs}.residual.bn", f"{ours}.residual.norm", NORM)
    for theirs, ours in (
        ("fc", "hidden"), ("fc_mu", "mean"), ("fc_logvar", "log_variance"), ("decoder", "head")
    ):  # fmt: skip
        rules += _module(theirs, ours, CONVOLUTION)
    return rules


# The text encoders of LST -> the names of the original's linear layers.
LST_ENCODERS = ("ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "RN50x16", "RN50x64")


def _lst(encoder: str) -> list[Rule]:
    """Xiang et al., LST: the classes ``model.ctrgcn.Model_lst_4part*``, in `language`."""
    rules = _tensor("logit_scale", "language.scale") + _ctrgcn()
    rules += _module(f"linear_head.{encoder}", "language.whole", CONVOLUTION)
    for number, part in enumerate(("head", "hand", "foot", "hip")):
        rules += _module(f"part_list.{number}", f"language.parts.{part}", CONVOLUTION)
    return rules


FR_HEAD_STAGES = {"low": "low", "mid": "mid", "high": "high", "fin": "final"}


def _frhead(backbone: list[Rule]) -> list[Rule]:
    """Zhou et al., FR-Head: one of its networks with its heads, in the objective `refine`."""
    rules = [replace(rule, ours=f"classifier.{rule.ours}") for rule in backbone]
    for level, stage in FR_HEAD_STAGES.items():
        for kind, positions in (("spatio", "joints"), ("tempor", "frames")):
            squeeze, ours = f"ren_{level}.{kind}_squeeze", f"stages.{stage}.over_{positions}"
            rules += _module(f"{squeeze}.0", f"{ours}.squeeze", ("weight",), "squeeze")
            rules += _module(f"{squeeze}.0", f"{ours}.squeeze", ("bias",))
            rules += _module(f"{squeeze}.1", f"{ours}.norm", NORM)
            projection = f"ren_{level}.{kind}_cl_net.cl_fc"
            rules += _module(projection, f"{ours}.project", CONVOLUTION)
    return rules


def _encoder(theirs: str, ours: str) -> list[Rule]:
    """An encoder of AimCLR's without its head: ST-GCN. ``ours`` is empty or ends with a dot."""
    return [
        replace(
            rule,
            theirs=tuple(f"{theirs}.{name}" for name in rule.theirs),
            ours=f"{ours}{rule.ours}",
            part=f"{theirs}.{rule.part}",
        )
        for rule in _stgcn()
        if rule.part != "fcn"
    ]


def _classifier(encoder: str) -> list[Rule]:
    """An encoder of AimCLR's with a linear head, as linear evaluation and fine-tuning save it."""
    return [*_encoder(encoder, ""), *_module(f"{encoder}.fc", "head", CONVOLUTION)]


# The streams of CrosSCLR -> what the original puts behind the names of their tensors.
CROSSCLR = {"joint": "", "joint-motion": "_motion", "bone": "_bone"}
# What these programs save of a stream after linear evaluation -> the stream.
CLASSIFIERS = {f"encoder_q{ending}": stream for stream, ending in CROSSCLR.items()}


def _contrast(streams: Mapping[str, str]) -> list[Rule]:
    """SkeletonCLR, AimCLR and CrosSCLR, in pre-training: our stream -> their ending.

    All streams but the first end in its head, which the original saves once for each.
    """
    rules = []
    for stream, ending in streams.items():
        rules += _tensor(f"queue{ending}", f"queue.{stream}.keys")
        rules += _tensor(f"queue_ptr{ending}", f"queue.{stream}.place")
        for kind, short in (("query", "q"), ("key", "k")):
            layers = () if len(streams) > 1 and not ending else (0,) if ending else (0, 2)
            encoder = f"encoder_{short}{ending}"
            rules += _encoder(encoder, f"{kind}.{stream}.")
            for layer in layers:  # of the head that are its own
                own = f"{kind}.{stream}.head.{layer}"
                rules += _module(f"{encoder}.fc.{layer}", own, CONVOLUTION)
    if len(streams) > 1:
        first, *others = streams.values()
        for kind, short in (("query", "q"), ("key", "k")):
            for layer in (0, 2):
                names = [f"encoder_{short}{first}.fc.{layer}"]
                names += [f"encoder_{short}{ending}.fc.2.{layer}" for ending in others]
                rules += [
                    Rule(
                        tuple(f"{name}.{entry}" for name in names),
                        f"{kind}.joint.head.{layer}.{entry}",
                        "shared",
                        names[0],
                    )
                    for entry in CONVOLUTION
                ]
    return rules


# The backbone's name -> its rules, for the backbone in the objective `classify`; those of InfoGCN
# are for `bottleneck`, those of LST for CTR-GCN in `language` (``lst`` with features for the text
# encoder ViT-B/32, as published), and two-stream ST-GCN is an objective itself. ``frhead-...`` are
# FR-Head's networks in `refine`; ``skeletonclr``, ``aimclr`` and ``crossclr-...`` the objectives of
# those names with ST-GCN, ``encoder_q...`` one encoder of these in `classify`.
RULES: dict[str, tuple[Rule, ...]] = {
    "stgcn": tuple(_stgcn()),
    "stgcn-two-stream": tuple(_two_stream()),
    "stgcn-v1": tuple(_stgcn_v1()),
    "tcn": tuple(_tcn()),
    "ctrgcn": tuple(_ctrgcn()),
    "ctrgcn-baseline": tuple(_ctrgcn_baseline()),
    "aagcn": tuple(_aagcn()),
    "tcagcn": tuple(_tcagcn()),
    "infogcn": tuple(_infogcn()),
    "frhead-ctrgcn": tuple(_frhead(_ctrgcn())),
    "frhead-ctrgcn-baseline": tuple(_frhead(_ctrgcn_baseline())),
    "frhead-aagcn": tuple(_frhead(_aagcn())),
    "frhead-tcagcn": tuple(_frhead(_tcagcn())),
    "lst": tuple(_lst(LST_ENCODERS[0])),
    **{f"lst {encoder}": tuple(_lst(encoder)) for encoder in LST_ENCODERS[1:]},
    **dict.fromkeys(("skeletonclr", "aimclr"), tuple(_contrast({"clips": ""}))),
    "crossclr-2": tuple(_contrast({s: CROSSCLR[s] for s in ("joint", "joint-motion")})),
    "crossclr-3": tuple(_contrast(CROSSCLR)),
    **{encoder: tuple(_classifier(encoder)) for encoder in CLASSIFIERS},
}

# The backbone's name -> endings of original tensors that are carried along but never used.
UNUSED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("tcagcn", "frhead-tcagcn"), (".conv3.weight", ".conv3.bias")),
    "stgcn-v1": tuple(f"person_bn.{entry}" for entry in NORM),
}

# The backbone's name -> tensors of ours that the original never saved.
OWN: dict[str, tuple[str, ...]] = {
    "infogcn": ("prior",),
    **{name: ("contrast.prototypes",) for name in RULES if name.startswith("frhead-")},
}
