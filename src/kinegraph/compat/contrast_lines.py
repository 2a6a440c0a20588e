"""Command lines of AimCLR, SkeletonCLR and CrosSCLR in our words.

Place in the flow: ``translate`` hands over a line and gets commands and remarks. Their ``main.py``
has a word for what is done: pre-training, linear evaluation or fine-tuning. Their settings files
need not be there: names tell recordings, split and stream.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from kinegraph.compat.contrast_files import CONTRAST
from kinegraph.compat.conversion_lines import STORE, conversion, converted_file, test_words
from kinegraph.compat.original_flags import PRETRAINING, Data
from kinegraph.compat.original_lines import UNKNOWN, Line, refuse_unknown, settings_of
from kinegraph.compat.original_settings import SPLITS, STREAMS, Settings
from kinegraph.compat.training_lines import departures, place, plain_options
from kinegraph.errors import RecipeError, unknown

RUN = "RUN"  # stands for the run folder of a pre-training
RECIPES = {"ntu60": "ntu-aimclr", "ntu120": "ntu-aimclr", "pku-mmd": "pku-mmd-aimclr"}
ALL = "all"  # CrosSCLR's word for the mean over its streams

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
NOTES = {
    "finetune_evaluation": (
        "no settings of fine-tuning are published: those of linear evaluation, but for a learning"
        " rate that suits a whole network",
    ),
    "semi": (
        "no settings of this are published: those of linear evaluation, but for the learning rate",
        "a tenth of the labels is assumed; the other published share is --data.label_share 0.01",
    ),
}
Commands = tuple[tuple[str, ...], ...]


def contrast_commands(line: Line) -> tuple[Commands, tuple[str, ...]]:
    """Return our command lines, word by word, and remarks.

    Raises:
        RecipeError: It is no such line, does not tell its recordings, or makes no sense.
    """
    if line.script.startswith("ensemble"):
        return _ensemble()
    if "help" in line.flags:
        return (("kinegraph", "train", "--help"),), ()
    kind = _kind(line)
    refuse_unknown(line, "aimclr")
    settings = settings_of(line)
    data = _data(line, settings)
    streams = _streams(line, settings)
    if line.one("phase", "train") == "test":
        return _test(line, kind, data, streams)
    if kind in PRETRAINING:
        return _pretraining(line, kind, data, streams)
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


def _data(line: Line, settings: Settings) -> Data:
    """Return the recordings that the name of the settings file, or the file, tells."""
    config = line.one("config").lower()
    pieces = {"pku": "pku-mmd", "ntu120": "ntu120", "ntu": "ntu60"}
    name = next((name for piece, name in pieces.items() if piece in config), settings.classes)
    if name not in RECIPES:
        raise RecipeError(
            "the command does not tell which recordings it is about: name a settings file such as"
            " config/ntu60/pretext/pretext_aimclr_xview_joint.yaml"
        )
    split = next((ours for piece, ours in SPLITS.items() if piece in config), settings.split)
    return Data(name, "pku" if name == "pku-mmd" else "ntu", split or "xsub")


def _streams(line: Line, settings: Settings) -> tuple[str, ...]:
    """Return the streams that are meant, by our names; several for CrosSCLR's ``all``."""
    for flag in ("stream", "view"):
        if (named := line.one(flag)) == ALL:
            return tuple(STREAMS.values())
        if named and named not in STREAMS:
            raise RecipeError(unknown(f"--{flag}", named, (*STREAMS, ALL)))
        if named:
            return (STREAMS[named],)
    if settings.stream:
        return (settings.stream,)
    name = PurePosixPath(line.one("config").lower()).stem
    return (next((ours for word, ours in STREAMS.items() if word in name), "joint"),)


def _pretraining(
    line: Line, kind: str, data: Data, streams: tuple[str, ...]
) -> tuple[Commands, tuple[str, ...]]:
    recipe, implied = RECIPES[data.name], {"data.split": data.split or ""}
    said: dict[str, str] = {}
    if kind != "pretrain_aimclr":
        said["objective.name"] = PRETRAINING[kind]
    if PRETRAINING[kind] != "crossclr":
        implied["stream"] = _only(streams)
    elif "3view" not in f"{line.words[0]} {line.one('config')}".lower():
        said["objective.streams"] = "[joint, joint-motion]"
    notes = plain_options(line, "aimclr", said)
    commands: Commands = ()
    if weights := line.one("weights"):
        commands, said["start.run"] = _begun(line, weights, data, streams[0])
    words = _train(recipe, departures(recipe, implied) | said)
    return (*commands, (*words, *place(line))), (_store_note(data), *notes)


