"""Command lines of AimCLR, SkeletonCLR and CrosSCLR in our words.

Place in the flow: ``translate`` hands over a line and gets commands and remarks. Their ``main.py``
has a word for what is done: pre-training, linear evaluation or fine-tuning. What names tell of
recordings, streams and weights is in ``contrast_names``.
"""

from __future__ import annotations

from collections.abc import Mapping

from kinegraph.compat.command_words import Line
from kinegraph.compat.contrast_names import data_in, of_three, stream_word, streams_in, system_of
from kinegraph.compat.conversion_lines import (
    NOT_CONVERTED,
    STORE,
    converted,
    test_words,
    tested_weights,
)
from kinegraph.compat.line_options import (
    departures,
    file_options,
    place,
    plain_options,
    train_words,
)
from kinegraph.compat.original_flags import KEYS, OWN_KEYS, PRETRAINING, Data
from kinegraph.compat.original_lines import check_options, tests, weights_in
from kinegraph.compat.original_settings import Settings
from kinegraph.errors import RecipeError, unknown

RUN = "RUN"  # stands for the run folder of a pre-training
RECIPES = {"ntu60": "ntu-aimclr", "ntu120": "ntu-aimclr", "pku-mmd": "pku-mmd-aimclr"}

# What is done -> what of the linear recipe is different then.
JUDGING: dict[str, dict[str, str]] = {
    "linear_evaluation": {},
    "finetune_evaluation": {
        "start.learns": "all",
        "start.statistics": "kept",
        "optim.lr": "0.1",
    },
    "semi": {
        "data.label_share": "0.1",
        "start.learns": "all",
        "start.statistics": "kept",
        "optim.lr": "0.1",
        "optim.clip_norm": "2",
    },
}
UNPUBLISHED = "no settings of this are published: those of linear evaluation are taken"
NOTES = {
    "finetune_evaluation": (),
    "semi": (
        "a tenth of the labels is assumed; the other published share is --data.label_share 0.01",
    ),
}
Commands = tuple[tuple[str, ...], ...]


def contrast_commands(line: Line, settings: Settings) -> tuple[Commands, tuple[str, ...]]:
    """Return our command lines, word by word, and remarks.

    Raises:
        RecipeError: It is no such line, does not tell its recordings, or makes no sense.
    """
    if line.script.startswith("ensemble"):
        return _ensemble()
    if "help" in line.flags:
        return (("kinegraph", "train", "--help"),), ()
    kind = _kind(line)
    keys = _check(line, kind)
    data, streams = data_in(line, settings), streams_in(line, settings)
    if tests(line, settings):
        return _test(line, kind, data, streams, settings)
    if kind in PRETRAINING:
        return _pretraining(line, kind, data, streams, settings, keys)
    return _judging(line, kind, data, streams, settings)


def _kind(line: Line) -> str:
    """Return what is done, a key of `PRETRAINING` or `JUDGING`."""
    word = line.words[0] if line.words else ""
    known = (*PRETRAINING, *JUDGING)
    # The longest that fits: pretrain_crossclr_3views begins as pretrain_crossclr does.
    found = max((kind for kind in known if word.startswith(kind)), key=len, default="")
    if not found:
        raise RecipeError(f"main.py is told first what to do: {unknown('word', word, known)}")
    return found


def _check(line: Line, kind: str) -> Mapping[str, str]:
    """Return the options that keep their value, as keys of the recipe; refuse those of others."""
    if kind not in PRETRAINING:
        check_options(line, "aimclr", OWN_KEYS["crossclr"])
        return KEYS
    name = PRETRAINING[kind]
    keys = KEYS | OWN_KEYS.get(name, {})
    check_options(line, name)
    if "topk" in line.flags and "topk" not in keys:  # which is about tests elsewhere
        raise RecipeError(f"--topk: no option of {name}, which looks for no neighbours")
    return keys


def _pretraining(
    line: Line,
    kind: str,
    data: Data,
    streams: tuple[str, ...],
    settings: Settings,
    keys: Mapping[str, str],
) -> tuple[Commands, tuple[str, ...]]:
    recipe, implied = RECIPES[data.name], {"data.split": data.split or ""}
    said: dict[str, str] = {}
    if kind != "pretrain_aimclr":
        said["objective.name"] = PRETRAINING[kind]
    names = dict(said)
    if PRETRAINING[kind] != "crossclr":
        implied["stream"] = _only(streams, line, settings)
    elif not of_three(line, settings):
        said["objective.streams"] = "[joint, joint-motion]"
    found, left = file_options(line, settings, keys, recipe, names)
    notes = [*left, *plain_options(line, keys, said)]
    commands: Commands = ()
    if weights := weights_in(line, settings):
        commands, said["start.run"] = _begun(line, weights, PRETRAINING[kind], data, streams[0])
    values = departures(recipe, implied | found, names) | said
    words = train_words(line, recipe, values, keys)
    return (*commands, (*words, *place(line))), (_store_note(data), *notes)