def _judging(
    line: Line, kind: str, data: Data, streams: tuple[str, ...], settings: Settings
) -> tuple[Commands, tuple[str, ...]]:
    recipe = f"{RECIPES[data.name]}-linear"
    said: dict[str, str] = {}
    notes = [*NOTES.get(kind, ()), *plain_options(line, "aimclr", said)]
    said = {key: text for key, text in said.items() if not key.startswith("objective.")}
    weights = line.one("weights") or settings.weights
    commands: list[tuple[str, ...]] = []
    for stream in streams:
        implied = {"data.split": data.split or "", "stream": stream} | JUDGING[kind]
        start = {"start.run": RUN}
        if weights:
            before, start["start.run"] = _begun(line, weights, data, stream)
            commands += [words for words in before if words not in commands]
        values = departures(recipe, implied) | start | said
        where = place(line, f"-{stream}" if len(streams) > 1 else "")
        commands.append((*_train(recipe, values), *where))
    if not weights:
        first = f"the run folder of kinegraph train {RECIPES[data.name]}"
        notes.insert(0, f"{RUN} is the pre-training: {first}, or converted weights")
    if len(streams) > 1:
        notes.append("the mean over the streams: test each run, and add them by kinegraph ensemble")
    return tuple(commands), (_store_note(data), *notes)


def _begun(line: Line, weights: str, data: Data, stream: str) -> tuple[Commands, str]:
    """Return what converts weights, and where they are then; ours are taken as they are."""
    if weights.endswith(".safetensors"):
        return (), weights
    system = _system(line, weights)
    if system == "crossclr":  # one file for all of its streams, which it makes of joints
        stream = "joint"
    return (conversion(line, system, weights, data=data, stream=stream),), converted_file(weights)


def _system(line: Line, weights: str) -> str:
    """Return whose weights they are as far as the line tells; else the names in the file do."""
    text = " ".join((*line.words, line.one("config"), weights)).lower()
    return next((system for system in CONTRAST if system in text), UNKNOWN)


def _test(
    line: Line, kind: str, data: Data, streams: tuple[str, ...]
) -> tuple[Commands, tuple[str, ...]]:
    if kind in PRETRAINING:
        raise RecipeError(
            f"{kind} has nothing to test: kinegraph probe RUN tells what features are worth"
        )
    weights = line.one("weights")
    if not weights:
        raise RecipeError("--phase test needs --weights FILE")
    stream, system = _only(streams), _system(line, weights)
    return (
        conversion(line, system, weights, data=data, stream=stream),
        test_words(line, weights),
    ), ("a run that kinegraph trained needs no conversion: kinegraph test RUN", _store_note(data))


def _only(streams: tuple[str, ...]) -> str:
    if len(streams) > 1:
        raise RecipeError(f"--view {ALL}: a command here is about one stream; name each")
    return streams[0]


def _train(recipe: str, values: dict[str, str]) -> list[str]:
    words = ["kinegraph", "train", recipe, "--data.store", STORE]
    # A component is named first; its values follow.
    for key in sorted(values, key=lambda key: not key.endswith(".name")):
        words += [f"--{key}", values[key]]
    return words


def _ensemble() -> tuple[Commands, tuple[str, ...]]:
    words = ("kinegraph", "ensemble", "JOINT", "BONE", "MOTION")
    streams = ("--streams", "joint", "bone", "joint-motion")
    return ((*words, *streams, "--preset", "aimclr"),), (
        "JOINT, BONE and MOTION are run folders or score files, of theirs (test_result.pkl) or of"
        " kinegraph; their script has the paths inside",
    )


def _store_note(data: Data) -> str:
    """Say how the clips of 50 frames come about."""
    source = "--cleaning stgcn" if data.group == "ntu" else "--part 1"
    frames = f"frame50/{data.name}-{data.split}"
    steps = (
        f"kinegraph data import {data.name} SOURCE {source} --out WHOLE",
        f"kinegraph data export WHOLE --format aimclr-npy --split {data.split} --out {frames}",
        f"kinegraph data import aimclr-npy {frames} --out {STORE}",
    )
    return f"{STORE} is made by: {'; '.join(steps)}"