def _judging(
    line: Line, kind: str, data: Data, streams: tuple[str, ...], settings: Settings
) -> tuple[Commands, tuple[str, ...]]:
    recipe = f"{RECIPES[data.name]}-linear"
    said: dict[str, str] = {}
    found, left = file_options(line, settings, KEYS, recipe, {})
    notes = [*left, *plain_options(line, KEYS, said)]
    if kind in NOTES:
        usual = JUDGING[kind]["optim.lr"]
        if rate := (found | said).get("optim.lr"):
            said["optim.lr"] = rate  # printed though a linear evaluation has the same
            whose = f"with your learning rate {rate}; one that suits a whole network is {usual}"
        else:
            whose = f"but for a learning rate that suits a whole network, {usual}"
        notes = [f"{UNPUBLISHED}, {whose}", *NOTES[kind], *notes]
    pretraining = {flag for keys in (OWN_KEYS["aimclr"], OWN_KEYS["crossclr"]) for flag in keys}
    notes += [
        f"--{flag}: it is an option of pre-training"
        for flag in line.flags
        if flag in pretraining and flag != "topk"
    ]
    weights = weights_in(line, settings)
    system = system_of(line, kind, weights, settings)
    if len(streams) > 1 and system in ("aimclr", "skeletonclr"):
        raise RecipeError(
            f"{stream_word(line, settings)[0]}: a file of {system} is of one stream; name each"
            " stream with its own --weights, and add the results by kinegraph ensemble"
        )
    if len(streams) > 1:  # which only CrosSCLR has in one file
        system = "crossclr"
    commands: list[tuple[str, ...]] = []
    start = {"start.run": RUN}
    if weights:
        before, start["start.run"] = _begun(line, weights, system, data, streams[0])
        commands += before
    for stream in streams:
        implied = {"data.split": data.split or "", "stream": stream} | JUDGING[kind] | found
        values = departures(recipe, implied) | start | said
        where = place(line, f"-{stream}" if len(streams) > 1 else "")
        commands.append((*train_words(line, recipe, values, KEYS), *where))
    if not weights:
        method = f" --objective.name {system}" if system in ("crossclr", "skeletonclr") else ""
        first = f"the run folder of kinegraph train {RECIPES[data.name]}{method}"
        notes.insert(0, f"{RUN} is the pre-training: {first}, or converted weights")
    if len(streams) > 1:
        notes.append("the mean over the streams: test each run, and add them by kinegraph ensemble")
    return tuple(commands), (_store_note(data), *notes)


def _begun(line: Line, weights: str, system: str, data: Data, stream: str) -> tuple[Commands, str]:
    if system == "crossclr":  # one file for all of its streams, which it makes of joints
        stream = "joint"
    return converted(line, system, weights, data=data, stream=stream)


def _test(
    line: Line, kind: str, data: Data, streams: tuple[str, ...], settings: Settings
) -> tuple[Commands, tuple[str, ...]]:
    if kind in PRETRAINING:
        raise RecipeError(
            f"{kind} has nothing to test: kinegraph probe RUN tells what features are worth"
        )
    weights = tested_weights(line, settings)
    stream = _only(streams, line, settings)
    system = system_of(line, kind, weights, settings)
    before, ours = converted(line, system, weights, data=data, stream=stream)
    notes = (NOT_CONVERTED, _store_note(data)) if before else (_store_note(data),)
    return (*before, test_words(line, ours)), notes


def _only(streams: tuple[str, ...], line: Line, settings: Settings) -> str:
    if len(streams) > 1:
        said = stream_word(line, settings)[0]
        raise RecipeError(f"{said}: a command here is about one stream; name each")
    return streams[0]


def _ensemble() -> tuple[Commands, tuple[str, ...]]:
    words = ("kinegraph", "ensemble", "JOINT", "BONE", "MOTION")
    streams = ("--streams", "joint", "bone", "joint-motion")
    return ((*words, *streams, "--preset", "aimclr"),), (
        "JOINT, BONE and MOTION are run folders or score files, of theirs (test_result.pkl) or of"
        " kinegraph; their script has the paths inside",
    )


def _store_note(data: Data) -> str:
    """Say how the clips of 50 frames come about."""
    source = "--cleaning stgcn" if data.group == "ntu" else f"--part {data.part}"
    name = f"{data.name}-{data.part}" if data.group == "pku" else data.name
    frames = f"frame50/{name}-{data.split}"
    steps = (
        f"kinegraph data import {data.name} SOURCE {source} --out WHOLE",
        f"kinegraph data export WHOLE --format aimclr-npy --split {data.split} --out {frames}",
        f"kinegraph data import aimclr-npy {frames} --out {STORE}",
    )
    return f"{STORE} is made by: {'; '.join(steps)}"
